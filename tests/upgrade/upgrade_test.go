// Package upgrade has two versions of the plugin on one node, in the lab: this one and the
// one of another commit. What one has attached, or was killed at, the other checks, keeps,
// brings back, collects and deletes, as after an upgrade and after a rollback.
//
// make upgrade runs it.
package upgrade

import (
	"bytes"
	"cmp"
	"context"
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

const limit = 25 * time.Minute

// networks have a Record each that differs from those of the others in kind. IPAM kills the
// plugin that calls it if it is told to.
var networks = []struct{ name, config string }{
	{"VFs", `"mode": "active-backup", "links": [{"deviceID": "0000:01:10.0"}, {"deviceID": "0000:02:10.0"}],
		"delegate": {"type": "sriov", "vlan": 100, "spoofchk": "off"}, "ipam": {"type": "killer", "subnet": "10.56.217.0/24"}`},
	{"links of the host", `"links": [{"name": "enp1s0v1"}, {"name": "enp2s0v1"}], "ipam": {"type": "killer", "subnet": "10.56.217.0/24"}`},
	{"links that plugins make", `"links": [{"config": {"type": "macvlan", "master": "enp1s0"}}, {"config": {"type": "macvlan", "master": "enp2s0"}}],
		"ipam": {"type": "killer", "subnet": "10.56.217.0/24"}`},
	{"NICs of a pool", `"links": [{"pool": {}, "count": 2, "config": {"type": "macvlan"}}], "ipam": {"type": "killer", "subnet": "10.56.217.0/24"}`},
	{"an interface of each VF", `"attach": "each", "links": [{"deviceID": "0000:01:10.0"}, {"deviceID": "0000:02:10.0"}],
		"delegate": {"type": "sriov", "vlan": 100}, "ipam": {"type": "killer", "subnet": "10.56.217.0/24"}`},
	{"an interface of each NIC", `"attach": "each", "links": [{"config": {"type": "macvlan", "master": "enp1s0"}}, {"config": {"type": "macvlan", "master": "enp2s0"}}],
		"ipam": {"type": "killer", "subnet": "10.56.217.0/24"}`},
}

// killer is host-local. It kills whoever calls it with a command that a file names, once.
const killer = `#!/bin/sh
if [ "$(cat /run/kill 2>/dev/null)" = "$CNI_COMMAND" ]; then rm /run/kill; kill -9 $PPID; exit 1; fi
exec /opt/cni/bin/host-local`

// node is the guest.
type node struct {
	t  *testing.T
	vm *lab.VM
}

func TestUpgrade(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	script := filepath.Join(t.TempDir(), "killer")
	require.NoError(t, os.WriteFile(script, []byte(killer), 0o755))
	vm, err := lab.Boot(ctx, lab.Options{PFs: 2, VFs: 2, Timeout: limit, Log: t.Output(), Files: map[string]string{
		"bin/multibond": filepath.Join(lab.Programs(), "multibond"), "bin/multibond-before": before(t), "bin/killer": script,
	}})
	require.NoError(t, err)
	defer vm.Close()
	n := node{t, vm}
	// Once each VF has been up, its PF has heard its MAC.
	n.sh("for v in /sys/class/net/enp*v*; do ip link set ${v##*/} up; ip link set ${v##*/} down; done; ip netns add pod")
	for _, net := range networks {
		t.Run(net.name, func(t *testing.T) {
			config := `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", ` + net.config
			t.Run("upgrade", func(t *testing.T) { node{t, vm}.replace("multibond-before", "multibond", config) })
			t.Run("rollback", func(t *testing.T) { node{t, vm}.replace("multibond", "multibond-before", config) })
		})
	}
	t.Run("a VF that comes back", func(t *testing.T) {
		config := `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", ` + networks[0].config
		t.Run("upgrade", func(t *testing.T) { node{t, vm}.bringBack("multibond-before", "multibond", config) })
		t.Run("rollback", func(t *testing.T) { node{t, vm}.bringBack("multibond", "multibond-before", config) })
	})
}

// before returns the plugin of the commit that PREVIOUS names.
func before(t *testing.T) string {
	commit := os.Getenv("PREVIOUS")
	require.NotEmpty(t, commit, "PREVIOUS must name the commit of the other version: make upgrade does")
	dir := t.TempDir()
	var archive, errs bytes.Buffer
	read := exec.Command("git", "archive", commit)
	read.Dir, read.Stdout, read.Stderr = lab.Root(), &archive, &errs
	require.NoError(t, read.Run(), "git archive %s: %s", commit, &errs)
	unpack := exec.Command("tar", "-x", "-C", dir)
	unpack.Stdin = &archive
	require.NoError(t, unpack.Run())
	file := filepath.Join(dir, "plugin")
	compile := exec.Command("go", "build", "-buildvcs=false", "-o", file, "./cmd/multibond")
	compile.Dir, compile.Env = dir, lab.Environ()
	out, err := compile.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return file
}

// replace has one version attach, and the other one do all the rest.
func (n node) replace(first, then, config string) {
	before := n.state()
	same := func(what string) { assert.Equal(n.t, before, n.state(), what) }

	n.plugin(first, "ADD", config+"}")
	n.plugin(then, "CHECK", config+"}")
	n.plugin(then, "STATUS", config+"}")
	n.plugin(then, "DEL", config+"}")
	same("attached by one, deleted by the other")

	n.plugin(first, "ADD", config+"}")
	attached := n.state()
	n.plugin(then, "GC", config+`, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "bond0"}]}`)
	assert.Equal(n.t, attached, n.state(), "GC keeps what is valid")
	n.plugin(then, "GC", config+`, "cni.dev/valid-attachments": []}`)
	same("attached by one, collected by the other")

	n.killedAt("ADD", first, config)
	n.plugin(then, "DEL", config+"}")
	same("killed in ADD")

	n.killedAt("ADD", first, config)
	n.plugin(then, "ADD", config+"}")
	n.plugin(then, "CHECK", config+"}")
	n.killedAt("DEL", then, config)
	n.plugin(first, "DEL", config+"}")
	same("attached over what was killed in ADD, and killed in DEL")
}

// bringBack has one version attach, and the other one's keep bring a VF back whose driver was
// unbound.
func (n node) bringBack(first, then, config string) {
	before := n.state()
	n.plugin(first, "ADD", config+"}")
	keep, err := n.vm.Start(n.t.Context(), lab.Cmd{
		Args: []string{"/opt/cni/bin/" + then, "keep", "-agent", "/run/none/agent.sock", "-netns", "/run/netns"}, Stderr: os.Stdout, Timeout: limit,
	})
	require.NoError(n.t, err)
	n.sh("cd /sys/bus/pci/drivers/igbvf; echo 0000:01:10.0 >unbind; echo 0000:01:10.0 >bind")
	n.await("ip netns exec pod cat /sys/class/net/bond0/bonding/slaves", "bond0-2 bond0-1")
	n.await(fmt.Sprintf("echo '%s}' | %s/opt/cni/bin/%s >/dev/null && echo whole", config, environ("CHECK"), first), "whole")
	require.NoError(n.t, keep.Kill())
	keep.Wait()
	n.plugin(first, "DEL", config+"}")
	assert.Equal(n.t, before, n.state())
}

// environ is what a runtime sets for a plugin, for a shell.
func environ(command string) string {
	return "CNI_COMMAND=" + command + " CNI_CONTAINERID=c1 CNI_NETNS=/run/netns/pod CNI_IFNAME=bond0 CNI_PATH=/opt/cni/bin "
}

func (n node) call(version, command, config string) lab.Output {
	n.t.Helper()
	out, err := n.vm.Run(n.t.Context(), lab.Cmd{Args: []string{"sh", "-c", environ(command) + "/opt/cni/bin/" + version}, Stdin: []byte(config)})
	require.NoError(n.t, err)
	return out
}

// plugin calls a version as a runtime does.
func (n node) plugin(version, command, config string) {
	n.t.Helper()
	out := n.call(version, command, config)
	require.Zero(n.t, out.Exit, "%s of %s: %s%s", command, version, out.Stdout, out.Stderr)
}

// killedAt has IPAM kill a version that calls it.
func (n node) killedAt(command, version, config string) {
	n.t.Helper()
	n.sh("echo " + command + " >/run/kill")
	out := n.call(version, command, config+"}")
	require.NotZero(n.t, out.Exit, "%s", out.Stdout)
	require.NotContains(n.t, string(out.Stdout), `"code"`, "it is killed, and reports nothing")
}

// state is what must be as before.
func (n node) state() string {
	return n.sh(`for l in /sys/class/net/enp*; do echo ${l##*/} $(cat $l/address $l/mtu $l/flags); done
		ip link show enp1s0 | grep vf; ip link show enp2s0 | grep vf; ip rule; ip -n pod -br link; ip -n pod rule
		mkdir -p /var/lib/cni; find /var/lib/cni -name '*.json' -o -name '0000:*' -o -name '10.*' | sort`)
}

// sh runs a script in the guest.
func (n node) sh(script string) string {
	n.t.Helper()
	out, err := n.vm.Run(n.t.Context(), lab.Cmd{Args: []string{"sh", "-c", script}})
	require.NoError(n.t, err)
	require.Zero(n.t, out.Exit, "%s\n%s%s", script, out.Stdout, out.Stderr)
	return string(out.Stdout)
}

// await runs a script until it prints what is wanted. The limit is no measure of speed.
func (n node) await(script, want string) {
	n.t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got := strings.TrimSpace(n.sh("{ " + script + "; } 2>&1 || true"))
		if got == want {
			return
		}
		require.True(n.t, time.Now().Before(end), "%s prints %q, want %q", script, cmp.Or(got, "nothing"), want)
	}
}
