package kubeclient

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"testing/fstest"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
)

// TestMultiNIC: each case is a defect of multi-nic-cni (snapshot dd03940) where it knows
// Kubernetes. The others are in delegate.
func TestMultiNIC(t *testing.T) {
	nads := nads(map[string]string{
		"demo/rails":   `{"type":"multibond","attach":"each","links":[{"resourceName":"intel.com/a","count":2},{"resourceName":"intel.com/b","count":2}]}`,
		"demo/storage": `{"type":"multibond","attach":"each","delegate":{"type":"macvlan"},"links":[{"pool":{"names":["ens*"]},"count":2}]}`,
	})
	attach := func(t *testing.T, pod, networks string, containers ...Container) netconf.Network {
		t.Helper()
		node := Node{Sys: fstest.MapFS{}, PF: letterPF, Containers: gives(containers...)}
		got, err := Attachments(named("demo", pod), parse(t, networks), Resolver{NAD: nads}, node)
		require.NoError(t, err)
		require.Len(t, got, 1)
		n, err := netconf.ParseAttachment(agentapi.Attachment{IfName: "net1", Config: got[0].Config, Bond: true}, nil)
		require.NoError(t, err)
		return n
	}
	devices := func(n netconf.Network) (all []string) {
		for _, l := range n.Links {
			all = append(all, l.Device)
		}
		return all
	}
	t.Run("the second container's devices are lost", func(t *testing.T) {
		of := func(devices ...string) map[string][]string {
			return map[string][]string{"intel.com/a": devices[:1], "intel.com/b": devices[1:]}
		}
		n := attach(t, "p", "rails@net1",
			Container{Name: "first", Resources: of("0000:3b:02.1", "0000:5e:02.1")}, Container{Name: "second", Resources: of("0000:3b:02.2", "0000:5e:02.2")})
		assert.Equal(t, []string{"0000:3b:02.1", "0000:3b:02.2", "0000:5e:02.1", "0000:5e:02.2"}, devices(n))
	})
	t.Run("a network is looked up by the pod's name", func(t *testing.T) {
		n := attach(t, "rails", "storage@net1")
		assert.Equal(t, "net1-1 net1-2", n.Links[0].Name+" "+n.Links[1].Name)
		assert.Equal(t, []string{"ens*"}, n.Links[0].Pool.Names)
	})
	t.Run("whoever reaches its port is answered", func(t *testing.T) {
		answered := false
		client, _ := serving(t, func(s *server) {
			s.peer = os.Getuid() + 1
			s.answer = func(context.Context, agentapi.Request) agentapi.Reply {
				answered = true
				return agentapi.Reply{}
			}
		})
		_, err := client.Lookup(t.Context(), agentapi.Lookup{})
		refused(t, err, cnitypes.ErrInvalidEnvironmentVariables, "asks multibond-agent, which answers only user")
		assert.False(t, answered)
	})
}

// TestOfOneInterface: what only one interface can have is refused where the pod asks for it.
func TestOfOneInterface(t *testing.T) {
	nads := nads(map[string]string{"demo/rails": `{"type":"multibond","attach":"each","links":[{"pool":{},"count":2,"config":{"type":"macvlan"}}],"ipam":{"type":"static"}}`})
	elements := parse(t, `[{"name": "rails", "interface": "net1", "mac": "02:00:00:00:00:01", "ips": ["10.1.0.1/24"]}]`)
	_, err := Attachments(named("demo", "p"), elements, Resolver{NAD: nads}, Node{Sys: fstest.MapFS{}, PF: letterPF, Containers: gives()})
	const text = ": is for one interface, but network demo/rails has one for each link ("
	require.ErrorContains(t, err, elements[0].Path+".mac"+text)
	assert.ErrorContains(t, err, elements[0].Path+".ips"+text)
	assert.NotContains(t, err.Error(), "is about a bond")
}

// TestSpareOfChosen: how many links may be without a device depends on how many the pod has
// chosen.
func TestSpareOfChosen(t *testing.T) {
	const config = `{"type": "multibond", "minLinks": 3, "links": [{"resourceName": "intel.com/a"}, {"pool": {}, "config": {"type": "macvlan"}}, {"resourceName": "intel.com/b"}]}`
	for count, spare := range map[string]int{`1`: 0, `2`: 1, `3`: 2} {
		for _, key := range []string{"count", "nics"} {
			b, err := readBond(config)
			require.NoError(t, err)
			b.choose(map[string]json.RawMessage{key: json.RawMessage(count)})
			assert.Equal(t, spare, b.Need().Spare, "%s %s", key, count)
		}
	}
}
