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
