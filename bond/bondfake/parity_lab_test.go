//go:build lab

package bondfake_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/multibond/multibond/bond"
)

type real struct{ bond.System }

func (real) path(name string) string {
	if name == "host" {
		return "/proc/thread-self/ns/net"
	}
	return "/run/netns/" + name
}

func (real) addNamespace(t *testing.T, name string) {
	ip(t, "netns", "add", name)
}

func (real) removeNamespace(t *testing.T, name string) {
	ip(t, "netns", "del", name)
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// TestParityKernel runs the script against the kernel that this runs on.
func TestParityKernel(t *testing.T) {
	t.Cleanup(func() {
		for _, name := range spaces[1:] {
			exec.Command("ip", "netns", "del", name).Run()
		}
	})
	runScript(t, real{}, 10*time.Second)
}
