package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"multibond": main})
}

// cni runs the plugin as a runtime does: "cni VERB FILE", with the file as
// standard input and CNI_* from the script's environment.
func cni(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: cni VERB FILE")
	}
	ts.Setenv("CNI_COMMAND", args[0])
	plugin := os.Getenv("MULTIBOND_BINARY")
	if plugin == "" {
		plugin = "multibond"
	}
	err := ts.Exec("sh", "-c", plugin+` < "$0"`, ts.MkAbs(args[1]))
	switch {
	case err == nil && neg:
		ts.Fatalf("%s succeeded, and should have failed", args[0])
	case err != nil && !neg:
		ts.Fatalf("%s failed: %v", args[0], err)
	}
}
