package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// untagged is a bond with a gateway, which answers (see newDrilled).
const untagged = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}],
	"ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`

// newDrilled is a machine with a bond whose gateway answers.
func newDrilled(t *testing.T) *machine {
	m := newMachine(t)
	m.AddNeighbour(netip.MustParseAddr("10.56.217.1"))
	m.mustAdd(watchedRequest(t, untagged))
	return m
}

// drillFor is a request for 5 seconds of c1. What its guard has to do is not needed.
func drillFor() DrillRequest {
	return DrillRequest{Key: c1, For: 5 * time.Second, Guard: func(plan.Key, time.Time) (func(), error) { return func() {}, nil }}
}

// TestDrill: the bond fails over and back, and the drill tells so. Nothing is left.
func TestDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newDrilled(t)
		before := m.state()
		got, err := m.Drill(t.Context(), drillFor())
		require.NoError(t, err)
		text, err := json.MarshalIndent(got, "", "  ")
		require.NoError(t, err)
		want, err := os.ReadFile("testdata/drill.json")
		require.NoError(t, err)
		assert.Equal(t, string(want), string(text)+"\n")
		m.wantState(before)
		assert.Empty(t, m.readRecord(c1).Lowered)
		require.NoError(t, m.Check(t.Context(), c1))
	})
}

// TestDrillFinds: what a bond does that nobody has seen before its fault.
func TestDrillFinds(t *testing.T) {
	for what, test := range map[string]struct {
		config string
		before func(*machine)
		want   string
	}{
		"a path that is dead": {untagged, func(m *machine) { m.Silence(vfB, true) },
			"away: 500 of 500 requests were lost, 5000 ms of traffic; miimon 100 allows 300 ms"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newDrilled(t)
				test.before(m)
				left := m.state()
				got, err := m.Drill(t.Context(), drillFor())
				require.NoError(t, err)
				assert.Equal(t, []string{test.want}, got.Problems)
				m.wantState(left)
			})
		})
	}
}

// TestDrillWaits: a target may answer late at first, because its MAC has to be found out.
func TestDrillWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.mustAdd(watchedRequest(t, untagged))
		time.AfterFunc(1495*time.Millisecond, func() { m.AddNeighbour(netip.MustParseAddr("10.56.217.1")) })
		got, err := m.Drill(t.Context(), drillFor())
		require.NoError(t, err)
		assert.Empty(t, got.Problems)
		assert.Equal(t, []int{300, 150}, []int{got.Parts[0].Sent, got.Parts[0].Lost})
	})
}

// TestDrillRefused: a drill changes nothing if the pod would lose everything, or if nothing
// could be measured.
func TestDrillRefused(t *testing.T) {
	for what, test := range map[string]struct {
		before func(m *machine, r *DrillRequest)
		want   string
	}{
		"the other link is down": {func(m *machine, _ *DrillRequest) { m.change(pod1, "bond0-2", bond.Change{Up: new(false)}) },
			"network net1: bond0-1 is the only link of bond0 that works: [bond0-2 is down] (mend the bond first: without that link the pod would lose everything)"},
		"the other link is gone": {func(m *machine, _ *DrillRequest) { m.SetDriver(vfB, "vfio-pci") },
			"network net1: bond0-1 is the only link of bond0 that works: [bond0-2 is not in the bond] (mend the bond first: without that link the pod would lose everything)"},
		"nobody answers": {func(_ *machine, r *DrillRequest) { r.Target = netip.MustParseAddr("10.56.217.9") },
			"network net1: 10.56.217.9 has answered 0 of 500 requests over bond0 before anything was changed (-target: an address that answers to ping)"},
		"the pod is gone":   {func(m *machine, _ *DrillRequest) { m.RemoveNamespace(pod1) }, "network net1: the pod's network namespace /run/netns/p1 is gone"},
		"its DEL has begun": {func(m *machine, _ *DrillRequest) { m.edit(func(rec *record.Record) { rec.Tried = time.Now() }) }, "network net1: its ADD is not complete, or its DEL has begun"},
		"IPAM names no router": {func(m *machine, _ *DrillRequest) {
			m.edit(func(rec *record.Record) { rec.Result = []byte(`{"cniVersion": "1.1.0"}`) })
		},
			"network net1: IPAM has named no gateway (-target: an address that answers to ping)"},
		"another drill": {func(m *machine, _ *DrillRequest) {
			m.edit(func(rec *record.Record) { rec.Lowered = map[string]time.Time{"bond0-1": time.Now().Add(time.Minute)} })
			m.change(pod1, "bond0-1", bond.Change{Up: new(false)})
		}, "network net1: a drill of this bond has set bond0-1 down, and may run until 00:01:00"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newDrilled(t)
				r := drillFor()
				test.before(m, &r)
				left := m.state()
				_, err := m.Drill(t.Context(), r)
				require.EqualError(t, err, test.want)
				m.wantState(left)
			})
		})
	}
}

// TestDrillOfAnother: the end of a drill does not end another one.
func TestDrillOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newDrilled(t)
		until := time.Now().Add(time.Minute).Round(0)
		m.edit(func(rec *record.Record) { rec.Lowered = map[string]time.Time{"bond0-1": until} })
		m.change(pod1, "bond0-1", bond.Change{Up: new(false)})
		require.NoError(t, m.EndDrill(t.Context(), c1, until.Add(time.Second)))
		assert.False(t, m.link(pod1, "bond0-1").Up)
		require.NoError(t, m.EndDrill(t.Context(), c1, until))
		assert.True(t, m.link(pod1, "bond0-1").Up)
		assert.Empty(t, m.readRecord(c1).Lowered)
	})
}

// edit changes the Record of c1 on disk.
func (m *machine) edit(change func(*record.Record)) {
	rec := m.readRecord(c1)
	change(rec)
	require.NoError(m.t, m.Store.Update(rec))
}

// TestKilledInDrill: a drill is killed at any point. Its guard, another drill, CHECK or GC sets
// the link up again, and DEL makes all as it was.
func TestKilledInDrill(t *testing.T) {
	ends := map[string]func(m *machine) error{
		"guard": func(m *machine) error {
			if rec := m.readRecord(c1); len(rec.Lowered) > 0 {
				return m.EndDrill(m.t.Context(), c1, endOf(rec))
			}
			return nil
		},
		"drill": func(m *machine) error {
			time.Sleep(time.Minute)
			_, err := m.Drill(m.t.Context(), drillFor())
			return err
		},
		"CHECK": func(m *machine) error { time.Sleep(time.Minute); return m.Check(m.t.Context(), c1) },
		"GC": func(m *machine) error {
			time.Sleep(time.Minute)
			return m.GC(m.t.Context(), "net1", []netconf.GCAttachment{{ContainerID: "c1", IfName: "bond0"}})
		},
		"keep": func(m *machine) error {
			k := m.keeper()
			k.Netns = "/run/netns"
			k.looksUntil(m.t)
			return nil
		},
		"DEL": nil,
	}
	for end, put := range ends {
		try := func(t *testing.T, edge int) (passed []string) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t)
				m.AddNeighbour(netip.MustParseAddr("10.56.217.1"))
				before := m.state()
				m.mustAdd(watchedRequest(t, untagged))
				attached := m.state()
				m.edges.reset(edge, kill)
				require.Equal(t, edge > 0, untilKilled(func() { m.Drill(t.Context(), drillFor()) }))
				passed = m.edges.passed
				m.edges.reset(0, nil)
				if put != nil {
					require.NoError(t, put(m))
					m.wantLike(attached)
					assert.Empty(t, m.readRecord(c1).Lowered)
				}
				m.mustDel(c1)
				m.wantLike(before)
			})
			return passed
		}
		t.Run(end, func(t *testing.T) {
			passed := try(t, 0)
			require.GreaterOrEqual(t, len(passed), 6)
			for n := range passed {
				try(t, n+1)
			}
		})
	}
}

// TestDrillIsEnded: a drill whose context ends, at any time, leaves no link down.
func TestDrillIsEnded(t *testing.T) {
	for _, after := range []time.Duration{0, 500 * time.Millisecond, 3 * time.Second, 6500 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newDrilled(t)
				before := m.state()
				ctx, cancel := context.WithTimeoutCause(t.Context(), after, errors.New("terminated"))
				defer cancel()
				_, err := m.Drill(ctx, drillFor())
				require.ErrorContains(t, err, "terminated")
				m.wantState(before)
				assert.Empty(t, m.readRecord(c1).Lowered)
			})
		})
	}
}

// TestDrillThatCannotCount: a drill that cannot tell what the bond announces ends with that
// error, and leaves no link down.
func TestDrillThatCannotCount(t *testing.T) {
	for count := range 6 { // at the begin and the end of each part
		synctest.Test(t, func(t *testing.T) {
			m := newDrilled(t)
			before := m.state()
			m.Fail = func(edge string) error {
				if edge == "Announced bond0" {
					if count--; count < 0 {
						return errors.New("no counters")
					}
				}
				return nil
			}
			_, err := m.Drill(t.Context(), drillFor())
			require.EqualError(t, err, "network net1: no counters")
			m.Fail = nil
			m.wantState(before)
			assert.Empty(t, m.readRecord(c1).Lowered)
		})
	}
}

// TestDrillOfAPodThatEnds: a drill that runs ends with its pod, and keeps nothing.
func TestDrillOfAPodThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.AddNeighbour(netip.MustParseAddr("10.56.217.1"))
		before := m.state()
		m.mustAdd(watchedRequest(t, untagged))
		ended := make(chan error, 1)
		go func() {
			_, err := m.Drill(t.Context(), drillFor())
			ended <- err
		}()
		time.Sleep(3 * time.Second)
		require.False(t, m.link(pod1, "bond0-1").Up)
		m.mustDel(c1)
		assert.ErrorContains(t, <-ended, "network net1: the pod has ended meanwhile")
		m.wantState(before)
	})
}
