package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// keepLock is the file on which keep has a lock for as long as it runs. Several keeps can
// have it, as in an update: the lock is shared. It is a lock of the open file and not of the
// process (F_OFD_SETLK in fcntl_locking(2)), and asking for it takes nothing.
const keepLock = "keep.lock"

// HoldKeep tells everybody that keep runs on this node, until it is closed or the process
// ends.
func (s Store) HoldKeep() (io.Closer, error) {
	name := filepath.Join(s.Dir, keepLock)
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK}); err != nil {
		return nil, errors.Join(fmt.Errorf("lock on %s: %w", name, err), file.Close())
	}
	return file, nil
}

// IsKept reports whether keep runs on this node. It waits for nothing.
func (s Store) IsKept() (bool, error) {
	name := filepath.Join(s.Dir, keepLock)
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("state directory: %w", err)
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, fmt.Errorf("lock on %s: %w", name, err)
	}
	return lock.Type != unix.F_UNLCK, nil
}
