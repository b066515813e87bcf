// Package atomicfile writes files whole or not at all, and reads files up to a limit.
//
// What a file means, and what becomes of a damaged one, is decided where it is used.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Unfinished is the end of a file's name while Replace writes it.
const Unfinished = ".new"

// Replace writes a file whole or not at all. It exchanges the new file for the old one.
// If one file is renamed onto another, ext4 begins to write it to the disk (ext4(5),
// auto_da_alloc), which takes eight times as long, and each network needs two Replaces.
// On file systems without exchange it renames.
func Replace(file string, data []byte) error {
	err := os.WriteFile(file+Unfinished, data, 0o600)
	if err == nil && unix.Renameat2(unix.AT_FDCWD, file+Unfinished, unix.AT_FDCWD, file, unix.RENAME_EXCHANGE) != nil {
		err = os.Rename(file+Unfinished, file)
	}
	return errors.Join(err, Remove(file+Unfinished))
}

// ReplaceSynced is Replace for a file that must survive a crash of the machine: the file
// is on disk before it gets its name. Until then its name is made from pattern, as by
// os.CreateTemp.
func ReplaceSynced(name, pattern string, data []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(name), pattern)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// Create makes a file that survives a crash of the machine. If there is one already, the
// error is compatible with errors.Is(err, fs.ErrExist).
func Create(name string, data []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = file.Write(data); err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// SyncDir makes the names in a directory survive a crash of the machine.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Remove removes files. It is no error if they are gone.
func Remove(files ...string) error {
	var errs []error
	for _, file := range files {
		errs = append(errs, Ignore(fs.ErrNotExist, os.Remove(file)))
	}
	return errors.Join(errs...)
}

// Ignore returns err, or nil if errors.Is(err, what).
func Ignore(what, err error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}
