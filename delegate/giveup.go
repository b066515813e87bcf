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
//
// If no device is left to restore, the Record is set aside at its first failed DEL. DELs
// fail nevertheless until the time is over, but a runtime need not come back: see
// retryForgotten.

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

// setAsideEarly sets a Record aside before its time is over: no device is left of it, so it
// need be in nobody's way.
func (h *Host) setAsideEarly(rec *record.Record, failure error) error {
	rec.Early = true
	rec.SetLeft(failure)
	return errors.Join(h.failed(rec), cnierror.With(types.ErrIOFailure, h.Store.SetAside(rec)))
}

// givesUp reports whether restoring a Record has failed for so long that nothing may
// wait for it any more.
func (h *Host) givesUp(rec *record.Record) bool {
	return rec.Aside != "" && !rec.IsEarly() || rec.FailsFor(h.Limbo.GiveUp)
}

// giveUp sets a Record aside, unless there is nothing to try again. What is not as before
// is a warning.
func (h *Host) giveUp(rec *record.Record, failure error, o *outcome) error {
	rec.Early = false
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

// retry tries to restore Records that were set aside, those of one namespace together. The
// caller holds locks on their containers. What still cannot be restored stays set aside,
// and is a warning. own is as in sandbox.
func (h *Host) retry(ctx context.Context, recs []*record.Record, own []string, locks *record.Locks, o *outcome) error {
	// Plugins know a container that was attached again by the same names: they would delete
	// what it has now.
	recs = slices.DeleteFunc(recs, func(rec *record.Record) bool { return h.Store.Has(rec.Plan.Key()) })
	var errs []error
	for len(recs) > 0 {
		first := recs[0]
		var together, others []*record.Record
		for _, rec := range recs {
			if rec.Plan.ContainerID == first.Plan.ContainerID && rec.NetnsID == first.NetnsID && rec.Plan.Netns == first.Plan.Netns {
				together = append(together, rec)
			} else {
				others = append(others, rec)
			}
		}
		errs = append(errs, h.retryTogether(ctx, together, own, locks, o))
		recs = others
	}
	return errors.Join(errs...)
}

// retryTogether is retry for Records of one namespace, the newest first.
func (h *Host) retryTogether(ctx context.Context, recs []*record.Record, own []string, locks *record.Locks, o *outcome) error {
	if err := lockDevices(ctx, locks, recs); err != nil {
		return err
	}
	s := h.enterToRestore(recs[0])
	defer s.close()
	s.own = own
	slices.Reverse(recs)
	restored, err := h.restore(ctx, s, recs, nil)
	o.join(restored)
	return err
}

// retryContainer is retry for what was set aside of one container, as far as wanted.
// patience limits the wait for locks.
func (h *Host) retryContainer(ctx context.Context, id string, patience time.Duration, o *outcome, wanted func(*record.Record) bool) error {
	locks, err := record.OpenLocks(h.Store.Dir, patience)
	if err != nil {
		return err
	}
	defer locks.Close()
	if err := locks.Lock(ctx, "container", id); err != nil {
		return err
	}
	recs := h.listAside(o, func(rec *record.Record) bool { return rec.Plan.ContainerID == id && wanted(rec) })
	return h.retry(ctx, recs, nil, locks, o)
}

// gcAside tries everything again that was set aside of a network before this GC began, of
// each container by itself: first what was tried longest ago.
func (h *Host) gcAside(ctx context.Context, network string, began time.Time, o *outcome) error {
	of := func(rec *record.Record) bool { return rec.Network() == network && rec.LastTried.Before(began) }
	recs := h.listAside(o, of)
	slices.SortStableFunc(recs, func(a, b *record.Record) int { return a.LastTried.Compare(b.LastTried) })
	var done []string
	var errs []error
	for _, rec := range recs {
		id := rec.Plan.ContainerID
		if slices.Contains(done, id) {
			continue
		}
		if ctx.Err() != nil {
			errs = append(errs, cnierror.With(types.ErrTryAgainLater, errGCTime))
			break
		}
		done = append(done, id)
		errs = append(errs, h.retryContainer(ctx, id, h.patience(ctx), o, of))
	}
	return errors.Join(append(errs, o.takeRefused())...)
}
