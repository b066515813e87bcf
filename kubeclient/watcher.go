package kubeclient

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// How often a pod is told about one bond. What happens in between is told together.
const (
	carrierTime = 5 * time.Second // after ADD: links get their carrier
	firstPause  = 10 * time.Second
	lastPause   = 10 * time.Minute // of a bond that goes on changing
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
	tell func(agentapi.Pod, outcome)
	log  *slog.Logger

	mu      sync.Mutex
	table   bondTable
	socket  *os.File  // nil: none
	at      time.Time // of the Watch that it came with
	lost    bool      // events were lost: the table may be wrong
	heard   uint64    // events
	resyncs uint64    // Watches after the first one
}

func newWatcher(tell func(agentapi.Pod, outcome), log *slog.Logger) *watcher {
	return &watcher{tell: tell, log: log, table: newBondTable()}
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
		w.socket.Close()
		w.resyncs++
	}
	old := w.table
	w.socket, w.at, w.lost, w.table = from.Events, from.At, false, newBondTable()
	for _, e := range from.Now {
		w.table.apply(e)
	}
	for _, b := range from.Bonds {
		one := w.table.add(b)
		if before := old.bonds[linkKey{b.NSID, b.Index}]; before != nil && before.Pod == b.Pod && before.IfName == b.IfName {
			one.failovers, one.reported, one.last = before.failovers, before.reported, before.last
			w.report(one)
			continue
		}
		w.settle(one)
	}
	go w.listen(from.Events)
	return nil
}

// add takes over the bonds of an ADD, which can have told of them before. If the watcher is
// blind it hears of them again.
func (w *watcher) add(bonds []agentapi.Bond) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range bonds {
		if known := w.table.bonds[linkKey{b.NSID, b.Index}]; known == nil || known.Pod != b.Pod || known.IfName != b.IfName {
			w.settle(w.table.add(b))
		}
	}
}

// settle reports nothing about a new bond until its links have had time to come up.
func (w *watcher) settle(b *watchedBond) {
	b.last = reporting{next: time.Now().Add(carrierTime), times: map[string]int{}}
	w.report(b)
}

// listen reads events until the socket is closed.
func (w *watcher) listen(socket *os.File) {
	for {
		events, err := bond.ReadEvents(socket)
		if errors.Is(err, os.ErrClosed) {
			return // another one has taken its place
		}
		w.mu.Lock()
		w.lost = w.lost || err != nil
		for _, e := range events {
			w.heard++
			if b := w.table.apply(e); b != nil {
				w.report(b)
			}
		}
		w.mu.Unlock()
		if err != nil {
			w.log.Warn("the state of bonds may be out of date until the next ADD or STATUS", "error", err)
		}
		if err != nil && !errors.Is(err, bond.ErrEventsLost) {
			return
		}
	}
}

// report tells the pod what has become of its bond, unless it was told a moment ago: then
// later. The caller holds the lock.
func (w *watcher) report(b *watchedBond) {
	now := w.table.state(b)
	if now.condition == b.reported.condition && now.failovers == b.reported.failovers && time.Now().After(b.last.next) || b.last.waiting {
		return
	}
	if wait := time.Until(b.last.next); wait > 0 {
		b.last.waiting = true
		time.AfterFunc(wait, func() { w.reportLate(b) })
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

// reportLate reports a bond unless it is gone.
func (w *watcher) reportLate(b *watchedBond) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.last.waiting = false
	if w.table.bonds[linkKey{b.NSID, b.Index}] == b {
		w.report(b)
	}
}
