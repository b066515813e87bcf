package kubeclient

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockByte locks one byte of a file, and waits until it can (fcntl(2), open file description
// locks). Closing the file unlocks it.
func lockByte(f *os.File, at int64) error {
	place := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &place)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// peerOf returns the user at the other end of a socket (unix(7), SO_PEERCRED).
func peerOf(socket int) (int, error) {
	who, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(who.Uid), nil
}
