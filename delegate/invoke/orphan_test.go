package invoke

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// orphan starts a process that has left its plugin, as if this program and the plugin
// had been killed meanwhile.
func orphan(t *testing.T, containerID string) int {
	t.Helper()
	c := script(t, `sleep 600 >/dev/null 2>&1 & echo $!`)
	c.ContainerID = containerID
	out, err := shell.Start(t.Context(), c)()
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	return pid
}

// runs reports whether a process has not ended. One that nobody has waited for has.
func runs(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestEndOrphans: what plugins have started for a container ends, and nothing else.
func TestEndOrphans(t *testing.T) {
	first, second, other := orphan(t, "ended"), orphan(t, "ended"), orphan(t, "ended-not")
	theirs := exec.Command("sleep", "600")
	theirs.Env = append(os.Environ(), "CNI_CONTAINERID=ended")
	require.NoError(t, theirs.Start())
	t.Cleanup(func() { theirs.Process.Kill(); theirs.Wait() })
	require.NoError(t, shell.EndOrphans(t.Context(), "ended"))
	for limit := time.Now().Add(time.Minute); (runs(first) || runs(second)) && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
	}
	assert.False(t, runs(first), "the first orphan")
	assert.False(t, runs(second), "the second orphan")
	assert.True(t, runs(other), "another container's")
	assert.True(t, runs(theirs.Process.Pid), "another meta plugin's")
	require.NoError(t, shell.EndOrphans(t.Context(), "nobody's"))
}

// TestEndOrphansDaemon: a process that has begun a session of its own is no orphan.
func TestEndOrphansDaemon(t *testing.T) {
	c := script(t, `setsid sh -c 'echo $$ > "$CNI_ARGS.new"; mv "$CNI_ARGS.new" "$CNI_ARGS"; exec sleep 600' >/dev/null 2>&1 &`)
	c.ContainerID, c.Args = "daemon", filepath.Join(t.TempDir(), "pid")
	_, err := shell.Start(t.Context(), c)()
	require.NoError(t, err)
	var text []byte
	require.Eventually(t, func() bool { text, err = os.ReadFile(c.Args); return err == nil }, time.Minute, time.Millisecond)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	require.NoError(t, shell.EndOrphans(t.Context(), "daemon"))
	assert.True(t, runs(pid))
}

// TestEndOrphansWithin: a plugin that executes this program, as flannel does with a delegate
// of type bond, waits for it and is no orphan.
func TestEndOrphansWithin(t *testing.T) {
	const inside = "TEST_END_ORPHANS"
	if os.Getenv(inside) != "" {
		require.NoError(t, Exec{}.EndOrphans(t.Context(), "within"))
		return
	}
	c := script(t, inside+"=yes "+os.Args[0]+" -test.run '^TestEndOrphansWithin$' >/dev/null && echo waited\n")
	c.ContainerID = "within"
	out, err := shell.Start(t.Context(), c)()
	require.NoError(t, err)
	assert.Equal(t, "waited\n", string(out))
}
