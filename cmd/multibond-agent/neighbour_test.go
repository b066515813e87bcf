package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"multibond-agent": main, "cilium": cilium, "istio": istio})
}

// TestNeighbours runs the program beside programs that do to the directory of the runtime
// what Cilium and Istio do.
func TestNeighbours(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/neighbours",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "end": end},
	})
}

// cilium does what cilium-agent does with cni.exclusive, its default, when it starts: it
// writes its configuration, and renames every other one.
func cilium() {
	dir := os.Args[1]
	do(os.WriteFile(filepath.Join(dir, "05-cilium.conflist"), []byte(`{"cniVersion": "0.3.1", "name": "cilium", "plugins": [{"type": "cilium-cni"}]}`), 0o600))
	do(exclusive(dir, "05-cilium.conflist"))
}

// exclusive renames every configuration but one, as Cilium does.
func exclusive(dir, own string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == own || !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(dir, e.Name()+".cilium_bak")); err != nil {
			return err
		}
	}
	return nil
}

// istio does what istio-cni's installer does when it starts: it appends its plugin to the
// first configuration by name, unless it is there.
func istio() {
	files, err := filepath.Glob(filepath.Join(os.Args[1], "[0-9]*.conflist"))
	do(err)
	text, err := os.ReadFile(files[0])
	do(err)
	var list map[string]any
	do(json.Unmarshal(text, &list))
	plugins := list["plugins"].([]any)
	plugins = slices.DeleteFunc(plugins, func(p any) bool { return p.(map[string]any)["type"] == "istio-cni" })
	list["plugins"] = append(plugins, map[string]any{"type": "istio-cni", "log_level": "info"})
	text, err = json.MarshalIndent(list, "", "  ")
	do(err)
	do(os.WriteFile(files[0]+".tmp", text, 0o644))
	do(os.Rename(files[0]+".tmp", files[0]))
}

func do(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// await waits for a file.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if isFile(ts.MkAbs(args[0])) {
			return
		}
	}
	ts.Fatalf("there is no %s", args[0])
}

// end tells all programs in the background to end.
func end(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(os.Interrupt))
	}
}
