package delegate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/plan"
)

// comebacks are the ways in which a VF comes back to the host under a bond that runs.
var comebacks = map[string]func(m *machine, vf, name string){
	"made anew, its PF forgets":          func(m *machine, vf, name string) { m.Recreate(vf, name) },
	"its driver is unbound and bound":    func(m *machine, vf, name string) { m.SetDriver(vf, ""); m.SetDriver(vf, "igbvf"); m.Remake(vf, name) },
	"its driver makes another interface": func(m *machine, vf, name string) { m.Remake(vf, name) },
}

// doDutiesNow looks at all Records.
func (k *keeper) doDutiesNow(t *testing.T) {
	require.NoError(t, k.refresh())
	for key := range k.records {
		k.look(key)
	}
	k.doDuties(t.Context())
}

// watchedStage is stage for a pod whose agent watches bonds.
func watchedStage(t *testing.T, scenario int) (*machine, plan.Request, string) {
	m, r, before := stage(t, scenario)
	r.Group.Agent = "/run/none.sock"
	return m, r, before
}

// vfScenarios are those of scenarios whose links are VFs of which the first is vfA.
var vfScenarios = []int{0, 1, 2, 3, 4, 5, 6}

// comparable is a machine's state without which PF has set the MAC of its VF, and without a
// file that the next write of the Record removes. A PF that has forgotten its VFs was told
// the MACs that it had set before: nothing tells who sets them.
func comparable(state string) []string {
	return slices.DeleteFunc(strings.Split(state, "\n"), func(l string) bool {
		return strings.Contains(l, "has its MAC from its PF") || strings.HasSuffix(l, atomicfile.Unfinished)
	})
}

// wantLike checks the machine's state but for who sets MACs.
func (m *machine) wantLike(want string) {
	m.t.Helper()
	assert.Empty(m.t, cmp.Diff(comparable(want), comparable(m.state())))
}

// TestReturn: a VF that comes back returns to its bond with all that it had, and DEL makes
// it what it was before the ADD.
func TestReturn(t *testing.T) {
	for _, i := range vfScenarios {
		for how, comeBack := range comebacks {
			t.Run(scenarios[i].name+", "+how, func(t *testing.T) {
				m, r, before := watchedStage(t, i)
				m.mustAdd(r)
				attached := m.state()
				k := m.keeper()
				comeBack(m, vfA, "eth0")
				require.NotEqual(t, attached, m.state())
				k.doDutiesNow(t)
				m.wantLike(attached)
				assert.Empty(t, k.due, m.log.String())
				assert.Empty(t, m.readRecord(c1).Returning)
				require.NoError(t, m.Check(t.Context(), c1))
				k.doDutiesNow(t)
				m.wantLike(attached)
				m.mustDel(c1)
				m.wantLike(before)
			})
		}
	}
}

// TestReturnOfAll: all links of a bond come back.
func TestReturnOfAll(t *testing.T) {
	m, r, before := watchedStage(t, 0)
	m.mustAdd(r)
	attached := m.state()
	k := m.keeper()
	m.Recreate(vfA, "eth0")
	m.Recreate(vfB, "eth1")
	k.doDutiesNow(t)
	m.wantState(attached)
	m.mustDel(c1)
	m.wantState(before)
}

// TestNoReturn: a VF that does not belong to this pod any more stays on the host.
func TestNoReturn(t *testing.T) {
	for what, prepare := range map[string]func(m *machine){
		"it has no interface": func(m *machine) { m.SetDriver(vfA, "vfio-pci") },
		"another Record holds it": func(m *machine) {
			other := m.readRecord(c1)
			other.Plan.ContainerID, other.BootID = "c2", "boot0"
			require.NoError(t, m.Store.Begin(other))
		},

		"a plain network's sriov-cni noted it": func(m *machine) { m.newestSRIOV(); writeFile(t, m.noteOf(vfA), pod2, 0o600) },
		"it is in a bond of the host": func(m *machine) {
			b, err := m.namespace("").CreateBond("bond9", bond.Options{bond.Mode: "balance-rr"})
			require.NoError(t, err)
			m.change("", "eth0", bond.Change{Master: &b.Index})
		},
		"its bond is gone": func(m *machine) { require.NoError(t, m.namespace(pod1).Delete(m.readRecord(c1).BondIndex)) },
		"its DEL has begun": func(m *machine) {
			rec := m.readRecord(c1)
			rec.Result = nil
			require.NoError(t, m.Store.Update(rec))
		},
	} {
		t.Run(what, func(t *testing.T) {
			m, r, _ := watchedStage(t, 0)
			m.mustAdd(r)
			k := m.keeper()
			m.Recreate(vfA, "eth0")
			prepare(m)
			left := m.state()
			k.doDutiesNow(t)
			m.wantState(left)
			assert.Empty(t, m.log.String())
		})
	}
}

// TestKilledInReturn: keep is killed at any point of a return. When it is started again, it
// brings the VF back. A DEL makes all as before in any case, unless keep had not begun: a VF
// that was made anew is left as it is then.
func TestKilledInReturn(t *testing.T) {
	ends := map[string]func(m *machine){
		"keep and DEL":                      func(m *machine) { m.keeperInside().doDutiesNow(m.t); require.NoError(m.t, m.Check(m.t.Context(), c1)) },
		"DEL":                               func(*machine) {},
		"the end of the namespace, and DEL": func(m *machine) { m.RemoveNamespace(pod1); m.AddNamespace(pod1) },
	}
	for what, next := range ends {
		for _, i := range vfScenarios {
			t.Run(what+" after "+scenarios[i].name, func(t *testing.T) {
				t.Parallel()
				killedAtEachEdge(t, func(t *testing.T) (*machine, plan.Request, string) { return watchedStage(t, i) }, next)
			})
		}
		t.Run(what+" with options of links", func(t *testing.T) { killedAtEachEdge(t, optionsStage, next) })
	}
}

func killedAtEachEdge(t *testing.T, stage func(*testing.T) (*machine, plan.Request, string), next func(*machine)) {
	passed := killedInReturn(t, stage, 0, next)
	require.GreaterOrEqual(t, len(passed), 10)
	for n, edge := range passed {
		t.Run(fmt.Sprintf("%d %s", n+1, edge), func(t *testing.T) { killedInReturn(t, stage, n+1, next) })
	}
}

// optionsStage is a bond whose links have options, and whose primary does not take the
// traffic back.
func optionsStage(t *testing.T) (*machine, plan.Request, string) {
	m := newMachine(t)
	config := strings.NewReplacer(`"deviceID": "0000:3b:02.0"`, `"deviceID": "0000:3b:02.0", "queueId": 3, "prio": 7`,
		`"type": "multibond"`, `"type": "multibond", "primary": "bond0-1", "primaryReselect": "failure"`).Replace(standard)
	return m, watchedRequest(t, config), m.state()
}

// TestReturnInside: a link that comes back has its options, and the primary leaves the traffic
// where it is, if Keep may enter the pod. If not, it takes the traffic once.
func TestReturnInside(t *testing.T) {
	for _, inside := range []bool{true, false} {
		t.Run(fmt.Sprint(inside), func(t *testing.T) {
			m, r, before := optionsStage(t)
			m.mustAdd(r)
			attached := m.readRecord(c1)
			require.Equal(t, "bond0-1", m.active())
			k := m.keeper()
			if inside {
				k = m.keeperInside()
			}
			m.Recreate(vfA, "eth0")
			require.Equal(t, "bond0-2", m.active())
			k.doDutiesNow(t)
			back := m.link(pod1, "bond0-1")
			assert.Equal(t, m.link(pod1, "bond0").Index, back.Master)
			assert.True(t, back.Up)
			assert.Empty(t, m.readRecord(c1).Returning, m.log.String())
			err := m.Check(t.Context(), c1)
			if inside {
				assert.Equal(t, "bond0-2", m.active())
				assert.Equal(t, attached.Attached["bond0-1"].Link.Name, back.Name)
				assert.NoError(t, err)
			} else {
				assert.Equal(t, "bond0-1", m.active())
				assert.ErrorContains(t, err, "queueId is 0, was 3")
			}
			m.mustDel(c1)
			m.wantLike(before)
		})
	}
}

// active returns the name of the link that carries the traffic of c1.
func (m *machine) active() string {
	events, err := m.namespace(pod1).Observe(bond.OwnNamespace)
	require.NoError(m.t, err)
	var index int
	for _, e := range events {
		if e.Link.Name == "bond0" {
			index = e.ActiveLink
		}
	}
	l, there := bond.Find(must(m.namespace(pod1).Links()), func(l bond.Link) bool { return l.Index == index })
	require.True(m.t, there)
	return l.Name
}

// TestReturnNamedMeanwhile: udev gives a VF its names while keep is at work.
func TestReturnNamedMeanwhile(t *testing.T) {
	m, r, before := watchedStage(t, 0)
	m.mustAdd(r)
	attached := m.state()
	m.Recreate(vfA, "eth0")
	m.edges.refuse = func(verb string, _ any) error {
		if verb == "ChangeVF" {
			m.edges.refuse = nil
			m.change("", "eth0", bond.Change{AddAltNames: []string{"bond0-1"}})
		}
		return nil
	}
	m.keeper().doDutiesNow(t)
	require.Nil(t, m.edges.refuse)
	m.wantLike(attached)
	assert.NotContains(t, m.log.String(), "by hand")
	m.mustDel(c1)
	m.wantLike(before)
}

// TestReturnNotEnslaved: what the kernel has moved, and refused to enslave, Keep enslaves in
// the pod if it may enter it, and names otherwise.
func TestReturnNotEnslaved(t *testing.T) {
	m, r, before := watchedStage(t, 0)
	m.mustAdd(r)
	attached := m.state()
	m.Recreate(vfA, "eth0")
	k := m.keeper()
	k.doDutiesNow(t)
	rec := m.readRecord(c1)
	rec.Returns(rec.Plan.Links[0], time.Now())
	require.NoError(t, m.Store.Update(rec))
	m.change(pod1, "bond0-1", bond.Change{Master: new(0)})
	k.doDutiesNow(t)
	assert.Contains(t, m.log.String(), "but the kernel did not add it to bond0: add it there by hand")
	m.keeperInside().doDutiesNow(t)
	m.wantLike(attached)
	require.NoError(t, m.Check(t.Context(), c1))
	m.mustDel(c1)
	m.wantLike(before)
}

// killedInReturn kills keep at an edge, or not at all if that is 0, and goes on with next and
// DEL. It returns the edges.
func killedInReturn(t *testing.T, stage func(*testing.T) (*machine, plan.Request, string), edge int, next func(*machine)) (passed []string) {
	m, r, before := stage(t)
	m.mustAdd(r)
	m.Recreate(vfA, "eth0")
	m.edges.reset(edge, kill)
	require.Equal(t, edge > 0, untilKilled(func() { m.keeperInside().doDutiesNow(t) }))
	passed = m.edges.passed
	m.edges.reset(0, nil)
	next(m)
	begun := m.hasBegunToReturn()
	m.mustDel(c1)
	now := m.state()
	if !begun {
		m.change("", "eth0", bond.Change{Name: new("enp1s0v0")})
		assert.Contains(t, m.log.String(), "recreated after the ADD")
		return passed
	}
	ofHost := func(state string) []string {
		return slices.DeleteFunc(comparable(state), func(l string) bool { return strings.HasPrefix(l, pod1+" d") })
	}
	assert.Empty(t, cmp.Diff(ofHost(before), ofHost(now)))
	return passed
}

// hasBegunToReturn reports whether keep has begun to bring the first link of c1 back, or has
// done so.
func (m *machine) hasBegunToReturn() bool {
	rec := m.readRecord(c1)
	first := rec.Plan.Links[0]
	_, begun := rec.Returning[first.Name]
	_, unknown := bond.Find(must(m.namespace("").Links()), func(l bond.Link) bool { return l.Device == vfA && !rec.Knows(first, l) })
	return begun || !unknown
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestReturnFails: whatever fails in a return, keep tries again.
func TestReturnFails(t *testing.T) {
	for _, i := range vfScenarios {
		t.Run(scenarios[i].name, func(t *testing.T) {
			try := func(t *testing.T, edge int) []string {
				m, r, _ := watchedStage(t, i)
				m.mustAdd(r)
				attached := m.state()
				k := m.keeper()
				m.Recreate(vfA, "eth0")
				m.edges.reset(edge, fail)
				k.doDutiesNow(t)
				passed := m.edges.passed
				m.edges.reset(0, nil)
				for range 3 {
					k.doDutiesNow(t)
				}
				m.wantLike(attached)
				assert.Empty(t, k.failed)
				return passed
			}
			for n, edge := range try(t, 0) {
				t.Run(fmt.Sprintf("%d %s", n+1, edge), func(t *testing.T) { try(t, n+1) })
			}
		})
	}
}

// TestKilledInAddAndMadeAnew: an ADD is killed at any point, then the driver of its VF is
// unbound and bound. The PF keeps nothing of the ADD after the DEL.
func TestKilledInAddAndMadeAnew(t *testing.T) {
	try := func(t *testing.T, edge int) []string {
		m := newMachine(t)
		before := must(m.namespace("").VFs("enp1s0"))[0]
		m.edges.reset(edge, kill)
		require.Equal(t, edge > 0, untilKilled(func() { m.Add(t.Context(), request(t, standard)) }))
		passed := m.edges.passed
		m.edges.reset(0, nil)
		m.Remake(vfA, "enp1s0v0")
		m.mustDel(c1)
		now := must(m.namespace("").VFs("enp1s0"))[0]
		before.MAC = now.MAC
		assert.Empty(t, now.Differences(before))
		return passed
	}
	for n, edge := range try(t, 0) {
		t.Run(fmt.Sprintf("%d %s", n+1, edge), func(t *testing.T) { try(t, n+1) })
	}
}
