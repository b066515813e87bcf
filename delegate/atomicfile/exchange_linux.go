package atomicfile

import "golang.org/x/sys/unix"

// exchange exchanges two files (renameat2(2)).
func exchange(name, with string) error {
	return unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, with, unix.RENAME_EXCHANGE)
}
