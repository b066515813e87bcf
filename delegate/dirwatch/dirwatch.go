// Package dirwatch tells when the files of a directory may have changed.
//
// The caller decides what they mean.
package dirwatch

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// changes are the events after which a directory has other names or contents (inotify(7)).
const changes = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO

// Follow calls look at once, and again when a file of dir has changed, until ctx ends. settle
// is the time between a change and look, in which whoever makes the change can finish. look
// is also called once per every, because the kernel may have no watch left, and because a
// directory that was removed and made again has none.
func Follow(ctx context.Context, dir string, settle, every time.Duration, look func()) {
	changed := make(chan struct{}, 1)
	if watch, err := open(dir); err == nil {
		defer watch.Close()
		go notify(watch, changed)
	}
	for {
		look()
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		case <-changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
			select { // what has changed meanwhile is seen now
			case <-changed:
			default:
			}
		}
	}
}

// open returns a file from which the changes of a directory are read.
func open(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	watch := os.NewFile(uintptr(fd), "inotify of "+dir)
	if _, err := unix.InotifyAddWatch(fd, dir, changes); err != nil {
		watch.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return watch, nil
}

// notify sends to changed after each change, until watch is closed. One message stands for
// all changes that were not yet looked at.
func notify(watch *os.File, changed chan<- struct{}) {
	events := make([]byte, 4096)
	for {
		if _, err := watch.Read(events); err != nil {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}
