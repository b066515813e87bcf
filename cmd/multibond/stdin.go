package main

import (
	"os"

	"github.com/multibond/multibond/delegate/atomicfile"
)

// maxStdin bounds what a runtime says, in bytes: a configuration with the
// result of the plugins before this one.
const maxStdin = 16 << 20

// boundStdin reads standard input, where it is read at all, and puts what it
// has read in its place.
func boundStdin() error {
	if verb := os.Getenv("CNI_COMMAND"); verb == "" || verb == "VERSION" {
		return nil
	}
	raw, err := atomicfile.ReadAll(os.Stdin, maxStdin)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	os.Stdin = r
	go func() {
		w.Write(raw)
		w.Close()
	}()
	return nil
}
