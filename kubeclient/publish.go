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
	node    string
	gone    func(agentapi.Pod) bool // false if it is not known
	metrics *Metrics
	log     *slog.Logger

	// The waits between attempts while the API server cannot be reached.
	firstWait, lastWait time.Duration

	away    atomic.Bool // whether the last request to the API server got no answer
	arrived sync.Map    // UIDs of the pods whose queued status has arrived
	wake    chan struct{}
	said    recently
	pods    podLocks
}

// entryOf returns what a report publishes. The code of an error is 6: the report is
// invalid.
func entryOf(p agentapi.Publish, now time.Time) (entry, error) {
	e := entry{Pod: p.Pod, Events: outcomesOf(p, now)}
	if !uidForm.MatchString(p.Pod.UID) {
		return e, cnierror.With(cnitypes.ErrDecodingFailure, fmt.Errorf("pod %s has UID %q, which is not a valid UID", p.Pod, p.Pod.UID))
	}
	if len(p.Attachments) == 0 {
		return e, nil
	}
	var attached []Attached
	for _, a := range p.Attachments {
		one := Attached{Name: a.Name, IfName: a.IfName, Bond: a.Bond, Result: a.Result, DefaultRoute: a.DefaultRoute}
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
	e.Patch = StatusPatch(types.UID(p.Pod.UID), Statuses(attached))
	return e, nil
}

// publish accepts an outcome. It sends the status while it writes the queue; queued
// is why the status has not arrived yet, or "". The events are sent by run, so that
// no pod has to wait for them.
func (p *publisher) publish(ctx context.Context, e entry) (queued string, err error) {
	if e.Patch == nil && len(e.Events) == 0 {
		return "", nil
	}
	defer p.pods.lock(e.Pod.UID)()
	if e.Patch != nil {
		p.arrived.Delete(e.Pod.UID)
	}
	if e.Patch == nil || p.away.Load() {
		return p.enqueue(ctx, e)
	}
	answer := make(chan error, 1)
	// Writing the queue takes half as long as the API server takes to answer.
	go func() { answer <- p.api.patchStatus(ctx, e.Pod, e.Patch) }()
	both, kept := p.keep(ctx, e)
	dropped, err := p.answered(ctx, &both, <-answer)
	switch {
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
	both, kept := p.keep(ctx, e)
	switch {
	case kept != nil:
		return "", p.deliverUnqueued(ctx, both, kept)
	case e.Patch != nil || p.away.Load():
		return p.later("the API server cannot be reached"), nil
	}
	p.wakeRun()
	return "", nil
}

// keep queues an outcome, and returns it merged with what is queued for its pod.
func (p *publisher) keep(ctx context.Context, e entry) (entry, error) {
	both, err := p.queue.add(e)
	if err != nil {
		p.log.ErrorContext(ctx, "an outcome cannot be queued; it is lost unless it can be published now", "pod", e.Pod.String(), "error", err)
	}
	return both, err
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
	if dropped, err := p.sendStatus(ctx, &e); dropped || err != nil {
		return err
	}
	for len(e.Events) > 0 {
		if err := p.say(ctx, e.Pod, e.Events[0]); err != nil {
			return errors.Join(err, p.queue.save(e))
		}
		e.Events = e.Events[1:]
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

// answered applies the API server's answer to a status to its entry.
func (p *publisher) answered(ctx context.Context, e *entry, err error) (dropped bool, failed error) {
	p.note(err)
	if refusedForGood(err) {
		return true, p.drop(ctx, *e, err)
	}
	if err == nil {
		e.Patch = nil
	}
	return false, err
}

// refusedForGood reports whether the answer would be the same next time: the pod is
// gone (404), or has another UID (422, or 409 if it is being deleted).
func refusedForGood(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err)
}

// say creates an event unless it was created before.
func (p *publisher) say(ctx context.Context, pod agentapi.Pod, o outcome) error {
	event := o.event(pod, p.node)
	if p.said.has(event.Name) {
		return nil
	}
	err := p.api.createEvent(ctx, event)
	p.note(err)
	switch {
	case err == nil || apierrors.IsAlreadyExists(err):
		p.said.add(event.Name)
		return nil
	case refusedForGood(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		p.log.WarnContext(ctx, "an event is dropped: the API server rejected it", "pod", pod.String(), "message", o.Message, "error", err)
		return nil
	}
	return err
}

// note records whether the API server answered. A refusal is an answer too.
func (p *publisher) note(err error) {
	var answer apierrors.APIStatus
	p.away.Store(err != nil && !errors.As(err, &answer))
}

func (p *publisher) drop(ctx context.Context, e entry, why error) error {
	p.metrics.publishes.WithLabelValues("dropped").Inc()
	p.log.InfoContext(ctx, "an outcome is dropped: its pod is gone, or the API server rejected it", "pod", e.Pod.String(), "uid", e.Pod.UID, "answer", why)
	return p.queue.remove(e.Pod.UID)
}

// run publishes what is queued until ctx ends: events and what an earlier agent left
// at once, the rest when the API server can be reached again.
func (p *publisher) run(ctx context.Context) {
	wait := p.firstWait
	for {
		if p.retry(ctx) {
			wait = p.firstWait
			select {
			case <-p.wake:
			case <-ctx.Done():
				return
			}
			if !p.away.Load() {
				continue
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, p.lastWait)
	}
}

// retry goes through the queue once, until the API server stops answering. It
// reports whether the queue is done.
func (p *publisher) retry(ctx context.Context) (done bool) {
	uids, err := p.queue.list()
	if err != nil {
		p.log.ErrorContext(ctx, "the queue cannot be read", "error", err)
	}
	done = err == nil
	for _, uid := range uids {
		if err := p.retryOne(ctx, uid); err != nil {
			p.log.WarnContext(ctx, "an outcome is not published yet; the agent tries again", "uid", uid, "error", err)
			done = false
		}
		if p.away.Load() {
			return false
		}
	}
	return done
}

func (p *publisher) retryOne(ctx context.Context, uid string) error {
	defer p.pods.lock(uid)()
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
	if arrived {
		e.Patch = nil
	}
	if e.Patch == nil && p.gone(e.Pod) {
		return p.drop(ctx, e, nil) // a PATCH would have shown it
	}
	return p.deliver(ctx, e)
}
