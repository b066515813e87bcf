package kubeclient

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// How often a pod is told about one bond. What happens in between is told together.
const (
	carrierTime = 5 * time.Second        // after ADD: links get their carrier
	oneFailure  = 100 * time.Millisecond // in which the kernel tells of all that one failure does
	firstPause  = 10 * time.Second
	lastPause   = 10 * time.Minute // of a bond that goes on changing

	// delTime is longer than a DEL, which deletes the bond first and is heard of at its end.
	// A bond that has been gone for so long, while its namespace is there, was deleted by its
	// application.
	delTime = time.Minute
)

// errNoEvents is returned for a Watch without its socket.
var errNoEvents = errors.New("the socket of events is missing")

// reporting is when events about a bond may be sent.
type reporting struct {
	next    time.Time
	pause   time.Duration // before next
	waiting bool
	times   map[string]int // by reason
}

// watcher knows how every bond of this node is. It listens to a socket that the plugin has
// opened, and needs no capability and no namespace for that.
type watcher struct {
	tell    func(agentapi.Pod, outcome)
	changed func(types.NamespacedName)             // a pod has a bond that may be in another state
	await   func(*os.File) error                   // until there is something to hear
	read    func(*os.File, func(bond.Event)) error // all that is to be heard by now
	log     *slog.Logger
	delTime time.Duration

	mu      sync.Mutex
	table   bondTable
	socket  *os.File  // nil: none
	at      time.Time // of the Watch that it came with
	lost    bool      // events were lost: the table may be wrong
	heard   uint64    // events
	resyncs uint64    // Watches after the first one
}

func newWatcher(tell func(agentapi.Pod, outcome), log *slog.Logger) *watcher {
	return &watcher{tell: tell, changed: func(types.NamespacedName) {}, await: bond.AwaitEvents, read: bond.ReadEvents, log: log, delTime: delTime, table: newBondTable()}
}

// blind reports whether the watcher needs a Watch.
func (w *watcher) blind() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.socket == nil || w.lost
}

// take listens to another socket. What was there when it was opened replaces all that is
// known; what happened since is still to be heard. Two calls of the plugin can bring a
// Watch at the same time: the older one may lack the bond of an ADD that has ended since.
func (w *watcher) take(from agentapi.Watch) error {
	if from.Events == nil {
		return errNoEvents
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.socket != nil && from.At.Before(w.at) {
		return from.Events.Close()
	}
	if w.socket != nil {
		w.hear()
		w.socket.Close()
		w.resyncs++
	}
	old := w.table
	w.socket, w.at, w.lost, w.table = from.Events, from.At, false, newBondTable()
	for _, e := range from.Now {
		w.table.apply(e)
	}
	w.takeDeleted(from.Bonds, old)
	w.hear()
	for _, b := range from.Bonds {
		if !w.table.knows(b) {
			continue // it has ended since
		}
		one := w.table.add(b)
		if before := old.bonds[linkKey{b.NSID, b.Index}]; before != nil && before.is(b) {
			one.settled, one.failovers, one.failedOver, one.reported, one.last = before.settled, before.failovers, before.failedOver, before.reported, before.last
			w.report(one)
			continue
		}
		w.settle(one)
	}
	go w.listen(from.Events)
	return nil
}

// takeDeleted takes over the bonds that are not there although their pods are, and no DEL
// has begun: those that are known as deleted, unless another pod has the namespace's number,
// and those of a Watch that are not among what is there. One of keep lists no bond that is
// not there. The caller holds the lock.
func (w *watcher) takeDeleted(bonds []agentapi.Bond, old bondTable) {
	for key, before := range old.deleted {
		if !slices.ContainsFunc(bonds, func(b agentapi.Bond) bool { return b.NSID == key.nsid && b.Pod != before.Pod }) {
			w.table.deleted[key] = before
		}
	}
	for _, b := range bonds {
		key := linkKey{b.NSID, b.Index}
		if w.table.knows(b) || w.table.deleted[key] != nil {
			continue
		}
		w.table.deleted[key] = &watchedBond{Bond: b}
		w.awaitDEL(w.table.deleted[key])
	}
}

// awaitDEL has a pod told that its bond was deleted, if no DEL comes.
func (w *watcher) awaitDEL(b *watchedBond) {
	time.AfterFunc(w.delTime, func() { w.tellDeleted(b) })
}

// tellDeleted tells a pod that its bond was deleted, unless its DEL has come or its namespace
// has ended.
func (w *watcher) tellDeleted(b *watchedBond) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear()
	if w.table.deleted[linkKey{b.NSID, b.Index}] != b {
		return
	}
	b.deleted = true
	w.changed(b.nameOfPod())
	go w.tell(b.Pod, deletedOutcome(b, time.Now())) // the API server may be slow
}

// end takes note of a DEL.
func (w *watcher) end(pod agentapi.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear()
	w.table.end(pod)
}

// add takes over the bonds of an ADD, which can have told of them before. All that the
// kernel has told until now comes first: it may be the end of a namespace whose number the
// pod of this ADD has got. A bond that was not heard of is older than the socket. The
// watcher then needs a Watch, which has that bond. add returns how those are that it knows.
func (w *watcher) add(bonds []agentapi.Bond) (known []bondStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear()
	for _, b := range bonds {
		if !w.table.knows(b) {
			w.lost = true
			continue
		}
		one := w.table.bonds[linkKey{b.NSID, b.Index}]
		if one == nil || !one.is(b) {
			one = w.table.add(b)
			w.settle(one)
		}
		known = append(known, w.table.status(one, time.Now()))
	}
	return known
}

// statuses returns how the bonds of a pod are now, or none if that may be out of date.
func (w *watcher) statuses(pod *corev1.Pod) (out []bondStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear()
	if w.socket == nil || w.lost {
		return nil
	}
	for _, b := range w.table.sorted() {
		if b.Pod.Namespace == pod.Namespace && b.Pod.Name == pod.Name && isPod(pod, b.Pod.UID) {
			out = append(out, w.table.status(b, time.Now()))
		}
	}
	return out
}

// settle reports nothing about a new bond until its links have had time to come up.
func (w *watcher) settle(b *watchedBond) {
	b.settled = time.Now().Add(carrierTime)
	time.AfterFunc(carrierTime, func() { w.changed(b.nameOfPod()) })
	b.last = reporting{next: b.settled, times: map[string]int{}}
	w.report(b)
}

// listen hears of bonds until the socket is closed.
func (w *watcher) listen(socket *os.File) {
	for {
		err := w.await(socket)
		w.mu.Lock()
		if w.socket != socket {
			w.mu.Unlock()
			return // another one has taken its place
		}
		if err == nil {
			err = w.hear()
		}
		w.mu.Unlock()
		if err != nil && !errors.Is(err, bond.ErrEventsLost) {
			return
		}
	}
}

// hear takes over all that the kernel has told until now. The caller holds the lock.
func (w *watcher) hear() error {
	if w.socket == nil {
		return nil
	}
	err := w.read(w.socket, func(e bond.Event) {
		w.heard++
		b := w.table.apply(e)
		if b != nil && e.FailedOver {
			b.failedOver = time.Now()
		}
		switch {
		case b == nil:
		case w.table.deleted[linkKey{b.NSID, b.Index}] == b:
			w.awaitDEL(b)
		default:
			w.report(b)
		}
	})
	if err != nil {
		if !w.lost {
			w.log.Warn("the state of bonds may be out of date until the next ADD or STATUS", "error", err)
		}
		w.lost = true
	}
	return err
}

// report has the pod told what has become of its bond, soon, or when the pause since the
// last time is over. The caller holds the lock.
func (w *watcher) report(b *watchedBond) {
	w.changed(b.nameOfPod())
	if b.last.waiting || !b.reported.differs(w.table.state(b)) {
		return
	}
	b.last.waiting = true
	time.AfterFunc(max(oneFailure, time.Until(b.last.next)), func() { w.reportNow(b) })
}

// reportNow tells a bond's pod what is different now from what it was told, unless the bond
// is gone.
func (w *watcher) reportNow(b *watchedBond) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.last.waiting = false
	now := w.table.state(b)
	if w.table.bonds[linkKey{b.NSID, b.Index}] != b || !b.reported.differs(now) {
		return
	}
	outcomes := w.table.outcomesOfBond(b, now, time.Now())
	b.reported = now
	b.last.passed(time.Now())
	go func() { // the API server may be slow
		for _, o := range outcomes {
			w.tell(b.Pod, o)
		}
	}()
}

// passed begins a pause, which is twice as long as the one before if that has just ended.
func (r *reporting) passed(now time.Time) {
	r.pause = min(2*r.pause, lastPause)
	if now.Sub(r.next) > lastPause || r.pause == 0 {
		r.pause = firstPause
	}
	r.next = now.Add(r.pause)
}
