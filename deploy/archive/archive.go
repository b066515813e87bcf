// Package archive writes archives that depend on nothing but what is put into them: no
// owner, and one time for all entries.
package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"time"
)

// Tar builds a tar file. It keeps the first error, which Close returns. The zero value is
// ready to use.
type Tar struct {
	Time time.Time // of each entry; zero: 1970

	buffer bytes.Buffer
	writer *tar.Writer
	err    error
}

// File adds a file.
func (a *Tar) File(name string, mode int64, data []byte) {
	a.entry(tar.Header{Name: name, Mode: mode}, data)
}

// Dir adds a directory.
func (a *Tar) Dir(name string) {
	a.entry(tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
}

// Link adds a symbolic link.
func (a *Tar) Link(name, target string) {
	a.entry(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, nil)
}

func (a *Tar) entry(h tar.Header, data []byte) {
	if a.writer == nil {
		a.writer = tar.NewWriter(&a.buffer)
	}
	h.Size, h.ModTime = int64(len(data)), a.Time
	if a.err == nil {
		a.err = a.writer.WriteHeader(&h)
	}
	if a.err == nil {
		_, a.err = a.writer.Write(data)
	}
}

// Close returns the tar file.
func (a *Tar) Close() ([]byte, error) {
	if a.err == nil {
		a.err = a.writer.Close()
	}
	return a.buffer.Bytes(), a.err
}

// Gzip returns the data compressed, without a time.
func Gzip(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}
