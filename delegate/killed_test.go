package delegate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
)

// A killer ends a process at a time.
type killer struct{ at time.Time }

// spend lets time pass, in which the process may be killed.
func (k killer) spend(d time.Duration) {
	left := time.Until(k.at)
	time.Sleep(min(d, left))
	if left < d {
		panic(killed{})
	}
}

// TestKilledAgainAndAgain: a runtime kills each DEL after some seconds, whatever that is doing,
// and calls it again. All that needs less time is restored, and the pod goes soon after its
// time is over. Nothing is lost: it is restored when what hangs does not do so any more.
func TestKilledAgainAndAgain(t *testing.T) {
	for _, limit := range []time.Duration{time.Second, 3 * time.Second, 5 * time.Second} {
		for _, hanging := range append(someOf(podDels), podDels, []string{"kernel Delete"}, []string{"kernel ChangeVF"}, []string{"kernel Change"}, append([]string{"kernel ChangeVF"}, podDels...)) {
			t.Run(fmt.Sprintf("%s, %s", limit, strings.Join(hanging, ", ")), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testKilledAgainAndAgain(t, limit, limit, hanging) })
			})
			t.Run(fmt.Sprintf("%s after a whole DEL, %s", limit, strings.Join(hanging, ", ")), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testKilledAgainAndAgain(t, time.Minute, limit, hanging) })
			})
		}
	}
}

// testKilledAgainAndAgain kills the first DEL after a time, and the others after another.
func testKilledAgainAndAgain(t *testing.T, first, limit time.Duration, hanging []string) {
	const pause = 10 * time.Second
	m, before := addedPod(t)
	m.WayBack, m.Limbo.GiveUp = 45*time.Second, 2*time.Minute
	var k killer
	m.Runner = runnerFunc{m.Runner, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
		if slices.Contains(hanging, c.Type+" "+c.Command+" "+c.IfName) {
			k.spend(c.Timeout)
			return nil, fmt.Errorf("%s did not finish and was killed: %w", c.Type, context.DeadlineExceeded)
		}
		return m.plugins.run(ctx, c)
	}}
	m.edges.refuse = func(verb string, _ any) error {
		if slices.Contains(hanging, "kernel "+verb) {
			k.spend(20 * time.Second)
		}
		return nil
	}
	if slices.Contains(hanging, "kernel ChangeVF") { // which Multibond does if the plugins refuse
		for _, vf := range []string{"bond0-1", "bond0-2", "net2"} {
			m.plugins.refuse["sriov DEL "+vf] = "no"
		}
	}
	k.at = time.Now().Add(first)
	require.Equal(t, first == limit, untilKilled(func() { m.Del(t.Context(), podKey) }))
	began := time.Now()
	for done := false; !done; time.Sleep(pause) {
		const parts = 10 // of which each may have to be killed once after the time
		require.LessOrEqual(t, time.Since(began), m.Limbo.GiveUp+parts*(pause+limit), "the pod does not go")
		k.at = time.Now().Add(limit)
		untilKilled(func() { done = m.Del(t.Context(), podKey) == nil })
	}
	if !strings.HasPrefix(hanging[0], "kernel") {
		assert.Equal(t, newMachine(t).linesOf(""), m.linesOf(""), "VFs need no plugin")
	}
	for range 3 { // the runtime calls again before it forgets the sandbox
		k.at = time.Now().Add(limit)
		untilKilled(func() { m.Del(t.Context(), podKey) })
	}
	k.at = time.Now().Add(limit)
	require.False(t, untilKilled(func() { m.mustDel(podKey) }), "a further DEL does not wait for what hangs")

	hanging, m.edges.refuse = nil, nil
	clear(m.plugins.refuse)
	require.NoError(t, m.GC(t.Context(), "multibond", []netconf.GCAttachment{}))
	clear(m.plugins.vfs) // a killed sriov-cni's own
	m.wantState(before)
}
