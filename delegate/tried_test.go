package delegate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// TestTried: if every DEL is killed before its end, the time until a Record is given up
// begins with the first one.
func TestTried(t *testing.T) {
	killAt := func(plugin string) func(m *machine, k plan.Key) {
		return func(m *machine, k plan.Key) {
			m.plugins.seen = func(c invoke.Call) {
				if c.Type+" "+c.Command+" "+c.IfName == plugin {
					panic(killed{})
				}
			}
			require.True(m.t, untilKilled(func() { m.Del(m.t.Context(), k) }))
			m.plugins.seen = func(invoke.Call) {}
		}
	}
	killOften := func(m *machine, k plan.Key) {
		m.edges.refuse = func(verb string, _ any) error {
			if verb == "open" {
				return nil // restoring has not begun
			}
			panic(killed{})
		}
		require.True(m.t, untilKilled(func() { m.Del(m.t.Context(), k) }))
		m.edges.refuse = nil
	}
	for _, test := range []struct {
		name, config string
		kill         func(m *machine, k plan.Key)
		last         func(m *machine) // the DEL after the time
	}{
		{"IPAM", standard, killAt("host-local DEL bond0"), func(m *machine) { m.plugins.refuse["host-local DEL bond0"] = "no" }},
		{"the kernel, without plugins", nics, killOften, func(m *machine) { m.edges.refuse = refuses("Delete") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			addNICs(m)
			m.mustAdd(request(t, test.config))
			test.kill(m, c1)
			first := m.readRecord(c1)
			require.False(t, first.Tried.IsZero())
			assert.Zero(t, first.Failing)
			test.kill(m, c1)
			second := m.readRecord(c1)
			assert.True(t, second.Tried.Equal(first.Tried))
			require.True(t, second.Failing.Equal(first.Tried))

			m.Limbo.GiveUp = 0
			test.last(m)
			m.mustDel(c1)
			assert.Len(t, m.aside(), 1)
		})
	}
}

// TestTriedOnce: a first DEL that fails is no one that was killed before.
func TestTriedOnce(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	m.Limbo.GiveUp = 0
	m.plugins.refuse["host-local DEL bond0"] = "no"
	require.Error(t, m.Del(t.Context(), c1))
	assert.Equal(t, record.Early, m.lifeOf(c1))
	m.mustDel(c1)
	assert.Equal(t, record.GivenUp, m.lifeOf(c1))
}

// TestOverdueHangs: a plugin that has not answered for as long as Limbo.GiveUp gets the
// least time, so that this DEL comes to its end.
func TestOverdueHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := addedPod(t)
		m.WayBack = 45 * time.Second
		m.plugins.hang["host-local DEL bond0"] = true
		require.Error(t, m.Del(t.Context(), podKey))
		time.Sleep(m.Limbo.GiveUp + time.Second)
		began := time.Now()
		m.mustDel(podKey)
		assert.Equal(t, leastShare, time.Since(began))
		assert.Len(t, m.aside(), 1)
	})
}

// refuses makes the kernel refuse a verb.
func refuses(refused string) func(verb string, what any) error {
	return func(verb string, _ any) error {
		if verb == refused {
			return errFault
		}
		return nil
	}
}

// TestBusyPFs: PFs that take long for each VF, and refuse, keep a DEL from coming to all of
// them. It ends, and the next one begins with those that it did not come to.
func TestBusyPFs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, before := addedPod(t)
		m.WayBack = 45 * time.Second
		for _, vf := range []string{"bond0-1", "bond0-2", "net2"} {
			m.plugins.refuse["sriov DEL "+vf] = "no"
		}
		vlan := func(id int) {
			for _, vf := range []struct {
				pf     string
				number int
			}{{"enp1s0", 0}, {"enp1s0", 1}, {"enp2s0", 0}} {
				m.changeVFOf(vf.pf, vf.number, func(vf *bond.VF) { vf.VLAN = id })
			}
		}
		vlan(9)
		m.edges.refuse = func(verb string, _ any) error {
			if verb == "ChangeVF" {
				time.Sleep(30 * time.Second)
			}
			return refuses("ChangeVF")(verb, nil)
		}
		require.ErrorContains(t, m.Del(t.Context(), podKey), "bond0-1: no time is left to restore it; the next DEL does")
		assert.NotContains(t, m.plugins.executed(), "sriov DEL bond0-1")
		require.Error(t, m.Del(t.Context(), podKey))
		assert.Contains(t, m.plugins.executed(), "sriov DEL bond0-1")
		m.edges.refuse = nil
		clear(m.plugins.refuse)
		m.mustDel(podKey)
		m.wantState(before)
	})
}

// TestSlowIsOnDisk: a link that took long to restore is not restored again if DEL is killed
// afterwards, even if it executes no plugin.
func TestSlowIsOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		addNICs(m)
		before := m.state()
		m.mustAdd(request(t, nics))
		m.edges.refuse = func(verb string, what any) error {
			c, is := what.(bond.Change)
			switch {
			case is && c.Name != nil && *c.Name == "usb0":
				panic(killed{})
			case is && c.Name != nil:
				time.Sleep(slowPart)
			}
			return nil
		}
		require.True(t, untilKilled(func() { m.Del(t.Context(), c1) }))
		rec := m.readRecord(c1)
		assert.Equal(t, []string{"usb1"}, rec.Restored)
		m.edges.refuse = nil
		m.mustDel(c1)
		m.wantState(before)
	})
}
