package delegate

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
)

// TestBlocks: host-local gets a host's range for each interface, or for the bond, and DEL
// executes it as ADD did, from the Record alone. The gateway that host-local makes up goes
// nowhere.
func TestBlocks(t *testing.T) {
	const ipam = `"ipam": {"type": "multibond", "subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6, "exclude": ["192.168.65.9"]}`
	const links = `"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	for _, test := range []struct {
		attach string
		want   []string
	}{
		{"each", []string{"ADD bond0-1 192.168.1.1-192.168.1.254", "ADD bond0-2 192.168.65.1-192.168.65.8 192.168.65.10-192.168.65.254",
			"CHECK bond0-1 192.168.1.1-192.168.1.254", "CHECK bond0-2 192.168.65.1-192.168.65.8 192.168.65.10-192.168.65.254",
			"DEL bond0-2 192.168.65.1-192.168.65.8 192.168.65.10-192.168.65.254", "DEL bond0-1 192.168.1.1-192.168.1.254"}},
		{"bond", []string{"ADD bond0 192.168.1.1-192.168.1.254", "CHECK bond0 192.168.1.1-192.168.1.254", "DEL bond0 192.168.1.1-192.168.1.254"}},
	} {
		t.Run(test.attach, func(t *testing.T) {
			m := newMachine(t)
			m.plugins.answer = map[string]string{"host-local ADD bond0-2": `{"cniVersion": "1.0.0", "ips": [{"address": "192.168.65.1/18", "gateway": "192.168.64.0"}]}`}
			m.plugins.answer["host-local ADD bond0"] = m.plugins.answer["host-local ADD bond0-2"]
			r := request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "`+test.attach+`", `+ipam+`, `+links+`}`)
			r.HostIndex = new(1)
			result, err := m.Add(t.Context(), r)
			require.NoError(t, err)
			assert.Nil(t, result.IPs[len(result.IPs)-1].Gateway)
			require.NoError(t, m.Check(t.Context(), c1))
			m.mustDel(c1)
			var got []string
			for _, c := range m.plugins.calls {
				if c.Type == "host-local" {
					got = append(got, c.Command+" "+c.IfName+rangesOf(t, c))
				}
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func rangesOf(t *testing.T, c invoke.Call) (text string) {
	t.Helper()
	var config struct {
		IPAM struct {
			Ranges [][]struct{ RangeStart, RangeEnd string }
		}
	}
	require.NoError(t, json.Unmarshal(c.Config, &config))
	for _, r := range config.IPAM.Ranges[0] {
		text += " " + r.RangeStart + "-" + r.RangeEnd
	}
	return text
}

// TestBlocksWithKeep: a network that needs routes starts while keep runs, which sets them.
func TestBlocksWithKeep(t *testing.T) {
	m := newMachine(t)
	r := request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "ipam": {"type": "multibond", "subnet": "192.168.0.0/16", "hostBlock": 6},
		"links": [{"config": {"type": "ipvlan", "master": "enp1s0", "mode": "l3"}}]}`)
	r.HostIndex = new(0)
	before := m.state()
	_, err := m.Add(t.Context(), r)
	require.ErrorContains(t, err, "but keep does not run here")
	assert.EqualValues(t, cnierror.Node, cnierror.Code(err))
	m.wantState(before)
	held, err := m.Store.HoldKeep()
	require.NoError(t, err)
	defer held.Close()
	l, err := m.namespace("").Link("enp2s0")
	require.NoError(t, err)
	m.change("", "enp2s0", bond.Change{Up: new(true)})
	require.NoError(t, m.namespace("").Configure(l.Index, bond.Addresses{IPs: prefixes("192.168.7.1/24")}))
	_, err = m.Add(t.Context(), r)
	require.ErrorContains(t, err, "ipam.subnet: is 192.168.0.0/16, which overlaps 192.168.7.0/24, a network of this host (use a subnet that no host has an address in)")
	assert.EqualValues(t, cnierror.Node, cnierror.Code(err))
	m.change("", "enp2s0", bond.Change{Up: new(false)})
	p, _, err := m.DryRun(r)
	require.NoError(t, err)
	assert.True(t, p.Links[0].NeedsRoutes())
}
