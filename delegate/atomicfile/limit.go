package atomicfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
)

// ErrTooLarge is returned for a file that is larger than the limit.
var ErrTooLarge = errors.New("it is too large")

// Read reads a regular file of at most most bytes. It follows no link in its place, and does
// not wait for a FIFO. If it is larger, the error is compatible with
// errors.Is(err, ErrTooLarge).
func Read(name string, most int64) ([]byte, error) {
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, fmt.Errorf("%s: it is no regular file", name))
	}
	data, err := ReadAll(file, most)
	if errors.Is(err, ErrTooLarge) {
		return nil, fmt.Errorf("%s: %w", name, err)
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
