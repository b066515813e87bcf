package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// noon is the time at which scripts run.
var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	atNoon := func() {
		streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
		e := &env{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true), now: func() time.Time { return noon }, exec: execFiles, every: time.Millisecond}
		os.Exit(runWith(e, os.Args))
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
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "cluster": cluster, "forbid": forbid, "kubelet": kubelet},
	})
}

// execFiles stands for exec in scripts: what a command in a pod prints is in the file
// exec/POD-INTERFACE, or exec/POD-INTERFACE-throughput.
func execFiles(_ context.Context, pod *corev1.Pod, command []string) (executed, error) {
	name := pod.Name + "-" + command[slices.Index(command, "-interface")+1]
	if slices.Contains(command, "-throughput") {
		name += "-throughput"
	}
	out, err := os.ReadFile(filepath.Join("exec", name))
	return executed{out: string(out)}, err
}

// exits runs a program that has to end with a code: "exits CODE PROGRAM ARG...".
func exits(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("sh", append([]string{"-c", `code=$0; "$@"; test $? = $code`}, args...)...)
	if neg || err != nil {
		ts.Fatalf("want the exit code %s", args[0])
	}
}
