package delegate

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// Del undoes an attachment, and all that were made together with it, from
// their Records alone, in reverse, and leaves the node as it was. Without a
// Record there is nothing to undo. It goes on after an error and joins them.
func (h *Host) Del(ctx context.Context, k plan.Key) error {
	_, err := h.del(ctx, k)
	return err
}

// del is Del; it returns the Record that it found. A sandbox of which surely
// nothing is left is remembered as such.
func (h *Host) del(ctx context.Context, k plan.Key) (*record.Record, error) {
	h.doubt = false
	locks, err := record.OpenLocks(h.Store.Dir, h.LockTimeout)
	if err != nil {
		return nil, err
	}
	defer locks.Close()
	if err := locks.Lock(ctx, "container", k.ContainerID); err != nil {
		return nil, err
	}
	rec, err := h.load(k)
	if err != nil {
		return nil, err
	}
	if rec == nil {
		return nil, cnierror.With(types.ErrIOFailure, h.Store.Forget(k))
	}
	if err := h.delMembers(ctx, rec, locks); err != nil {
		return rec, err
	}
	if !h.doubt {
		h.Store.Tombstones(h.BootID).Put(k)
	}
	return rec, nil
}

// delMembers restores the attachments of one container, known by one of them, in
// reverse. The Record of the first, by which DEL finds the others, goes only after
// they have gone. The container's lock is held, without which nobody changes what
// is recorded of it.
func (h *Host) delMembers(ctx context.Context, known *record.Record, locks *record.Locks) error {
	var recs []*record.Record
	var devices []string
	var errs []error
	for _, k := range known.Members() {
		rec, err := known, error(nil)
		if k != known.Plan.Key() {
			rec, err = h.load(k)
		}
		errs = append(errs, err)
		switch {
		case rec != nil:
			recs, devices = append(recs, rec), append(devices, rec.Plan.Devices()...)
		case err == nil: // if it was damaged, it is set aside
			h.doubt = true
			errs = append(errs, cnierror.With(types.ErrIOFailure, h.Store.Forget(k)))
		}
	}
	if err := locks.Lock(ctx, "device", devices...); err != nil {
		return err
	}
	s, err := h.enterIfThere(known.Plan.Netns, known.NetnsID) // one ADD has made them in one namespace
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer s.close()
	for i, rec := range slices.Backward(recs) {
		if i == 0 && errors.Join(errs...) != nil {
			errs = append(errs, h.restoreAll(ctx, s, rec), cnierror.With(types.ErrIOFailure, h.Store.Update(rec)))
			continue
		}
		errs = append(errs, h.restoreIn(ctx, s, rec))
	}
	return errors.Join(errs...)
}

// load reads a Record; nil where there is none, or none that can be read,
// which is said.
func (h *Host) load(k plan.Key) (*record.Record, error) {
	rec, err := h.Store.Load(k)
	switch {
	case errors.Is(err, record.ErrDamaged):
		h.warn("%v", err)
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	}
	return rec, cnierror.With(types.ErrIOFailure, err)
}

// lockAndRestore restores what a Record says. The container's lock is held.
func (h *Host) lockAndRestore(ctx context.Context, rec *record.Record, locks *record.Locks) error {
	if err := locks.Lock(ctx, "device", rec.Plan.Devices()...); err != nil {
		return err
	}
	return h.restore(ctx, rec)
}
