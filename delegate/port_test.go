package delegate

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/atomicfile"
)

// card is a PCI function with two ports, eth2 and eth3.
const card = "0000:af:00.4"

// portsConfig is a bond of interfaces of the host.
func portsConfig(names ...string) string {
	links := ""
	for i, name := range names {
		if i > 0 {
			links += ", "
		}
		links += fmt.Sprintf(`{"name": %q}`, name)
	}
	return `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", "minLinks": 1, "links": [` + links + `]}`
}

func newCard(t *testing.T) *machine {
	m := newMachine(t)
	m.AddPF(card, "eth2")
	m.AddPort(card, "eth3")
	m.change("", "eth3", bond.Change{Up: new(true)})
	m.configure("", "eth2", bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}})
	m.configure("", "eth3", bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.3/24")}})
	return m
}

// TestTwoPortsOneFunction: of two interfaces of one PCI function each is known by its
// port. Whatever happens to one, the other is not touched, on the host or in a pod.
func TestTwoPortsOneFunction(t *testing.T) {
	nothing := func(*machine) {}
	end := func(m *machine) {
		m.RemoveNamespace(pod1)
		m.AddNamespace(pod1)
	}
	damage := func(m *machine) {
		writeFile(m.t, m.Store.File(c1), "{", 0o600)
	}
	for _, test := range []struct {
		name      string
		links     []string
		before    func(*machine)
		meanwhile func(*machine)
	}{
		{"the second", []string{"eth3"}, nothing, nothing},
		{"the first", []string{"eth2"}, nothing, nothing},
		{"both", []string{"eth2", "eth3"}, nothing, nothing},
		{"both, in the other order", []string{"eth3", "eth2"}, nothing, nothing},
		{"the second, and the namespace ended", []string{"eth3"}, nothing, end},
		{"both, and the namespace ended", []string{"eth3", "eth2"}, nothing, end},
		{"both, and their indexes are taken", []string{"eth3", "eth2"}, func(m *machine) {
			for i := range 20 {
				m.AddVirtual(pod1, "dummy", fmt.Sprintf("dummy%d", i))
			}
		}, nothing},
		{"both, and the application has exchanged their names", []string{"eth2", "eth3"}, nothing, func(m *machine) {
			for _, name := range [][2]string{{"eth2", "x"}, {"eth3", "eth2"}, {"x", "eth3"}} {
				m.change(pod1, name[0], bond.Change{Up: new(false)})
				m.change(pod1, name[0], bond.Change{Name: &name[1]})
			}
		}},
		{"both, and the Record is damaged", []string{"eth2", "eth3"}, nothing, damage},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newCard(t)
			test.before(m)
			before := m.state()
			m.mustAdd(request(t, portsConfig(test.links...)))
			require.NoError(t, m.Check(t.Context(), c1))
			test.meanwhile(m)
			m.mustDel(c1)
			require.NoError(t, atomicfile.Files{}.Remove(m.Store.File(c1)+".damaged"))
			m.wantState(before)
		})
	}
}

// TestTwoPortsTwoPods: each pod has one port of a function, and gives back its own.
func TestTwoPortsTwoPods(t *testing.T) {
	for _, way := range [][2]string{{"eth2", "eth3"}, {"eth3", "eth2"}} {
		t.Run(way[0]+" first", func(t *testing.T) {
			m := newCard(t)
			before := m.state()
			m.mustAdd(request(t, portsConfig(way[0])))
			m.mustAdd(other(request(t, portsConfig(way[1]))))
			with := m.state()
			m.mustDel(c1)
			m.mustAdd(request(t, portsConfig(way[0])))
			m.wantState(with)
			m.mustDel(c2)
			m.mustDel(c1)
			m.wantState(before)
		})
	}
}

// TestOtherPortInThePod: another network has put the other port into the same pod, and
// ours is at home when DEL looks for it.
func TestOtherPortInThePod(t *testing.T) {
	m := newCard(t)
	m.change("", "eth2", bond.Change{Namespace: m.namespace(pod1)})
	m.mustAdd(request(t, portsConfig("eth3")))
	want := m.linesOf(pod1)
	m.change(pod1, "eth3", bond.Change{Namespace: m.namespace("")})
	m.mustDel(c1)
	assert.Contains(t, want, m.linesOf(pod1)[0], "eth2 was touched")
	assert.True(t, m.link("", "eth3").Up)
}

// TestVFOfTwoPorts: sriov-cni takes any of a VF's interfaces, so the one that is wanted
// has to be named.
func TestVFOfTwoPorts(t *testing.T) {
	m := newMachine(t)
	m.AddPort(vfA, "enp1s0v0d1")
	_, err := m.Add(t.Context(), request(t, standard))
	wantError(t, err, 100, `network net1: links[0].deviceID: VF 0000:3b:02.0 has several interfaces: enp1s0v0, enp1s0v0d1 (name the one that you want: {"name": "enp1s0v0"})`)
}

// TestTwiceOneDevice: the message names what is one device, and where.
func TestTwiceOneDevice(t *testing.T) {
	m := newMachine(t)
	_, err := m.Add(t.Context(), request(t, `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
		"links": [{"name": "enp1s0v0"}, {"deviceID": "0000:3b:02.0"}], "require": {"distinctPF": "ignore"}}`))
	wantError(t, err, 100, "link enp1s0v0 of network net1 and link bond0-2 of network net1 both use 0000:3b:02.0")
}
