//go:build !lab

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestHost runs the scripts that change no network. They work on any machine, with or
// without root.
func TestHost(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/host",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"cni": cni},
	})
}
