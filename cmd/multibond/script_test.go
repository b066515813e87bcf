package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"multibond": main, "flannel": flannel, "hang": hang, "dhcpwatch": dhcpWatch, "keeponly": keepOnly, "keepinside": keepInside})
}

// hang is a verb that does not end.
func hang() {
	within(time.Millisecond, func() { select {} }, func() {
		fmt.Println("late")
		os.Exit(1)
	})
}

// cni runs a plugin like a runtime: "cni VERB FILE", with the file as standard input
// and CNI_* from the environment of the script. The type in the file names the program
// in CNI_PATH. If there is none, it runs multibond.
func cni(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: cni VERB FILE")
	}
	ts.Setenv("CNI_COMMAND", args[0])
	err := ts.Exec("sh", "-c", program(ts, args[1])+` < "$0"`, ts.MkAbs(args[1]))
	switch {
	case err == nil && neg:
		ts.Fatalf("%s succeeded, and should have failed", args[0])
	case err != nil && !neg:
		ts.Fatalf("%s failed: %v", args[0], err)
	}
}

func program(ts *testscript.TestScript, config string) string {
	var head struct{ Type string }
	_ = json.Unmarshal([]byte(ts.ReadFile(config)), &head)
	for _, dir := range filepath.SplitList(ts.Getenv("CNI_PATH")) {
		file := filepath.Join(dir, head.Type)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	if plugin := os.Getenv("MULTIBOND_BINARY"); plugin != "" {
		return plugin
	}
	return "multibond"
}

// flannel calls its delegate like the CNI plugin of flannel: it passes on the name and
// the version, and adds ipam, mtu and ipMasq.
func flannel() {
	var config struct {
		Name, CNIVersion string
		Delegate         map[string]any
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = json.Unmarshal(stdin, &config)
	}
	if err != nil {
		os.Exit(1)
	}
	d := config.Delegate
	d["name"], d["ipMasq"], d["mtu"] = config.Name, true, 1450
	if config.CNIVersion != "" {
		d["cniVersion"] = config.CNIVersion
	}
	d["ipam"] = map[string]any{"type": "host-local", "subnet": "10.1.15.0/24", "routes": []map[string]string{{"dst": "10.1.0.0/16"}}}
	input, err := json.Marshal(d)
	if err != nil {
		os.Exit(1)
	}
	for _, dir := range filepath.SplitList(os.Getenv("CNI_PATH")) {
		cmd := exec.Command(filepath.Join(dir, d["type"].(string)))
		if _, err := os.Stat(cmd.Path); err != nil {
			continue
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), os.Stdout, os.Stderr
		if cmd.Run() != nil {
			break
		}
		os.Exit(0)
	}
	os.Exit(1)
}
