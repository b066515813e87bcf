package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/cluster"
	"github.com/multibond/multibond/tests/lab"
)

// twoNodes are the cluster's, with networks of an interface on each NIC: of ipvlans in mode
// l3, which need routes, and of VFs, which are on one link.
type twoNodes struct {
	*scene
	said map[string]any // for the report
}

const (
	routedConfig = `{"cniVersion": "1.0.0", "type": "multibond", "attach": "each",
		"links": [{"config": {"type": "ipvlan", "mode": "l3", "master": "enp1s0"}}, {"config": {"type": "ipvlan", "mode": "l3", "master": "enp2s0"}}],
		"ipam": {"type": "multibond", "subnet": ["192.168.0.0/16", "fd00:19::/48"], "interfaceBlock": 2, "hostBlock": 6}}`
	switchedConfig = `{"cniVersion": "1.0.0", "type": "multibond", "attach": "each",
		"links": [{"resourceName": "intel.com/sriov_pf1"}, {"resourceName": "intel.com/sriov_pf2"}],
		"ipam": {"type": "multibond", "subnet": ["172.16.0.0/16", "fd00:20::/48"], "interfaceBlock": 2, "hostBlock": 6}}`
)

// TestTwoNodes: pods of two nodes, which start at the same instant, reach each other over each
// interface. Numbers and routes follow a node that goes and comes back as a new machine, and
// agents that begin at the same instant without their Leases.
func TestTwoNodes(t *testing.T) {
	require.Len(t, c.Nodes, 2, "run make e2e NODES=2")
	require.NoError(t, c.DeployComponents(t.Context(), "keep"))
	s := twoNodes{newScene(t), map[string]any{}}
	s.rolledOut()
	s.apply(nad("routed", routedConfig), nad("switched", switchedConfig))
	for _, n := range c.Nodes {
		s.address(n)
	}
	first, second := c.Nodes[0], c.Nodes[1]

	s.startPods(first, second)
	numbers := s.numbers()
	s.reachEachOther()
	s.showTool()

	began := time.Now()
	s.kubectl("-n", "multibond-system", "delete", "leases", "--all")
	s.kubectl("-n", "multibond-system", "delete", "pods", "-l", "app=multibond-agent", "--timeout=5m")
	s.rolledOut()
	s.eventually(func() error { return wants(numbers, s.leases()) })
	assert.Equal(t, numbers, s.numbers(), "numbers after both agents have begun without their Leases")
	s.took("numbersAgain", began)

	began = time.Now()
	require.NoError(t, second.TurnOff())
	s.kubectl("delete", "node", second.Name)
	s.kubectl("-n", s.namespace, "delete", "pods", "-l", "on="+second.Name, "--force", "--timeout=5m")
	s.eventually(func() error { return wants(map[string]int{first.Name: numbers[first.Name]}, s.leases()) })
	s.hasRoutes(first)
	s.took("routesOfRemovedNodeGone", began)
	s.reachEachOther()

	began = time.Now()
	require.NoError(t, second.TurnOn(t.Context()))
	require.NoError(t, second.ImportAgent(t.Context()))
	s.took("nodeReadyAgain", began)
	s.address(second)
	s.rolledOut()
	s.startPods(second)
	s.numbers()
	s.reachEachOther()
	s.deletePods()
	for _, n := range c.Nodes {
		s.hasRoutes(n)
	}
	require.NoError(t, lab.AddToReport("multinic.json", "twoNodes", s.said))
}

// took notes for the report how long something took.
func (s twoNodes) took(what string, began time.Time) {
	s.said[what+"Seconds"] = time.Since(began).Round(100 * time.Millisecond).Seconds()
}

// rolledOut waits until the agent and keep are ready on all nodes.
func (s twoNodes) rolledOut() {
	s.Helper()
	for _, name := range []string{"agent", "keep"} {
		s.eventually(func() error { // the DaemonSet of a node that has just joined knows nothing of it
			out := s.kubectl("-n", "multibond-system", "get", "daemonset", "multibond-"+name, "-o", "jsonpath={.status.desiredNumberScheduled} {.status.numberReady}")
			return wants(fmt.Sprint(len(c.Nodes), " ", len(c.Nodes)), out)
		})
	}
}

// address gives the NICs of a node 10.1.1.N and 10.1.2.N, and IPv6 addresses as a router would.
// Each answers for its own only, as if each had a switch of its own.
func (s twoNodes) address(n *cluster.Node) {
	s.Helper()
	script := "cd /proc/sys/net/ipv4/conf/all; echo 1 >arp_ignore; echo 2 >arp_announce"
	for nic := 1; nic <= 2; nic++ {
		for _, to := range addressesOf(n, nic) {
			script += fmt.Sprintf("; ip address add %s dev enp%ds0", to, nic)
			if to.Addr().Is6() {
				script += " nodad valid_lft 7200 preferred_lft 3600"
			}
		}
	}
	s.onNode(n, script)
}

// addressesOf lists the addresses of a NIC of a node.
func addressesOf(n *cluster.Node, nic int) []netip.Prefix {
	number := slices.Index(c.Nodes, n) + 1
	return []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.1.%d.%d/24", nic, number)), netip.MustParsePrefix(fmt.Sprintf("fd00:%d::%d/64", nic, number))}
}

func (s twoNodes) onNode(n *cluster.Node, script string) string {
	s.Helper()
	out, err := n.On(context.WithoutCancel(s.Context()), "sh", "-c", script)
	require.NoError(s, err)
	return out
}

// startPods starts two pods on each of the nodes at once.
func (s twoNodes) startPods(on ...*cluster.Node) {
	s.Helper()
	var pods, names []string
	for _, n := range on {
		for i := 1; i <= 2; i++ {
			name := fmt.Sprintf("p%d-on-%d", i, slices.Index(c.Nodes, n)+1)
			spec := podSpec(1)
			spec["nodeName"] = n.Name
			pods = append(pods, string(encode(map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": spec, "metadata": map[string]any{
				"name": name, "labels": map[string]string{"on": n.Name}, "annotations": map[string]string{"k8s.v1.cni.cncf.io/networks": "routed@routed,switched@switched"},
			}})))
			names = append(names, name)
		}
	}
	s.apply(pods...)
	s.ready(names...)
	assert.Empty(s, s.kubectl("-n", s.namespace, "get", "events", "--field-selector", "reason=NetworksWarned", "-o", "jsonpath={.items[*].message}"))
}

// leases are the numbers of hosts, by node.
func (s twoNodes) leases() map[string]int {
	s.Helper()
	all := map[string]int{}
	lines := s.kubectl("-n", "multibond-system", "get", "leases", "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.holderIdentity}{"\n"}{end}`)
	for line := range strings.Lines(lines) {
		lease, node, _ := strings.Cut(strings.TrimSpace(line), " ")
		number, err := strconv.Atoi(strings.TrimPrefix(lease, "multibond-host-"))
		require.NoError(s, err, line)
		require.NotContains(s, all, node, "a node with two numbers:\n%s", lines)
		all[node] = number
	}
	return all
}

// numbers waits until each node has its routes to the other, and returns their numbers.
func (s twoNodes) numbers() map[string]int {
	s.Helper()
	numbers := s.leases()
	require.Len(s, numbers, len(c.Nodes), "%v", numbers)
	for i, n := range c.Nodes {
		s.hasRoutes(n, c.Nodes[1-i])
	}
	return numbers
}

// hasRoutes waits until a node has the routes to the ranges of others, over each NIC, and no
// other ones of keep.
func (s twoNodes) hasRoutes(n *cluster.Node, to ...*cluster.Node) {
	s.Helper()
	var want []string
	for _, other := range to {
		number := s.leases()[other.Name]
		for nic := range 2 {
			ranges := []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("192.168.%d.0/24", 64*nic+number)), netip.MustParsePrefix(fmt.Sprintf("fd00:19:0:%x00::/56", 64*nic+number))}
			for i, via := range addressesOf(other, nic+1) {
				want = append(want, fmt.Sprintf("%s via %s dev enp%ds0", ranges[i], via.Addr(), nic+1))
			}
		}
	}
	slices.Sort(want)
	s.eventually(func() error {
		out := s.onNode(n, "ip route show proto 201; ip -6 route show proto 201")
		var got []string
		for line := range strings.Lines(out) {
			got = append(got, strings.Join(strings.Fields(line)[:5], " "))
		}
		slices.Sort(got)
		if err := wants(want, got); err != nil {
			return fmt.Errorf("routes of %s: %w", n.Name, err)
		}
		return nil
	})
}

// wants is an error if two values differ.
func wants(want, got any) error {
	if !assert.ObjectsAreEqual(want, got) {
		return fmt.Errorf("want %v, got %v", want, got)
	}
	return nil
}

// reachEachOther has each pod reach each other one over each interface, from its address.
func (s twoNodes) reachEachOther() {
	s.Helper()
	pods := strings.Fields(s.kubectl("-n", s.namespace, "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"))
	addresses, all := map[string]map[string][]string{}, map[string]string{}
	for _, pod := range pods {
		addresses[pod] = map[string][]string{}
		for _, e := range s.status(pod)[1:] {
			for _, ip := range e["ips"].([]any) {
				address, ifName := ip.(string), e["interface"].(string)
				require.Empty(s, all[address], "%s of %s is another pod's, too", address, pod)
				all[address] = pod
				addresses[pod][ifName] = append(addresses[pod][ifName], address)
			}
		}
		require.Len(s, addresses[pod], 4, "interfaces of %s", pod)
	}
	ways := 0
	for _, from := range pods {
		var script []string
		for _, to := range pods {
			for ifName, own := range addresses[from] {
				for i, target := range addresses[to][ifName] {
					if to != from {
						script = append(script, fmt.Sprintf("n=0; until ping -c 1 -W 2 -I %s %s >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 30 ] || { echo %s does not reach %s %s; break; }; done", own[i], target, own[i], to, target))
					}
				}
			}
		}
		assert.Empty(s, s.exec(from, "sh", "-c", strings.Join(script, "\n")))
		ways += len(script)
	}
	s.Logf("%d pods reach each other in %d ways", len(pods), ways)
	s.said["ways"] = ways
}

// showTool: kubectl multibond sees both nodes, and checks each interface of each pod.
func (s twoNodes) showTool() {
	s.Helper()
	s.eventually(func() error {
		code, out := s.adminTool("status")
		for _, n := range c.Nodes {
			if line := regexp.MustCompile(`(?m)^` + n.Name + ` +ok .*`); code != 0 || !line.MatchString(out) {
				return fmt.Errorf("status ends with %d, want %s to be ok:\n%s", code, n.Name, out)
			}
		}
		s.Logf("$ kubectl multibond status\n%s", out)
		return nil
	})
	s.eventually(func() error {
		code, out := s.adminTool("check", "-n", s.namespace)
		if ways := strings.Count(out, "ok\n"); code != 0 || ways != 32 {
			return fmt.Errorf("check ends with %d, and %d of 32 ways are ok:\n%s", code, ways, out)
		}
		s.Logf("$ kubectl multibond check\n%s", out)
		return nil
	})
}
