package kubeclient

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/dirwatch"
	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// The reasons of the events on the node.
const (
	reasonConfigLost = "RuntimeConfigLost"
	reasonConfigUsed = "RuntimeConfigUsed"
	reasonConfigBad  = "ClusterConfigInvalid"
)

// The times of neighbours. An installer writes and renames within settleTime.
const (
	settleTime = 2 * time.Second
	lookEvery  = time.Minute
	sayAgain   = 10 * time.Minute // for a message that was said before another one
	remind     = time.Hour        // for the last message; the API server keeps events for an hour
)

// neighbours watches what other programs on the node do to the configuration that the
// container runtime takes. It changes nothing there.
type neighbours struct {
	machine Machine
	dir     string // of machine.ConfDir; "" if nobody watches
	node    string
	send    func(context.Context, *corev1.Event) error
	metrics *Metrics
	log     *slog.Logger

	lock    sync.Mutex
	last    string // the message of the last look
	problem string // the same, if something is wrong
	logged  sayings
	sent    sayings
}

// follow looks at each change until ctx ends.
func (n *neighbours) follow(ctx context.Context) error {
	dirwatch.Follow(ctx, n.dir, settleTime, lookEvery, func() { n.look(ctx, time.Now()) })
	return nil
}

// look finds what the runtime takes, and says it if it is news.
func (n *neighbours) look(ctx context.Context, now time.Time) {
	s, err := confdir.Look(n.machine.ConfDir)
	text, problem := s.String(), ""
	if err != nil {
		text = fmt.Sprintf("the directory of CNI configurations cannot be read: %v", err)
	}
	if !s.OK() {
		problem = text
	}
	n.metrics.standing(s, n.remember(text, problem))
	if n.logged.due(text, now, problem != "") {
		level, what := slog.LevelInfo, "the container runtime's configuration"
		if problem != "" {
			level, what = slog.LevelWarn, "the container runtime's configuration needs attention"
		}
		n.log.Log(ctx, level, what, "state", string(s.State), "found", text)
	}
	switch {
	case problem != "":
		n.event(ctx, outcome{Type: corev1.EventTypeWarning, Reason: reasonConfigLost, Message: text, Time: now})
	case n.sent.last != "":
		n.event(ctx, outcome{Type: corev1.EventTypeNormal, Reason: reasonConfigUsed, Message: text, Time: now})
	}
}

// remember keeps the message of a look, and reports whether that of the look before was
// another.
func (n *neighbours) remember(text, problem string) (changed bool) {
	n.lock.Lock()
	defer n.lock.Unlock()
	changed = n.last != "" && n.last != text
	n.last, n.problem = text, problem
	return changed
}

// wrong returns what was wrong at the last look, or "".
func (n *neighbours) wrong() string {
	n.lock.Lock()
	defer n.lock.Unlock()
	return n.problem
}

// event publishes an event on the node. One that does not arrive is due again at the next
// look.
func (n *neighbours) event(ctx context.Context, o outcome) {
	before := n.sent
	if !n.sent.due(o.Message, o.Time, o.Type == corev1.EventTypeWarning) {
		return
	}
	if err := n.send(ctx, nodeEvent(n.node, o)); err != nil {
		n.sent = before
		n.log.DebugContext(ctx, "an event about the node is not published yet", "error", err)
	}
}

// nodeEvent returns the API object of an event on a node. Like the kubelet's, it is in the
// namespace default and has the node's name as UID.
func nodeEvent(node string, o outcome) *corev1.Event {
	at := metav1.NewTime(o.Time)
	const longest = 253 // of an object name
	end := fmt.Sprintf(".%x", o.Time.UnixNano())
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: strings.TrimRight(node[:min(len(node), longest-len(end))], ".-") + end},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: types.UID(node)},
		Type:           o.Type, Reason: o.Reason, Message: clip(o.Message), Count: 1,
		FirstTimestamp: at, LastTimestamp: at,
		Source:              corev1.EventSource{Component: component, Host: node},
		ReportingController: component, ReportingInstance: node,
	}
}

// sayings remembers when a message was said, so that a fight between two programs fills no
// log.
type sayings struct {
	at   map[string]time.Time
	last string
}

// due reports whether a message is to be said now, and takes it as said: if the last one was
// another, at most once per sayAgain. The same one is repeated once per remind, if it is to
// be repeated.
func (s *sayings) due(text string, now time.Time, repeat bool) bool {
	at, said := s.at[text]
	pause := sayAgain
	if s.last == text {
		pause = remind
	}
	if said && (now.Sub(at) < pause || s.last == text && !repeat) {
		return false
	}
	kept := map[string]time.Time{text: now}
	for other, at := range s.at {
		if now.Sub(at) < remind && other != text {
			kept[other] = at
		}
	}
	s.at, s.last = kept, text
	return true
}

// tellMisconfigured publishes an event on the node, and again before the API server forgets
// it, as long as the agent runs.
func (a *Agent) tellMisconfigured(ctx context.Context) error {
	text := fmt.Sprintf("the ConfigMap's configuration is not used on this node: %v (the one that was installed before stays; correct the ConfigMap and restart the DaemonSet)", a.options.Misconfigured)
	for ctx.Err() == nil {
		wait := remind
		o := outcome{Type: corev1.EventTypeWarning, Reason: reasonConfigBad, Message: text, Time: time.Now()}
		if err := a.source.api.createEvent(ctx, nodeEvent(a.options.Node, o)); err != nil {
			a.log.WarnContext(ctx, "an event about the node is not published yet", "message", text, "error", err)
			wait = lookEvery
		}
		pause(ctx, wait)
	}
	return nil
}
