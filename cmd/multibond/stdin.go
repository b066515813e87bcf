package main

import (
	"os"

	"github.com/multibond/multibond/delegate/atomicfile"
)

// maxStdin is the most bytes of standard input: a configuration with the result of the
// plugins before this one.
const maxStdin = 16 << 20

// limitStdin reads standard input, if the verb needs it, and replaces os.Stdin by what
// it has read. It fails if there is more than maxStdin.
func limitStdin() error {
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
