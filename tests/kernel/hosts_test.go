package kernel

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/tests/lab"
)

// rails have a link on each of the two NICs of a host, and ranges of 64 hosts.
const rails = `{"cniVersion": "1.0.0", "name": "rails", "type": "multibond", "attach": "each", "agent": "/run/multibond/agent.sock",
	"links": [{"config": {"master": "enp1s0", %[1]s}}, {"config": {"master": "enp2s0", %[1]s}}],
	"ipam": {"type": "multibond", "subnet": ["192.168.0.0/16", "fd00:9::/48"], "interfaceBlock": 2, "hostBlock": 6}}`

// railsHost is one of two hosts whose NICs are on one switch, with pods p1 and p2. Its NICs
// have 10.0.1.N/24 and 10.0.2.N/24, N being one more than its index.
type railsHost struct {
	node
	index int
	kill  func() // ends its keep
}

// TestTwoHosts: pods with ipvlan in mode l3 on two hosts reach each other over each of their
// interfaces by the routes that keep sets, and by no others. The routes follow the hosts and
// the networks. In mode bridge of macvlan, nobody needs routes.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	standIn := filepath.Join(t.TempDir(), "agent")
	compile(t, "build", "-o", standIn, "./tests/kernel/agent")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	vms, err := lab.BootTwo(ctx, lab.Options{PFs: 2, VFs: 1, Timeout: limit, Log: t.Output(), Files: map[string]string{
		"bin/multibond": filepath.Join(lab.Programs(), "multibond"), "agent": standIn,
	}})
	require.NoError(t, err)
	var hosts [2]*railsHost
	for i, vm := range vms {
		defer vm.Close()
		hosts[i] = &railsHost{node: node{t, vm}, index: i}
		hosts[i].prepare()
	}
	t.Run("l3", func(t *testing.T) { testRoutes(t, hosts) })
	t.Run("bridge", func(t *testing.T) { testBridge(t, hosts) })
}

func testRoutes(t *testing.T, hosts [2]*railsHost) {
	one, two := hosts[0], hosts[1]
	for _, h := range hosts {
		h.t = t
		h.attachTo(`"type": "ipvlan", "mode": "l3"`)
		assert.Contains(t, h.plugin("ADD", "p1"), "keep does not run here")
		h.keep()
		h.knows(0, 1)
	}
	before := one.state()
	for _, h := range hosts {
		h.pods("ADD")
	}
	for _, h := range hosts {
		h.hasRoutes(1 - h.index)
	}
	reachEachOther(hosts)

	one.knows(0)
	one.hasRoutes()
	one.sh("ip route add 192.168.2.0/24 via 10.0.1.77 proto static metric 7")
	one.knows(0, 1, 2)
	one.hasRoutes(1, 2)
	one.sh("ip route del 192.168.2.0/24 proto static")
	one.knows(0, 1)
	one.hasRoutes(1)
	one.sh("ip route del 192.168.1.0/24; ip link set enp2s0 down; ip link set enp2s0 up; ip address add fd00:2::1/64 dev enp2s0 nodad")
	one.hasRoutes(1)
	reachEachOther(hosts)

	one.kill()
	assert.Contains(t, one.sh("ip route show proto 201"), "192.168.1.0/24", "the next keep goes on with them")
	one.knows(0)
	one.keep()
	one.hasRoutes()

	two.kill()
	two.keep("-relay=false")
	two.hasRoutes()
	two.sh("/opt/cni/bin/multibond keep -given-back")
	assert.Contains(t, two.plugin("ADD", "p3"), "keep does not run here")
	two.kill()
	two.keep()
	two.hasRoutes(0)
	for _, h := range hosts {
		h.pods("DEL")
		h.hasRoutes()
		h.kill()
	}
	assert.Equal(t, before, one.state())
}

// testBridge has no keep.
func testBridge(t *testing.T, hosts [2]*railsHost) {
	for _, h := range hosts {
		h.t = t
		h.attachTo(`"type": "macvlan"`)
		h.pods("ADD")
	}
	reachEachOther(hosts)
	for _, h := range hosts {
		assert.Empty(t, h.sh("ip route show proto 201"))
		h.pods("DEL")
	}
}

// prepare gives the NICs their addresses. Each NIC answers for its own only, as if each had a
// switch of its own.
func (h *railsHost) prepare() {
	h.sh(`cd /proc/sys/net/ipv4/conf/all; echo 1 >arp_ignore; echo 2 >arp_announce; mkdir -p /run/multibond; ip netns add p1; ip netns add p2; ip netns add p3`)
	for nic := 1; nic <= 2; nic++ {
		h.sh(fmt.Sprintf("ip address add 10.0.%[1]d.%[2]d/24 dev enp%[1]ds0; ip address add fd00:%[1]d::%[2]d/64 dev enp%[1]ds0 nodad", nic, h.index+1))
	}
}

// attachTo has the agent give pods the links that a plugin makes by its configuration.
func (h *railsHost) attachTo(plugin string) {
	h.t.Helper()
	networks, err := json.Marshal([]agentapi.Attachment{{
		Name: "demo/rails", IfName: "net1", Bond: true, Config: fmt.Appendf(nil, rails, plugin), HostIndex: &h.index,
	}})
	require.NoError(h.t, err)
	h.write("networks.json", networks)
	h.sh("rm -f /run/multibond/agent.sock; cp /lab/agent /tmp/agent.new; mv /tmp/agent.new /tmp/agent") // from memory, as the share is slow
	_, err = h.vm.Start(h.t.Context(), lab.Cmd{Args: []string{"/tmp/agent", "/run/multibond/agent.sock", "/lab/networks.json"}, Stderr: os.Stdout, Timeout: limit})
	require.NoError(h.t, err)
	h.await("test -S /run/multibond/agent.sock && echo there", "there")
}

// write writes a file below /lab.
func (h *railsHost) write(name string, text []byte) {
	h.t.Helper()
	require.NoError(h.t, os.WriteFile(filepath.Join(h.vm.Share(), name), text, 0o644))
}

// knows has the agent write which hosts there are, by index.
func (h *railsHost) knows(indexes ...int) {
	h.t.Helper()
	all := agentapi.Hosts{Self: agentapi.Self{Index: h.index, Node: fmt.Sprint("n", h.index+1)}}
	for _, i := range indexes {
		peer := agentapi.PeerHost{Index: i, Node: fmt.Sprint("n", i+1)}
		for nic := 1; nic <= 2; nic++ {
			peer.NICs = append(peer.NICs, agentapi.HostNIC{Name: fmt.Sprintf("enp%ds0", nic), Addresses: []netip.Prefix{
				netip.MustParsePrefix(fmt.Sprintf("10.0.%d.%d/24", nic, i+1)), netip.MustParsePrefix(fmt.Sprintf("fd00:%d::%d/64", nic, i+1)),
			}})
		}
		if i != h.index {
			all.Hosts = append(all.Hosts, peer)
		}
	}
	require.NoError(h.t, all.Write(filepath.Join(h.vm.Share(), "hosts.json")))
	h.sh("cp /lab/hosts.json /run/multibond/hosts.new; mv /run/multibond/hosts.new /run/multibond/hosts.json")
}

// keep starts keep.
func (h *railsHost) keep(flags ...string) {
	h.t.Helper()
	p, err := h.vm.Start(h.t.Context(), lab.Cmd{Args: append([]string{"/opt/cni/bin/multibond", "keep"}, flags...), Stderr: os.Stdout, Timeout: limit})
	require.NoError(h.t, err)
	h.kill = func() {
		require.NoError(h.t, p.Kill())
		p.Wait()
	}
	if len(flags) == 0 {
		h.await("grep -q OFDLCK /proc/locks && echo runs", "runs") // by its lock
	}
}

// plugin calls Multibond for a pod, and returns what it prints.
func (h *railsHost) plugin(command, pod string) string {
	h.t.Helper()
	out, err := h.vm.Run(h.t.Context(), lab.Cmd{
		Args: []string{"/opt/cni/bin/multibond"}, Stdin: fmt.Appendf(nil, rails, `"type": "ipvlan"`), // the agent has the right one
		Env: []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + pod, "CNI_NETNS=/run/netns/" + pod, "CNI_IFNAME=net1", "CNI_PATH=/opt/cni/bin",
			"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_UID=u;K8S_POD_NAME=" + pod},
	})
	require.NoError(h.t, err)
	return string(out.Stdout) + string(out.Stderr)
}

// pods calls Multibond for both pods.
func (h *railsHost) pods(command string) {
	h.t.Helper()
	for _, pod := range []string{"p1", "p2"} {
		require.NotContains(h.t, h.plugin(command, pod), `"code"`, "%s of %s", command, pod)
	}
}

// hasRoutes waits until the routes to the hosts with these indexes are all that keep has set.
// To host 2 there is none over enp1s0 with IPv4: somebody else has it.
func (h *railsHost) hasRoutes(to ...int) {
	h.t.Helper()
	var want []string
	for _, i := range to {
		for nic := range 2 {
			if i == 2 && nic == 0 {
				continue
			}
			want = append(want, fmt.Sprintf("192.168.%d.0/24 via 10.0.%d.%d dev enp%ds0", 64*nic+i, nic+1, i+1, nic+1))
		}
	}
	for _, i := range to {
		for nic := range 2 {
			dst := netip.MustParsePrefix(fmt.Sprintf("fd00:9:0:%x00::/56", 64*nic+i))
			want = append(want, fmt.Sprintf("%s via fd00:%d::%d dev enp%ds0", dst, nic+1, i+1, nic+1))
		}
	}
	slices.Sort(want)
	h.await(`{ ip route show proto 201; ip -6 route show proto 201; } | sed 's/ metric.*//; s/ *$//' | LC_ALL=C sort`, strings.Join(want, "\n"))
}

// reachEachOther has each pod reach each other one over each interface, from its address.
func reachEachOther(hosts [2]*railsHost) {
	for _, h := range hosts {
		h.t.Helper()
		var script []string
		for _, pod := range []int{1, 2} {
			for _, other := range hosts {
				for _, to := range []int{1, 2} {
					if other == h && to == pod {
						continue
					}
					for nic := range 2 {
						for _, form := range []string{"192.168.%d.%d", "fd00:9:0:%x00::%d"} {
							from, target := fmt.Sprintf(form, 64*nic+h.index, pod), fmt.Sprintf(form, 64*nic+other.index, to)
							script = append(script, fmt.Sprintf("ip netns exec p%d sh -c 'n=0; until ping -c 1 -W 2 -I %s %s >/dev/null; do n=$((n+1)); [ $n -lt 30 ] || exit 1; done' || echo %s does not reach %s", pod, from, target, from, target))
						}
					}
				}
			}
		}
		assert.Empty(h.t, h.sh(strings.Join(script, "\n")))
	}
}
