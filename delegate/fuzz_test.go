package delegate

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// boundedError checks that an error about an input is not much longer than the input, and
// that a problem has a text.
func boundedError(t *testing.T, input []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	assert.LessOrEqual(t, len(err.Error()), 40_000+20*len(input))
	var problem bond.Problem
	if errors.As(err, &problem) {
		assert.NotEmpty(t, problem.Text, err)
	}
}

// arbitraryFacts returns facts in which each bit of node is a property.
func arbitraryFacts(n netconf.Network, node uint8) plan.Facts {
	has := func(bit int) bool { return node&(1<<bit) != 0 }
	f := plan.Facts{Plugins: map[string]bool{}, Holders: map[string]plan.Key{}}
	f.Devices, f.Host, f.PodAddr = map[string]bond.DeviceFacts{}, map[string]bond.HostLink{}, map[int]bond.Addresses{}
	for _, plugin := range n.PluginTypes() {
		f.Plugins[plugin] = has(1)
	}
	for i, l := range n.Links {
		link := bond.Link{Index: i + 2, Name: l.Name, MTU: 1500, Device: l.Device}
		d := bond.DeviceFacts{Device: bond.Device{Address: l.Device, Driver: "igbvf"}, Missing: !has(2)}
		if has(3) {
			d.PF, d.Link, d.PFLink = pfA, &link, &bond.Link{Name: "enp1s0", MTU: 1500}
		}
		if has(4) {
			f.Devices[l.Device] = d
			f.Host[l.Name] = bond.HostLink{Link: link}
		}
		if has(5) {
			f.Pod = append(f.Pod, link)
		}
	}
	return f
}
