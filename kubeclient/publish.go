package kubeclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// publisher sends outcomes to the API server. Every outcome is in the queue before
// it is accepted and until it has arrived. If the agent crashes, a status may be
// sent twice.
type publisher struct {
	queue   queue
	api     *api
	source  source
	metrics *Metrics
	log     *slog.Logger
	now     func() time.Time

	// The waits between attempts: the first of all, the longest while the API server
	// cannot be reached, and the longest of one outcome that it refuses.
	firstWait, lastWait, longestWait time.Duration

	away    atomic.Bool // whether the API server cannot be reached
	arrived sync.Map    // UIDs of the pods whose queued status has arrived
	wake    chan struct{}
	said    repeats // events

	// Only run uses these.
	turns   turns
	server  turn    // while away: the next attempt
	trouble repeats // kinds of reasons that were logged
}

// eventPatience is how long an event is tried that the API server refuses. A status is
// tried as long as its pod exists.
const eventPatience = time.Hour

// entryOf returns what a report publishes. pod is the pod as the cache has it, or nil, and
// bonds is how those bonds are that the watcher knows. The code of an error is 6: the
// report is invalid.
func entryOf(p agentapi.Publish, pod *corev1.Pod, bonds []bondStatus, now time.Time) (entry, error) {
	e := entry{Pod: p.Pod, Events: outcomesOf(p, now)}
	if !uidForm.MatchString(p.Pod.UID) {
		return e, cnierror.With(cnitypes.ErrDecodingFailure, fmt.Errorf("pod %s has UID %q, which is not a valid UID", p.Pod, p.Pod.UID))
	}
	if len(p.Attachments) == 0 {
		return e, nil
	}
	var attached []Attached
	for _, a := range p.Attachments {
		one := Attached{Name: a.Name, IfName: a.IfName, Bond: a.Bond, Each: a.Each, Result: a.Result, DefaultRoute: a.DefaultRoute}
		if a.Result == nil {
			return e, cnierror.With(cnitypes.ErrDecodingFailure, fmt.Errorf("network %s of pod %s has no result", a.Name, p.Pod))
		}
		if len(a.DeviceInfo) > 0 {
			one.DeviceInfo = &nettypes.DeviceInfo{}
			if err := json.Unmarshal(a.DeviceInfo, one.DeviceInfo); err != nil {
				return e, cnierror.With(cnitypes.ErrDecodingFailure, fmt.Errorf("device-info of network %s of pod %s: %w", a.Name, p.Pod, err))
			}
		}
		attached = append(attached, one)
	}
	entries := Statuses(attached)
	showBonds(entries, bonds)
	e.Patch = StatusPatch(types.UID(p.Pod.UID), entries, firstCondition(p, pod, bonds, now))
	return e, nil
}

// firstCondition returns the condition of a pod whose networks have just been attached. It
// is nil if the pod does not wait for it, or if nobody knows how one of its bonds is.
func firstCondition(p agentapi.Publish, pod *corev1.Pod, bonds []bondStatus, now time.Time) *corev1.PodCondition {
	attached := 0
	for _, a := range p.Attachments {
		if a.Bond {
			attached++
		}
	}
	if pod == nil || len(bonds) < attached {
		return nil
	}
	return newCondition(pod, bonds, now)
}

// publish accepts an outcome. It sends the status while it writes the queue; queued
// is why the status has not arrived yet, or "". The events are sent by run, so that
// no pod has to wait for them. The code of an error is 7 if the pod's own annotations
// leave no room for the status: it would never have one.
func (p *publisher) publish(ctx context.Context, e entry) (queued string, err error) {
	if e.Patch == nil && len(e.Events) == 0 {
		return "", nil
	}
	unlock, err := p.queue.lock(e.Pod.UID)
	if err != nil {
		return "", cnierror.With(cnitypes.ErrTryAgainLater, err)
	}
	defer unlock()
	if e.Patch != nil {
		p.arrived.Delete(e.Pod.UID)
	}
	if e.Patch == nil || p.away.Load() {
		return p.enqueue(ctx, e)
	}
	answer := make(chan error, 1)
	// Writing the queue takes half as long as the API server takes to answer.
	go func() { answer <- p.api.patchStatus(ctx, e.Pod, e.Patch) }()
	both, before, kept := p.keep(ctx, e)
	dropped, err := p.answered(ctx, &both, <-answer)
	switch {
	case errors.Is(err, errRefused):
		before.Patch = nil
		return "", errors.Join(cnierror.With(cnitypes.ErrInvalidNetworkConfig, err), p.queue.restore(e.Pod.UID, before))
	case kept != nil && err != nil:
		return "", lost(e.Pod, err, kept)
	case kept != nil && !dropped:
		return "", p.deliverUnqueued(ctx, both, kept)
	case err != nil:
		return p.later(err.Error()), nil
	case !dropped:
		p.arrived.Store(e.Pod.UID, nil)
		p.wakeRun()
	}
	return "", nil
}

// enqueue leaves the whole outcome to run.
func (p *publisher) enqueue(ctx context.Context, e entry) (queued string, err error) {
	both, _, kept := p.keep(ctx, e)
	switch {
	case kept != nil:
		return "", p.deliverUnqueued(ctx, both, kept)
	case e.Patch != nil || p.away.Load():
		return p.later("the API server cannot be reached"), nil
	}
	p.wakeRun()
	return "", nil
}

// keep queues an outcome, and returns it merged with what is queued for its pod, and
// what was queued before.
func (p *publisher) keep(ctx context.Context, e entry) (both, before entry, err error) {
	both, before, err = p.queue.add(e)
	if err != nil {
		p.log.ErrorContext(ctx, "an outcome cannot be queued; it is lost unless it can be published now", "pod", e.Pod.String(), "error", err)
	}
	return both, before, err
}

// deliverUnqueued sends an outcome that could not be queued.
func (p *publisher) deliverUnqueued(ctx context.Context, e entry, kept error) error {
	if err := p.deliver(ctx, e); err != nil {
		return lost(e.Pod, err, kept)
	}
	return nil
}

// lost returns the error for an outcome that could be neither published nor queued.
func lost(pod agentapi.Pod, err, kept error) error {
	return cnierror.With(cnitypes.ErrTryAgainLater, fmt.Errorf("publishing the outcome of pod %s: %w; queueing it: %w", pod, err, kept))
}

// later counts an outcome that run will send, and wakes run.
func (p *publisher) later(why string) string {
	p.metrics.publishes.WithLabelValues("queued").Inc()
	p.wakeRun()
	return why
}

func (p *publisher) wakeRun() {
	select {
	case p.wake <- struct{}{}:
	default: // run is awake
	}
}

// deliver sends an entry, the status before the events. What does not arrive stays
// in the queue. The caller holds the pod's lock.
func (p *publisher) deliver(ctx context.Context, e entry) error {
	dropped, failed := p.sendStatus(ctx, &e)
	if dropped || failed != nil && !p.isPodsOwn(failed) {
		return failed
	}
	if err := join(failed, p.sendEvents(ctx, &e)); err != nil {
		return join(err, p.queue.save(e))
	}
	p.metrics.publishes.WithLabelValues("published").Inc()
	return p.queue.remove(e.Pod.UID)
}

// sendStatus sends the status of an entry, if it has one, and removes it from the
// entry. The entry is dropped if its pod is gone.
func (p *publisher) sendStatus(ctx context.Context, e *entry) (dropped bool, err error) {
	if e.Patch == nil {
		return false, nil
	}
	return p.answered(ctx, e, p.api.patchStatus(ctx, e.Pod, e.Patch))
}

// isPodsOwn reports whether an error is one pod's trouble: the API server refuses its
// status, or is there and has not answered in time. Its events need not wait then.
func (p *publisher) isPodsOwn(err error) bool {
	var answer apierrors.APIStatus
	return errors.As(err, &answer) || errors.Is(err, context.DeadlineExceeded) && !p.away.Load()
}

// errRefused is returned for a status that the API server will never take.
var errRefused = errors.New("the API server refuses the network-status of the pod")

// answered applies the API server's answer to a status to its entry. The pod is gone if
// the answer is 404. It may be gone, or have another UID, if it is 409 or 422.
func (p *publisher) answered(ctx context.Context, e *entry, err error) (dropped bool, failed error) {
	p.note(ctx, err)
	switch {
	case err == nil:
		e.Patch = nil
		return false, nil
	case apierrors.IsNotFound(err):
		return true, p.drop(ctx, *e, err)
	case !apierrors.IsConflict(err) && !isRefused(err):
		return false, err
	}
	switch gone, unknown := p.source.gone(ctx, e.Pod); {
	case gone:
		return true, p.drop(ctx, *e, err)
	case unknown == nil && isRefused(err):
		err = fmt.Errorf("%w: %w (the annotations of a pod have at most 256 KiB together)", errRefused, err)
	}
	return false, err
}

// isRefused reports whether the API server does not take the object as it is.
func isRefused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// sendEvents sends the events of an entry, and removes those from it that have arrived or
// were given up.
func (p *publisher) sendEvents(ctx context.Context, e *entry) error {
	for len(e.Events) > 0 {
		o := e.Events[0]
		if err := p.say(ctx, e.Pod, o); err != nil {
			if p.away.Load() || p.now().Sub(o.Time) < eventPatience {
				return err
			}
			p.metrics.publishes.WithLabelValues("given_up").Inc()
			p.log.WarnContext(ctx, "an event is given up: the API server has refused it for an hour", "pod", e.Pod.String(), "message", o.Message, "error", err)
		}
		e.Events = e.Events[1:]
	}
	return nil
}

// say creates an event. One that was created lately is counted, and the next one has the
// number.
func (p *publisher) say(ctx context.Context, pod agentapi.Pod, o outcome) error {
	hold, held := p.said.holds(o.key(pod), o.Time)
	if hold {
		return nil
	}
	o.Repeated += held
	err := p.api.createEvent(ctx, o.event(pod, p.source.node))
	p.note(ctx, err)
	switch {
	case err == nil || apierrors.IsAlreadyExists(err):
		p.said.tell(o.key(pod), o.Time)
		return nil
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err) || isRefused(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		p.log.WarnContext(ctx, "an event is dropped: the API server rejected it", "pod", pod.String(), "message", o.Message, "error", err)
		return nil
	}
	return err
}

// note records whether the API server can be reached. A refusal is an answer too. A
// request that gets none in time may wait for a webhook, which is the pod's own trouble:
// the server is then asked for its health.
func (p *publisher) note(ctx context.Context, err error) {
	var answer apierrors.APIStatus
	p.away.Store(err != nil && !errors.As(err, &answer) && !p.api.alive(ctx))
}

func (p *publisher) drop(ctx context.Context, e entry, why error) error {
	p.metrics.publishes.WithLabelValues("dropped").Inc()
	p.log.InfoContext(ctx, "an outcome is dropped: its pod is gone", "pod", e.Pod.String(), "uid", e.Pod.UID, "answer", why)
	return p.queue.remove(e.Pod.UID)
}

// run publishes what is queued until ctx ends: events and what an earlier agent left
// at once, the rest when the API server can be reached again.
func (p *publisher) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := time.NewTimer(p.pass(ctx))
		select {
		case <-p.wake:
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
}

// pass publishes what is due, and returns how long to wait before the next pass. While
// the API server cannot be reached, it tries one pod after the other, at longer and
// longer intervals.
func (p *publisher) pass(ctx context.Context) time.Duration {
	now := time.Now()
	if p.away.Load() && now.Before(p.server.at) {
		return p.server.at.Sub(now)
	}
	uids, err := p.queue.list()
	if err != nil {
		p.log.ErrorContext(ctx, "the queue cannot be read", "error", err)
	}
	p.turns.keep(uids)
	for _, uid := range p.turns.inOrder(uids) {
		if !p.due(uid, now) {
			continue
		}
		err := p.retryOne(ctx, uid)
		if ctx.Err() != nil {
			return 0
		}
		if err == nil {
			delete(p.turns, uid)
			continue
		}
		p.complain(ctx, uid, len(uids), err)
		if p.away.Load() {
			p.server = p.server.after(time.Now(), p.firstWait, p.lastWait)
			p.turns[uid] = turn{p.server.at, p.turns[uid].wait} // another pod is next
			return time.Until(p.server.at)
		}
		p.turns[uid] = p.turns[uid].after(time.Now(), p.firstWait, p.longestWait)
	}
	p.server = turn{}
	return p.turns.until(time.Now(), p.lastWait)
}

// due reports whether a queued outcome is tried now.
func (p *publisher) due(uid string, now time.Time) bool {
	_, arrived := p.arrived.Load(uid)
	return arrived || p.away.Load() || !now.Before(p.turns[uid].at)
}

// complain logs why an outcome is not published, once for each kind of reason.
func (p *publisher) complain(ctx context.Context, uid string, queued int, err error) {
	key := string(apierrors.ReasonForError(err))
	if hold, held := p.trouble.holds(key, time.Now()); !hold {
		p.trouble.tell(key, time.Now())
		p.log.WarnContext(ctx, "outcomes are not published yet; the agent tries again", "queued", queued, "uid", uid, "error", err, "repeated", held)
	}
}

func (p *publisher) retryOne(ctx context.Context, uid string) error {
	unlock, err := p.queue.lock(uid)
	if err != nil {
		return err
	}
	defer unlock()
	_, arrived := p.arrived.LoadAndDelete(uid)
	e, err := p.queue.load(uid)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // published in the meantime
	case err != nil:
		p.log.ErrorContext(ctx, "a queued outcome cannot be read and is dropped", "error", err)
		p.metrics.publishes.WithLabelValues("dropped").Inc()
		return p.queue.remove(uid)
	}
	switch {
	case arrived:
		e.Patch = nil
	case e.Patch == nil && p.source.absent(e.Pod):
		// A PATCH would show whether the pod is gone, or only newer than the cache.
		gone, err := p.source.gone(ctx, e.Pod)
		p.note(ctx, err)
		if err != nil {
			return err
		}
		if gone {
			return p.drop(ctx, e, nil)
		}
	}
	return p.deliver(ctx, e)
}
