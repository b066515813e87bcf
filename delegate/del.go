package delegate

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// del restores an attachment, all that were made together with it, and what was set aside of
// them before. It needs nothing but their Records, and returns the one that it found. It
// continues after an error and joins all errors. If it is certain that nothing of the
// sandbox is left, the sandbox gets a tombstone.
func (h *Host) del(ctx context.Context, k plan.Key) (rec *record.Record, out outcome, err error) {
	locks, err := h.lockContainer(ctx, k.ContainerID)
	if err != nil {
		return nil, out, err
	}
	defer locks.Close()
	aside := h.listAside(&out, func(rec *record.Record) bool { return slices.Contains(rec.Members(), k) })
	rec, err = h.delRecords(ctx, k, locks, &out)
	if rec == nil && len(aside) > 0 {
		rec = aside[0]
	}
	aside = slices.DeleteFunc(aside, func(rec *record.Record) bool { return h.hangs(rec, &out) })
	err = errors.Join(err, h.retry(ctx, aside, nil, locks, &out), out.takeRefused())
	if rec != nil && err == nil && !out.doubtful {
		h.Store.Tombstones(h.BootID).Put(k)
	}
	return rec, out, err
}

// hangs reports whether restoring a Record that was given up hangs, and is not due again: a
// DEL that is killed every time would never end.
func (h *Host) hangs(rec *record.Record, o *outcome) bool {
	if rec.IsEarly() || !rec.Hangs(h.Limbo.GiveUp) || rec.IsDue(time.Now()) {
		return false
	}
	o.leave("%s: set aside, and tried again later, as that did not end (multibond plan -container %s)", rec.Left, rec.Plan.ContainerID)
	return true
}

// delRecords is del for Records that were not set aside. Without them there is nothing to
// restore.
func (h *Host) delRecords(ctx context.Context, k plan.Key, locks *record.Locks, o *outcome) (*record.Record, error) {
	rec, err := h.load(k, o)
	if err != nil {
		return nil, err
	}
	if rec == nil {
		return nil, cnierror.With(types.ErrIOFailure, h.Store.Forget(k))
	}
	recs, incomplete := h.loadMembers(rec, o)
	if err := lockDevices(ctx, locks, recs); err != nil {
		return rec, err
	}
	s := h.enterToRestore(rec) // the same for all of them
	defer s.close()
	restored, err := h.restore(ctx, s, recs, incomplete)
	o.join(restored)
	return rec, err
}

// loadMembers reads the Records that were made together with a known one. The
// container's lock is held, so nobody changes them. If a Record cannot be read, the
// error says so; it is no error if a Record is missing, or was damaged and set aside.
func (h *Host) loadMembers(known *record.Record, o *outcome) (recs []*record.Record, err error) {
	var errs []error
	for _, k := range known.Members() {
		rec, err := known, error(nil)
		if k != known.Plan.Key() {
			rec, err = h.load(k, o)
		}
		errs = append(errs, err)
		switch {
		case rec != nil:
			recs = append(recs, rec)
		case err == nil:
			o.doubtful = true
			errs = append(errs, cnierror.With(types.ErrIOFailure, h.Store.Forget(k)))
		}
	}
	return recs, errors.Join(errs...)
}

func lockDevices(ctx context.Context, locks *record.Locks, recs []*record.Record) error {
	var devices []string
	for _, rec := range recs {
		devices = append(devices, rec.Plan.Devices()...)
	}
	return locks.Lock(ctx, "device", devices...)
}

// load reads a Record. It returns nil if there is none, or if it is damaged, which is a
// warning.
func (h *Host) load(k plan.Key, o *outcome) (*record.Record, error) {
	rec, err := h.Store.Load(k)
	switch {
	case errors.Is(err, record.ErrDamaged):
		o.leave("%v", err)
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	}
	return rec, cnierror.With(types.ErrIOFailure, err)
}
