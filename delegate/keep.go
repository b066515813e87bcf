package delegate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/dirwatch"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// A duty is something that Keep does for each bond. It compares the bond with what it has
// to be, and returns the first step that is missing, or nil. It changes nothing itself. It
// is the same for a restart and for each event.
type duty func(k *keeper, rec *record.Record, now sight) ([]errand, error)

// An errand is one step. Keep holds the locks on the Record's container and devices
// meanwhile. What do changes is undone by restore, so it is in the Record, on disk, before
// that.
type errand struct {
	what string
	do   func(ctx context.Context) error
}

// duties are done in this order.
var duties = []duty{attachLate, returnLinks, relayCarriers, endDrills}

const (
	firstPause = 250 * time.Millisecond // before something that has failed is tried again
	longPause  = time.Minute            // each pause is twice as long as the one before, but not longer than this
	sureLook   = time.Minute            // between two looks at a directory, in case that its changes cannot be heard
	mostSteps  = 3 * 32                 // for one Record at once: more than all its links need
)

// Keep looks after the bonds of this node until ctx ends: whenever a link or a Record
// changes, it does its duties for the Records that this concerns, and it sets the routes to
// other hosts that they need. It keeps nothing that it could not find out again, so it can
// be killed at any time. It needs CAP_NET_ADMIN and CAP_NET_BROADCAST in the host's network
// namespace, and enters no other unless c allows it. say gets what it has done, and what it
// could not do, one line each. It returns an error if it cannot hear what the kernel tells.
func (h *Host) Keep(ctx context.Context, c KeepConfig, say func(string)) error {
	if err := os.MkdirAll(h.Store.Dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	events, err := h.Kernel.OpenEvents()
	if err != nil {
		return err
	}
	defer events.Close()
	if !c.Yield {
		if held, err := h.Store.HoldKeep(); err == nil {
			defer held.Close()
		} else {
			say(err.Error())
		}
	}
	k, err := h.newKeeper(c, say)
	if err != nil {
		return err
	}
	defer k.host.Close()
	heard, read, deaf := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { deaf <- await(events, heard, read) }()
	written, restarted := make(chan struct{}, 1), make(chan struct{}, 1)
	k.reread()
	k.lookForRoutes()
	go dirwatch.Follow(ctx, h.Store.Dir, 0, sureLook, func() { signal(written) })
	go dirwatch.Follow(ctx, filepath.Dir(c.Agent), 0, sureLook, func() { signal(restarted) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-deaf:
			return err
		case <-heard:
			if err := k.listen(ctx, events); err != nil {
				return err
			}
			read <- struct{}{}
		case <-written:
			k.reread()
		case <-restarted:
			k.openEyes(ctx)
			k.tellAnew()
		case a := <-k.routes.answers:
			k.hearAnswer(ctx, a)
		case <-time.After(k.pause()):
		}
		k.doDuties(ctx)
	}
}

// await sends to heard whenever there are events, and then waits for read.
func await(events *os.File, heard chan<- struct{}, read <-chan struct{}) error {
	for {
		if err := bond.AwaitEvents(events); err != nil {
			return err
		}
		heard <- struct{}{}
		<-read
	}
}

// signal sends to c, unless there is a message already that nobody has read.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// KeepConfig is how [Host.Keep] works.
type KeepConfig struct {
	Agent   string        // the agent's socket
	HoldOff time.Duration // how long a PF must have its carrier back before its VFs get theirs
	Netns   string        // the directory of the pods' network namespaces, which Keep may enter (CAP_SYS_ADMIN); "": none
	Yield   bool          // take the carrier from no VF, set no route, and give back what was taken
}

// keeper is what Keep knows. One goroutine has it: locks of one process do not keep its
// own goroutines from each other.
type keeper struct {
	*Host
	KeepConfig
	tell      func(string)
	host      bond.Namespace
	records   map[plan.Key]keptRecord
	due       map[plan.Key]time.Time // the Records to look at, and when
	failed    map[plan.Key]failure   // those for which something has failed
	ended     map[plan.Key]time.Time // the Records whose namespaces have ended, by the time of their ADD
	unseen    bool                   // the agent has to be shown the bonds: a link has another index
	back      map[string]time.Time   // since when PFs have their carrier back, by name
	partnered map[string]bool        // the PFs, by PCI address, that had an LACP partner
	new       map[string]settling    // devices that were missing, and are there
	routes    router
}

// keptRecord is a Record with the file that it was read from.
type keptRecord struct {
	*record.Record
	file os.FileInfo
	pfs  []string // the PFs of its VFs, by PCI address: a PF may have another name by now
	late *late    // what it was made without; nil: nothing
}

// failure is what has failed for a Record, and how long it then waited.
type failure struct {
	text  string
	pause time.Duration
}

func (h *Host) newKeeper(c KeepConfig, say func(string)) (*keeper, error) {
	host, err := h.Kernel.Host()
	if err != nil {
		return nil, err
	}
	return &keeper{
		Host: h, KeepConfig: c, tell: say, host: host, back: map[string]time.Time{}, partnered: map[string]bool{}, new: map[string]settling{}, records: map[plan.Key]keptRecord{},
		due: map[plan.Key]time.Time{}, failed: map[plan.Key]failure{}, ended: map[plan.Key]time.Time{},
		routes: router{rails: map[plan.Key][]rail{}, answers: make(chan routesTold, 1)},
	}, nil
}

func (k *keeper) say(format string, args ...any) { k.tell(fmt.Sprintf(format, args...)) }

// openEyes is [Host.OpenEyes]. It does not enter the pods' namespaces.
func (k *keeper) openEyes(ctx context.Context) {
	if blind, err := (agentapi.Client{Socket: k.Agent, Timeout: blindTimeout}).Blind(ctx); err != nil || !blind {
		return
	}
	k.show(ctx)
}

// show gives the agent a socket of events and the state of all bonds. Without an agent there
// is nobody to tell: one that starts later asks by itself.
func (k *keeper) show(ctx context.Context) {
	err := k.giveEyesBy(ctx, k.Agent, func(_ bond.Namespace, rec *record.Record, w *agentapi.Watch) {
		if now, there, err := k.see(rec); err == nil && there {
			addBond(rec, *rec.NSID, now.pod, w)
		}
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.say("the agent cannot watch the bonds of this node: %v", err)
	}
}

// listen reads what the kernel has told. If something was lost, all has to be looked at.
func (k *keeper) listen(ctx context.Context, events *os.File) error {
	err := bond.ReadEvents(events, k.hear)
	if !errors.Is(err, bond.ErrEventsLost) {
		return err
	}
	for key := range k.records {
		k.look(key)
	}
	if len(k.routes.rails) > 0 {
		k.lookAtRoutes()
	}
	k.openEyes(ctx) // it will have lost them, too
	return nil
}

// hear has the Records looked at that an event concerns: those of its namespace, or, if
// that is the host's, those that have the device, or a VF of the PF.
func (k *keeper) hear(e bond.Event) {
	if e.Kind == bond.Forgotten {
		for key, rec := range k.records {
			if *rec.NSID == e.NSID {
				k.ended[key] = rec.Created
			}
		}
		return
	}
	if e.NSID == bond.OwnNamespace {
		k.hearOfRoutes(e)
	}
	for key, rec := range k.records {
		concerns := e.NSID == *rec.NSID
		if e.NSID == bond.OwnNamespace {
			concerns = slices.ContainsFunc(rec.Plan.Links, func(l plan.Link) bool {
				return l.Device != "" && l.Device == e.Link.Device
			}) || slices.Contains(rec.pfs, e.Link.Device) || rec.late.has(e.Link.Device)
		}
		if concerns {
			k.look(key)
		}
	}
}

// look has a Record looked at next.
func (k *keeper) look(key plan.Key) { k.due[key] = time.Now() }

// lookAt has a Record looked at at a time, unless it is looked at earlier.
func (k *keeper) lookAt(key plan.Key, at time.Time) {
	if due, is := k.due[key]; !is || at.Before(due) {
		k.due[key] = at
	}
}

// reread is refresh, and tells what it could not do.
func (k *keeper) reread() {
	if err := k.refresh(); err != nil {
		k.say("%v", err)
	}
}

// refresh reads the Records that are new or have changed, and forgets those that are gone.
func (k *keeper) refresh() error {
	keys, err := k.Store.List()
	if k.routes.unread = err; err != nil {
		return err
	}
	for key := range k.records {
		if !slices.Contains(keys, key) {
			k.forget(key)
		}
	}
	for key := range k.routes.rails {
		if !slices.Contains(keys, key) {
			k.noteRails(key, nil)
		}
	}
	for _, key := range keys {
		now, err := os.Stat(k.Store.File(key))
		if was := k.records[key].file; err != nil || was != nil && os.SameFile(was, now) && was.ModTime().Equal(now.ModTime()) {
			continue
		}
		k.reload(key, now)
	}
	return nil
}

// reload reads a Record, and has it looked at if its bond is kept. A Record that cannot be
// read is a warning of its own DEL.
func (k *keeper) reload(key plan.Key, file os.FileInfo) {
	rec, err := k.Store.Load(key)
	switch {
	case err == nil:
		k.noteRails(key, k.railsOf(rec))
	case !errors.Is(err, fs.ErrNotExist):
		k.routes.unread = err
	}
	if err != nil || !k.isKept(rec) {
		k.forget(key)
		return
	}
	k.records[key] = keptRecord{rec, file, k.pfsOf(rec), lateOf(rec)}
	k.look(key)
}

// pfsOf lists the PFs of a Record's VFs.
func (k *keeper) pfsOf(rec *record.Record) (pfs []string) {
	for _, l := range rec.Plan.Links {
		if d, err := bond.ReadDevice(k.Sys, l.Device, l.DevPort); err == nil && d.PF != "" {
			pfs = append(pfs, d.PF)
		}
	}
	return pfs
}

func (k *keeper) forget(key plan.Key) {
	delete(k.records, key)
	delete(k.due, key)
	delete(k.failed, key)
	delete(k.ended, key)
}

// isKept reports whether a Record has a bond that Keep looks after: its ADD is complete,
// its DEL has not begun, and its namespace has a number.
func (h *Host) isKept(rec *record.Record) bool {
	return rec.Plan.IsBond() && rec.BootID == h.BootID && rec.Phase() == record.Complete &&
		rec.Tried.IsZero() && rec.NSID != nil && rec.BondIndex != 0
}

// pause returns the time until the next Record is due.
func (k *keeper) pause() time.Duration {
	next := time.Hour
	for _, at := range k.due {
		next = min(next, time.Until(at))
	}
	if !k.routes.due.IsZero() {
		next = min(next, time.Until(k.routes.due))
	}
	return max(next, 0)
}

// doDuties does the duties for all Records that are due.
func (k *keeper) doDuties(ctx context.Context) {
	now := time.Now()
	for key, at := range k.due {
		if at.After(now) {
			continue
		}
		delete(k.due, key)
		if err := k.serve(ctx, key); err != nil {
			k.again(key, err)
		} else {
			delete(k.failed, key)
		}
	}
	if k.unseen {
		k.unseen = false
		k.show(ctx)
	}
	k.keepRoutes(ctx)
}

// again has a Record looked at later, after something has failed. What has failed the same
// way before is not told again.
func (k *keeper) again(key plan.Key, err error) {
	was := k.failed[key]
	now := failure{err.Error(), min(max(2*was.pause, firstPause), longPause)}
	if now.text != was.text && !errors.Is(err, errBusy) {
		k.say("%s: %v; it is tried again", key, err)
	}
	k.failed[key] = now
	k.lookAt(key, time.Now().Add(now.pause)) // or earlier, for another duty
}

// serve does all duties for one Record, one step after the other, and looks again after
// each. It takes locks only if there is something to do.
func (k *keeper) serve(ctx context.Context, key plan.Key) error {
	failed := failures{}
	for range mostSteps {
		rec, known := k.records[key]
		if !known {
			return nil
		}
		if todo, err := k.next(rec.Record, failed); todo == nil {
			return failed.with(err)
		}
		if more, err := k.step(ctx, key, failed); !more || err != nil {
			return failed.with(err)
		}
	}
	return failed.with(fmt.Errorf("it is not as it has to be after %d steps", mostSteps))
}

// failures are the steps that have failed, by what they are. The others go on.
type failures map[string]error

// with adds all failures to an error, which may be nil.
func (f failures) with(err error) error {
	for _, what := range slices.Sorted(maps.Keys(f)) {
		err = errors.Join(err, f[what])
	}
	return err
}

// next returns the first step that is missing for a Record and has not failed, or nil. If it
// is nil, the error is why steps may be missing.
func (k *keeper) next(rec *record.Record, failed failures) (*errand, error) {
	now, there, err := k.see(rec)
	if err != nil || !there {
		return nil, err
	}
	var errs []error
	for _, d := range duties {
		steps, err := d(k, rec, now)
		errs = append(errs, err)
		for _, one := range steps {
			if failed[one.what] == nil {
				return &one, nil
			}
		}
	}
	return nil, errors.Join(errs...)
}

// errBusy is returned while an ADD or a DEL has the Record.
var errBusy = errors.New("an ADD or a DEL is at work")

// step takes the Record's locks, reads it and looks again, and does the first step that is
// missing. It waits for no lock, so that no ADD or DEL waits for more than that step. more is
// false if nothing was missing any more. If the step itself fails, that is added to failed.
func (k *keeper) step(ctx context.Context, key plan.Key, failed failures) (more bool, err error) {
	locks, err := record.OpenLocks(k.Store.Dir, 0)
	if err != nil {
		return false, err
	}
	defer locks.Close()
	devices := k.records[key].Plan.Devices()
	if err := errors.Join(locks.Lock(ctx, "container", key.ContainerID), locks.Lock(ctx, "device", devices...)); err != nil {
		if cnierror.Code(err) == types.ErrTryAgainLater {
			err = fmt.Errorf("%w: %w", errBusy, err)
		}
		return false, err
	}
	file, err := os.Stat(k.Store.File(key))
	if errors.Is(err, fs.ErrNotExist) {
		k.forget(key)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if k.reload(key, file); k.records[key].Record == nil {
		return false, nil
	}
	delete(k.due, key) // it is looked at now
	todo, err := k.next(k.records[key].Record, failed)
	if todo == nil {
		return false, err
	}
	if err := todo.do(ctx); err != nil {
		failed[todo.what] = fmt.Errorf("%s: %w", todo.what, err)
	} else {
		k.say("%s: %s", key, todo.what)
	}
	return true, k.hasWritten(key)
}

// hasWritten notes the file of a Record that Keep itself may have written. It is nothing to
// look at again.
func (k *keeper) hasWritten(key plan.Key) error {
	file, err := os.Stat(k.Store.File(key))
	kept := k.records[key]
	kept.file, kept.pfs = file, k.pfsOf(kept.Record)
	k.records[key] = kept
	return err
}

// sight is what is there of a Record's bond.
type sight struct {
	pod  []bond.Event // all links of the pod
	bond bond.Event
}

// links lists the links of the pod.
func (s sight) links() (all []bond.Link) {
	for _, e := range s.pod {
		all = append(all, e.Link)
	}
	return all
}

// see looks at the bond of a Record. there is false if the bond is gone, or if the number
// of its namespace is another's by now: the kernel gives it to the next namespace. What has
// the number is the Record's namespace only if no end of it was heard, if no later Record has
// the number, and if it has a bond of the same index and name in which there is no device but
// the Record's.
func (k *keeper) see(rec *record.Record) (now sight, there bool, err error) {
	if !k.isKept(rec) || k.ended[rec.Plan.Key()].Equal(rec.Created) || k.isSucceeded(rec) {
		return sight{}, false, nil
	}
	now.pod, err = k.host.ObserveIn(*rec.NSID)
	if errors.Is(err, unix.EINVAL) {
		return sight{}, false, nil
	}
	for _, e := range now.pod {
		switch l := e.Link; {
		case l.Index == rec.BondIndex:
			there = l.Kind == "bond" && l.Name == rec.Plan.Bond.Name
			now.bond = e
		case l.Master == rec.BondIndex && !slices.ContainsFunc(rec.Plan.Links, func(p plan.Link) bool { return rec.Is(p, l) }):
			return sight{}, false, nil
		}
	}
	return now, there, err
}

// isSucceeded reports whether a Record of another container has the number of this one's
// namespace, and is later.
func (k *keeper) isSucceeded(rec *record.Record) bool {
	for _, other := range k.records {
		if *other.NSID == *rec.NSID && other.Plan.ContainerID != rec.Plan.ContainerID && other.Created.After(rec.Created) {
			return true
		}
	}
	return false
}
