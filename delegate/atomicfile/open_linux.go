package atomicfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// open opens a file for reading. It does not wait for a FIFO to be written.
func open(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
}
