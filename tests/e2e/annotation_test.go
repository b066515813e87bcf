package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMAC: a bond takes the MAC that the pod asks for, where its VFs may.
func TestMAC(t *testing.T) {
	s := newScene(t)
	s.apply(nad("bond-net1", `{"cniVersion": "1.0.0", "type": "multibond", "delegate": {"type": "sriov", "trust": "on"},
		"links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}]}`))
	s.apply(pod("p", `[{"name": "bond-net1", "interface": "bond0", "mac": "02:00:00:00:0e:2e"}]`, 1))
	s.ready("p")
	assert.Equal(t, strings.Repeat("02:00:00:00:0e:2e\n", 3), s.exec("p", "cat", "/sys/class/net/bond0/address", "/sys/class/net/bond0-1/address", "/sys/class/net/bond0-2/address"), "the MACs of the bond and its links")
	assert.Equal(t, "02:00:00:00:0e:2e", s.status("p")[1]["mac"], "network-status: mac")
}

// TestTwoContainers: a VF of each makes one bond.
func TestTwoContainers(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("pair", "10.67.0.0/24"))
	spec := podSpec(0, 0)
	for i, c := range spec["containers"].([]map[string]any) {
		amount := map[string]any{fmt.Sprintf("intel.com/sriov_pf%d", i+1): 1}
		c["resources"] = map[string]any{"requests": amount, "limits": amount}
	}
	s.apply(string(encode(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": map[string]any{"name": "p", "annotations": map[string]string{"k8s.v1.cni.cncf.io/networks": "pair@bond0"}},
	})))
	s.ready("p")
	assert.Equal(t, "bond0-1 bond0-2\n", s.exec("p", "cat", "/sys/class/net/bond0/bonding/slaves"), "the bond's links")
}

// TestDefaultRoute6: the bond gets the default route of the one address family
// that the pod asks for.
func TestDefaultRoute6(t *testing.T) {
	s := newScene(t)
	s.apply(nad("dual", `{"cniVersion": "1.0.0", "type": "multibond", "links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}],
		"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.56.217.0/24"}], [{"subnet": "fd00:56:217::/64"}]]}}`))
	s.apply(pod("p", `[{"name": "dual", "interface": "bond0", "default-route": ["fd00:56:217::fe"]}]`, 1))
	s.ready("p")
	defaults := func(args ...string) (routes []string) {
		for line := range strings.Lines(s.exec("p", args...)) {
			if words := strings.Fields(line); len(words) > 4 && words[0] == "default" {
				routes = append(routes, strings.Join(words[:5], " "))
			}
		}
		return routes
	}
	assert.Equal(t, []string{"default via fd00:56:217::fe dev bond0"}, defaults("ip", "-6", "route"), "IPv6 default routes")
	assert.Equal(t, []string{"default via 10.244.0.1 dev eth0"}, defaults("ip", "route"), "IPv4 default routes")
	assert.Equal(t, "[10.56.217.2 fd00:56:217::2] [fd00:56:217::fe]", fmt.Sprint(s.status("p")[1]["ips"], s.status("p")[1]["gateway"]), "network-status")
}

// recorder is a plugin that notes what it is told, and changes nothing.
const recorder = `#!/bin/sh
config=$(cat)
[ "$CNI_COMMAND" = ADD ] || exit 0
echo "$config" >/tmp/e2e-record
echo '{"cniVersion": "1.0.0", "interfaces": [{"name": "'$CNI_IFNAME'", "mac": "02:00:00:00:00:01", "sandbox": "'$CNI_NETNS'"}], "ips": [{"address": "10.63.0.7/24", "interface": 0}]}'
`

// TestPlainNetwork: a NAD without a configuration is the one of that name on
// the node, a list; its plugins are told what they take of what the pod asks
// for, each its own, with the pod's cni-args.
func TestPlainNetwork(t *testing.T) {
	s := newScene(t)
	s.on("cat >/opt/cni/bin/e2e-record <<'END'\n" + recorder + "END\nchmod +x /opt/cni/bin/e2e-record")
	s.on(`cat >/etc/cni/net.d/60-e2e.conflist <<'END'
{"cniVersion": "1.0.0", "name": "from-node", "plugins": [
  {"type": "macvlan", "master": "enp1s0", "capabilities": {"mac": true}},
  {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
  {"type": "e2e-record", "capabilities": {"portMappings": true, "bandwidth": true, "infinibandGUID": true}}]}
END`)
	t.Cleanup(func() { s.on("rm -f /etc/cni/net.d/60-e2e.conflist /opt/cni/bin/e2e-record /tmp/e2e-record") })
	s.apply(`{"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": "from-node"}}`)
	const asked = `[{"name": "from-node", "interface": "lan0", "mac": "02:00:00:00:0e:63", "infiniband-guid": "02:00:00:00:00:00:0e:63",
		"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}], "bandwidth": {"ingressRate": 2048, "ingressBurst": 1600},
		"cni-args": {"color": "red"}}]`
	s.apply(pod("p", asked, 0), nad("plain", `{"cniVersion": "1.0.0", "name": "plain", "type": "macvlan", "master": "enp1s0"}`),
		pod("warned", `[{"name": "plain", "bandwidth": {"ingressRate": 2048, "ingressBurst": 1600}}]`, 0))
	s.ready("p")
	s.wantEvent("warned", "NetworksWarned", "networks[0].bandwidth", "no plugin of network "+s.namespace+"/plain supports it")

	assert.Equal(t, "02:00:00:00:0e:63\n1\n", s.exec("p", "sh", "-c", "cat /sys/class/net/lan0/address /proc/sys/net/ipv4/conf/lan0/arp_filter"), "what macvlan and tuning did")
	var told struct {
		RuntimeConfig map[string]any
		Args          map[string]any
		PrevResult    struct{ Interfaces []struct{ Name, Mac string } }
	}
	require.NoError(t, json.Unmarshal([]byte(s.on("cat /tmp/e2e-record")), &told))
	want := map[string]any{
		"portMappings":   []any{map[string]any{"hostPort": 8080.0, "containerPort": 80.0, "protocol": "udp"}},
		"bandwidth":      map[string]any{"ingressRate": 2048.0, "ingressBurst": 1600.0, "egressRate": 0.0, "egressBurst": 0.0},
		"infinibandGUID": "02:00:00:00:00:00:0e:63",
	}
	assert.Equal(t, want, told.RuntimeConfig, "runtimeConfig")
	assert.Equal(t, map[string]any{"cni": map[string]any{"color": "red"}}, told.Args, "args")
	assert.Equal(t, []struct{ Name, Mac string }{{"lan0", "02:00:00:00:0e:63"}}, told.PrevResult.Interfaces, "prevResult's interfaces")
	entry := s.status("p")[1]
	assert.Equal(t, "lan0 [10.63.0.7]", fmt.Sprint(entry["interface"], " ", entry["ips"]), "network-status")
	s.remove("p", "warned")
	s.wantBefore() // its DEL needs the plugins that its ADD had
}
