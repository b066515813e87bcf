package kubeclient

import (
	"math/rand/v2"
	"slices"
	"time"
)

// turn is when something is tried next.
type turn struct {
	at   time.Time
	wait time.Duration // before jitter
}

// after returns the turn after an attempt that failed at now. The wait doubles from first
// to last. A quarter more or less keeps the agents of a cluster from asking together.
func (t turn) after(now time.Time, first, last time.Duration) turn {
	wait := min(max(2*t.wait, first), last)
	return turn{now.Add(wait*3/4 + rand.N(wait/2)), wait}
}

// turns has the next attempt for each pod that waits for one. A pod without a turn is
// due.
type turns map[string]turn

// keep forgets all pods but these.
func (t turns) keep(uids []string) {
	for uid := range t {
		if !slices.Contains(uids, uid) {
			delete(t, uid)
		}
	}
}

// inOrder sorts pods by their turns.
func (t turns) inOrder(uids []string) []string {
	out := slices.Clone(uids)
	slices.SortStableFunc(out, func(a, b string) int { return t[a].at.Compare(t[b].at) })
	return out
}

// until returns how long it is to the first turn, at most longest.
func (t turns) until(now time.Time, longest time.Duration) time.Duration {
	wait := longest
	for _, one := range t {
		wait = min(wait, max(one.at.Sub(now), 0))
	}
	return wait
}
