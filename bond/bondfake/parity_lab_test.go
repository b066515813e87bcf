//go:build lab

package bondfake_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
)

type real struct{ bond.System }

func (real) path(name string) string {
	if name == "host" {
		return "/proc/thread-self/ns/net"
	}
	return "/run/netns/" + name
}

func (real) addNamespace(t *testing.T, name string)    { netns(t, "add", name) }
func (real) removeNamespace(t *testing.T, name string) { netns(t, "del", name) }

func (real) acceptRA(space, name string) string {
	out, _ := exec.Command("ip", "netns", "exec", space, "cat", "/proc/sys/net/ipv6/conf/"+name+"/accept_ra").Output()
	return strings.TrimSpace(string(out))
}

func netns(t *testing.T, verb, name string) {
	t.Helper()
	execute(t, "ip", "netns", verb, name)
}

func execute(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
}

// TestParityKernel runs the script against the running kernel alone: udev waits until it
// is over. VFs are set up and down, because at that igbvf makes the MAC that udev has
// given them their permanent one.
func TestParityKernel(t *testing.T) {
	execute(t, "udevadm", "control", "--stop-exec-queue")
	for _, vf := range []string{a0, a1, b0, b1} {
		execute(t, "ip", "link", "set", vf, "up")
		execute(t, "ip", "link", "set", vf, "down")
	}
	t.Cleanup(func() {
		execute(t, "udevadm", "control", "--start-exec-queue")
		for _, name := range spaces[1:] {
			exec.Command("ip", "netns", "del", name).Run()
		}
	})
	runScript(t, real{}, 2*time.Minute)
}
