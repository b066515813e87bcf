package delegate

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/plan"
)

// A scenario is one network on one node.
type scenario struct {
	name    string
	config  string
	prepare func(m *machine)
}

// eachOfFour has an interface of each of four VFs, in one subnet.
const eachOfFour = `{"cniVersion": "1.1.0", "name": "net1", "attach": "each", "delegate": {"type": "sriov"}, "ipam": {"type": "host-local"},
	"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}, {"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]}`

// scenarios are one network of each kind of links, on a node that has been in use: links
// are up, and have other MTUs and addresses.
var scenarios = []scenario{
	{"VFs", standard, func(m *machine) {
		mtu, up := 9000, true
		m.change("", "enp1s0v0", bond.Change{MTU: &mtu, Up: &up})
	}},
	{"VFs by the newest sriov-cni", standard, func(m *machine) { m.newestSRIOV() }},
	{"VFs whose index is taken in the pod", standard, func(m *machine) {
		for i, last := 0, m.link("", "enp2s0v0").Index; m.AddVirtual(pod1, "dummy", fmt.Sprintf("d%d", i)).Index < last; i++ {
		}
	}},
	{"VFs of which the bond changes the MAC", `{"cniVersion": "1.0.0", "name": "net1", "mode": "balance-rr",
		"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "delegate": {"type": "sriov", "vlan": 7}}`, func(m *machine) {
		up := true
		m.change("", "enp2s0v0", bond.Change{Up: &up})
	}},
	{"VFs with a MAC and a VLAN from the PF", standard, func(m *machine) {
		for _, pf := range []string{"enp1s0", "enp2s0"} {
			mac := m.link("", pf+"v0").MAC
			m.changeVF(pf, func(vf *bond.VF) { vf.MAC = "02:00:00:00:00:aa" })
			m.changeVF(pf, func(vf *bond.VF) { vf.MAC, vf.VLAN, vf.MaxRate = mac, 5, 100 })
		}
	}},
	{"four VFs", `{"cniVersion": "1.0.0", "name": "net1", "delegate": {"type": "sriov"}, "require": {"distinctPF": "ignore"}, "ipam": {"type": "host-local"},
		"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}, {"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]}`, func(*machine) {}},
	{"VFs, and plugins after the bond", followed, func(*machine) {}},
	{"links of the host", `{"cniVersion": "1.0.0", "name": "net1", "links": [{"name": "enp1s0v0"}, {"name": "enp2s0v0"}],
		"ipam": {"type": "host-local"}}`, func(m *machine) {
		up := true
		m.change("", "enp1s0v0", bond.Change{Up: &up})
		m.configure("", "enp1s0v0", bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}})
	}},
	{"virtual links of the host", `{"cniVersion": "1.0.0", "name": "net1", "links": [{"name": "d0"}, {"name": "d1"}]}`, func(m *machine) {
		m.AddVirtual("", "dummy", "d0")
		m.AddVirtual("", "dummy", "d1")
	}},
	{"links of the pod", `{"cniVersion": "1.0.0", "name": "net1", "linksInContainer": true, "links": [{"name": "va"}, {"name": "vb"}],
		"ipam": {"type": "host-local"}}`, func(m *machine) {
		up := true
		for _, name := range []string{"va", "vb"} {
			m.AddVirtual(pod1, "veth", name)
			m.change(pod1, name, bond.Change{Up: &up})
		}
		m.configure(pod1, "va", bond.Addresses{
			IPs:    []netip.Prefix{netip.MustParsePrefix("192.0.2.8/24")},
			Routes: []bond.Route{{Dst: netip.MustParsePrefix("198.51.100.0/24"), Gateway: netip.MustParseAddr("192.0.2.9")}},
		})
	}},
	{"links that plugins make", `{"cniVersion": "1.0.0", "name": "net1", "ipam": {"type": "host-local"},
		"links": [{"config": {"type": "macvlan", "master": "enp1s0"}}, {"config": {"plugins": [{"type": "macvlan", "master": "enp2s0"}, {"type": "tuning"}]}}]}`, func(*machine) {}},
	{"an interface of each VF", eachOfFour, func(*machine) {}},
	{"an interface of each of three kinds, and one that is not there", `{"cniVersion": "1.1.0", "name": "net1", "attach": "each", "minLinks": 3, "mtu": 1400,
		"ipam": {"type": "host-local"},
		"links": [{"deviceID": "0000:5e:0f.0"}, {"deviceID": "0000:3b:02.0"}, {"config": {"type": "macvlan", "master": "enp2s0"}, "ipam": {"type": "dhcp"}}, {"name": "enp2s0v0"}]}`, func(m *machine) {
		m.plugins.answer = map[string]string{"dhcp ADD bond0-3": `{"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.3/24"}], "routes": [{"dst": "10.8.0.0/16"}]}`}
		m.change("", "enp2s0v0", bond.Change{Up: new(true)})
	}},
	{"links of three kinds, and one that is not there", `{"cniVersion": "1.0.0", "name": "net1", "minLinks": 3, "ipam": {"type": "host-local"},
		"links": [{"deviceID": "0000:5e:0f.0"}, {"deviceID": "0000:3b:02.0"}, {"config": {"type": "macvlan", "master": "enp2s0"}}, {"name": "enp2s0v0"}]}`, func(m *machine) {
		up := true
		m.change("", "enp2s0v0", bond.Change{Up: &up})
	}},
}

// stage returns a scenario's machine and request, and the machine's state.
func stage(t *testing.T, i int) (*machine, plan.Request, string) {
	m := newMachine(t)
	scenarios[i].prepare(m)
	return m, request(t, scenarios[i].config), m.state()
}

// forEachEdge calls try with edge 0, and then once for each edge that this passed.
func forEachEdge(t *testing.T, try func(t *testing.T, scenario, edge int) *edges) {
	for i, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			passed := try(t, i, 0).passed
			require.GreaterOrEqual(t, len(passed), 10)
			for n, edge := range passed {
				t.Run(fmt.Sprintf("%d %s", n+1, edge), func(t *testing.T) { try(t, i, n+1) })
			}
		})
	}
}

func fail() error { return errFault }

func kill() error { panic(killed{}) }

// hasRecord reports whether c1's Record is on disk.
func hasRecord(m *machine) bool {
	_, err := m.Store.Load(c1)
	return !errors.Is(err, fs.ErrNotExist)
}

// TestAddFails makes each edge of ADD fail once. Nothing is left.
func TestAddFails(t *testing.T) {
	forEachEdge(t, func(t *testing.T, scenario, edge int) *edges {
		m, r, before := stage(t, scenario)
		m.edges.reset(edge, fail)
		_, err := m.Add(t.Context(), r)
		done := *m.edges
		if err == nil {
			m.mustDel(c1)
		} else {
			require.NotZero(t, edge, err)
			assert.True(t, errors.Is(err, errFault) || isSaid(err), "the error does not have its cause: %v", err)
			assert.False(t, hasRecord(m), "one fault, and ADD has left its Record: %v", err)
		}
		m.wantState(before)
		return &done
	})
}

// TestDelFails makes each edge of DEL fail once. If DEL fails, a second DEL finishes.
func TestDelFails(t *testing.T) {
	forEachEdge(t, func(t *testing.T, scenario, edge int) *edges {
		m, r, before := stage(t, scenario)
		m.mustAdd(r)
		m.edges.reset(edge, fail)
		err := m.Del(t.Context(), c1)
		done := *m.edges
		if err != nil {
			require.NotZero(t, edge, err)
			if last := strings.HasPrefix(done.passed[edge-1], ofFile+"remove c1:bond0.json.begun"); !last {
				assert.NotNil(t, m.recordOf(c1), "DEL has failed, and the Record is gone: %v", err)
			}
			m.mustDel(c1)
		}
		m.wantState(before)
		return &done
	})
}

// TestKilledInAdd kills ADD at each edge. DEL, or an ADD for the same container, restores
// everything.
func TestKilledInAdd(t *testing.T) {
	for _, next := range []string{"DEL", "ADD"} {
		t.Run(next, func(t *testing.T) {
			forEachEdge(t, func(t *testing.T, scenario, edge int) *edges {
				m, r, before := stage(t, scenario)
				m.edges.reset(edge, kill)
				require.Equal(t, edge > 0, untilKilled(func() { m.mustAdd(r) }))
				done := *m.edges
				if next == "ADD" {
					m.mustAdd(r)
				}
				m.mustDel(c1)
				m.wantState(before)
				return &done
			})
		})
	}
}

// TestKilledInDel kills DEL at each edge; a second one finishes.
func TestKilledInDel(t *testing.T) {
	forEachEdge(t, func(t *testing.T, scenario, edge int) *edges {
		m, r, before := stage(t, scenario)
		m.mustAdd(r)
		m.edges.reset(edge, kill)
		untilKilled(func() { m.mustDel(c1) })
		done := *m.edges
		m.mustDel(c1)
		m.wantState(before)
		return &done
	})
}

// TestKilledAndGone kills ADD at each edge, and then the pod's namespace ends. A new pod
// gets the same links. The late DEL of the old pod does not touch them.
func TestKilledAndGone(t *testing.T) {
	forEachEdge(t, func(t *testing.T, scenario, edge int) *edges {
		m, r, _ := stage(t, scenario)
		m.edges.reset(edge, kill)
		untilKilled(func() { m.mustAdd(r) })
		done := *m.edges
		m.RemoveNamespace(pod1)
		if name := scenarios[scenario].name; name == "virtual links of the host" || name == "links of the pod" {
			m.mustDel(c1) // the links have gone with the pod
			return &done
		}
		fresh, _, _ := stage(t, scenario)
		fresh.RemoveNamespace(pod1)
		m.mustAdd(other(r))
		theirs := func() string {
			return strings.Join(slices.DeleteFunc(strings.Split(m.state(), "\n"), func(l string) bool {
				return strings.HasPrefix(l, "file /c1:") || strings.HasPrefix(l, "host ifb-c1 ")
			}), "\n")
		}
		attached := theirs()
		m.mustDel(c1)
		assert.False(t, hasRecord(m), "the Record of the old pod is still there")
		if scenarios[scenario].name != "links that plugins make" {
			assert.Empty(t, cmp.Diff(strings.Split(attached, "\n"), strings.Split(theirs(), "\n")), "the new pod has changed (-before +after)")
		}
		m.mustDel(c2)
		m.wantState(fresh.state())
		return &done
	})
}

// isSaid reports whether an error is the answer of a plugin.
func isSaid(err error) bool {
	var said *types.Error
	return errors.As(err, &said)
}
