package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// platform is one that programs are built for.
type platform struct {
	os, arch string
	node     bool // the plugin and the agent run there, not only the operator's tool
}

// platforms: the plugin and the agent run on Linux, the operator's tool where operators sit.
var platforms = []platform{
	{"linux", "amd64", true},
	{"linux", "arm64", true},
	{"darwin", "amd64", false},
	{"darwin", "arm64", false},
	{"windows", "amd64", false},
}

func (p platform) String() string { return p.os + "-" + p.arch }

// suffix ends the names of programs.
func (p platform) suffix() string {
	if p.os == "windows" {
		return ".exe"
	}
	return ""
}

// nodePrograms run on nodes, and are what the image consists of.
var nodePrograms = []string{"multibond", "multibond-agent"}

// compile runs the compiler. Nothing of the caller's settings gets into the programs: no
// path, no state of the checkout, no processor other than the oldest. The flags are those of
// the Makefile, so that what it has compiled is used.
func compile(ctx context.Context, r release, p platform, out string) error {
	began := time.Now()
	args := []string{"build", "-ldflags", "-s -w -X main.releaseVersion=" + r.version, "-o", out + string(filepath.Separator), "./cmd/multibondctl"}
	if p.node {
		args = append(args, "./cmd/multibond", "./cmd/multibond-agent")
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "GOOS="+p.os, "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0", "CGO_ENABLED=0", "GOEXPERIMENT=",
		"GOFLAGS=-trimpath -buildvcs=false -gcflags=all=-dwarf=false")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the programs for %s do not compile: %w\n%s", p, err, text)
	}
	fmt.Fprintf(r.log, "%s: compiled in %.0f s\n", p, time.Since(began).Seconds())
	return nil
}
