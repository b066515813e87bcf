// Package kernel runs every test that needs a real kernel, the ones with the
// build tag "lab", in the lab: on each kernel one guest, in it one test binary
// after the other. Guests wait most of their time, so several run at once.
package kernel

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

// limit is generous: the guest's processor is emulated, machines are shared, and two guests
// run at once.
const limit = 45 * time.Minute

// newestSRIOV are the scripts that run with the stand-in for the newest sriov-cni too, on
// the last kernel: those in which it takes part most.
const newestSRIOV = "^TestLab$/^(asbefore|attach|del|mac|misbehave)$"

// besideNetworkd are the scripts that run on a node with systemd-networkd too: those in
// which VFs come back to the host in every way.
const besideNetworkd = "^TestLab$/^(asbefore|attach|del|misbehave|udev)$"

// packages have tests with the build tag "lab".
var packages = []string{"bond", "bond/bondfake", "cmd/multibond"}

func TestKernel(t *testing.T) {
	binaries, standIn, kernels := build(t, packages...), buildStandIn(t), lab.Kernels()
	manyBonds := build(t, "kubeclient")[0]
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			vm, err := lab.Boot(ctx, lab.Options{
				Kernel: kernel, PFs: 2, VFs: 4, Timeout: limit, Log: t.Output(),
				Files: map[string]string{
					"bin/multibond":       filepath.Join(lab.Programs(), "multibond"),
					"bin/multibond-agent": filepath.Join(lab.Programs(), "multibond-agent"), "newest/sriov": standIn,
				},
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
			t.Run("many NICs", func(t *testing.T) { keepMultiNIC(ctx, t, vm, kernel) })
			if kernel == kernels[len(kernels)-1] {
				t.Run("many bonds", func(t *testing.T) { testManyBonds(ctx, t, vm, manyBonds) })
				t.Run("newest sriov-cni", func(t *testing.T) { testNewestSRIOV(ctx, t, vm, binaries[len(binaries)-1]) })
			}
		})
	}
}

// TestNetworkd runs scripts of cmd/multibond while systemd-networkd sets up every
// interface of the host.
func TestNetworkd(t *testing.T) {
	t.Parallel()
	binaries := build(t, "cmd/multibond")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	vm, err := lab.Boot(ctx, lab.Options{
		PFs: 2, VFs: 4, Networkd: true, Timeout: limit, Log: t.Output(),
		Files: map[string]string{"bin/multibond": filepath.Join(lab.Programs(), "multibond")},
	})
	require.NoError(t, err)
	defer vm.Close()
	_, err = vm.GoTest(ctx, binaries[0], "-test.parallel=1", "-test.run="+besideNetworkd)
	require.NoError(t, err)
}

// testNewestSRIOV runs scripts of cmd/multibond with another sriov-cni in the guest.
func testNewestSRIOV(ctx context.Context, t *testing.T, vm *lab.VM, binary string) {
	out, err := vm.Run(ctx, lab.Cmd{Args: []string{"cp", "/lab/newest/sriov", "/opt/cni/bin/sriov"}})
	require.NoError(t, err)
	require.Zero(t, out.Exit, "%s", out.Stderr)
	_, err = vm.GoTest(ctx, binary, "-test.parallel=1", "-test.run="+newestSRIOV)
	require.NoError(t, err)
}

// testManyBonds runs the agent on a node with 110 bonds, and keeps what was measured.
func testManyBonds(ctx context.Context, t *testing.T, vm *lab.VM, binary string) {
	_, err := vm.GoTest(ctx, binary, "-test.run=^TestLabManyBonds$")
	require.NoError(t, err)
	out, err := vm.Run(ctx, lab.Cmd{Args: []string{"cat", "/tmp/watch.json"}})
	require.NoError(t, err)
	require.Zero(t, out.Exit, "%s", out.Stderr)
	dir := filepath.Join(lab.Root(), "build", "report")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "watch.json"), out.Stdout, 0o644))
}

// keepMultiNIC keeps what TestLabEach has seen.
func keepMultiNIC(ctx context.Context, t *testing.T, vm *lab.VM, kernel string) {
	out, err := vm.Run(ctx, lab.Cmd{Args: []string{"cat", "/tmp/multinic.json"}})
	require.NoError(t, err)
	require.Zero(t, out.Exit, "%s", out.Stderr)
	require.NoError(t, lab.AddToReport("multinic.json", kernel, json.RawMessage(out.Stdout)))
}

// buildStandIn compiles the stand-in for the newest sriov-cni.
func buildStandIn(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "sriov")
	compile(t, "build", "-o", file, "./tests/kernel/sriov")
	return file
}

// build compiles the tests of each package for the guest.
func build(t *testing.T, packages ...string) (binaries []string) {
	for _, pkg := range packages {
		binary := filepath.Join(t.TempDir(), filepath.Base(pkg)+".test")
		compile(t, "test", "-c", "-tags", "lab", "-o", binary, "./"+pkg)
		binaries = append(binaries, binary)
	}
	return binaries
}

func compile(t *testing.T, args ...string) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = lab.Root(), lab.Environ()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "go %v\n%s", args, out)
}
