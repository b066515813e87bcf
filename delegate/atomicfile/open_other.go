//go:build !linux

package atomicfile

import "os"

func open(name string) (*os.File, error) { return os.Open(name) }
