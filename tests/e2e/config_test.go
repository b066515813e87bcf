package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// configure gives the cluster other keys, as its administrator would, for the
// time of the test: nil takes one away.
func (s *scene) configure(keys map[string]any) {
	s.Helper()
	const name = "00-multibond.conflist"
	read := []string{"-n", "multibond-system", "get", "configmap", "multibond-cluster", "-o", `jsonpath={.data.00-multibond\.conflist}`}
	before := s.kubectl(read...)
	var list map[string]any
	require.NoError(s, json.Unmarshal([]byte(before), &list))
	plugin := list["plugins"].([]any)[0].(map[string]any)
	for key, value := range keys {
		plugin[key] = value
		if value == nil {
			delete(plugin, key)
		}
	}
	write := func(text string) {
		s.kubectl("-n", "multibond-system", "patch", "configmap", "multibond-cluster", "--type=merge", "-p", string(encode(map[string]any{"data": map[string]any{name: text}})))
		s.rollout("restart")
	}
	s.Cleanup(func() { write(before) })
	write(string(encode(list)))
}

// rollout does something to the agents and waits until it is done.
func (s *scene) rollout(how string) {
	s.Helper()
	s.kubectl("-n", "multibond-system", "rollout", how, "daemonset/multibond-agent")
	s.kubectl("-n", "multibond-system", "rollout", "status", "daemonset/multibond-agent", "--timeout=5m")
}

const lan = `{"cniVersion": "1.0.0", "type": "macvlan", "master": "enp1s0", "ipam": {"type": "host-local", "subnet": "10.61.0.0/24"}}`

// TestIsolation: a pod names networks of its own namespace and of the global
// ones only, in every way to name one.
func TestIsolation(t *testing.T) {
	s := newScene(t)
	s.configure(map[string]any{"namespaceIsolation": true, "globalNamespaces": []string{"e2e-global"}})
	for _, namespace := range []string{"e2e-global", "e2e-other"} {
		s.kubectl("create", "namespace", namespace)
		t.Cleanup(func() { s.kubectl("delete", "namespace", namespace, "--timeout=5m") })
		s.pipe(nad("lan", lan), "-n", namespace, "apply", "-f", "-")
	}
	s.apply(nad("lan", lan), nad("over", `{"cniVersion": "1.0.0", "type": "multibond", "links": [{"network": "e2e-other/lan"}, {"network": "lan"}]}`))
	s.apply(pod("own", "lan@net1,e2e-global/lan@net2", 0), pod("other", "e2e-other/lan", 0), pod("link", "over@bond0", 0),
		podWith("default", map[string]string{"v1.multus-cni.io/default-network": "e2e-other/lan"}, 0))
	s.ready("own")
	var got []string
	for _, e := range s.status("own") {
		got = append(got, fmt.Sprint(e["name"], " ", e["interface"]))
	}
	assert.Equal(t, []string{"cbr0 eth0", s.namespace + "/lan net1", "e2e-global/lan net2"}, got, "network-status")
	s.wantEvent("other", "NetworksFailed", "networks[0]", "e2e-other/lan", "namespaces are isolated")
	s.wantEvent("link", "NetworksFailed", "networks[0]", "links[0].network", "e2e-other/lan", "namespaces are isolated")
	s.wantEvent("default", "NetworksFailed", "default-network", "e2e-other/lan", "namespaces are isolated")
}

// TestClusterNetwork: the cluster's network is a bond, and every pod gets
// another one after it, by keys of Multus's.
func TestClusterNetwork(t *testing.T) {
	s := newScene(t)
	for _, object := range []string{bondNAD("e2e-cluster", "10.66.0.0/24"), nad("e2e-lan", lan)} {
		s.pipe(object, "-n", "multibond-system", "apply", "-f", "-")
	}
	t.Cleanup(func() { s.kubectl("-n", "multibond-system", "delete", "network-attachment-definition", "--all") })
	s.configure(map[string]any{"defaultNetwork": nil, "clusterNetwork": "e2e-cluster", "multusNamespace": "multibond-system", "defaultNetworks": []string{"e2e-lan"}})
	s.apply(bondNAD("extra", "10.65.0.0/24"))
	s.apply(pod("p", "extra@bond0", 2))
	s.ready("p")
	assert.Equal(t, "eth0-1 eth0-2\nbond0-1 bond0-2\n", s.exec("p", "cat", "/sys/class/net/eth0/bonding/slaves", "/sys/class/net/bond0/bonding/slaves"), "the bonds' links")
	var got []string
	for _, e := range s.status("p") {
		got = append(got, fmt.Sprint(e["name"], " ", e["interface"], " ", e["ips"], " ", e["default"]))
	}
	want := []string{"multibond-system/e2e-cluster eth0 [10.66.0.2] true", "multibond-system/e2e-lan net1 [10.61.0.2] <nil>", s.namespace + "/extra bond0 [10.65.0.2] <nil>"}
	assert.Equal(t, want, got, "network-status")
}

// TestDelegates: the default network is in the cluster's configuration itself,
// which is Multus's way.
func TestDelegates(t *testing.T) {
	s := newScene(t)
	s.configure(map[string]any{"defaultNetwork": nil, "delegates": []any{map[string]any{
		"cniVersion": "1.0.0", "name": "inline", "type": "bridge", "bridge": "cbr0",
		"ipam": map[string]any{"type": "host-local", "subnet": "10.64.0.0/24"}}}})
	s.apply(pod("p", "", 0))
	s.ready("p")
	assert.Equal(t, "10.64.0.2", s.kubectl("-n", s.namespace, "get", "pod", "p", "-o", "jsonpath={.status.podIP}"), "the pod's address")
}
