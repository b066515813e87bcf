package delegate

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
)

// Del undoes an attachment from its Record alone, and leaves the node as it
// was. Without a Record there is nothing to undo.
func (h *Host) Del(ctx context.Context, k Key) error {
	locks, err := openLocks(h.Store.Dir, h.LockTimeout)
	if err != nil {
		return err
	}
	defer locks.Close()
	if err := locks.Lock(ctx, "container", k.ContainerID); err != nil {
		return err
	}
	rec, err := h.load(k)
	if err != nil {
		return err
	}
	if rec == nil {
		return WithCode(types.ErrIOFailure, h.Store.Forget(k))
	}
	return h.lockAndRestore(ctx, rec, locks)
}

// load reads a Record; nil where there is none, or none that can be read,
// which is said.
func (h *Host) load(k Key) (*Record, error) {
	rec, err := h.Store.Load(k)
	switch {
	case errors.Is(err, errDamaged):
		h.warn("%v", err)
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	}
	return rec, WithCode(types.ErrIOFailure, err)
}

// lockAndRestore restores what a Record says, read anew under the locks: who
// had them may have restored it meanwhile. The container's lock is held.
func (h *Host) lockAndRestore(ctx context.Context, rec *Record, locks *Locks) error {
	if err := locks.Lock(ctx, "device", rec.Plan.Devices()...); err != nil {
		return err
	}
	rec, err := h.load(rec.Plan.Key())
	if rec == nil || err != nil {
		return err
	}
	return h.restore(ctx, rec)
}

// GC undoes the attachments of a network that the runtime no longer has. It
// goes on after an error and joins them.
func (h *Host) GC(ctx context.Context, n Network) error {
	if n.Valid == nil {
		return errorf(types.ErrInvalidNetworkConfig, "network %s: %s: is missing; without it every attachment would count as gone", n.Name, validKey)
	}
	keys, err := h.Store.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range keys {
		if slices.Contains(n.Valid, GCAttachment{ContainerID: k.ContainerID, IfName: k.IfName}) {
			continue
		}
		rec, err := h.load(k)
		if err == nil && rec != nil && rec.Plan.Network == n.Name {
			err = h.Del(ctx, k)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
