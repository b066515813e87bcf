package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestGuest checks on each kernel that the machine is the one that the package
// promises, and that it can be told what to do.
func TestGuest(t *testing.T) {
	for _, kernel := range Kernels() {
		t.Run(kernel, func(t *testing.T) {
			vm := bootFor(t, Options{Kernel: kernel, Files: map[string]string{"bin/hello": script(t, "echo hello")}})
			for _, test := range []struct {
				name string
				run  func(*testing.T, *VM)
			}{
				{"Links", testLinks},
				{"VFs", testVFs},
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
	var links []struct{ Ifname, Operstate string }
	if err := json.Unmarshal([]byte(sh(t, vm, "ip -j link")), &links); err != nil {
		t.Fatal(err)
	}
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
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("links:\n got %v\nwant %v", got, want)
	}
}

func testVFs(t *testing.T, vm *VM) {
	for pf := 1; pf <= 2; pf++ {
		for vf := range 4 {
			got := sh(t, vm, fmt.Sprintf(`cd /sys/class/net/enp%ds0v%d/device
				for f in . physfn driver; do basename $(readlink -f $f); done`, pf, vf))
			want := fmt.Sprintf("0000:%02d:10.%d\n0000:%02d:00.0\nigbvf\n", pf, 2*vf, pf)
			if got != want {
				t.Errorf("VF %d of PF %d:\n got %q\nwant %q", vf, pf, got, want)
			}
		}
	}
}

// cni is a plugin's environment, for a container that is a network namespace.
func cni(verb string) []string {
	return []string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/pod",
		"CNI_IFNAME=net1", "CNI_PATH=/opt/cni/bin"}
}

func testAttach(t *testing.T, vm *VM) {
	sh(t, vm, "ip netns add pod")
	// The newest version that this sriov takes.
	conf := []byte(`{"cniVersion": "0.3.1", "name": "n", "type": "sriov", "deviceID": "0000:01:10.2"}`)
	run(t, vm, Cmd{Args: []string{"sriov"}, Env: cni("ADD"), Stdin: conf})
	if got := sh(t, vm, "ip -n pod -br link show net1; ls /sys/bus/pci/devices/0000:01:10.2/net"); !strings.HasPrefix(got, "net1 ") {
		t.Errorf("after ADD, in the namespace: %q", got)
	}
	run(t, vm, Cmd{Args: []string{"sriov"}, Env: cni("DEL"), Stdin: conf})
	if got := sh(t, vm, "ls /sys/bus/pci/devices/0000:01:10.2/net; ip netns del pod"); got != "enp1s0v1\n" {
		t.Errorf("after DEL, on the host: %q", got)
	}
}

// carrier of a link that is up.
func carrier(t *testing.T, vm *VM, link string) string {
	return strings.TrimSpace(sh(t, vm, "cat /sys/class/net/"+link+"/carrier"))
}

func awaitCarrier(t *testing.T, vm *VM, link, want string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); carrier(t, vm, link) != want; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("carrier of %s is not %s after 30 s", link, want)
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
	if got := carrier(t, vm, "enp1s0v0"); got != "1" {
		t.Errorf("the VF noticed the cable: carrier %s", got)
	}
	cable(t, vm, true)
	awaitCarrier(t, vm, "enp1s0", "1")
	sh(t, vm, "ip link set enp1s0v0 down")
}

func cable(t *testing.T, vm *VM, on bool) {
	t.Helper()
	if err := vm.Cable(0, on); err != nil {
		t.Fatal(err)
	}
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
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%d %q %q", out.Exit, out.Stdout, out.Stderr)
	if want := `3 "/tmp\ny\nstdin" "wrong\n"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func testNotFound(t *testing.T, vm *VM) {
	if _, err := vm.Run(t.Context(), Cmd{Args: []string{"nothing-of-that-name"}}); err == nil {
		t.Error("no error")
	}
}

func testTimeLimit(t *testing.T, vm *VM) {
	out, err := vm.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "echo on; sleep 1000"}, Timeout: time.Second})
	if !errors.Is(err, context.DeadlineExceeded) || string(out.Stdout) != "on\n" {
		t.Errorf("got %q and %v", out.Stdout, err)
	}
	if got := sh(t, vm, "pidof sleep || true"); got != "" {
		t.Errorf("its child still runs: %s", got)
	}
}

func testKill(t *testing.T, vm *VM) {
	p, err := vm.Start(t.Context(), Cmd{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if out, err := p.Wait(); err != nil || out.Exit != 128+9 {
		t.Errorf("exit %d, %v; want 137", out.Exit, err)
	}
}

func testShare(t *testing.T, vm *VM) {
	if got := sh(t, vm, "hello; echo back >/lab/file"); got != "hello\n" {
		t.Errorf("program in bin/: %q", got)
	}
	if b, err := os.ReadFile(filepath.Join(vm.Share(), "file")); err != nil || string(b) != "back\n" {
		t.Errorf("file of the guest: %q, %v", b, err)
	}
	for _, text := range []string{"first", "other"} {
		if err := os.WriteFile(filepath.Join(vm.Share(), "file"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := sh(t, vm, "cat /lab/file"); got != text {
			t.Errorf("file of the host: %q, want %q", got, text)
		}
	}
}

// The first command ends only because the second runs.
func testTwoAtOnce(t *testing.T, vm *VM) {
	p, err := vm.Start(t.Context(), Cmd{Args: []string{"sh", "-c", "until [ -e /tmp/second ]; do sleep 0.1; done; echo first"}})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, vm, "touch /tmp/second")
	if out, err := p.Wait(); err != nil || string(out.Stdout) != "first\n" {
		t.Errorf("got %q, %v", out.Stdout, err)
	}
}

// testGoTest runs this very binary in the guest, with tests that need no VM.
func testGoTest(t *testing.T, vm *VM) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, err := vm.GoTest(t.Context(), self, "-test.run", "^TestVersion$")
	if err != nil || !slices.Equal(r.Passed, []string{"TestVersion"}) {
		t.Errorf("passed %v, %v", r.Passed, err)
	}
	if _, err := vm.GoTest(t.Context(), self, "-test.run", "^TestOfNoSuchName$"); err == nil {
		t.Error("no test ran, and no error")
	}
}

// TestDeath: whoever waits for a guest that panics learns of it, and why.
func TestDeath(t *testing.T) {
	vm := bootFor(t, Options{PFs: 1, VFs: 1})
	_, err := vm.Run(t.Context(), Cmd{Args: []string{"sh", "-c", "echo c >/proc/sysrq-trigger; sleep 1000"}})
	if err == nil || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("got %v, want an error with the end of the console", err)
	}
	if _, err := vm.Start(t.Context(), Cmd{Args: []string{"true"}}); err == nil {
		t.Error("a dead guest takes commands")
	}
}

// TestNoBoot: a guest that hangs in its boot is tried twice, and told of.
func TestNoBoot(t *testing.T) {
	var log strings.Builder
	vm, err := Boot(t.Context(), Options{Timeout: 500 * time.Millisecond, Log: &log})
	if err == nil {
		vm.Close()
		t.Fatal("a boot within half a second")
	}
	if !strings.Contains(err.Error(), "time limit of 500ms") || !strings.Contains(log.String(), "once more") {
		t.Errorf("got %v, log %s", err, log.String())
	}
}

func bootFor(t *testing.T, o Options) *VM {
	t.Helper()
	o.Log = t.Output()
	vm, err := Boot(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
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
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}
