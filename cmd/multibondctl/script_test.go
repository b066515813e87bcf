package main

import (
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// noon is the time at which scripts run.
var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	atNoon := func() {
		streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
		os.Exit(run(os.Args, streams, func() time.Time { return noon }))
	}
	testscript.Main(m, map[string]func(){"multibondctl": atNoon, "kubectl-multibond": atNoon})
}

// TestScripts runs the program as its users do. The files of scripts with the name of a
// format are what -o prints: a contract with other programs.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		Setup:               withCluster(t),
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "cluster": cluster, "forbid": forbid},
	})
}

// exits runs a program that has to end with a code: "exits CODE PROGRAM ARG...".
func exits(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("sh", append([]string{"-c", `code=$0; "$@"; test $? = $code`}, args...)...)
	if neg || err != nil {
		ts.Fatalf("want the exit code %s", args[0])
	}
}
