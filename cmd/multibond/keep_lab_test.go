//go:build lab

package main

import (
	"embed"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

// The guest has the test binary but not this folder.
//
//go:embed testdata/remade
var remadeScripts embed.FS

// TestLabRemade runs the scripts that make all VFs of a PF anew. What the VFs of nobody are
// like afterwards is the kernel's, so each script compares by itself.
func TestLabRemade(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, remadeScripts))
	t.Setenv("MULTIBOND_BINARY", plugin)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join(dir, "testdata/remade"),
		Setup: func(e *testscript.Env) error {
			require.NoError(t, os.RemoveAll("/var/lib/cni/networks"))
			e.Defer(func() {
				removeAttachments(t)
				// Once each has been up, the PFs have heard the MACs of the new VFs.
				exec.Command("sh", "-c", "udevadm settle; for n in /sys/class/net/enp*v*; do ip link set ${n##*/} up; ip link set ${n##*/} down; done").Run()
			})
			for key, value := range map[string]string{
				"CNI_PATH": "/opt/cni/bin", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/p1", "CNI_IFNAME": "bond0", "PATH": os.Getenv("PATH"),
			} {
				e.Setenv(key, value)
			}
			return nil
		},
		Cmds: labCommands,
	})
}
