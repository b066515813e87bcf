package atomicfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrTooLarge is returned for a file that is larger than the limit.
var ErrTooLarge = errors.New("it is too large")

// Read reads a file of at most most bytes. If it is larger, the error is compatible with
// errors.Is(err, ErrTooLarge).
func Read(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readFile(file, most)
}

// ReadRegular is Read for a file that somebody less trusted writes: it follows no link in its
// place, and does not wait for a FIFO.
func ReadRegular(name string, most int64) ([]byte, error) {
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, fmt.Errorf("%s: it is no regular file", name))
	}
	return readFile(file, most)
}

func readFile(file *os.File, most int64) ([]byte, error) {
	data, err := ReadAll(file, most)
	if errors.Is(err, ErrTooLarge) {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return data, err
}

// ReadAll reads r to its end. If there are more than most bytes, the error is compatible
// with errors.Is(err, ErrTooLarge).
func ReadAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, most)
	}
	return data, err
}
