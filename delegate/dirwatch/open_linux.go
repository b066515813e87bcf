package dirwatch

import (
	"os"

	"golang.org/x/sys/unix"
)

// changes are the events after which a directory has other names or contents (inotify(7)).
const changes = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO

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
