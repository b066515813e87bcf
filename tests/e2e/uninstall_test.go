package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

// on runs a command on the node, which must work.
func (s *scene) on(command string) string {
	s.Helper()
	out, err := c.On(context.WithoutCancel(s.Context()), "bash", "-c", command)
	require.NoError(s, err)
	return out
}

// overlay writes an administrator's folder with components, and returns its path.
func overlay(s *scene, components ...string) string {
	folder := filepath.Join(lab.Root(), "build", strings.ReplaceAll(strings.Join(components, "-"), "/", "-"))
	kustomization := "resources: [../../deploy]\ncomponents: [../../deploy/" + strings.Join(components, ", ../../deploy/") + "]\n"
	require.NoError(s, errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(kustomization), 0o644)))
	return folder
}

// TestUninstall, step by step as deploy/README.md has it: it waits for pods whose
// DEL needs the plugin; the node goes on starting pods, and those from before
// end as they should; the CRD stays, with what others made of it.
func TestUninstall(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("bonded", "bond-net1@bond0", 1), pod("plain", "", 0))
	s.ready("bonded", "plain")
	s.kubectl("apply", "-k", overlay(s, "uninstall"))
	logs := []string{"-n", "multibond-system", "logs", "-l", "multibond.io/uninstall", "-c", "uninstall"}
	s.eventually(func() error {
		out, err := c.Kubectl(t.Context(), "", logs...)
		if err != nil || !strings.Contains(out, `"pods":"`+s.namespace+`/bonded"`) {
			return fmt.Errorf("it does not wait for the pod with a bond: %s %v", out, err)
		}
		return nil
	})
	s.on("test -x /opt/cni/bin/multibond -a -f /etc/cni/net.d/00-multibond.conflist")
	s.remove("bonded")
	s.kubectl("-n", "multibond-system", "rollout", "status", "daemonset/multibond-agent", "--timeout=5m")
	s.on("test ! -e /opt/cni/bin/multibond -a ! -e /etc/cni/net.d/00-multibond.conflist")
	s.apply(pod("later", "", 0))
	s.ready("later")
	s.remove("later", "plain")
	s.on("rm /var/lib/cni/multibond/*:eth0.json*") // plain's, which nobody needs
	s.wantBefore()
	s.kubectl("delete", "-k", "deploy", "-l", "app.kubernetes.io/name=multibond", "--timeout=5m")
	assert.Equal(t, "networkattachmentdefinition.k8s.cni.cncf.io/bond-net1\n", s.kubectl("-n", s.namespace, "get", "network-attachment-definitions", "-o", "name"), "networks that are left")
	for _, kind := range []string{"clusterrole", "clusterrolebinding", "validatingadmissionpolicy", "validatingadmissionpolicybinding", "namespace"} {
		assert.NotContains(t, s.kubectl("get", kind, "-o", "name"), "multibond")
	}
	require.NoError(t, c.Deploy(t.Context()))
}

// highIndexes gives the VFs indexes that no interface of a pod has. If a VF's index is taken in
// the pod, sriov-cni 2.1.0, called by Multus, renames the interface that has it.
const highIndexes = `set -e
ip netns add high
for i in $(seq 2 40); do ip -n high link add d$i index $i type dummy; done
for link in /sys/bus/pci/drivers/igbvf/0000:*/net/*; do
	ip link set ${link##*/} netns high
	ip -n high link set ${link##*/} netns 1
done
ip netns del high`

// noOtherNames has udev give VFs no alternative names. A VF that sriov-cni 2.1.0, called by
// Multus, moves to the host as net2 would otherwise get its own name as one, if udev is
// faster, and sriov-cni could not rename it any more ("file exists"), in any DEL.
const noOtherNames = `set -e
mkdir -p /run/systemd/network
printf '[Match]\nDriver=igbvf\n[Link]\nNamePolicy=keep kernel database onboard slot path\n' >/run/systemd/network/50-vf.link
udevadm control --reload
udevadm settle`

// sharesWithMultus attaches a bond and a network of Multus's own that take devices of the
// same resource, and one more network that we would refuse.
func (s *scene) sharesWithMultus() {
	s.on(noOtherNames)
	defer s.on("rm /run/systemd/network/50-vf.link && udevadm control --reload")
	s.on(highIndexes)
	s.apply(sriovNAD("vf", "intel.com/sriov_pf1"), nad("lan", `{"cniVersion": "0.3.1", "name": "lan", "type": "ptp", "ipam": {"type": "host-local", "subnet": "10.57.0.0/24"}}`))
	for name, networks := range map[string]string{
		"bond-first": `[{"name": "bond-net1", "interface": "bond0"}, {"name": "vf", "interface": "net2"}]`,
		"vf-first":   `[{"name": "vf", "interface": "net2"}, {"name": "bond-net1", "interface": "bond0"}]`,
		"refused":    `[{"name": "bond-net1", "interface": "bond0"}, {"name": "lan", "interface": "net3", "bandwidth": {"ingressRate": 1}}, {"name": "vf", "interface": "net2"}]`,
	} {
		s.apply(pod(name, networks, 2))
		s.ready(name)
		const deviceOf = "for i in bond0-1 bond0-2 net2; do basename $(readlink -f /sys/class/net/$i/device); done"
		devices := strings.Fields(s.exec(name, "sh", "-c", deviceOf))
		slices.Sort(devices)
		assert.Len(s, slices.Compact(devices), 3, "%s: devices %s", name, devices)
		assert.Equal(s, "bond0-1 bond0-2\n", s.exec(name, "cat", "/sys/class/net/bond0/bonding/slaves"), "%s: the bond's links", name)
		s.remove(name)
		s.wantBefore()
	}
}

// TestSecondary: Multus is the cluster's meta plugin and calls this one for one
// NAD, as its users would try it first: deploy/README.md, "Beside Multus".
func TestSecondary(t *testing.T) {
	s := newScene(t)
	s.kubectl("-n", "multibond-system", "delete", "daemonset", "multibond-agent", "--timeout=5m")
	s.on("rm /etc/cni/net.d/00-multibond.conflist /opt/cni/bin/multibond && cp /opt/node/bin/multus /opt/cni/bin/ && mkdir -p /etc/cni/multus")
	t.Cleanup(func() {
		s.on("rm /etc/cni/net.d/00-multus.conf /opt/cni/bin/multus")
		assert.NoError(t, c.Deploy(context.WithoutCancel(t.Context())))
	})
	s.on("cat >/etc/cni/multus/config <<'END'\n" + c.NodeKubeconfig() + "\nEND")
	s.on(`cat >/etc/cni/net.d/00-multus.conf <<END
{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus", "kubeconfig": "/etc/cni/multus/config",
 "delegates": [$(cat /etc/cni/net.d/10-default.conflist)]}
END`)
	s.kubectl("apply", "-k", overlay(s, "beside-multus"))
	s.rollout("status")
	s.on("test -x /opt/cni/bin/multibond -a ! -e /etc/cni/net.d/00-multibond.conflist")
	s.apply(followedNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("p", "bond-net1@bond0", 1))
	s.ready("p")
	assert.Equal(t, "bond0-1 bond0-2\n1\n", s.exec("p", "cat", "/sys/class/net/bond0/bonding/slaves", "/proc/sys/net/ipv4/conf/bond0/arp_filter"), "the bond's links, and what tuning did")
	var names []string // Multus has an entry for each interface of a result
	for _, e := range s.status("p") {
		names = append(names, fmt.Sprint(e["name"], " ", e["interface"], " ", e["ips"] != nil))
	}
	ours := s.namespace + "/bond-net1 "
	assert.Equal(t, []string{"cbr0 eth0 true", ours + "bond0 true", ours + "bond0-1 false", ours + "bond0-2 false"}, names, "network-status, Multus's")
	events := s.kubectl("-n", s.namespace, "get", "events", "-o", "jsonpath={.items[*].reportingComponent}")
	assert.Contains(t, events, "multus", "Multus was not there")
	s.remove("p")
	s.wantBefore()
	s.sharesWithMultus()
}
