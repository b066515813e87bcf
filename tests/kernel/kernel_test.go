// Package kernel runs every test that needs a real kernel, the ones with the
// build tag "lab", in the lab: on each kernel one guest, in it one test binary
// after the other.
package kernel

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

// limit is generous: the guest's processor is emulated, and machines are shared.
const limit = 25 * time.Minute

var kernels = []string{"6.1", "6.12"}

// packages have tests with the build tag "lab".
var packages = []string{"bond", "bond/bondfake", "cmd/multibond"}

func TestKernel(t *testing.T) {
	binaries := build(t)
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			vm, err := lab.Boot(ctx, lab.Options{
				Kernel: kernel, PFs: 2, VFs: 4, Timeout: limit, Log: os.Stdout,
				Files: map[string]string{"bin/multibond": filepath.Join(lab.Root(), "build/multibond")},
			})
			require.NoError(t, err)
			defer vm.Close()
			for i, binary := range binaries {
				t.Run(packages[i], func(t *testing.T) {
					// The scripts of one package share the node, so they take turns.
					_, err := vm.GoTest(ctx, binary, "-test.parallel=1")
					require.NoError(t, err)
				})
			}
		})
	}
}

// build compiles the tests of each package for the guest.
func build(t *testing.T) (binaries []string) {
	for _, pkg := range packages {
		binary := filepath.Join(t.TempDir(), filepath.Base(pkg)+".test")
		cmd := exec.Command("go", "test", "-c", "-tags", "lab", "-o", binary, "./"+pkg)
		cmd.Dir, cmd.Env = lab.Root(), append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go test -c ./%s\n%s", pkg, out)
		binaries = append(binaries, binary)
	}
	return binaries
}
