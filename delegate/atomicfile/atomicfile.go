// Package atomicfile writes files whole or not at all, and reads files up to a limit.
//
// What a file means, and what becomes of a damaged one, is decided where it is used.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Files changes files. Each change is one or more Operations. The zero Files carries them
// out.
type Files struct {
	// Around carries out an operation by calling do, if it is not nil. A test has an
	// operation fail here, or ends the process before it.
	Around func(o Operation, do func() error) error
}

// An Operation is one change of a file.
type Operation struct {
	Verb Verb
	Name string
	To   string // the new name, of Link, Rename and Exchange
}

// A Verb says what an Operation does.
type Verb string

// The verbs. A file that is written, and a name, survive a loss of power only after Sync
// of the file and SyncDir of its directory.
const (
	Write    Verb = "write"
	Sync     Verb = "sync"
	Close    Verb = "close"
	Link     Verb = "link"
	Rename   Verb = "rename"
	Exchange Verb = "exchange"
	Remove   Verb = "remove"
	SyncDir  Verb = "sync directory"
)

// String is for the messages of tests.
func (o Operation) String() string { return string(o.Verb) + " " + filepath.Base(o.Name) }

// Unfinished is the end of a file's name while Replace writes it.
const Unfinished = ".new"

func (f Files) do(o Operation, do func() error) error {
	if f.Around == nil {
		return do()
	}
	return f.Around(o, do)
}

// Replace writes a file whole or not at all. It exchanges the new file for the old one.
// If one file is renamed onto another, ext4 begins to write it to the disk (ext4(5),
// auto_da_alloc), which takes eight times as long, and each network needs two Replaces.
// On file systems without exchange it renames.
func (f Files) Replace(file string, data []byte) error {
	next := file + Unfinished
	err := f.write(next, data, false)
	if errors.Is(err, fs.ErrExist) {
		// A Replace was killed. What it left can be the old file, which may have other
		// names: it must not be written to.
		if err = f.Remove(next); err == nil {
			err = f.write(next, data, false)
		}
	}
	if err == nil && f.exchange(next, file) != nil {
		err = f.Rename(next, file)
	}
	return errors.Join(err, f.Remove(next))
}

// ReplaceSynced is Replace for a file that must survive a crash of the machine: the file
// is on disk before it gets its name. Until then its name is made from pattern, as by
// os.CreateTemp.
func (f Files) ReplaceSynced(name, pattern string, data []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(name), pattern)
	if err != nil {
		return err
	}
	err = f.do(Operation{Verb: Write, Name: file.Name()}, func() error {
		_, err := file.Write(data)
		return errors.Join(err, file.Chmod(mode))
	})
	if err = f.finish(file, err, true); err == nil {
		err = f.Rename(file.Name(), name)
	}
	if err != nil {
		return errors.Join(err, f.Remove(file.Name()))
	}
	return nil
}

// Create makes a file that survives a crash of the machine. If there is one already, the
// error is compatible with errors.Is(err, fs.ErrExist).
func (f Files) Create(name string, data []byte) error { return f.write(name, data, true) }

// Overwrite writes a file that may be there already. If the process is killed or the disk
// is full, the file can have a part of the data.
func (f Files) Overwrite(name string, data []byte) error {
	return f.do(Operation{Verb: Write, Name: name}, func() error { return os.WriteFile(name, data, 0o600) })
}

// write makes a file.
func (f Files) write(name string, data []byte, synced bool) error {
	var file *os.File
	err := f.do(Operation{Verb: Write, Name: name}, func() (err error) {
		if file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		_, err = file.Write(data)
		return err
	})
	if file == nil {
		return err
	}
	return f.finish(file, err, synced)
}

// finish closes a file that was written. written is the error of that.
func (f Files) finish(file *os.File, written error, synced bool) error {
	if written == nil && synced {
		written = f.do(Operation{Verb: Sync, Name: file.Name()}, file.Sync)
	}
	return errors.Join(written, f.do(Operation{Verb: Close, Name: file.Name()}, file.Close))
}

// Link gives a file another name.
func (f Files) Link(name, to string) error {
	return f.do(Operation{Link, name, to}, func() error { return os.Link(name, to) })
}

// Rename gives a file another name in place of its own.
func (f Files) Rename(name, to string) error {
	return f.do(Operation{Rename, name, to}, func() error { return os.Rename(name, to) })
}

func (f Files) exchange(name, with string) error {
	return f.do(Operation{Exchange, name, with}, func() error { return exchange(name, with) })
}

// SyncDir makes the names in a directory survive a crash of the machine.
func (f Files) SyncDir(dir string) error {
	return f.do(Operation{Verb: SyncDir, Name: dir}, func() error {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	})
}

// Remove removes files. It is no error if they are gone.
func (f Files) Remove(files ...string) error {
	var errs []error
	for _, file := range files {
		err := f.do(Operation{Verb: Remove, Name: file}, func() error { return os.Remove(file) })
		errs = append(errs, Ignore(fs.ErrNotExist, err))
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
