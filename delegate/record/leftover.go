package record

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/plan"
)

// RemoveUnstarted removes what a process has left that was killed before its
// Record was there, which is before its first effect. timeout bounds the wait
// for a container.
func (s Store) RemoveUnstarted(ctx context.Context, timeout time.Duration) error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return cnierror.With(types.ErrIOFailure, atomicfile.Ignore(os.ErrNotExist, err))
	}
	locks, err := OpenLocks(s.Dir, timeout)
	if err != nil {
		return err
	}
	defer locks.Close()
	var errs []error
	for _, e := range entries {
		name, unstarted := strings.CutSuffix(e.Name(), recordEnd+begunEnd)
		id, ifName, two := strings.Cut(name, ":")
		if !unstarted || !two {
			continue
		}
		k := plan.Key{ContainerID: id, IfName: ifName}
		if _, err := os.Stat(s.File(k)); !errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := locks.Lock(ctx, "container", id); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := os.Stat(s.File(k)); errors.Is(err, os.ErrNotExist) {
			errs = append(errs, cnierror.With(types.ErrIOFailure, s.Forget(k)))
		}
	}
	return errors.Join(errs...)
}

// RemoveStaleHolds removes the holds on devices that are nobody's, as those of a
// Record are that was damaged.
func (s Store) RemoveStaleHolds(ctx context.Context, timeout time.Duration) error {
	entries, err := os.ReadDir(filepath.Join(s.Dir, devicesDir))
	if err != nil {
		return cnierror.With(types.ErrIOFailure, atomicfile.Ignore(os.ErrNotExist, err))
	}
	locks, err := OpenLocks(s.Dir, timeout)
	if err != nil {
		return err
	}
	defer locks.Close()
	nobodys := func(device string) bool {
		holder, err := s.Holder(device)
		return err == nil && holder == plan.Key{}
	}
	var errs []error
	for _, e := range entries {
		device := e.Name()
		if !nobodys(device) {
			continue
		}
		if err := locks.Lock(ctx, "device", device); err != nil {
			errs = append(errs, err)
		} else if nobodys(device) { // still, now that nobody is at work on it
			errs = append(errs, cnierror.With(types.ErrIOFailure, atomicfile.Remove(s.HoldFile(device))))
		}
	}
	return errors.Join(errs...)
}
