//go:build !lab

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestHost runs the scripts that touch no network, on any machine, as root
// or not.
func TestHost(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/host",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"cni": cni},
	})
}
