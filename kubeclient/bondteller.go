package kubeclient

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/multibond/multibond/delegate/agentapi"
)

// How statuses of pods follow their bonds. One PF can fail under all pods of a node. Nodes
// know nothing of each other: a switch that fails under all of them costs the API server as
// many PATCHes at once as there are nodes.
const (
	statusJitter  = time.Second            // at most, before the first PATCH
	statusSpacing = 100 * time.Millisecond // between two PATCHes of this node
	statusPause   = 10 * time.Second       // between two PATCHes of one pod
)

// teller keeps network-status and the condition of pods as their bonds are. It compares
// what the cache has of a pod with what the watcher knows, and sends the difference. So
// nothing has to be kept on disk: the next agent compares as well.
type teller struct {
	to    *publisher                     // its API server, and its waits
	bonds func(*corev1.Pod) []bondStatus // none if nobody knows how they are
	wake  chan struct{}

	jitter, spacing, pause time.Duration

	mu   sync.Mutex
	pods map[types.NamespacedName]look

	// Only run uses these.
	next   time.Time // the end of spacing
	server turn      // while the API server is away: the next attempt
}

// look is when a pod is looked at.
type look struct {
	turn           // at is zero if nothing has changed
	free time.Time // the end of the pause after a PATCH
}

func newTeller(p *publisher, bonds func(*corev1.Pod) []bondStatus) *teller {
	return &teller{
		to: p, bonds: bonds, wake: make(chan struct{}, 1), pods: map[types.NamespacedName]look{},
		jitter: statusJitter, spacing: statusSpacing, pause: statusPause,
	}
}

// changed has a pod looked at soon. All that changes until then is one PATCH.
func (t *teller) changed(pod types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.pods[pod]
	if !one.at.IsZero() {
		return
	}
	one.at = later(one.free, time.Now().Add(oneFailure+rand.N(t.jitter)))
	t.pods[pod] = one
	select {
	case t.wake <- struct{}{}:
	default: // run is awake
	}
}

// handler has pods looked at that others have changed.
func (t *teller) handler() cache.ResourceEventHandler {
	changed := func(object any) {
		if pod, is := object.(*corev1.Pod); is && (hasGate(pod) || pod.Annotations[nettypes.NetworkStatusAnnot] != "") {
			t.changed(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, now any) { changed(now) }}
}

// follow sends until ctx ends.
func (t *teller) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		wait := time.NewTimer(t.pass(ctx))
		select {
		case <-t.wake:
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
	return nil
}

// pass looks at the pod whose turn it is, and returns how long it is to the next turn.
func (t *teller) pass(ctx context.Context) time.Duration {
	pod, at := t.following()
	if wait := time.Until(later(at, later(t.next, t.server.at))); wait > 0 {
		return wait
	}
	t.take(pod)
	sent, err := t.tell(ctx, pod)
	now := time.Now()
	if sent || err != nil {
		t.next = now.Add(t.spacing)
	}
	switch away := t.to.away.Load(); {
	case err != nil && (away || apierrors.IsTooManyRequests(err)):
		t.server = t.server.after(now, t.to.firstWait, t.to.lastWait)
	case !away:
		t.server = turn{}
	}
	if err != nil {
		t.to.metrics.untold.WithLabelValues("status").Inc()
		t.to.log.WarnContext(ctx, "the state of a pod's bonds could not be published; the agent tries again", "pod", pod.String(), "error", err)
	}
	t.put(pod, now, sent, err)
	return 0
}

// following returns the pod whose turn is next, and when.
func (t *teller) following() (pod types.NamespacedName, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at = time.Now().Add(time.Hour)
	for name, one := range t.pods {
		if !one.at.IsZero() && one.at.Before(at) {
			pod, at = name, one.at
		}
	}
	return pod, at
}

// take takes the turn of a pod. What changes from now on needs another one.
func (t *teller) take(pod types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.pods[pod]
	one.at = time.Time{}
	t.pods[pod] = one
}

// put gives a pod its next turn, if it needs one, or forgets it.
func (t *teller) put(pod types.NamespacedName, now time.Time, sent bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.pods[pod]
	if sent {
		one.free = now.Add(t.pause)
	}
	switch {
	case err != nil && t.to.away.Load():
		one.at = t.server.at
	case err != nil:
		one.turn = one.after(now, t.to.firstWait, t.to.longestWait)
	case !one.at.IsZero():
		one.wait = 0
		one.at = later(one.at, one.free)
	case one.free.After(now):
		one.wait = 0
	default:
		delete(t.pods, pod)
		return
	}
	t.pods[pod] = one
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// tell sends what a pod's status lacks. The cache may be older than the status, so the
// annotation is changed only if it is the one that was looked at.
func (t *teller) tell(ctx context.Context, name types.NamespacedName) (sent bool, err error) {
	pod, there := t.to.source.pods.cached(name)
	if !there || isLeaving(pod) {
		return false, nil
	}
	patch := patchFor(pod, t.bonds(pod), t.to.now())
	if patch == nil {
		return false, nil
	}
	err = t.to.api.patchStatus(ctx, agentapi.Pod{Namespace: name.Namespace, Name: name.Name}, patch)
	t.to.note(ctx, err)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// patchFor returns what makes the status of a pod say how its bonds are, or nil. While a
// bond is starting, it can only make the pod ready.
func patchFor(pod *corev1.Pod, bonds []bondStatus, now time.Time) json.RawMessage {
	if len(bonds) == 0 {
		return nil
	}
	condition := newCondition(pod, bonds, now)
	if slices.ContainsFunc(bonds, bondStatus.isStarting) {
		if condition == nil || condition.Status != corev1.ConditionTrue || conditionIn(pod).Status == corev1.ConditionTrue {
			return nil
		}
		return statusPatch(pod.UID, "", "", condition)
	}
	text, changed := withBonds(pod.Annotations[nettypes.NetworkStatusAnnot], bonds)
	switch {
	case changed:
		return statusPatch(pod.UID, pod.ResourceVersion, text, condition)
	case condition != nil:
		return statusPatch(pod.UID, "", "", condition)
	}
	return nil
}
