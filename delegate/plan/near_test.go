package plan

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// nearNode1 is a pod with two devices on NUMA node 1 and one on node 0.
var nearNode1 = &agentapi.Near{NUMA: map[string]int{"0": 1, "1": 2}}

// asking returns the request of a network with nearness. near is what the agent says.
func asking(t *testing.T, config string, near *agentapi.Near) Request {
	r := request(t, config)
	r.Near = near
	return r
}

// TestNearPool: of the NICs of a pool the nearest is chosen first, after distinct cards.
func TestNearPool(t *testing.T) {
	card2 := func(change func(*bond.NIC)) func(*bond.NIC) {
		return func(n *bond.NIC) {
			if n.Card() == "0000:5e:00" {
				change(n)
			}
		}
	}
	onNode1 := card2(func(n *bond.NIC) { n.Port.NUMA, n.Root = "1", "pci0000:5d" })
	const config = `{"name": "n", "near": "devices", "delegate": {"type": "macvlan"}, "links": [{"pool": {}, "count": 3}]}`
	for _, test := range []struct {
		name  string
		near  *agentapi.Near
		facts Facts
		want  []string
		first string // the primary
	}{
		{"NUMA node", nearNode1, withNICs(onNode1), []string{"ens2f0", "ens1f0", "ens2f1"}, "bond0-1"},
		{"a carrier counts more", nearNode1, withNICs(onNode1, card2(noCarrier)), []string{"ens1f0", "ens1f1", "ens2f0"}, "bond0-3"},
		{"PCI root among equals", &agentapi.Near{NUMA: map[string]int{"0": 2}, Roots: map[string]int{"pci0000:5d": 1}},
			withNICs(card2(func(n *bond.NIC) { n.Root = "pci0000:5d" })), []string{"ens2f0", "ens1f0", "ens2f1"}, "bond0-1"},
		{"no devices", &agentapi.Near{}, withNICs(onNode1), []string{"ens1f0", "ens2f0", "ens1f1"}, "bond0-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, warnings, err := compileTexts(asking(t, config, test.near), test.facts)
			require.NoError(t, err)
			assert.Equal(t, test.want, chosen(p))
			assert.Equal(t, test.first, p.Bond.Options[bond.Primary])
			for _, w := range warnings {
				assert.NotContains(t, w, "near:")
			}
		})
	}
}

// TestNearPrimary: the nearest link of a bond is its primary, unless one is named.
func TestNearPrimary(t *testing.T) {
	vfs := func(more string) string {
		return `{"name": "n", ` + more + ` "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`
	}
	facts := func() Facts {
		f := nodeFacts()
		for device, node := range map[string]string{vfA: "0", vfB: "1"} {
			d := f.Devices[device]
			d.Port.NUMA = node
			f.Devices[device] = d
		}
		f.Roots = map[string]string{vfA: "pci0000:3a", vfB: "pci0000:5d"}
		return f
	}
	for _, test := range []struct {
		name, config string
		near         *agentapi.Near
		want         string
	}{
		{"devices", vfs(`"near": "devices",`), nearNode1, "bond0-2"},
		{"CPUs", vfs(`"near": "cpus",`), nearNode1, "bond0-2"},
		{"PCI root among equals", vfs(`"near": "devices",`), &agentapi.Near{Roots: map[string]int{"pci0000:5d": 1}}, "bond0-2"},
		{"NUMA node before PCI root", vfs(`"near": "devices",`), &agentapi.Near{NUMA: map[string]int{"0": 1}, Roots: map[string]int{"pci0000:5d": 1}}, "bond0-1"},
		{"equals", vfs(`"near": "devices",`), &agentapi.Near{NUMA: map[string]int{"0": 1, "1": 1}}, "bond0-1"},
		{"not asked for", vfs(``), nearNode1, "bond0-1"},
		{"none", vfs(`"near": "none",`), nearNode1, "bond0-1"},
		{"a primary is named", vfs(`"near": "devices", "primary": "bond0-1",`), nearNode1, "bond0-1"},
		{"no primary is wanted", vfs(`"near": "devices", "primary": "none",`), nearNode1, ""},
		{"the mode has none", vfs(`"near": "devices", "mode": "balance-xor",`), nearNode1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := asking(t, test.config, test.near)
			before := maps.Clone(r.Network.Options)
			p, _, err := Compile(r, facts())
			require.NoError(t, err)
			assert.Equal(t, test.want, p.Bond.Options[bond.Primary])
			assert.Equal(t, before, r.Network.Options, "it changes nothing")
		})
	}
}

// TestNearUnknown: if it is not known where the pod's devices are, a warning says so.
func TestNearUnknown(t *testing.T) {
	const config = `{"name": "n", "near": "cpus", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`
	for want, near := range map[string]*agentapi.Near{
		"network n: near: is cpus, but no agent has said where they are, so it has no effect (update the agent; without Kubernetes leave near out)": nil,
		"network n: near: is cpus, but the pod has none, so it has no effect":                                                                       {Unknown: "the pod has none"},
	} {
		p, warnings, err := compileTexts(asking(t, config, near), nodeFacts())
		require.NoError(t, err)
		assert.Equal(t, []string{want}, warnings)
		assert.Equal(t, "bond0-1", p.Bond.Options[bond.Primary])
	}
}

// TestNearEach: without a bond the nearest link comes first. Names of the configuration
// and addresses stay with their links.
func TestNearEach(t *testing.T) {
	facts := nodeFacts()
	facts.Plugins["static"] = true
	for device, node := range map[string]string{vfA: "0", vfB: "1"} {
		d := facts.Devices[device]
		d.Port.NUMA = node
		facts.Devices[device] = d
	}
	const static, local = `"ipam": {"type": "static"}, `, `"ipam": {"type": "host-local"}, `
	for _, test := range []struct {
		name, config string
		want         map[string]string // each link's device and IPAM
	}{
		{"near", `"near": "devices", "links": [{` + static + `"deviceID": "0000:3b:02.0"}, {` + local + `"deviceID": "0000:5e:02.0"}]`,
			map[string]string{"bond0-1": vfB + " host-local", "bond0-2": vfA + " static"}},
		{"named", `"near": "devices", "links": [{` + static + `"deviceID": "0000:3b:02.0", "name": "left"}, {` + local + `"deviceID": "0000:5e:02.0"}]`,
			map[string]string{"left": vfA + " static", "bond0-2": vfB + " host-local"}},
		{"not asked for", `"links": [{` + static + `"deviceID": "0000:3b:02.0"}, {` + local + `"deviceID": "0000:5e:02.0"}]`,
			map[string]string{"bond0-1": vfA + " static", "bond0-2": vfB + " host-local"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, _, err := Compile(asking(t, `{"name": "n", "attach": "each", `+test.config+`}`, nearNode1), facts)
			require.NoError(t, err)
			got := map[string]string{}
			for _, l := range p.Links {
				got[l.Name] = l.Device + " " + l.IPAM.Type
			}
			assert.Equal(t, test.want, got)
			assert.Equal(t, firstTable, p.Links[0].Table)
		})
	}
}

// TestPoolEach: interfaces without a bond are made on NICs of a pool too.
func TestPoolEach(t *testing.T) {
	f := withNICs()
	p, _, err := Compile(request(t, `{"name": "n", "attach": "each", "delegate": {"type": "macvlan"}, "links": [{"pool": {}, "count": 3}], "ipam": {"type": "host-local"}}`), f)
	require.NoError(t, err)
	assert.Equal(t, []string{"ens1f0", "ens2f0", "ens1f1"}, chosen(p))
}
