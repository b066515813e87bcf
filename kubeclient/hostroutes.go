package kubeclient

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/delegate/agentapi"
)

// The reasons of the events on the node about its routes to the pods of other hosts.
const (
	reasonRoutesFailed = "HostRoutesFailed"
	reasonRoutesSet    = "HostRoutesSet"
)

// routeTeller publishes how the routes to other hosts are, which keep sets and tells of. It
// does nothing until keep tells something.
type routeTeller struct {
	node    string
	send    func(context.Context, *corev1.Event) error
	metrics *Metrics
	log     *slog.Logger
	news    chan struct{} // keep has told something

	lock   sync.Mutex
	latest agentapi.Routes
	sent   sayings
}

func newRouteTeller(node string, send func(context.Context, *corev1.Event) error, metrics *Metrics, log *slog.Logger) *routeTeller {
	return &routeTeller{node: node, send: send, metrics: metrics, log: log, news: make(chan struct{}, 1)}
}

// take shows in the metrics what keep has told, and has follow publish it.
func (t *routeTeller) take(r agentapi.Routes) {
	t.metrics.hostRoutes(r)
	t.lock.Lock()
	t.latest = r
	t.lock.Unlock()
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// follow publishes what keep tells until ctx ends, and as long as something is wrong again
// before the API server forgets it.
func (t *routeTeller) follow(ctx context.Context) error {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.news:
		case <-again:
		}
		if again = nil; !t.tell(ctx, time.Now()) {
			again = time.After(lookEvery)
		}
	}
}

// tell publishes an event, if it is news. It reports whether there is nothing more to publish.
func (t *routeTeller) tell(ctx context.Context, now time.Time) (done bool) {
	t.lock.Lock()
	r := t.latest
	t.lock.Unlock()
	o := outcome{Type: corev1.EventTypeNormal, Reason: reasonRoutesSet, Message: r.String(), Time: now}
	if r.Failed > 0 {
		o.Type, o.Reason, o.Message = corev1.EventTypeWarning, reasonRoutesFailed, r.String()+": "+strings.Join(r.Problems, "; ")
	} else if t.sent.last == "" {
		return true
	}
	before := t.sent
	if !t.sent.due(o.Message, now, r.Failed > 0) {
		return r.Failed == 0
	}
	if err := t.send(ctx, nodeEvent(t.node, o)); err != nil {
		t.sent = before
		t.log.DebugContext(ctx, "an event about the node is not published yet", "error", err)
		return false
	}
	return r.Failed == 0
}
