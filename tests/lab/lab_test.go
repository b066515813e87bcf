package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGuest checks on each kernel that the machine is the one that the package
// promises, and that it can be told what to do.
func TestGuest(t *testing.T) {
	for _, kernel := range Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			vm := bootFor(t, Options{Kernel: kernel, Files: map[string]string{"bin/hello": script(t, "echo hello")}})
			for _, test := range []struct {
				name string
				run  func(*testing.T, *VM)
			}{
				{"Links", testLinks},
				{"VFs", testVFs},
				{"Udev", testUdev},
				{"Attach", testAttach},
				{"CablePulled", testCablePulled},
				{"PFDown", testPFDown},
				{"ExitStatus", testExitStatus},
				{"NotFound", testNotFound},
				{"TimeLimit", testTimeLimit},
				{"Kill", testKill},
				{"Share", testShare},
				{"TwoAtOnce", testTwoAtOnce},
				{"GoTest", testGoTest},
			} {
				t.Run(test.name, func(t *testing.T) { test.run(t, vm) })
			}
		})
	}
}

// No link is there that no NIC makes: no bond0, no dummy0.
func testLinks(t *testing.T, vm *VM) {
	for _, pf := range []string{"enp1s0", "enp2s0"} {
		await(t, vm, "cat /sys/class/net/"+pf+"/operstate", "up\n")
	}
	var links []struct{ Ifname, Operstate string }
	require.NoError(t, json.Unmarshal([]byte(sh(t, vm, "ip -j link")), &links))
	got := map[string]string{}
	for _, l := range links {
		got[l.Ifname] = l.Operstate
	}
	want := map[string]string{"lo": "UNKNOWN", "enp1s0": "UP", "enp2s0": "UP"}
	for _, pf := range []string{"enp1s0", "enp2s0"} {
		for vf := range 4 {
			want[fmt.Sprintf("%sv%d", pf, vf)] = "DOWN"
		}
	}
	assert.Equal(t, want, got)
}

func testVFs(t *testing.T, vm *VM) {
	for pf := 1; pf <= 2; pf++ {
		for vf := range 4 {
			got := sh(t, vm, fmt.Sprintf(`cd /sys/class/net/enp%ds0v%d/device
				for f in . physfn driver; do basename $(readlink -f $f); done`, pf, vf))
			want := fmt.Sprintf("0000:%02d:10.%d\n0000:%02d:00.0\nigbvf\n", pf, 2*vf, pf)
			assert.Equal(t, want, got, "VF %d of PF %d", vf, pf)
		}
	}
}

// A VF that comes back from a namespace keeps the name that it has there. Its own is an
// alternative one. A VF whose driver is loaded anew has its own name.
func testUdev(t *testing.T, vm *VM) {
	sh(t, vm, `ip netns add pod
		ip link set enp1s0v1 netns pod name net1
		ip netns del pod`)
	await(t, vm, "ip link show net1 2>/dev/null | grep -ow 'altname enp1s0v1' || true", "altname enp1s0v1\n")
	sh(t, vm, `ip link property del dev net1 altname enp1s0v1
		ip link set net1 name enp1s0v1
		echo 0000:01:10.2 >/sys/bus/pci/drivers/igbvf/unbind
		echo 0000:01:10.2 >/sys/bus/pci/drivers/igbvf/bind
		udevadm settle`)
	assert.Equal(t, "enp1s0v1\n", sh(t, vm, "ls /sys/bus/pci/devices/0000:01:10.2/net"))
}

// cni is a plugin's environment, for a container that is a network namespace.
func cni(verb string) []string {
	return []string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/pod",
		"CNI_IFNAME=net1", "CNI_PATH=/opt/cni/bin"}
}

func testAttach(t *testing.T, vm *VM) {
	// udev gives a VF that comes back its own name as an alternative one. If it is quicker
	// than sriov-cni, sriov-cni cannot give the VF that name and its DEL fails.
	sh(t, vm, "ip netns add pod; udevadm control --stop-exec-queue")
	defer sh(t, vm, "udevadm control --start-exec-queue")
	// The newest version that this sriov takes.
	conf := []byte(`{"cniVersion": "0.3.1", "name": "n", "type": "sriov", "deviceID": "0000:01:10.2"}`)
	run(t, vm, Cmd{Args: []string{"sriov"}, Env: cni("ADD"), Stdin: conf})
	assert.Regexp(t, "^net1 ", sh(t, vm, "ip -n pod -br link show net1; ls /sys/bus/pci/devices/0000:01:10.2/net"), "after ADD, in the namespace")
	run(t, vm, Cmd{Args: []string{"sriov"}, Env: cni("DEL"), Stdin: conf})
	assert.Equal(t, "enp1s0v1\n", sh(t, vm, "ls /sys/bus/pci/devices/0000:01:10.2/net; ip netns del pod"), "after DEL, on the host")
}

// carrier of a link that is up.
func carrier(t *testing.T, vm *VM, link string) string {
	return strings.TrimSpace(sh(t, vm, "cat /sys/class/net/"+link+"/carrier"))
}

func awaitCarrier(t *testing.T, vm *VM, link, want string) {
	t.Helper()
	await(t, vm, "cat /sys/class/net/"+link+"/carrier", want+"\n")
}

// await runs a script until it prints what is wanted. The limit is no measure of speed.
func await(t *testing.T, vm *VM, script, want string) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got := sh(t, vm, script)
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s prints %q, want %q", script, got, want)
		}
	}
}

// A pulled cable is silent: the PF loses its carrier, its VFs do not.
func testCablePulled(t *testing.T, vm *VM) {
	sh(t, vm, "ip link set enp1s0v0 up")
	awaitCarrier(t, vm, "enp1s0v0", "1")
	cable(t, vm, false)
	awaitCarrier(t, vm, "enp1s0", "0")
	time.Sleep(3 * time.Second) // what would come late
	assert.Equal(t, "1", carrier(t, vm, "enp1s0v0"), "the VF noticed the cable")
	cable(t, vm, true)
	awaitCarrier(t, vm, "enp1s0", "1")
	sh(t, vm, "ip link set enp1s0v0 down")
}

func cable(t *testing.T, vm *VM, on bool) {
	t.Helper()
	require.NoError(t, vm.Cable(0, on))
}

// A PF that is down takes the carrier of its VFs.
func testPFDown(t *testing.T, vm *VM) {
	sh(t, vm, "ip link set enp2s0v0 up")
	awaitCarrier(t, vm, "enp2s0v0", "1")
	sh(t, vm, "ip link set enp2s0 down")
	awaitCarrier(t, vm, "enp2s0v0", "0")
	sh(t, vm, "ip link set enp2s0 up")
	awaitCarrier(t, vm, "enp2s0v0", "1")
	sh(t, vm, "ip link set enp2s0v0 down")
}

func testExitStatus(t *testing.T, vm *VM) {
	out, err := vm.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "pwd; echo $X; cat; echo wrong >&2; exit 3"},
		Env: []string{"X=y"}, Dir: "/tmp", Stdin: []byte("stdin")})
	require.NoError(t, err)
	assert.Equal(t, `3 "/tmp\ny\nstdin" "wrong\n"`, fmt.Sprintf("%d %q %q", out.Exit, out.Stdout, out.Stderr))
}

func testNotFound(t *testing.T, vm *VM) {
	_, err := vm.Run(t.Context(), Cmd{Args: []string{"nothing-of-that-name"}})
	assert.Error(t, err)
}

func testTimeLimit(t *testing.T, vm *VM) {
	_, err := vm.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "sleep 1000 & wait"}, Timeout: time.Second})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	await(t, vm, "pidof sleep || true", "")
}

func testKill(t *testing.T, vm *VM) {
	p, err := vm.Start(t.Context(), Cmd{Args: []string{"sh", "-c", "echo on; : >/tmp/begun; sleep 1000"}})
	if err != nil {
		t.Fatal(err)
	}
	await(t, vm, "ls /tmp/begun || true", "/tmp/begun\n")
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if out, err := p.Wait(); err != nil || out.Exit != 128+9 || string(out.Stdout) != "on\n" {
		t.Errorf("exit %d, %q, %v; want 137", out.Exit, out.Stdout, err)
	}
}

func testShare(t *testing.T, vm *VM) {
	assert.Equal(t, "hello\n", sh(t, vm, "hello; echo back >/lab/file"), "program in bin/")
	b, err := os.ReadFile(filepath.Join(vm.Share(), "file"))
	assert.NoError(t, err)
	assert.Equal(t, "back\n", string(b), "file of the guest")
	for _, text := range []string{"first", "other"} {
		require.NoError(t, os.WriteFile(filepath.Join(vm.Share(), "file"), []byte(text), 0o644))
		assert.Equal(t, text, sh(t, vm, "cat /lab/file"), "file of the host")
	}
}

// The first command ends only because the second runs.
func testTwoAtOnce(t *testing.T, vm *VM) {
	p, err := vm.Start(t.Context(), Cmd{Args: []string{"sh", "-c", "until [ -e /tmp/second ]; do sleep 0.1; done; echo first"}})
	require.NoError(t, err)
	sh(t, vm, "touch /tmp/second")
	out, err := p.Wait()
	assert.NoError(t, err)
	assert.Equal(t, "first\n", string(out.Stdout))
}

// testGoTest runs this very binary in the guest, with tests that need no VM.
func testGoTest(t *testing.T, vm *VM) {
	self, err := os.Executable()
	require.NoError(t, err)
	r, err := vm.GoTest(t.Context(), self, "-test.run", "^TestVersion$")
	assert.NoError(t, err)
	assert.Equal(t, []string{"TestVersion"}, r.Passed)
	_, err = vm.GoTest(t.Context(), self, "-test.run", "^TestOfNoSuchName$")
	assert.Error(t, err, "no test ran, and no error")
}

// TestDeath: whoever waits for a guest that panics learns of it, and why.
func TestDeath(t *testing.T) {
	vm := bootFor(t, Options{PFs: 1, VFs: 1})
	_, err := vm.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "echo c >/proc/sysrq-trigger; sleep 1000"}})
	assert.ErrorContains(t, err, "sysrq triggered crash", "the end of the console")
	_, err = vm.Start(t.Context(), Cmd{Args: []string{"true"}})
	assert.Error(t, err, "a dead guest takes commands")
}

// TestNoBoot: a guest that hangs in its boot is tried twice, and told of.
func TestNoBoot(t *testing.T) {
	var log strings.Builder
	vm, err := Boot(t.Context(), Options{Timeout: 500 * time.Millisecond, Log: &log})
	if err == nil {
		vm.Close()
		t.Fatal("a boot within half a second")
	}
	assert.ErrorContains(t, err, "time limit of 500ms")
	assert.Contains(t, log.String(), "once more")
}

func bootFor(t *testing.T, o Options) *VM {
	t.Helper()
	o.Log = t.Output()
	vm, err := Boot(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, vm.Close())
	})
	return vm
}

func sh(t *testing.T, vm *VM, script string) string {
	t.Helper()
	return run(t, vm, Cmd{Args: []string{"sh", "-ec", script}})
}

func run(t *testing.T, vm *VM, c Cmd) string {
	t.Helper()
	out, err := vm.Run(t.Context(), c)
	if err != nil || out.Exit != 0 {
		t.Fatalf("%s: exit status %d, %v\n%s%s", c, out.Exit, err, out.Stdout, out.Stderr)
	}
	return string(out.Stdout)
}

func script(t *testing.T, text string) string {
	file := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return file
}
