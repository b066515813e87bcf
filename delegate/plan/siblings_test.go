package plan

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
)

// TestSiblings: a plan knows whether the device of a link has other interfaces, wherever
// they are. Its address alone does not tell the link then.
func TestSiblings(t *testing.T) {
	const (
		card  = "0000:af:00.4"
		hosts = `{"name": "n", "links": [{"name": "eth2"}, {"name": "eth1"}]}`
		pods  = `{"name": "n", "linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]}`
	)
	onHost := func(port string, others ...string) func(*Facts) {
		return func(f *Facts) {
			l := f.Host["eth2"]
			l.Device, l.DevPort = card, port
			f.Host["eth2"] = l
			f.Devices[bond.Identity(card, port)] = bond.DeviceFacts{Device: bond.Device{Address: card, Netdev: "eth2", Others: others}, Link: &l.Link}
		}
	}
	inPod := func(netdev string) func(*Facts) {
		return func(f *Facts) {
			f.Pod[0].Device = card
			f.Devices[card] = bond.DeviceFacts{Device: bond.Device{Address: card, Netdev: netdev}}
		}
	}
	also := func(f *Facts) { f.Pod = append(f.Pod, bond.Link{Index: 8, Name: "net7", Device: card}) }
	for _, test := range []struct {
		name, config string
		change       []func(*Facts)
		want         bool
		holds        string
	}{
		{"none", hosts, []func(*Facts){onHost("0")}, false, card},
		{"one on the host", hosts, []func(*Facts){onHost("0", "eth3")}, true, card},
		{"one in the pod", hosts, []func(*Facts){onHost("0"), also}, true, card},
		{"it is not the first, and the first is somewhere else", hosts, []func(*Facts){onHost("1")}, true, card + "#1"},
		{"no device", hosts, nil, false, ""},
		{"of the pod, none", pods, []func(*Facts){inPod("")}, false, ""},
		{"of the pod, one on the host", pods, []func(*Facts){inPod("eth3")}, true, ""},
		{"of the pod, one in the pod", pods, []func(*Facts){inPod(""), also}, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := nodeFacts()
			for _, change := range test.change {
				change(&f)
			}
			p, _, err := Compile(request(t, test.config), f)
			require.NoError(t, err)
			assert.Equal(t, test.want, p.Links[0].Siblings)
			assert.Equal(t, test.holds, p.Links[0].Holds())
			assert.False(t, p.Links[1].Siblings)
		})
	}
}

// TestChainOfSeveral: plugins take any interface of a VF that has several, so it is theirs
// to restore, and it is held as a whole.
func TestChainOfSeveral(t *testing.T) {
	f := nodeFacts()
	d := f.Devices[vfA]
	d.Others = []string{"enp1s0v0d1"}
	f.Devices[vfA] = d
	r := request(t, standard)
	r.Network.Device, r.Network.Chain, r.Network.Links = vfA, r.Network.Links[0].Plugins, nil
	p, _, err := Compile(r, f)
	require.NoError(t, err)
	assert.Empty(t, p.Links[0].Device)
	assert.Nil(t, p.Links[0].Before)
	assert.Equal(t, vfA, p.Links[0].Holds())
}
