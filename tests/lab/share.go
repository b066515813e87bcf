package lab

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// share is the directory that is /lab in a guest. It is locked as long as its VM
// may live, so that one that a killed process left behind is found, and removed.
type share struct {
	dir  string
	lock *os.File
}

func newShare(files map[string]string) (*share, error) {
	parent := filepath.Join(Dir(), "share")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	// Nobody sweeps while a new directory is not locked yet.
	all, err := lock(parent, 0)
	if err != nil {
		return nil, err
	}
	defer all.Close()
	sweep(parent)
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return nil, err
	}
	s := &share{dir: dir}
	if s.lock, err = lock(dir, 0); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	for guest, host := range files {
		if err := s.upload(guest, host); err != nil {
			return nil, errors.Join(err, s.remove())
		}
	}
	return s, nil
}

// sweep removes the shares that nobody holds.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, "*"))
	for _, dir := range dirs {
		if f, err := lock(dir, syscall.LOCK_NB); err == nil {
			os.RemoveAll(dir)
			f.Close()
		}
	}
}

// lock locks a directory until the file is closed, or the process dies.
func lock(dir string, flags int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|flags); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (s *share) remove() error {
	if s == nil {
		return nil
	}
	if s.lock != nil {
		defer s.lock.Close()
	}
	return os.RemoveAll(s.dir)
}

// upload copies a file of the host to a path in the share. A link would do, but
// the guest may write to what it has.
func (s *share) upload(guest, host string) error {
	to := filepath.Join(s.dir, guest)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(host)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
