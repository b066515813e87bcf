//go:build lab

package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// rails are four VFs of two PFs in one subnet. peers is what answers behind them.
const (
	rails = `{"cniVersion": "1.0.0", "name": "rails", "type": "multibond", "attach": "each",
		"links": [{"deviceID": "0000:01:10.0"}, {"deviceID": "0000:02:10.0"}, {"deviceID": "0000:01:10.2"}, {"deviceID": "0000:02:10.2"}],
		"ipam": {"type": "host-local", "routes": [{"dst": "10.80.0.0/16"}, {"dst": "fd00:80::/64"}],
			"ranges": [[{"subnet": "10.57.0.0/24", "rangeStart": "10.57.0.11", "gateway": "10.57.0.100"}], [{"subnet": "fd00:57::/64", "rangeStart": "fd00:57::11", "gateway": "fd00:57::100"}]]}}`
	peers = `{"cniVersion": "1.0.0", "name": "peers", "type": "multibond", "attach": "each", "links": [{"deviceID": "0000:01:10.4", "name": "peer"}],
		"ipam": {"type": "static", "addresses": [{"address": "10.57.0.100/24"}, {"address": "fd00:57::100/64"}]}}`
)

// TestLabEach: of four interfaces in one subnet, each answers for its own address only, and
// replies by the interface that was asked. What belongs to no address is sent over all of
// them, and DEL leaves nothing.
func TestLabEach(t *testing.T) {
	before := stateOfNode()
	for _, name := range []string{"p1", "p2"} {
		run(t, "ip", "netns", "add", name)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	}
	rules := rulesOf(t)
	callPlugin(t, "ADD", "p2", peers)
	callPlugin(t, "ADD", "p1", rails)
	callPlugin(t, "CHECK", "p1", rails)
	names := []string{"net1-1", "net1-2", "net1-3", "net1-4"}
	var far []string
	for i := range 16 {
		four, six := fmt.Sprintf("10.80.0.%d", i+1), fmt.Sprintf("fd00:80::%x", i+1)
		run(t, "ip", "-n", "p2", "addr", "add", four+"/32", "dev", "lo")
		run(t, "ip", "-n", "p2", "addr", "add", six+"/128", "dev", "lo", "nodad")
		far = append(far, four, six)
	}
	run(t, "ip", "-n", "p2", "link", "set", "lo", "up")

	shown := map[string]any{"interfaces": names}
	heard := sniff(t, "p1", names)
	owner := map[netip.Addr]string{}
	for i, name := range names {
		for _, a := range []string{fmt.Sprintf("10.57.0.%d", 11+i), fmt.Sprintf("fd00:57::%d", 11+i)} {
			owner[netip.MustParseAddr(a)] = name
			ping(t, "p2", a)
		}
	}
	for _, what := range []string{"ARP reply", "advertisement", "echo reply"} {
		answered := func() map[netip.Addr][]string {
			return overOf(heard(), func(f frame) bool { return f.what == what && owner[f.about] != "" })
		}
		want := map[string]int{"ARP reply": 4, "advertisement": 4, "echo reply": 8}[what]
		assert.Eventually(t, func() bool { return len(answered()) >= want }, time.Minute, 10*time.Millisecond, "each owner's %s", what)
		for about, over := range answered() {
			assert.Equal(t, []string{owner[about]}, over, "%s of %s", what, about)
		}
		shown[what+" by"] = answered()
	}

	for _, a := range far {
		ping(t, "p1", a)
	}
	used := map[bool][]string{}
	destinations := map[string]map[string]int{"IPv4": {}, "IPv6": {}}
	for _, f := range heard() {
		if f.what == "echo request" {
			assert.Equal(t, owner[f.about], f.over, "a request from %s", f.about)
			used[f.about.Is4()] = append(used[f.about.Is4()], f.over)
			destinations[map[bool]string{true: "IPv4", false: "IPv6"}[f.about.Is4()]][f.over]++
		}
	}
	shown["requests to 16 destinations each by"] = destinations
	for is4, over := range used {
		t.Logf("IPv4 %t: requests to 16 addresses left by %v", is4, over)
		assert.GreaterOrEqual(t, len(slices.Compact(slices.Sorted(slices.Values(over)))), 2, "interfaces used, of 16 destinations, IPv4: %t", is4)
	}

	// Two of the interfaces lose their carriers: the others take their part.
	run(t, "ip", "link", "set", "enp2s0", "down")
	awaitLink(t, "p1", "net1-2", "NO-CARRIER")
	awaitLink(t, "p1", "net1-4", "NO-CARRIER")
	for i := range 16 {
		ping(t, "p1", fmt.Sprintf("10.80.0.%d", i+1))
	}
	shown["destinations reached while two of the interfaces have no carrier"] = 16
	run(t, "ip", "link", "set", "enp2s0", "up")
	awaitLink(t, "p1", "net1-4", "LOWER_UP")

	callPlugin(t, "DEL", "p1", rails)
	callPlugin(t, "DEL", "p2", peers)
	assert.Equal(t, rules, rulesOf(t))
	shown["the NICs of 100 plans"] = plansOf(t, 100)
	for _, name := range []string{"p1", "p2"} {
		run(t, "ip", "netns", "del", name)
	}
	assert.Equal(t, before, stateOfNode())
	text, err := json.MarshalIndent(shown, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(multiNICReport, text, 0o644))
}

// multiNICReport is where TestLabEach writes what it has seen.
const multiNICReport = "/tmp/multinic.json"

// plansOf makes so many plans of a pool, each in a process of its own, and returns the NICs
// that all of them have.
func plansOf(t *testing.T, number int) []string {
	var first []string
	for range number {
		cmd := exec.Command(plugin, "plan")
		cmd.Stdin = strings.NewReader(`{"cniVersion": "1.0.0", "name": "pooled", "type": "multibond", "attach": "each", "delegate": {"type": "macvlan"}, "links": [{"pool": {"names": ["enp*s0"]}, "count": 2}]}`)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		chosen := regexp.MustCompile(`(?m)^bond0-\d: on (\S+) .*$`).FindAllString(string(out), -1)
		if first == nil {
			first = chosen
		}
		require.Equal(t, first, chosen)
	}
	require.Len(t, first, 2)
	return first
}

// awaitLink waits until a link of a pod has a flag.
func awaitLink(t *testing.T, pod, name, flag string) {
	t.Helper()
	require.Eventually(t, func() bool {
		return strings.Contains(run(t, "ip", "-n", pod, "link", "show", name), flag)
	}, time.Minute, 50*time.Millisecond, "%s of %s", flag, name)
}

// rulesOf describes what p1 has of rules and routes, and the settings of interfaces to come.
func rulesOf(t *testing.T) string {
	const settings = "cd /proc/sys/net/ipv4/conf; grep . */arp_* */rp_filter"
	return run(t, "ip", "-n", "p1", "rule") + run(t, "ip", "-n", "p1", "-6", "rule") +
		run(t, "ip", "-n", "p1", "route", "show", "table", "all") + run(t, "ip", "netns", "exec", "p1", "sh", "-c", settings)
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
	return string(out)
}

// callPlugin executes the plugin for the interface net1 of a pod.
func callPlugin(t *testing.T, command, pod, config string) {
	t.Helper()
	cmd := exec.Command(plugin)
	cmd.Stdin = strings.NewReader(config)
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID="+pod, "CNI_NETNS=/run/netns/"+pod, "CNI_IFNAME=net1", "CNI_PATH=/opt/cni/bin")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s of %s: %s", command, pod, out)
}

// ping waits until an address answers: a VF gets its carrier in its own time.
func ping(t *testing.T, pod, address string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		out, err := exec.Command("ip", "netns", "exec", pod, "ping", "-c", "1", "-W", "2", address).CombinedOutput()
		if err == nil {
			return
		}
		require.True(t, time.Now().Before(deadline), "%s does not reach %s: %s", pod, address, out)
	}
}

// overOf tells over which links frames about each address left.
func overOf(frames []frame, is func(frame) bool) map[netip.Addr][]string {
	over := map[netip.Addr][]string{}
	for _, f := range frames {
		if is(f) && !slices.Contains(over[f.about], f.over) {
			over[f.about] = append(over[f.about], f.over)
		}
	}
	return over
}

// frame is what a link has sent: about is whose address a reply tells, or who asks.
type frame struct {
	over, what string
	about      netip.Addr
}

// sniff returns a function that lists what the links of a pod have sent since then.
func sniff(t *testing.T, pod string, names []string) func() []frame {
	var mutex sync.Mutex
	var all []frame
	for _, name := range names {
		socket := packetSocket(t, pod, name)
		go func() {
			b := make([]byte, 2000)
			for {
				n, from, err := unix.Recvfrom(socket, b, 0)
				if err != nil {
					return
				}
				if at, is := from.(*unix.SockaddrLinklayer); is && at.Pkttype == unix.PACKET_OUTGOING {
					what, about := parseFrame(b[:n])
					mutex.Lock()
					all = append(all, frame{name, what, about})
					mutex.Unlock()
				}
			}
		}()
	}
	return func() []frame {
		mutex.Lock()
		defer mutex.Unlock()
		return slices.Clone(all)
	}
}

// packetSocket opens a socket that hears all frames of a link. A thread that cannot return
// to its namespace ends with its goroutine.
func packetSocket(t *testing.T, pod, name string) int {
	opened := make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		socket := -1
		defer func() { opened <- socket }()
		space, err := os.Open("/run/netns/" + pod)
		if err != nil || unix.Setns(int(space.Fd()), unix.CLONE_NEWNET) != nil {
			return
		}
		all := int(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		socket, _ = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
		request, _ := unix.NewIfreq(name)
		if unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, request) != nil ||
			unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: int(request.Uint32())}) != nil {
			socket = -1
		}
	}()
	socket := <-opened
	require.Positive(t, socket, "%s of %s", name, pod)
	t.Cleanup(func() { unix.Close(socket) })
	return socket
}

// parseFrame tells what a frame is, if the test is about it.
func parseFrame(b []byte) (what string, about netip.Addr) {
	address := func(from, to int) netip.Addr {
		a, _ := netip.AddrFromSlice(b[from:to])
		return a
	}
	if len(b) < 42 {
		return "", about
	}
	switch kind := binary.BigEndian.Uint16(b[12:]); {
	case kind == unix.ETH_P_ARP && b[21] == 2:
		return "ARP reply", address(28, 32)
	case kind == unix.ETH_P_IP && b[23] == unix.IPPROTO_ICMP:
		return map[byte]string{0: "echo reply", 8: "echo request"}[b[34]], address(26, 30)
	case kind == unix.ETH_P_IPV6 && len(b) >= 78 && b[20] == unix.IPPROTO_ICMPV6 && b[54] == 136:
		return "advertisement", address(62, 78)
	case kind == unix.ETH_P_IPV6 && len(b) >= 62 && b[20] == unix.IPPROTO_ICMPV6:
		return map[byte]string{129: "echo reply", 128: "echo request"}[b[54]], address(22, 38)
	}
	return "", about
}
