package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/record"
)

// What cannot be restored keeps its pod for as long as Limbo.GiveUp, whatever it is.
// Then the pod goes, and the Record is set aside. It is tried again by each GC, by a
// further DEL of the sandbox, and by the next ADD that wants one of its devices.

// A later is an error that lasts until somebody else does something. No DEL waits for
// that: what it concerns is given up at once.
type later struct{ error }

// postpone keeps a later apart from other errors.
func (w *wayBack) postpone(err error) error {
	if errors.As(err, new(later)) {
		w.later = errors.Join(w.later, err)
		return nil
	}
	return err
}

// failed writes a Record that could not be restored, and lets go of the links that could.
func (h *Host) failed(rec *record.Record) error {
	if rec.Failing.IsZero() {
		rec.Failing = time.Now()
	}
	if err := h.Store.Update(rec); err != nil {
		return cnierror.With(types.ErrIOFailure, err)
	}
	return cnierror.With(types.ErrIOFailure, h.Store.ReleaseRestored(rec))
}

// setRefusedAside sets a Record aside before its time is over: nothing is left of it but
// what plugins refuse to delete, and a runtime can have forgotten its sandbox by now. The
// error has failure.
func (h *Host) setRefusedAside(rec *record.Record, failure error) error {
	rec.SetLeft(failure)
	return errors.Join(failure, h.failed(rec), cnierror.With(types.ErrIOFailure, h.Store.SetAside(rec)))
}

// givesUp reports whether restoring a Record has failed for so long that nothing may
// wait for it any more.
func (h *Host) givesUp(rec *record.Record) bool {
	return rec.Aside != "" && !rec.KeepsNothing() || rec.FailsFor(h.Limbo.GiveUp)
}

// giveUp sets a Record aside, unless there is nothing to try again. What is not as before
// is a warning.
func (h *Host) giveUp(rec *record.Record, failure error, o *outcome) error {
	rec.SetLeft(failure)
	if rec.KeepsNothing() {
		o.leave("%s: given up, as this has failed since %s; ADD was refused, too, so nothing is known that is left", rec.Left, rec.Failing.Format(time.RFC3339))
		return cnierror.With(types.ErrIOFailure, h.Store.End(rec))
	}
	since := ""
	if !rec.Failing.IsZero() {
		since = "given up, as this has failed since " + rec.Failing.Format(time.RFC3339) + ", and "
	}
	what := fmt.Sprintf("%s: %sset aside (multibond plan -container %s)", rec.Left, since, rec.Plan.ContainerID)
	o.leave("%s", what)
	o.givenUp = append(o.givenUp, what)
	return cnierror.With(types.ErrIOFailure, h.Store.SetAside(rec))
}

// listAside returns those of the Records that were set aside that wanted selects. If one
// cannot be read, it adds a warning to o.
func (h *Host) listAside(o *outcome, wanted func(*record.Record) bool) []*record.Record {
	all, err := h.Store.ListAside()
	if err != nil {
		o.leave("%v", err)
	}
	return slices.DeleteFunc(all, func(rec *record.Record) bool { return !wanted(rec) })
}

// retry tries to restore Records that were set aside. The caller holds locks on their
// containers. What still cannot be restored stays set aside, and is a warning. own is as
// in sandbox.
func (h *Host) retry(ctx context.Context, recs []*record.Record, own []string, locks *record.Locks, o *outcome) error {
	var errs []error
	for _, rec := range recs {
		errs = append(errs, h.retryOne(ctx, rec, own, locks, o))
	}
	return errors.Join(errs...)
}

func (h *Host) retryOne(ctx context.Context, rec *record.Record, own []string, locks *record.Locks, o *outcome) error {
	if err := locks.Lock(ctx, "device", rec.Plan.Devices()...); err != nil {
		return err
	}
	s := h.enterToRestore(rec)
	defer s.close()
	s.own = own
	restored, err := h.restore(ctx, s, []*record.Record{rec}, nil)
	o.join(restored)
	return err
}

// retryContainer is retry for what was set aside of one container, as far as wanted.
func (h *Host) retryContainer(ctx context.Context, id string, o *outcome, wanted func(*record.Record) bool) error {
	locks, err := h.lockContainer(ctx, id)
	if err != nil {
		return err
	}
	defer locks.Close()
	recs := h.listAside(o, func(rec *record.Record) bool { return rec.Plan.ContainerID == id && wanted(rec) })
	return h.retry(ctx, recs, nil, locks, o)
}

// retryRefused tries one Record again whose plugins have refused ADD and DEL for as long as
// Limbo.GiveUp: the oldest one. Nobody else may: containerd forgets a sandbox whose ADD has
// failed, and does not call GC.
func (h *Host) retryRefused(ctx context.Context, o *outcome) {
	over := h.listAside(&outcome{}, func(rec *record.Record) bool { return rec.KeepsNothing() && rec.FailsFor(h.Limbo.GiveUp) })
	if len(over) == 0 {
		return
	}
	oldest := over[len(over)-1]
	is := func(rec *record.Record) bool { return rec.Aside == oldest.Aside }
	if err := h.retryContainer(ctx, oldest.Plan.ContainerID, o, is); err != nil {
		o.warn("%v", err)
	}
}

// gcAside tries everything again that was set aside of a network.
func (h *Host) gcAside(ctx context.Context, network string, o *outcome) error {
	of := func(rec *record.Record) bool { return rec.Network() == network }
	var containers []string
	for _, rec := range h.listAside(o, of) {
		containers = append(containers, rec.Plan.ContainerID)
	}
	slices.Sort(containers)
	var errs []error
	for _, id := range slices.Compact(containers) {
		errs = append(errs, h.retryContainer(ctx, id, o, of))
	}
	return errors.Join(errs...)
}
