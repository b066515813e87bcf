package delegate

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

// TestDelAltNames: alternative names that udev or the pod has given a VF keep
// neither its DEL nor the next ADD, and do not stay.
func TestDelAltNames(t *testing.T) {
	add := func(names ...string) bond.Change { return bond.Change{AddAltNames: names} }
	for _, test := range []struct {
		name      string
		meanwhile func(m *machine)
	}{
		{"the namespace ended, and udev knows the VF's own name", func(m *machine) {
			m.RemoveNamespace(pod1)
			m.change("", "bond0-1", add("enp1s0v0", "ens1f0v0"))
			m.AddNamespace(pod1)
		}},
		{"names of the pod's own", func(m *machine) { m.change(pod1, "bond0-1", add("x", "y")) }},
		{"names of the host", func(m *machine) { m.change(pod1, "bond0-1", add("enp2s0", "enp1s0v1")) }},
		{"the VF's own name", func(m *machine) { m.change(pod1, "bond0-2", add("enp2s0v0")) }},
		{"names of the pod's own, and the namespace ended", func(m *machine) {
			m.change(pod1, "bond0-1", add("x"))
			m.RemoveNamespace(pod1)
			m.AddNamespace(pod1)
		}},
		{"a link has the bond's name of another as its alternative one", func(m *machine) {
			m.change(pod1, "bond0-1", bond.Change{Master: new(0)})
			m.change(pod1, "bond0-1", bond.Change{Up: new(false)})
			m.change(pod1, "bond0-1", bond.Change{Name: new("mine")})
			m.change(pod1, "mine", add("bond0-1"))
		}},
		{"the names that it had are gone", func(m *machine) {
			m.change(pod1, "bond0-2", bond.Change{DropAltNames: []string{"its-own"}})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.change("", "enp2s0v0", add("its-own"))
			before := m.state()
			m.mustAdd(request(t, standard))
			test.meanwhile(m)
			m.mustDel(c1)
			m.wantState(before)
			m.mustAdd(other(request(t, standard)))
			m.mustDel(c2)
			m.wantState(before)
		})
	}
}

// TestAddAltNames: alternative names of a link keep it neither from the pod nor from its
// name there, whatever happens to the ADD.
func TestAddAltNames(t *testing.T) {
	for name, test := range map[string]struct{ config, link string }{
		"VFs":                             {standard, "enp2s0v0"},
		"links of the host":               {scenarioConfig("links of the host"), "enp1s0v0"},
		"a VF whose index is taken there": {standard, "enp1s0v0"},
	} {
		t.Run(name, func(t *testing.T) {
			prepared := func() *machine {
				m := newMachine(t)
				m.change("", test.link, bond.Change{AddAltNames: []string{"bond0", "bond0-2", "eth0", "bond0-1", "its-own"}})
				m.AddVirtual(pod1, "veth", "eth0")
				if name == "a VF whose index is taken there" {
					for i := range 20 {
						m.AddVirtual(pod1, "dummy", fmt.Sprintf("dummy%d", i))
					}
				}
				return m
			}
			m := prepared()
			before := m.state()
			m.edges.reset(0, nil)
			m.mustAdd(request(t, test.config))
			edges := len(m.edges.passed)
			require.NoError(t, m.Check(t.Context(), c1))
			m.mustDel(c1)
			m.wantState(before)
			for at := 1; at <= edges; at++ {
				m := prepared()
				m.edges.reset(at, kill)
				untilKilled(func() { m.Add(t.Context(), request(t, test.config)) })
				m.edges.reset(0, nil)
				m.mustDel(c1)
				m.wantState(before)
			}
		})
	}
}

// TestDelAltNameTwice: two pods give their links the same alternative name.
func TestDelAltNameTwice(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
		"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "delegate": {"type": "sriov"}}`))
	m.mustAdd(other(request(t, `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
		"links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}], "delegate": {"type": "sriov"}}`)))
	for _, path := range []string{pod1, pod2} {
		m.change(path, "bond0-1", bond.Change{AddAltNames: []string{"x"}})
	}
	m.mustDel(c1)
	m.mustDel(c2)
	m.wantState(before)
}

// TestDelProperties: what a pod has set of a VF does not stay for the next one.
func TestDelProperties(t *testing.T) {
	set := bond.Change{Set: unix.IFF_PROMISC | unix.IFF_ALLMULTI | unix.IFF_NOARP, Clear: unix.IFF_MULTICAST, Alias: new("mine"), TxQueueLen: new(77),
		Group: new(7), Offload: bond.Offload{GSOMaxSize: 9000, GSOMaxSegs: 7, GROMaxSize: 9000}}
	for name, config := range map[string]string{"VFs": standard, "links of the host": scenarioConfig("links of the host")} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			m.mustAdd(request(t, config))
			links, err := m.namespace(pod1).Links()
			require.NoError(t, err)
			for _, l := range links {
				m.change(pod1, l.Name, set)
				m.SetXDP(pod1, l.Name, unix.XDP_FLAGS_SKB_MODE)
			}
			m.mustDel(c1)
			m.wantState(before)
		})
	}
}

// TestAltNamesElsewhere: the same holds for a VF in a network that is not a bond, and for a
// link of a bond that bond-cni has made.
func TestAltNamesElsewhere(t *testing.T) {
	names := bond.Change{AddAltNames: []string{"x", "enp2s0"}}
	t.Run("a chain", func(t *testing.T) {
		n := newNode(t, vlan("net2", vfA2))
		before := n.state()
		for _, gone := range []bool{false, true} {
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			if gone {
				n.RemoveNamespace(pod1)
				n.change("", "net2", bond.Change{AddAltNames: []string{"enp1s0v1"}})
				n.AddNamespace(pod1)
			} else {
				n.change(pod1, "net2", names)
			}
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			n.wantState(before)
		}
	})
	t.Run("bond-cni's", func(t *testing.T) {
		m := newMachine(t)
		m.bondCNI("enp1s0v0", "enp2s0v0")
		m.change(pod1, "enp1s0v0", names)
		require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, request(t, hostBond)))
		require.Equal(t, []string{"x"}, m.link("", "enp1s0v0").AltNames, "without a Record nobody knows whose it is")
	})
}
