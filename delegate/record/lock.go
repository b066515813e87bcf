package record

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/delegate/cnierror"
)

// Locks are the locks that this process holds on names of containers and devices. A
// name is one byte of one file, at its hash: no lock leaves a file behind, and the kernel
// knows who holds it (fcntl_locking(2)). Names with the same hash wait for each other,
// which costs nothing but time.
type Locks struct {
	file    *os.File
	timeout time.Duration
	left    time.Duration // of timeout, which all locks share
}

// lockPause is the time between two attempts to get a lock that somebody else holds.
const lockPause = 10 * time.Millisecond

// OpenLocks opens the locks of a directory. timeout limits the wait for all locks
// together.
func OpenLocks(dir string, timeout time.Duration) (*Locks, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, cnierror.With(types.ErrIOFailure, fmt.Errorf("state directory: %w", err))
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, cnierror.With(types.ErrIOFailure, fmt.Errorf("state directory: %w", err))
	}
	return &Locks{file: file, timeout: timeout, left: timeout}, nil
}

// Close releases all locks.
func (l *Locks) Close() error { return l.file.Close() }

// Lock locks names of one kind, sorted. Containers come before devices, so two processes
// that want the same names do not wait for each other. The error names the holder; its
// code is 11, try again later.
func (l *Locks) Lock(ctx context.Context, kind string, names ...string) error {
	for _, name := range slices.Sorted(slices.Values(names)) {
		if err := l.lock(ctx, kind+" "+name); err != nil {
			return err
		}
	}
	return nil
}

func (l *Locks) lock(ctx context.Context, name string) error {
	for {
		err := l.fcntl(unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}, name)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return cnierror.With(types.ErrIOFailure, fmt.Errorf("lock on %s: %w", name, err))
		}
		if l.left <= 0 {
			return cnierror.Errorf(types.ErrTryAgainLater, "%s is still locked by %s after %s", name, l.holder(name), l.timeout)
		}
		select {
		case <-ctx.Done():
			return cnierror.Errorf(types.ErrTryAgainLater, "%s is still locked by %s: %w", name, l.holder(name), ctx.Err())
		case <-time.After(lockPause):
			l.left -= lockPause
		}
	}
}

func (l *Locks) fcntl(command int, lock *unix.Flock_t, name string) error {
	h := fnv.New64a()
	h.Write([]byte(name))
	lock.Start, lock.Len = int64(h.Sum64()>>2), 1
	return unix.FcntlFlock(l.file.Fd(), command, lock)
}

// holder describes the process that holds a lock.
func (l *Locks) holder(name string) string {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := l.fcntl(unix.F_GETLK, &lock, name); err != nil || lock.Type == unix.F_UNLCK {
		return "a process that has just ended"
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", lock.Pid))
	if err != nil {
		return fmt.Sprintf("process %d", lock.Pid)
	}
	return fmt.Sprintf("process %d (%s)", lock.Pid, strings.TrimSpace(string(command)))
}
