//go:build lab

package bond

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLabGateway: a bond over veths, whose other ends are in a bridge that has the
// gateways' addresses, probes those that answer, and its links stay up. A gateway that
// does not exist changes nothing.
func TestLabGateway(t *testing.T) {
	space(t, "gateway")
	ip(t, "-n gateway link add br0 type bridge")
	ip(t, "-n gateway link set br0 up")
	space(t, "gateway-pod")
	for _, name := range []string{"v", "w"} {
		ip(t, "-n gateway link add "+name+"1 type veth peer name "+name+"0 netns gateway-pod")
		ip(t, "-n gateway link set "+name+"1 master br0 up")
	}
	ip(t, "-n gateway addr add 10.7.0.1/24 dev br0")
	ip(t, "-n gateway addr add fd07::1/64 dev br0 nodad")
	opened, err := System{}.Open("/run/netns/gateway-pod")
	require.NoError(t, err)
	pod := opened.(*namespace)
	defer pod.Close()

	four, six, nobody := netip.MustParseAddr("10.7.0.1"), netip.MustParseAddr("fd07::1"), netip.MustParseAddr("10.7.0.9")
	own := Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("10.7.0.2/24"), netip.MustParsePrefix("fd07::2/64")}}
	for _, test := range []struct {
		name     string
		gateways []netip.Addr
		want     Options
		problems int
	}{
		{"both answer", []netip.Addr{four, six}, Options{Miimon: "0", arpInterval: "1000", arpIPTarget: "10.7.0.1", nsIP6Target: "fd07::1", arpValidate: "all"}, 0},
		{"one answers", []netip.Addr{nobody, six}, Options{Miimon: "0", arpInterval: "1000", nsIP6Target: "fd07::1", arpValidate: "all"}, 1},
		{"none answers", []netip.Addr{nobody}, Options{Miimon: "100", arpInterval: "0", arpValidate: "none"}, 2},
	} {
		o, problems := ParseOptions(rawOptions(t, `{"arpIpTarget": "gateway", "nsIp6Target": "gateway", "arpValidate": "all"}`), []string{"v0", "w0"}, nil)
		require.NoError(t, problems.Err())
		s := Spec{Name: "bond0", Options: o.WithGateways(nil), Links: []string{"v0", "w0"}}
		b, err := Build(pod, s, []Link{find(t, pod, "v0"), find(t, pod, "w0")})
		require.NoError(t, err, test.name)
		require.NoError(t, pod.Configure(b.Index, own), test.name)
		answered, problems, err := WatchGateways(pod, "bond0", o, test.gateways)
		require.NoError(t, err, test.name)
		assert.Len(t, problems, test.problems, "%s: %v", test.name, problems)
		now := find(t, pod, "bond0")
		for key, want := range test.want {
			assert.Equal(t, want, now.Options[key], "%s: %s", test.name, key)
		}
		assert.Empty(t, o.WithGateways(answered).Differences(now.Options), test.name)
		ip(t, "netns exec gateway-pod ping -c 3 -i 1 -W 5 10.7.0.1")
		assert.True(t, find(t, pod, "bond0").Carrier, test.name)
		require.NoError(t, pod.Delete(b.Index))
	}
}
