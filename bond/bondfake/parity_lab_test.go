//go:build lab

package bondfake_test

import (
	"os/exec"
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

func netns(t *testing.T, verb, name string) {
	t.Helper()
	out, err := exec.Command("ip", "netns", verb, name).CombinedOutput()
	require.NoError(t, err, "ip netns %s %s: %s", verb, name, out)
}

// TestParityKernel runs the script against the running kernel.
func TestParityKernel(t *testing.T) {
	t.Cleanup(func() {
		for _, name := range spaces[1:] {
			exec.Command("ip", "netns", "del", name).Run()
		}
	})
	runScript(t, real{}, 2*time.Minute)
}
