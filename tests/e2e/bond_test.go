package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/cluster"
)

// agentCalls counts what the agent has asked the API server for, watches left
// out, and what it tells of its node in its own pod, in words as "patch pods/status".
func agentCalls(s *scene, since time.Time) map[string]int {
	s.Helper()
	requests, err := c.Requests(cluster.AgentUser, since)
	require.NoError(s, err)
	calls := map[string]int{}
	for _, r := range requests {
		if r.Verb != "watch" && r.ObjectRef.Namespace != "multibond-system" {
			calls[strings.TrimSuffix(r.Verb+" "+r.ObjectRef.Resource+"/"+r.ObjectRef.Subresource, "/")]++
		}
	}
	return calls
}

// TestBond is the main job: one pod, one annotation, two VFs of two PFs.
func TestBond(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.wantMetric("multibond_watching", "1")
	since := time.Now()
	s.apply(pod("p", "bond-net1@bond0", 1))
	s.ready("p")
	s.wantEvent("p", "NetworksAttached", "bond0 10.56.217.2 ("+s.namespace+"/bond-net1)")
	assert.Equal(t, map[string]int{"patch pods/status": 1, "create events": 1}, agentCalls(s, since), "the agent's calls per ADD")
	report.APICalls["ADD reads"], report.APICalls["ADD patches"], report.APICalls["ADD events"] = 0, 1, 1

	entries := s.status("p")
	require.Len(t, entries, 2)
	assert.Equal(t, "cbr0 eth0 true", fmt.Sprint(entries[0]["name"], " ", entries[0]["interface"], " ", entries[0]["default"]), "network-status")
	mac := strings.TrimSpace(s.exec("p", "cat", "/sys/class/net/bond0/address"))
	links := entries[1]["multibond.io/links"].([]any)
	delete(entries[1], "multibond.io/links")
	for _, l := range links {
		assert.Equal(t, "up", l.(map[string]any)["state"])
	}
	is := map[string]any{"up": true, "degraded": false, "active": "bond0-1"}
	want := map[string]any{"multibond.io/bond": is, "name": s.namespace + "/bond-net1", "interface": "bond0", "ips": []any{"10.56.217.2"}, "mac": mac, "mtu": 1500.0, "dns": map[string]any{}}
	assert.Equal(t, want, entries[1], "network-status of the bond")
	for i, bus := range []string{"0000:01:", "0000:02:"} {
		link := links[i].(map[string]any)
		device := link["device-info"].(map[string]any)["pci"].(map[string]any)["pci-address"].(string)
		assert.Equal(t, fmt.Sprintf("bond0-%d", i+1), link["name"])
		assert.Regexp(t, "^"+bus, device)
	}
	assert.Equal(t, "bond0-1 bond0-2\n", s.exec("p", "cat", "/sys/class/net/bond0/bonding/slaves"), "the bond's links")

	since = time.Now()
	s.remove("p")
	s.wantBefore()
	assert.Empty(t, agentCalls(s, since), "the agent's calls per DEL")
	report.APICalls["DEL"] = 0
}

// TestPluginsAfterTheBond: a NAD is a list whose first plugin is a bond. The others work on
// the bond, and network-status is as without them.
func TestPluginsAfterTheBond(t *testing.T) {
	s := newScene(t)
	s.apply(followedNAD("followed", "10.56.217.0/24"))
	s.apply(pod("p", "followed@bond0", 1))
	s.ready("p")
	assert.Equal(t, "bond0-1 bond0-2\n1\n", s.exec("p", "cat", "/sys/class/net/bond0/bonding/slaves", "/proc/sys/net/ipv4/conf/bond0/arp_filter"))
	entry := s.status("p")[1]
	assert.Equal(t, "bond0 [10.56.217.2] 1500", fmt.Sprint(entry["interface"], " ", entry["ips"], " ", entry["mtu"]), "network-status")
	assert.Contains(t, entry["multibond.io/links"].([]any)[0], "device-info")
	s.remove("p")
	s.wantBefore()
}

// TestPodStart measures how long pods take to be ready, in turn, without and
// with networks.
func TestPodStart(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	took := map[string][]float64{}
	for range 3 {
		for what, object := range map[string]string{"default network only": pod("plain", "", 0), "with a bond": pod("bonded", "bond-net1", 1)} {
			name := regexp.MustCompile(`"name":"(plain|bonded)"`).FindStringSubmatch(object)[1]
			began := time.Now()
			s.apply(object)
			s.ready(name)
			took[what] = append(took[what], time.Since(began).Seconds())
			s.remove(name)
		}
	}
	for what, all := range took {
		slices.Sort(all)
		report.PodStart[what] = map[string]any{"median": all[len(all)/2], "all": all}
	}
}

// TestThreeBonds: three bonds of six VFs, in two containers.
func TestThreeBonds(t *testing.T) {
	s := newScene(t)
	for i := range 3 {
		s.apply(bondNAD(fmt.Sprintf("net%d", i), fmt.Sprintf("10.60.%d.0/24", i)))
	}
	s.apply(pod("p", "net0@b0,net1@b1,net2@b2", 1, 2))
	s.ready("p")
	var used []string
	for i := range 3 {
		assert.Equal(t, fmt.Sprintf("b%d-1 b%d-2\n", i, i), s.exec("p", "cat", fmt.Sprintf("/sys/class/net/b%d/bonding/slaves", i)))
		for _, link := range s.status("p")[i+1]["multibond.io/links"].([]any) {
			used = append(used, link.(map[string]any)["device-info"].(map[string]any)["pci"].(map[string]any)["pci-address"].(string))
		}
	}
	slices.Sort(used)
	assert.Len(t, slices.Compact(slices.Clone(used)), 6, "VFs: %v", used)
}

// TestTwoPods start at once, and reach each other over their bonds.
func TestTwoPods(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("p1", "bond-net1@bond0", 1), pod("p2", "bond-net1@bond0", 1))
	s.ready("p1", "p2")
	other := s.status("p2")[1]["ips"].([]any)[0].(string)
	s.eventually(func() error {
		out := s.exec("p1", "sh", "-c", "ping -c 1 -W 5 -I bond0 "+other+"; true")
		if !strings.Contains(out, " 0% packet loss") {
			return fmt.Errorf("ping: %s", out)
		}
		return nil
	})
}

// TestEightNetworks: plain networks of any type, in the annotation's order.
func TestEightNetworks(t *testing.T) {
	s := newScene(t)
	s.apply(nad("lan", lan))
	s.apply(pod("p", strings.TrimSuffix(strings.Repeat("lan,", 8), ","), 0))
	s.ready("p")
	var got []string
	for _, e := range s.status("p") {
		got = append(got, fmt.Sprint(e["interface"], " ", e["ips"]))
	}
	want := []string{got[0]}
	for i := 1; i <= 8; i++ {
		want = append(want, fmt.Sprintf("net%d [10.61.0.%d]", i, i+1))
	}
	assert.Equal(t, want, got)
}

// TestDefaultNetwork: the pod's default network is a bond, which is eth0.
func TestDefaultNetwork(t *testing.T) {
	s := newScene(t)
	s.pipe(bondNAD("e2e-default", "10.62.0.0/24"), "-n", "kube-system", "apply", "-f", "-")
	defer s.kubectl("-n", "kube-system", "delete", "network-attachment-definition", "e2e-default")
	s.apply(podWith("p", map[string]string{"v1.multus-cni.io/default-network": "e2e-default"}, 1))
	s.ready("p")
	assert.Equal(t, "eth0-1 eth0-2\n", s.exec("p", "cat", "/sys/class/net/eth0/bonding/slaves"), "eth0's links")
	entries := s.status("p")
	require.Len(t, entries, 1)
	assert.Equal(t, "kube-system/e2e-default true", fmt.Sprint(entries[0]["name"], " ", entries[0]["default"]), "network-status")
	assert.Equal(t, "10.62.0.2", s.kubectl("-n", s.namespace, "get", "pod", "p", "-o", "jsonpath={.status.podIP}"), "the pod's address")
}

// TestDefaultRoute goes over the bond where the pod asks for it.
func TestDefaultRoute(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("p", `[{"name": "bond-net1", "interface": "bond0", "default-route": ["10.56.217.254"]}]`, 1))
	s.ready("p")
	var defaults []string
	for line := range strings.Lines(s.exec("p", "ip", "route")) {
		if strings.HasPrefix(line, "default ") {
			defaults = append(defaults, strings.TrimSpace(line))
		}
	}
	assert.Equal(t, []string{"default via 10.56.217.254 dev bond0"}, defaults, "default routes")
	assert.Equal(t, "[10.56.217.254]", fmt.Sprint(s.status("p")[1]["gateway"]), "gateway")
	s.wantEvent("p", "NetworksWarned", "default route 0.0.0.0/0 via 10.244.0.1 over eth0 was removed", "eth0 reaches only 10.244.0.0/")
}

// TestIPs: a bond takes the addresses that the pod asks for.
func TestIPs(t *testing.T) {
	s := newScene(t)
	s.apply(nad("bond-net1", `{"cniVersion": "1.0.0", "type": "multibond", "links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}],
		"ipam": {"type": "static"}}`))
	s.apply(pod("p", `[{"name": "bond-net1", "interface": "bond0", "ips": ["10.77.0.9/24"]}]`, 1))
	s.ready("p")
	assert.Equal(t, "[10.77.0.9]", fmt.Sprint(s.status("p")[1]["ips"]), "ips")
}

// TestStatefulSet: a pod of the same name starts while the old one ends.
func TestStatefulSet(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	spec := podSpec(1)
	spec["terminationGracePeriodSeconds"] = 3
	s.apply(string(encode(map[string]any{
		"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": map[string]any{"name": "s"},
		"spec": map[string]any{
			"serviceName": "s", "replicas": 1, "selector": map[string]any{"matchLabels": map[string]string{"a": "s"}},
			"template": map[string]any{"metadata": map[string]any{"labels": map[string]string{"a": "s"}, "annotations": map[string]string{"k8s.v1.cni.cncf.io/networks": "bond-net1@bond0"}}, "spec": spec},
		},
	})))
	uid := func() string {
		out, _ := c.Kubectl(context.WithoutCancel(t.Context()), "", "-n", s.namespace, "get", "pod", "s-0", "-o", "jsonpath={.metadata.uid}")
		return out
	}
	s.eventually(func() error {
		if uid() == "" {
			return fmt.Errorf("no pod yet")
		}
		return nil
	})
	s.ready("s-0")
	first := uid()
	s.kubectl("-n", s.namespace, "delete", "pod", "s-0", "--wait=false")
	s.eventually(func() error {
		if now := uid(); now == first || now == "" {
			return fmt.Errorf("the pod is not made anew")
		}
		return nil
	})
	s.ready("s-0")
	assert.Equal(t, "bond0-1 bond0-2\n", s.exec("s-0", "cat", "/sys/class/net/bond0/bonding/slaves"), "the bond's links")
}

// TestDegraded: a bond that may start with fewer links does, with the one that the
// pod has a device for, and its owner is told.
func TestDegraded(t *testing.T) {
	s := newScene(t)
	s.apply(strings.Replace(bondNAD("bond-net1", "10.56.217.0/24"), `\"miimon\": 100`, `\"miimon\": 100, \"minLinks\": 1`, 1))
	s.apply(strings.ReplaceAll(pod("p", "bond-net1@bond0", 1), `,"intel.com/sriov_pf2":1`, ""))
	s.ready("p")
	assert.Equal(t, "bond0-1\n", s.exec("p", "cat", "/sys/class/net/bond0/bonding/slaves"), "the bond's links")
	s.wantEvent("p", "NetworksWarned", "links[1].resourceName: the pod has no device left for it", "links: 1 of 2 are available, and the bond starts with them")
	s.remove("p")
	s.wantBefore()
}
