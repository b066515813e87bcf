package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

const releaseImage = "ghcr.io/multibond/multibond-agent"

// release builds an image of another release and brings it to the node.
func release(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"build", "-trimpath", "-ldflags", "-s -w -X main.releaseVersion=" + name, "-o", dir + "/", "./cmd/multibond", "./cmd/multibond-agent"},
		{"run", "./deploy/image", "-o", filepath.Join(dir, "image.tar"), "-name", releaseImage + ":" + name, "-entrypoint", "/multibond-agent",
			"-file", "/multibond-agent=" + filepath.Join(dir, "multibond-agent"), "-file", "/multibond=" + filepath.Join(dir, "multibond")},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = lab.Root(), append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %q\n%s", args, out)
	}
	require.NoError(t, c.Import(t.Context(), filepath.Join(dir, "image.tar")))
}

// TestUpdate: pods that start while the agents are replaced by those of another
// release get their networks, pods from before are undone after it.
func TestUpdate(t *testing.T) {
	s := newScene(t)
	release(t, "next")
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"), nad("lan", lan))
	s.apply(pod("before", "bond-net1@bond0", 1))
	s.ready("before")
	const set = "set image daemonset/multibond-agent install=%[1]s agent=%[1]s"
	update := func(tag string) {
		s.kubectl(append([]string{"-n", "multibond-system"}, strings.Fields(fmt.Sprintf(set, releaseImage+":"+tag))...)...)
	}
	t.Cleanup(func() {
		update("unreleased")
		s.rollout("status")
	})
	update("next")
	var names []string
	for i := range 6 {
		names = append(names, fmt.Sprintf("p%d", i))
		s.apply(pod(names[i], "bond-net1@bond0,lan@net1", 1))
		time.Sleep(time.Second)
	}
	s.rollout("status")
	s.ready(names...)
	for _, name := range names {
		assert.Equal(t, []string{"eth0", "bond0", "net1"}, s.interfaces(name), name)
	}
	assert.Contains(t, s.on("/opt/cni/bin/multibond 2>&1 || true"), "next", "the plugin on the node")
	s.remove(append(names, "before")...)
	s.wantBefore()
}
