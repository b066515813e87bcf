//go:build !linux

package bond

import (
	"errors"
	"os"
)

// What takes Linux, for the operator's tool on other systems, which calls none of it.

func (addresses) encode(string) []byte { return nil }

func (addresses) decode([]byte) string { return "" }

// AwaitEvents takes Linux.
func AwaitEvents(*os.File) error { return errors.ErrUnsupported }

// ReadEvents takes Linux.
func ReadEvents(*os.File, func(Event)) error { return errors.ErrUnsupported }
