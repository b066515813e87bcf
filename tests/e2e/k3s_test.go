package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// cniDirs are the container runtime's directories of CNI plugins and configurations.
type cniDirs struct{ bin, conf string }

var (
	upstreamDirs = cniDirs{"/opt/cni/bin", "/etc/cni/net.d"}
	k3sDirs      = cniDirs{"/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/agent/etc/cni/net.d"}
)

// ours lists the files of Multibond in the directories.
func (d cniDirs) ours(s *scene) string {
	s.Helper()
	return s.on("find " + d.bin + " " + d.conf + " -name '*multibond*'")
}

// moveCNI moves all plugins and configurations of the node, and restarts containerd with
// their new directories.
func (s *scene) moveCNI(from, to cniDirs) {
	s.Helper()
	s.on(fmt.Sprintf(`set -e
kill $(pidof containerd)
while pidof containerd >/dev/null; do sleep 0.1; done
mkdir -p $(dirname %[3]s) $(dirname %[4]s)
mv %[1]s %[3]s
mv %[2]s %[4]s
sed 's|/opt/cni/bin|%[3]s|; s|/etc/cni/net.d|%[4]s|' /lab/node/containerd.toml >/etc/containerd/moved.toml
containerd --config /etc/containerd/moved.toml </dev/null >>/var/log/node/containerd 2>&1 &
while ! ctr version >/dev/null 2>&1; do sleep 0.2; done`, from.bin, from.conf, to.bin, to.conf))
}

// TestK3s has containerd with k3s' directories, and upstream's do not exist. The component
// for k3s installs there, a bond comes up, and the removal leaves nothing of Multibond.
func TestK3s(t *testing.T) {
	s := newScene(t)
	s.kubectl("-n", "multibond-system", "delete", "daemonset", "multibond-agent", "--timeout=5m")
	s.on("find /opt/cni/bin /etc/cni/net.d -name '*multibond*' -exec rm {} +")
	s.moveCNI(upstreamDirs, k3sDirs)
	t.Cleanup(func() {
		s.moveCNI(k3sDirs, upstreamDirs)
		assert.NoError(t, c.Deploy(context.WithoutCancel(t.Context())))
	})
	s.kubectl("apply", "-k", overlay(s, "distributions/k3s"))
	s.rollout("status")
	assert.Contains(t, k3sDirs.ours(s), k3sDirs.conf+"/00-multibond.conflist\n")
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("p", "bond-net1@bond0", 1))
	s.ready("p")
	assert.Equal(t, []string{"eth0", "bond0"}, s.interfaces("p"))
	assert.Equal(t, "bond0-1 bond0-2\n", s.exec("p", "cat", "/sys/class/net/bond0/bonding/slaves"))
	s.on("test ! -e /opt/cni/bin -a ! -e /etc/cni/net.d") // nothing was made there
	s.remove("p")
	s.wantBefore()
	s.kubectl("apply", "-k", overlay(s, "distributions/k3s", "uninstall"))
	s.rollout("status")
	assert.Empty(t, k3sDirs.ours(s), "left on the node")
}
