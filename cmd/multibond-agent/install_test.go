package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate"
)

const clusterConfig = `{"cniVersion": "1.0.0", "name": "multibond", "plugins": [{"type": "multibond", "defaultNetwork": {}}]}`

// nodeDirs is a node before Multibond: a directory for each flag.
type nodeDirs struct {
	t                      *testing.T
	bin, conf, state, from string
	log                    bytes.Buffer
}

func newNodeDirs(t *testing.T) *nodeDirs {
	n := &nodeDirs{t: t, bin: t.TempDir(), conf: t.TempDir(), state: t.TempDir(), from: t.TempDir()}
	n.write(filepath.Join(n.from, "multibond"), "program 1")
	n.write(filepath.Join(n.from, "config"), clusterConfig)
	n.write(filepath.Join(n.conf, "10-default.conflist"), "{}")
	return n
}

func (n *nodeDirs) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// do runs a verb of the program and returns its exit code.
func (n *nodeDirs) do(ctx context.Context, verb string, more ...string) int {
	n.log.Reset()
	args := []string{verb, "-bin-dir", n.bin, "-conf-dir", n.conf}
	if verb == "install" {
		args = append(args, "-plugin", filepath.Join(n.from, "multibond"), "-config", filepath.Join(n.from, "config"))
	} else {
		args = append(args, "-state-dir", n.state, "-interval", "1ms")
	}
	return run(ctx, append(args, more...), func(string) string { return "" }, &n.log, &n.log)
}

// files lists what is on the node, with modes and contents.
func (n *nodeDirs) files() string {
	var lines []string
	for _, dir := range []string{n.bin, n.conf} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, e := range entries {
			info, _ := e.Info()
			data, _ := os.ReadFile(filepath.Join(dir, e.Name()))
			lines = append(lines, fmt.Sprintf("%s %o %s", e.Name(), info.Mode(), data))
		}
	}
	return strings.Join(lines, "\n")
}

func (n *nodeDirs) want(files, log string) {
	n.t.Helper()
	if got := n.files(); got != files {
		n.t.Errorf("on the node:\n%s\nwanted:\n%s", got, files)
	}
	if !strings.Contains(n.log.String(), log) {
		n.t.Errorf("the log has no %q:\n%s", log, &n.log)
	}
}

const (
	before    = "10-default.conflist 600 {}"
	installed = "multibond 755 program 1\n00-multibond.conflist 600 " + clusterConfig + "\n" + before
)

func TestInstall(t *testing.T) {
	n := newNodeDirs(t)
	if code := n.do(t.Context(), "install"); code != 0 {
		t.Fatalf("exit code %d: %s", code, &n.log)
	}
	n.want(installed, `"changed":true`)
	n.do(t.Context(), "install")
	n.want(installed, `"changed":false`)
	n.write(filepath.Join(n.from, "multibond"), "program 2")
	n.do(t.Context(), "install")
	n.want(strings.Replace(installed, "program 1", "program 2", 1), `"changed":true`)
	if code := n.do(t.Context(), "uninstall"); code != 0 {
		t.Fatalf("exit code %d: %s", code, &n.log)
	}
	n.want(before, "uninstalled")
	if code := n.do(t.Context(), "uninstall"); code != 0 {
		t.Errorf("a second time: exit code %d: %s", code, &n.log)
	}
}

func TestInstallErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*nodeDirs)
		text   string
	}{
		{"half a configuration", func(n *nodeDirs) { n.write(filepath.Join(n.from, "config"), clusterConfig[:40]) }, "unexpected end of JSON input"},
		{"no name", func(n *nodeDirs) { n.write(filepath.Join(n.from, "config"), `{"plugins": []}`) }, "is no CNI configuration list with a name and plugins"},
		{"another plugin", func(n *nodeDirs) {
			n.write(filepath.Join(n.from, "config"), `{"name": "x", "plugins": [{"type": "multus"}]}`)
		}, "plugins[0].type is multus, wanted is multibond"},
		{"a wrong key", func(n *nodeDirs) {
			n.write(filepath.Join(n.from, "config"), strings.Replace(clusterConfig, "defaultNetwork", "clusterNetwork", 1))
		}, "clusterNetwork: is an object, wanted is a string"},
		{"no plugin", func(n *nodeDirs) { os.Remove(filepath.Join(n.from, "multibond")) }, "no such file or directory"},
		{"no directory", func(n *nodeDirs) { n.bin = filepath.Join(n.bin, "none") }, "no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNodeDirs(t)
			bin := n.bin
			test.change(n)
			if code := n.do(t.Context(), "install"); code != 1 {
				t.Errorf("exit code %d", code)
			}
			n.bin = bin
			n.want(before, test.text)
		})
	}
}

func TestInstallWarnings(t *testing.T) {
	n := newNodeDirs(t)
	n.write(filepath.Join(n.conf, "00-aaa.conf"), "{}")
	n.do(t.Context(), "install")
	n.want("multibond 755 program 1\n00-aaa.conf 600 {}\n"+strings.TrimPrefix(installed, "multibond 755 program 1\n"), "00-aaa.conf")
	n = newNodeDirs(t)
	os.Remove(filepath.Join(n.conf, "10-default.conflist"))
	n.do(t.Context(), "install")
	n.want(strings.TrimSuffix(installed, "\n"+before), "there is no default network yet")
}

// TestUninstallWaits: as long as a pod has a bond, its DEL needs the plugin.
func TestUninstallWaits(t *testing.T) {
	n := newNodeDirs(t)
	n.do(t.Context(), "install")
	store := delegate.Store{Dir: n.state}
	record := func(container, ifName string, b bond.Spec, names ...string) *delegate.Record {
		r := &delegate.Record{Version: 1, Plan: delegate.Plan{ContainerID: container, IfName: ifName, Bond: b,
			Group: delegate.Group{Network: "multibond", IfNames: names, Pod: delegate.Pod{Namespace: "demo", Name: container, UID: "1"}}}}
		if err := store.Begin(r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	record("plain", "eth0", bond.Spec{}, "eth0")
	bonded := record("bonded", "eth0", bond.Spec{Name: "eth0"}, "eth0")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if code := n.do(ctx, "uninstall"); code != 1 {
		t.Errorf("exit code %d", code)
	}
	n.want(installed, "demo/bonded")
	if strings.Contains(n.log.String(), "demo/plain") {
		t.Errorf("it waits for a pod that the default network's plugins release:\n%s", &n.log)
	}
	if err := store.End(bonded); err != nil {
		t.Fatal(err)
	}
	if code := n.do(t.Context(), "uninstall"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	n.want(before, "uninstalled")
}
