package kubeclient

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/delegate/agentapi"
)

// TestHostRoutes: what keep tells is in the metrics. What cannot be set is an event on the
// node, again within the hour, and so is that all is set after that.
func TestHostRoutes(t *testing.T) {
	var events []string
	var refuse error
	m := NewMetrics()
	a := &Agent{metrics: m, watcher: newWatcher(nil, slog.New(slog.DiscardHandler))}
	a.routes = newRouteTeller("n1", func(_ context.Context, e *corev1.Event) error {
		if refuse == nil {
			events = append(events, e.Type+" "+e.Reason+" "+e.Message)
		}
		return refuse
	}, m, slog.New(slog.DiscardHandler))
	tell := func(minute int, r agentapi.Routes) (done bool, said []string) {
		assert.Nil(t, a.answer(t.Context(), agentapi.Request{Routes: &r}).Error)
		for state, want := range map[string]int{"set": r.Set, "waiting": r.Waiting, "failed": r.Failed} {
			assert.Equal(t, float64(want), testutil.ToFloat64(m.routes.WithLabelValues(state)), state)
		}
		done = a.routes.tell(t.Context(), time.Unix(0, 0).Add(time.Duration(minute)*time.Minute))
		said, events = events, nil
		return done, said
	}
	is := func(minute int, r agentapi.Routes, wantDone bool, want ...string) {
		t.Helper()
		done, said := tell(minute, r)
		assert.Equal(t, want, said)
		assert.Equal(t, wantDone, done)
	}
	const failed = "Warning HostRoutesFailed routes to other hosts: 2 are set, 1 wait, 1 cannot be set: n2: taken"
	bad := agentapi.Routes{Set: 2, Waiting: 1, Failed: 1, Problems: []string{"n2: taken"}}
	is(0, agentapi.Routes{Set: 3, Waiting: 1}, true)
	refuse = errors.New("away")
	is(1, bad, false)
	refuse = nil
	is(2, bad, false, failed)
	is(3, bad, false)
	is(63, bad, false, failed)
	is(64, agentapi.Routes{Set: 3}, true, "Normal HostRoutesSet routes to other hosts: 3 are set, 0 wait, 0 cannot be set")
	is(65, agentapi.Routes{Set: 3}, true)
}
