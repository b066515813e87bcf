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

// RemoveUnstarted removes the files of processes that were killed before they had written
// a Record, and so before their first effect. timeout limits the wait for the locks.
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

// RemoveStaleHolds removes holds on devices whose Record is gone, for example because it
// was damaged. timeout limits the wait for the locks.
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
		} else if nobodys(device) { // still, now that it is locked
			errs = append(errs, cnierror.With(types.ErrIOFailure, s.Files.Remove(s.HoldFile(device))))
		}
	}
	return errors.Join(errs...)
}
