package conformance

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

var recording = flag.Bool("record", false, "write what was observed into the cases")

// inPrivate is set in the process that has mounts of its own.
const inPrivate = "MULTIBOND_CONFORMANCE"

// built has the programs, which make conformance builds.
const built = "../../build"

// The places of the node. Each is below a directory that is empty at first.
const (
	binDir    = "/opt/cni/bin"
	confDir   = "/opt/cni/net.d"
	stateDir  = "/var/lib/cni"
	agentDir  = "/run/multibond"
	kubelet   = "/var/lib/kubelet/pod-resources/kubelet.sock"
	calls     = "/run/conformance/calls"
	devicesIn = "/sys/bus/pci/devices"
)

// private are directories that every machine has, and that are empty for the programs.
var private = []string{"/opt", "/run", "/var/lib", devicesIn}

// TestMain runs the tests in a mount namespace, because the paths of Multus, of the kubelet
// and of device information are fixed. Without root it takes a user namespace as well.
func TestMain(m *testing.M) {
	if os.Getenv(inPrivate) == "" {
		os.Exit(again())
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// again runs this program in namespaces of its own.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inPrivate+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	if exit, is := errors.AsType[*exec.ExitError](err); is {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v (as another user than root, the kernel has to allow user namespaces)\n", err)
		return 1
	}
	return 0
}

// prepare makes the node's directories and installs the programs.
func prepare() error {
	programs := map[string][]byte{}
	for name, file := range map[string]string{
		"multibond": built + "/multibond", "multibond-agent": built + "/multibond-agent",
		"multus": built + "/conformance/multus", "recorder": built + "/conformance/recorder",
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%w (make conformance builds it)", err)
		}
		programs[name] = content
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	for _, dir := range private {
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", dir, err)
		}
	}
	for _, dir := range []string{binDir, confDir, stateDir, agentDir, filepath.Dir(kubelet), filepath.Dir(calls), "/run/netns", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for name, content := range programs {
		if err := os.WriteFile(filepath.Join(binDir, name), content, 0o755); err != nil {
			return err
		}
	}
	for _, plugin := range delegates {
		if err := os.Link(filepath.Join(binDir, "recorder"), filepath.Join(binDir, plugin)); err != nil {
			return err
		}
	}
	return nil
}

// ip executes ip(8).
func ip(args ...string) (string, error) {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
