package delegate

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// podKey is the key of the first Record of addedPod.
var podKey = plan.Key{ContainerID: "c1", IfName: "eth0"}

// podDels are the plugins that DEL of addedPod executes, in order.
var podDels = []string{"sriov DEL net2", "host-local DEL bond0", "sriov DEL bond0-2", "sriov DEL bond0-1", "portmap DEL eth0", "bridge DEL eth0"}

// podRequests are the requests for a pod with a default network, a bond and a network over
// a VF, without an agent.
func podRequests(t *testing.T) []plan.Request {
	t.Helper()
	first := agentapi.Attachment{Name: "cbr0", IfName: "eth0", Config: []byte(defaultFile), Default: true}
	var rs []plan.Request
	for _, a := range []agentapi.Attachment{first, bondOf("bond0", vfA, vfB), vlan("net2", vfA2)} {
		r, err := requestFor(a, plan.Request{ContainerID: "c1", Netns: pod1}, nil)
		require.NoError(t, err)
		r.Group = plan.Group{Network: "multibond", IfNames: []string{"eth0", "bond0", "net2"}}
		rs = append(rs, r)
	}
	return rs
}

// addedPod is a machine with that pod, and its state before.
func addedPod(t *testing.T) (m *machine, before string) {
	m = newMachine(t)
	before = m.state()
	_, err := m.addAll(t.Context(), podRequests(t), &outcome{})
	require.NoError(t, err)
	m.plugins.calls = nil
	return m, before
}

// executed returns the calls since the last time, and forgets them.
func (p *plugins) executed() (calls []string) {
	for _, c := range p.calls {
		calls = append(calls, c.Type+" "+c.Command+" "+c.IfName)
	}
	p.calls = nil
	return calls
}

// someOf lists each one and each two of the plugins.
func someOf(all []string) (some [][]string) {
	for i, one := range all {
		some = append(some, []string{one})
		for _, other := range all[i+1:] {
			some = append(some, []string{one, other})
		}
	}
	return some
}

// TestDelHangs: whatever plugins hang, a DEL ends in time. It executes all others, and
// the VFs are as before. When the plugins answer again, nothing is left.
func TestDelHangs(t *testing.T) {
	for _, hanging := range append(someOf(podDels), podDels) {
		t.Run(strings.Join(hanging, ", "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, before := addedPod(t)
				host := newMachine(t).linesOf("")
				for _, one := range hanging {
					m.plugins.hang[one] = true
				}
				m.WayBack = 45 * time.Second
				began := time.Now()
				err := m.Del(t.Context(), podKey)
				assert.LessOrEqual(t, time.Since(began), m.WayBack)
				assert.ElementsMatch(t, podDels, m.plugins.executed())
				assert.Equal(t, host, m.linesOf(""))
				sriov := func(one string) bool { return strings.HasPrefix(one, "sriov") }
				assert.Equal(t, !slices.ContainsFunc(hanging, func(one string) bool { return !sriov(one) }), err == nil, err)
				clear(m.plugins.hang)
				clear(m.plugins.vfs) // a killed sriov-cni's own
				m.mustDel(podKey)
				m.wantState(before)
			})
		})
	}
}

// TestDelKilledWhileHanging: whatever plugins hang, and although each DEL is killed while
// one does, everything that does not need them is restored after some DELs.
func TestDelKilledWhileHanging(t *testing.T) {
	for _, hanging := range someOf(podDels) {
		t.Run(strings.Join(hanging, ", "), func(t *testing.T) {
			t.Parallel()
			m, before := addedPod(t)
			m.plugins.seen = func(c invoke.Call) {
				if slices.Contains(hanging, c.Type+" "+c.Command+" "+c.IfName) {
					panic(killed{})
				}
			}
			var executed []string
			for range 2 * len(hanging) {
				require.True(t, untilKilled(func() { m.Del(t.Context(), podKey) }))
				executed = append(executed, m.plugins.executed()...)
			}
			slices.Sort(executed)
			assert.ElementsMatch(t, podDels, slices.Compact(executed), "plugins that were executed")
			assert.Equal(t, newMachine(t).linesOf(""), m.linesOf(""))
			m.plugins.seen = func(invoke.Call) {}
			m.mustDel(podKey)
			m.wantState(before)
			rest := m.plugins.executed()
			assert.LessOrEqual(t, len(rest), 2*len(hanging)+1, "what was restored before is not restored again: %v", rest)
		})
	}
}

// TestHungComesLast: what hung in a DEL comes last in the next one, what hung longest ago
// first.
func TestHungComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := addedPod(t)
		m.plugins.hang["portmap DEL eth0"], m.plugins.hang["host-local DEL bond0"] = true, true
		m.plugins.refuse["bridge DEL eth0"] = "no"
		require.Error(t, m.Del(t.Context(), podKey))
		assert.Equal(t, podDels, m.plugins.executed())
		for k, hung := range map[plan.Key]string{podKey: "portmap eth0", c1: "host-local bond0"} {
			assert.Equal(t, []string{hung}, slices.Collect(maps.Keys(m.recordOf(k).Unanswered)))
		}
		require.Error(t, m.Del(t.Context(), podKey))
		assert.Equal(t, []string{"host-local DEL bond0", "bridge DEL eth0", "portmap DEL eth0"}, m.plugins.executed())
	})
}

// TestNoTimeLeft: a plugin that was not executed because the time is over is executed by
// the next DEL, even if its refusal would be only a warning. What needs no plugin is
// restored now.
func TestNoTimeLeft(t *testing.T) {
	for _, gone := range []bool{false, true} {
		m, _ := addedPod(t)
		if gone {
			m.RemoveNamespace(pod1)
		}
		over, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		require.ErrorIs(t, m.Del(over, podKey), errNoTime)
		assert.Empty(t, m.plugins.executed())
		assert.Equal(t, newMachine(t).linesOf(""), m.linesOf(""))
		m.mustDel(podKey)
		assert.Subset(t, m.plugins.executed(), podDels)
		assert.Equal(t, newMachine(t).linesOf(""), m.linesOf(""))
		assert.Empty(t, m.plugins.pool)
	}
}

// TestShareOf: a plugin gets its share of the time, but never too little to do its work.
func TestShareOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			left    time.Duration
			plugins int
			want    time.Duration
		}{
			{45 * time.Second, 2, 15 * time.Second},
			{45 * time.Second, 0, 45 * time.Second},
			{45 * time.Second, 20, leastShare},
			{-time.Second, 1, leastShare},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), test.left)
			defer cancel()
			assert.Equal(t, test.want, shareOf(ctx, test.plugins))
		}
	})
}

// TestAddHangs: an ADD that runs out of its time because a plugin hangs has time for its
// way back.
func TestAddHangs(t *testing.T) {
	for _, one := range []string{"bridge ADD eth0", "sriov ADD bond0-2", "host-local ADD bond0", "sriov ADD net2"} {
		t.Run(one, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t)
				before := m.state()
				m.plugins.hang[one] = true
				m.WayBack = 45 * time.Second
				limit, cancel := context.WithTimeout(t.Context(), 165*time.Second)
				defer cancel()
				began := time.Now()
				_, err := m.addAll(limit, podRequests(t), &outcome{})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.LessOrEqual(t, time.Since(began), 165*time.Second+m.WayBack)
				m.wantState(before)
			})
		})
	}
}

// TestNowhereTogether: the wait for VFs that are nowhere is one for all of them.
func TestNowhereTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := addedPod(t)
		m.AddNamespace("/elsewhere")
		for _, name := range []string{"bond0-1", "bond0-2", "net2"} {
			m.change(pod1, name, bond.Change{Namespace: m.namespace("/elsewhere")})
		}
		m.Limbo = Limbo{Wait: 5 * time.Second, GiveUp: time.Hour}
		began := time.Now()
		require.Error(t, m.Del(t.Context(), podKey))
		assert.Less(t, time.Since(began), 2*m.Limbo.Wait)
	})
}

// TestLocksLeaveTime: a DEL that waits for locks leaves half of its time for what it needs
// them for.
func TestLocksLeaveTime(t *testing.T) {
	m, _ := addedPod(t)
	lockAll(t, m.Store.Dir)
	m.LockTimeout = time.Hour
	limit, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := m.Del(limit, podKey)
	require.ErrorContains(t, err, "container c1 is still locked by process ")
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
}

// TestGCKilledWhileHanging: a sandbox whose plugin hangs does not keep GC from restoring
// others, even if each GC is killed meanwhile.
func TestGCKilledWhileHanging(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	second := other(request(t, strings.NewReplacer(vfA, vfA2, vfB, vfB2).Replace(standard)))
	m.mustAdd(second)
	m.plugins.seen = func(c invoke.Call) {
		if c.Type+" "+c.Command+" "+c.ContainerID == "host-local DEL c1" {
			panic(killed{})
		}
	}
	gc := func() { m.GC(t.Context(), "net1", []netconf.GCAttachment{}) }
	require.True(t, untilKilled(gc))
	require.True(t, untilKilled(gc))
	left, err := m.Store.List()
	require.NoError(t, err)
	assert.Equal(t, []plan.Key{c1}, left)
}

// TestGCInTime: GC ends when its time is over, whatever hangs. The next one continues with
// what this one has not reached.
func TestGCInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.mustAdd(request(t, standard))
		m.mustAdd(other(request(t, strings.NewReplacer(vfA, vfA2, vfB, vfB2).Replace(standard))))
		hangs := "c1"
		m.Runner = runnerFunc{m.Runner, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
			if c.Command == "DEL" && c.ContainerID == hangs {
				return nil, hang(ctx, c)
			}
			return m.plugins.run(ctx, c)
		}}
		gc := func() error {
			const limit = 12 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			err := m.GC(ctx, "net1", []netconf.GCAttachment{})
			assert.LessOrEqual(t, time.Since(began), limit)
			return err
		}
		require.ErrorIs(t, gc(), errGCTime)
		left, err := m.Store.List()
		require.NoError(t, err)
		require.Equal(t, []plan.Key{c2}, left)
		require.Len(t, m.aside(), 1)
		require.Error(t, gc())
		left, err = m.Store.List()
		require.NoError(t, err)
		assert.Empty(t, left)
		assert.Len(t, m.aside(), 1)
		hangs = ""
		require.NoError(t, gc())
		assert.Empty(t, m.aside())
	})
}

// TestIPAMOverTheBondRefuses: IPAM that needs the bond refuses DEL. The bond and its links
// are restored, and a further DEL asks IPAM again.
func TestIPAMOverTheBondRefuses(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.Runner = runnerFunc{m.Runner, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
		c.Type = strings.Replace(c.Type, "dhcp", "host-local", 1)
		return m.plugins.run(ctx, c)
	}}
	m.mustAdd(request(t, strings.ReplaceAll(standard, "host-local", "dhcp")))
	m.plugins.refuse["host-local DEL bond0"] = "no daemon"
	wantError(t, m.Del(t.Context(), c1), cnierror.Restore, "network net1: ipam: host-local DEL: no daemon")
	assert.Equal(t, newMachine(t).linesOf(""), m.linesOf(""))
	assert.Equal(t, 1, m.plugins.count("host-local", "DEL"))
	clear(m.plugins.refuse)
	m.mustDel(c1)
	m.wantState(before)
}

// TestHangsWithoutRecord: without a Record, too, a plugin that hangs keeps no other from
// being executed, and no VF from the host.
func TestHangsWithoutRecord(t *testing.T) {
	m, _ := addedPod(t)
	host := newMachine(t).linesOf("")
	synctest.Test(t, func(t *testing.T) {
		for _, one := range podDels {
			m.plugins.hang[one] = true
		}
		require.NoError(t, os.RemoveAll(m.Store.Dir))
		limit, cancel := context.WithTimeout(t.Context(), 45*time.Second)
		defer cancel()
		cluster := netconf.Cluster{Name: "multibond", ConfDir: t.TempDir()}
		writeFile(t, filepath.Join(cluster.ConfDir, "10-cbr0.conflist"), defaultFile, 0o600)
		require.NoError(t, m.DelPod(limit, cluster, plan.Request{ContainerID: "c1", IfName: "eth0", Netns: pod1}))
		require.NoError(t, limit.Err())
	})
	assert.ElementsMatch(t, []string{"sriov DEL bond0-1", "sriov DEL bond0-2", "portmap DEL eth0", "bridge DEL eth0"}, m.plugins.executed())
	assert.Len(t, m.linesOf(""), len(host)-1, "the VF of net2, which nothing shows to be Multibond's, stays")
}
