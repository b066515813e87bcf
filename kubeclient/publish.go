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

// publisher brings outcomes to the API server. Every outcome is in the queue
// before it is taken over, and until it has arrived; after a crash of the agent
// its status may be sent twice.
type publisher struct {
	queue   queue
	api     *api
	node    string
	gone    func(agentapi.Pod) bool // surely
	metrics *Metrics
	log     *slog.Logger

	// The waits between attempts while the API server is away.
	firstWait, lastWait time.Duration

	away    atomic.Bool // the API server, when it was last asked
	arrived sync.Map    // the UIDs of pods whose queued status has arrived
	wake    chan struct{}
	said    recently
	pods    podLocks
}

// entryOf makes what is to be published of a report. The error's code is 6
// where the report makes no sense.
func entryOf(p agentapi.Publish, now time.Time) (entry, error) {
	e := entry{Pod: p.Pod, Events: outcomesOf(p, now)}
	if !uidForm.MatchString(p.Pod.UID) {
		return e, cnierror.With(cnitypes.ErrDecodingFailure, fmt.Errorf("pod %s has UID %q, which is none", p.Pod, p.Pod.UID))
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

// publish takes an outcome over. The status is sent at once, while it is queued,
// and queued says why it has not arrived yet; the events are for run to send, for
// nobody's pod has to wait for them.
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
	// Queueing takes half as long as the API server's answer.
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

// enqueue leaves all of an outcome to run.
func (p *publisher) enqueue(ctx context.Context, e entry) (queued string, err error) {
	both, kept := p.keep(ctx, e)
	switch {
	case kept != nil:
		return "", p.deliverUnqueued(ctx, both, kept)
	case e.Patch != nil || p.away.Load():
		return p.later("the API server could not be reached"), nil
	}
	p.wakeRun()
	return "", nil
}

// keep queues an outcome, and returns it with what is queued of its pod already.
func (p *publisher) keep(ctx context.Context, e entry) (entry, error) {
	both, err := p.queue.add(e)
	if err != nil {
		p.log.ErrorContext(ctx, "an outcome cannot be queued; it is lost if it cannot be published now", "pod", e.Pod.String(), "error", err)
	}
	return both, err
}

// deliverUnqueued sends now what the queue could not keep.
func (p *publisher) deliverUnqueued(ctx context.Context, e entry, kept error) error {
	if err := p.deliver(ctx, e); err != nil {
		return lost(e.Pod, err, kept)
	}
	return nil
}

// lost is of an outcome that could be neither published nor queued.
func lost(pod agentapi.Pod, err, kept error) error {
	return cnierror.With(cnitypes.ErrTryAgainLater, fmt.Errorf("publishing of pod %s: %w; nor can it be queued: %w", pod, err, kept))
}

// later leaves an outcome to run.
func (p *publisher) later(why string) string {
	p.metrics.publishes.WithLabelValues("queued").Inc()
	p.wakeRun()
	return why
}

func (p *publisher) wakeRun() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// deliver sends an entry, the status before the events, and keeps in the
// queue what has not arrived. The caller has the pod's lock.
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

// sendStatus sends the status of an entry, where it has one, and takes it out
// of it. The entry of a pod that is gone is dropped.
func (p *publisher) sendStatus(ctx context.Context, e *entry) (dropped bool, err error) {
	if e.Patch == nil {
		return false, nil
	}
	return p.answered(ctx, e, p.api.patchStatus(ctx, e.Pod, e.Patch))
}

// answered is what the API server's answer to a status means for its entry.
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

// refusedForGood is of an answer that will be the same next time: there is no
// such pod (404), or none with that UID (422, and 409 where it goes meanwhile).
func refusedForGood(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err)
}

// say creates an event, once.
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
		p.log.WarnContext(ctx, "an event is refused for good", "pod", pod.String(), "message", o.Message, "error", err)
		return nil
	}
	return err
}

// note remembers whether the API server is there. An answer is one, whatever
// it says.
func (p *publisher) note(err error) {
	var answer apierrors.APIStatus
	p.away.Store(err != nil && !errors.As(err, &answer))
}

func (p *publisher) drop(ctx context.Context, e entry, why error) error {
	p.metrics.publishes.WithLabelValues("dropped").Inc()
	p.log.InfoContext(ctx, "an outcome is dropped: its pod is gone, or the API server refuses it for good", "pod", e.Pod.String(), "uid", e.Pod.UID, "answer", why)
	return p.queue.remove(e.Pod.UID)
}

// run publishes what is queued, until ctx ends: what an agent before this one
// has left and events at once, what could not be sent as soon as the API server
// is back.
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

// retry goes once through the queue, as long as the API server is there, and
// says whether nothing is left to do.
func (p *publisher) retry(ctx context.Context) (done bool) {
	uids, err := p.queue.list()
	if err != nil {
		p.log.ErrorContext(ctx, "the queue cannot be read", "error", err)
	}
	done = err == nil
	for _, uid := range uids {
		if err := p.retryOne(ctx, uid); err != nil {
			p.log.WarnContext(ctx, "an outcome is not published yet", "uid", uid, "error", err)
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
		return nil // published meanwhile
	case err != nil:
		p.log.ErrorContext(ctx, "a queued outcome cannot be read and is dropped", "error", err)
		p.metrics.publishes.WithLabelValues("dropped").Inc()
		return p.queue.remove(uid)
	}
	if arrived {
		e.Patch = nil
	}
	if e.Patch == nil && p.gone(e.Pod) {
		return p.drop(ctx, e, nil) // a PATCH would have told
	}
	return p.deliver(ctx, e)
}
