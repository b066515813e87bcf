// Package atomicfile writes files whole or not at all, and reads no more of one
// than it can have in good faith.
//
// What a file is about, and what becomes of one that is damaged, is said where
// it is used.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Unfinished is what the name of a file ends in while Replace writes it.
const Unfinished = ".new"

// Replace writes a file whole or not at all. It exchanges the new one for the old
// one: where one is renamed onto another, ext4 begins to write it to the disk
// (ext4(5), auto_da_alloc), which takes eight times as long, and two of these
// come with each network. File systems that can't are asked to rename.
func Replace(file string, data []byte) error {
	err := os.WriteFile(file+Unfinished, data, 0o600)
	if err == nil && unix.Renameat2(unix.AT_FDCWD, file+Unfinished, unix.AT_FDCWD, file, unix.RENAME_EXCHANGE) != nil {
		err = os.Rename(file+Unfinished, file)
	}
	return errors.Join(err, Remove(file+Unfinished))
}

// ReplaceSynced is Replace for a file that survives a crash of the machine: it
// is on disk before it gets its name. Until then its name is made of pattern, as
// os.CreateTemp does.
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

// Create makes a file that survives a crash of the machine. The error is
// compatible with errors.Is(err, fs.ErrExist) if there is one already.
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

// SyncDir has the names in a directory survive a crash of the machine.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Remove removes files; it is no error if they are gone.
func Remove(files ...string) error {
	var errs []error
	for _, file := range files {
		errs = append(errs, Ignore(fs.ErrNotExist, os.Remove(file)))
	}
	return errors.Join(errs...)
}

// Ignore is err, or nil if it is what: errors.Is(err, what).
func Ignore(what, err error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}
