//go:build lab

package bond

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ip runs iproute2, which shares no code with this package, and returns what it
// prints.
func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	require.NoError(t, err, "ip %s: %s", args, out)
	return string(out)
}

// space makes a network namespace for one test.
func space(t *testing.T, name string) *namespace {
	t.Helper()
	ip(t, "netns add "+name)
	t.Cleanup(func() { ip(t, "netns del "+name) })
	n, err := System{}.Open("/run/netns/" + name)
	require.NoError(t, err, name)
	t.Cleanup(func() { n.Close() })
	return n.(*namespace)
}

func host(t *testing.T) *namespace {
	t.Helper()
	n, err := System{}.Host()
	require.NoError(t, err)
	t.Cleanup(func() { n.Close() })
	return n.(*namespace)
}

func find(t *testing.T, n Namespace, name string) Link {
	t.Helper()
	l, err := n.Link(name)
	require.NoError(t, err, name)
	return l
}

func create(t *testing.T, n Namespace, name string, o Options) Link {
	t.Helper()
	b, err := n.CreateBond(name, o)
	require.NoError(t, err, "%s: %s", name, o)
	return b
}

func addressesOf(t *testing.T, n Namespace, l Link) Addresses {
	t.Helper()
	a, err := n.Addresses(l.Index)
	require.NoError(t, err, l.Name)
	return a
}

// borrow moves a VF of the host into a namespace until the test ends.
func borrow(t *testing.T, to Namespace, name string) Link {
	t.Helper()
	home := host(t)
	before := find(t, home, name)
	require.NoError(t, home.Change(before.Index, Change{Namespace: to}), name)
	t.Cleanup(func() {
		links, err := to.Links()
		require.NoError(t, err)
		l, there := Find(links, func(l Link) bool { return l.Device == before.Device })
		require.True(t, there, "%s is lost", name)
		require.NoError(t, to.Change(l.Index, Change{Namespace: home, Name: &before.Name, MAC: &before.MAC, MTU: &before.MTU}))
	})
	return find(t, to, name)
}

// older reports whether this kernel is older than version since.
func older(t *testing.T, since string) bool {
	t.Helper()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	require.NoError(t, err)
	number := func(version string) int {
		var major, minor int
		_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
		require.NoError(t, err, version)
		return major*1000 + minor
	}
	return since != "" && number(string(release)) < number(since)
}
