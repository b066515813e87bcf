package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
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

// tryHelm runs Helm, which make helm has built.
func (s *scene) tryHelm(args ...string) (string, error) {
	s.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(s.Context()), filepath.Join(lab.Root(), "build", "helm", "helm"), append(args, "-n", "multibond-system")...)
	cmd.Dir, cmd.Env = lab.Root(), append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "HOME="+s.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("helm %s: %w (build it: make helm): %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// helm runs Helm, which must work.
func (s *scene) helm(args ...string) {
	s.Helper()
	_, err := s.tryHelm(args...)
	require.NoError(s, err)
}

// image is that of the agent's DaemonSet.
func (s *scene) image() string {
	s.Helper()
	return s.kubectl("-n", "multibond-system", "get", "daemonset", "multibond-agent", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
}

// TestChart is the life of an installation by Helm. It takes over one by kubectl, on a node
// with k3s' directories where upstream's do not exist. It is upgraded while a pod has a bond, is
// not uninstalled as long as it is on the node, is rolled back, and leaves a node that starts
// pods.
func TestChart(t *testing.T) {
	s := newScene(t)
	s.kubectl("-n", "multibond-system", "delete", "daemonset", "multibond-agent", "--timeout=5m")
	s.on("find /opt/cni/bin /etc/cni/net.d -name '*multibond*' -exec rm {} +")
	s.moveCNI(upstreamDirs, k3sDirs)
	t.Cleanup(func() {
		s.moveCNI(k3sDirs, upstreamDirs)
		assert.NoError(t, c.Deploy(context.WithoutCancel(t.Context())))
	})
	const chart = "deploy/chart"
	s.helm("install", "bonds", chart, "--take-ownership", "--force-conflicts", "--set", "distribution=k3s", "--wait")
	assert.Contains(t, k3sDirs.ours(s), k3sDirs.conf+"/00-multibond.conflist\n")
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("p", "bond-net1@bond0", 1))
	s.ready("p")
	assert.Equal(t, []string{"eth0", "bond0"}, s.interfaces("p"))
	s.on("test ! -e /opt/cni/bin -a ! -e /etc/cni/net.d") // nothing was made there

	bond := func() string {
		return s.exec("p", "sh", "-c", "cd /sys/class/net && cat bond0/ifindex bond0/bonding/slaves bond0/carrier_changes bond0-1/carrier_changes bond0-2/carrier_changes")
	}
	before := bond()
	assert.Contains(t, before, "bond0-1 bond0-2\n")
	s.on("ctr -n k8s.io images tag " + releaseImage + ":unreleased " + releaseImage + ":upgraded")
	s.helm("upgrade", "bonds", chart, "--reset-then-reuse-values", "--set", "image.tag=upgraded", "--wait")
	assert.Equal(t, releaseImage+":upgraded", s.image())
	assert.Equal(t, before, bond(), "the bond after the upgrade")

	out, err := s.tryHelm("uninstall", "bonds")
	require.Error(t, err)
	assert.Contains(t, out, "helm rollback bonds 2 -n multibond-system")
	assert.Contains(t, k3sDirs.ours(s), k3sDirs.conf+"/00-multibond.conflist\n")
	assert.Equal(t, releaseImage+":upgraded", s.image(), "something was deleted")
	s.helm("rollback", "bonds", "1", "--wait")
	assert.Equal(t, releaseImage+":unreleased", s.image())
	assert.Equal(t, before, bond(), "the bond after the way back")
	s.remove("p")
	s.wantBefore()

	s.helm("upgrade", "bonds", chart, "--reset-then-reuse-values", "--set", "uninstall=true", "--wait")
	assert.Empty(t, k3sDirs.ours(s), "left on the node")
	s.helm("uninstall", "bonds", "--wait")
	for _, kind := range []string{"clusterrole", "clusterrolebinding", "validatingadmissionpolicy", "validatingadmissionpolicybinding", "daemonset,serviceaccount,configmap,role,rolebinding,job,secret"} {
		assert.NotContains(t, s.kubectl("-n", "multibond-system", "get", kind, "-o", "name"), "multibond")
	}
	assert.Contains(t, s.kubectl("-n", s.namespace, "get", "network-attachment-definitions", "-o", "name"), "bond-net1", "networks that are left")
	s.apply(pod("later", "", 0))
	s.ready("later")
}
