package netconf

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// blocksOf reads the ipam of a bond.
func blocksOf(t *testing.T, ipam string) Blocks {
	t.Helper()
	n, err := ParseNetwork([]byte(`{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "ipam": `+ipam+`}`), "net1")
	require.NoError(t, err)
	assert.Equal(t, HostLocal, n.IPAM)
	assert.True(t, n.NeedsAgent())
	return *n.Blocks
}

// TestBlocks: the bits of an address are subnet, interface, host and pod, as multi-nic-cni has
// them, in IPv4 and in IPv6.
func TestBlocks(t *testing.T) {
	v4 := blocksOf(t, `{"type": "multibond", "subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6}`)
	assert.Equal(t, []int{4, 64}, []int{v4.Interfaces(), v4.Hosts()})
	for _, test := range []struct {
		ipam                        string
		i, host                     int
		onLink, part, first, lastIP string
	}{
		{`"subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6`, 0, 0, "192.168.0.0/18", "192.168.0.0/24", "192.168.0.1", "192.168.0.254"},
		{`"subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6`, 0, 1, "192.168.0.0/18", "192.168.1.0/24", "192.168.1.1", "192.168.1.254"},
		{`"subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6`, 1, 0, "192.168.64.0/18", "192.168.64.0/24", "192.168.64.1", "192.168.64.254"},
		{`"subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6`, 1, 1, "192.168.64.0/18", "192.168.65.0/24", "192.168.65.1", "192.168.65.254"},
		{`"subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6`, 3, 63, "192.168.192.0/18", "192.168.255.0/24", "192.168.255.1", "192.168.255.254"},
		{`"subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 8`, 0, 5, "192.168.0.0/18", "192.168.1.64/26", "192.168.1.65", "192.168.1.126"},
		{`"subnet": "10.0.0.0/8", "hostBlock": 13`, 0, 5000, "10.0.0.0/8", "10.156.64.0/21", "10.156.64.1", "10.156.71.254"},
		{`"subnet": "192.168.7.0/24", "interfaceBlock": 0, "hostBlock": 0`, 0, 0, "192.168.7.0/24", "192.168.7.0/24", "192.168.7.1", "192.168.7.254"},
		{`"subnet": "fd00:19::/48", "interfaceBlock": 3, "hostBlock": 13`, 5, 4711, "fd00:19:0:a000::/51", "fd00:19:0:b267::/64", "fd00:19:0:b267::1", "fd00:19:0:b267:ffff:ffff:ffff:fffe"},
		{`"subnet": ["fd00:19::/112", "10.1.0.0/16"], "interfaceBlock": 1, "hostBlock": 7`, 1, 2, "fd00:19::8000/113", "fd00:19::8200/120", "fd00:19::8201", "fd00:19::82fe"},
	} {
		b := blocksOf(t, `{"type": "multibond", `+test.ipam+`}`)
		of := b.OfHost(b.Subnets[0], test.i, test.host)
		assert.Equal(t, test.onLink, b.OfInterface(b.Subnets[0], test.i).String(), test.ipam)
		assert.Equal(t, test.part, of.String(), test.ipam)
		assert.Equal(t, []Range{{netip.MustParseAddr(test.first), netip.MustParseAddr(test.lastIP)}}, b.Ranges(of), test.ipam)
	}
}

// TestBlocksExclude: what is excluded splits the range of a host.
func TestBlocksExclude(t *testing.T) {
	for _, test := range []struct {
		exclude string
		want    string
	}{
		{`[]`, "[{192.168.1.1 192.168.1.254}]"},
		{`["192.168.2.0/24"]`, "[{192.168.1.1 192.168.1.254}]"},
		{`["192.168.1.100/30", "192.168.1.7"]`, "[{192.168.1.1 192.168.1.6} {192.168.1.8 192.168.1.99} {192.168.1.104 192.168.1.254}]"},
		{`["192.168.1.0/28", "192.168.1.240/28"]`, "[{192.168.1.16 192.168.1.239}]"},
		{`["192.168.1.1", "192.168.1.254"]`, "[{192.168.1.2 192.168.1.253}]"},
		{`["192.168.1.0/25", "192.168.1.64/26"]`, "[{192.168.1.128 192.168.1.254}]"},
		{`["192.168.0.0/23"]`, "[]"},
	} {
		b := blocksOf(t, `{"type": "multibond", "subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6, "exclude": `+test.exclude+`}`)
		assert.Equal(t, test.want, fmt.Sprint(b.Ranges(b.OfHost(b.Subnets[0], 0, 1))), test.exclude)
	}
}

// TestBlocksDisjoint: of any two interfaces and hosts the ranges are in the part that the
// interface has on link, have nothing in common, and nothing that is excluded.
func TestBlocksDisjoint(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := Blocks{InterfaceBits: random.IntN(maxInterfaceBits + 1), HostBits: random.IntN(maxHostBits + 1)}
		raw := make([]byte, []int{4, 16}[random.IntN(2)])
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		addr, _ := netip.AddrFromSlice(raw)
		room := addr.BitLen() - b.InterfaceBits - b.HostBits - minPodBits
		subnet := netip.PrefixFrom(addr, random.IntN(room+1)).Masked()
		if subnet.Addr().Is4In6() {
			continue
		}
		i, host := random.IntN(b.Interfaces()), random.IntN(b.Hosts())
		of := b.OfHost(subnet, i, host)
		excluded := netip.PrefixFrom(lastOf(of), random.IntN(of.Addr().BitLen()-of.Bits())+of.Bits()+1).Masked()
		b.Exclude = []netip.Prefix{excluded}
		what := fmt.Sprintf("%s %+v, interface %d of host %d", subnet, b, i, host)
		onLink := b.OfInterface(subnet, i)
		require.True(t, subnet.Overlaps(onLink) && onLink.Overlaps(of) && subnet.Bits() <= onLink.Bits() && onLink.Bits() <= of.Bits(), what)
		for _, r := range b.Ranges(of) {
			require.True(t, of.Contains(r.First) && of.Contains(r.Last) && !r.Last.Less(r.First), what)
			require.False(t, excluded.Contains(r.First) || excluded.Contains(r.Last), what)
			require.False(t, r.First == of.Addr() || r.Last == lastOf(of), what)
		}
		if other := random.IntN(b.Hosts()); other != host {
			require.False(t, of.Overlaps(b.OfHost(subnet, i, other)), "%s, and host %d", what, other)
		}
		if other := random.IntN(b.Interfaces()); other != i {
			require.False(t, onLink.Overlaps(b.OfInterface(subnet, other)), "%s, and interface %d", what, other)
		}
	}
}

// TestBlocksHostLocal: host-local gets the network's configuration with its own ipam.
func TestBlocksHostLocal(t *testing.T) {
	const ipam = `{"type": "multibond", "subnet": ["192.168.0.0/16", "fd00::/48"], "interfaceBlock": 2, "hostBlock": 6, "exclude": ["192.168.65.9"],
		"routes": [{"dst": "10.0.0.0/8", "gw": "192.168.64.5"}], "dataDir": "/run/x"}`
	config := NewConfig(json.RawMessage(`{"cniVersion": "1.0.0", "name": "n", "type": "multibond", "runtimeConfig": {"x": 1}, "ipam": ` + ipam + `}`))
	got := blocksOf(t, ipam).HostLocal(config, 1, 1)
	assert.Equal(t, "host-local", got.Type)
	assert.JSONEq(t, `{"cniVersion": "1.0.0", "name": "n", "type": "multibond", "runtimeConfig": {"x": 1}, "ipam": {"type": "host-local", "dataDir": "/run/x",
		"routes": [{"dst": "10.0.0.0/8", "gw": "192.168.64.5"}],
		"ranges": [[{"subnet": "192.168.64.0/18", "rangeStart": "192.168.65.1", "rangeEnd": "192.168.65.8", "gateway": "192.168.64.0"},
			{"subnet": "192.168.64.0/18", "rangeStart": "192.168.65.10", "rangeEnd": "192.168.65.254", "gateway": "192.168.64.0"}],
			[{"subnet": "fd00:0:0:4000::/50", "rangeStart": "fd00:0:0:4100::1", "rangeEnd": "fd00::41ff:ffff:ffff:ffff:fffe", "gateway": "fd00:0:0:4000::"}]]}}`, string(got.Config.Raw))
}

func TestBlocksProblems(t *testing.T) {
	const raise = " (raise it, which changes the addresses of all pods)"
	for _, test := range []struct{ name, ipam, want string }{
		{"nothing", `{"type": "multibond"}`, "ipam.subnet: is missing, want a network such as 192.168.0.0/16, or a list of an IPv4 and an IPv6 network; ipam.hostBlock: is missing, want the number of bits that tell the hosts apart (6 is for 64 hosts)"},
		{"wrong kinds", `{"type": "multibond", "subnet": 7, "interfaceBlock": "2", "hostBlock": 1.5, "exclude": "all", "routes": {}, "dataDir": 1}`,
			`ipam.routes: is an object, want a list of routes (CNI specification, section 5); ipam.dataDir: is 1, want a string; ipam.subnet: is 7, want a string; ` +
				`ipam.interfaceBlock: is "2", want a number of bits; ipam.hostBlock: is 1.5, want a number of bits; ipam.exclude: is "all", want a list of networks or addresses`},
		{"wrong values", `{"type": "multibond", "subnet": "192.168.0.1/16", "interfaceBlock": 9, "hostBlock": -1, "exclude": ["x", "10.0.0.1/8"], "hostblock": 6, "gateway": "192.168.0.1"}`,
			`ipam.gateway: is not a known key; ipam.hostblock: is not a known key (did you mean hostBlock?); ipam.subnet: is "192.168.0.1/16", which is an address and not a network (use 192.168.0.0/16); ` +
				`ipam.interfaceBlock: is 9, want 0 to 8 bits; ipam.hostBlock: is -1, want 0 to 16 bits; ipam.exclude[0]: is "x", want a network such as 192.168.0.0/28, or an address; ` +
				`ipam.exclude[1]: is "10.0.0.1/8", which is an address and not a network (use 10.0.0.0/8)`},
		{"two of a family", `{"type": "multibond", "subnet": ["192.168.0.0/16", "10.0.0.0/8"], "hostBlock": 6}`, "ipam.subnet: has two networks of one family, want one IPv4 and one IPv6 network at most (a larger subnet has room for more)"},
		{"an empty list", `{"type": "multibond", "subnet": [], "hostBlock": 6}`, "ipam.subnet: is an empty list, want a network such as 192.168.0.0/16"},
		{"no network", `{"type": "multibond", "subnet": "", "hostBlock": 6}`, `ipam.subnet: is "", want a network such as 192.168.0.0/16`},
		{"elsewhere", `{"type": "multibond", "subnet": "192.168.0.0/16", "hostBlock": 6, "exclude": ["10.0.0.0/8"]}`, "ipam.exclude[0]: is 10.0.0.0/8, which is not in the subnet (leave it out)"},
		{"too small", `{"type": "multibond", "subnet": "192.168.0.0/24", "interfaceBlock": 2, "hostBlock": 6}`, "ipam.subnet: is 192.168.0.0/24, which with interfaceBlock 2 and hostBlock 6 leaves 0 bits for pods, want at least 2 (use a larger subnet, or smaller blocks)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseNetwork([]byte(`{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "ipam": `+test.ipam+`}`), "net1")
			require.EqualError(t, err, "network n: "+test.want)
		})
	}
	for subnet, of := range map[string]string{
		"0.0.0.0/0": "0.0.0.0/8", "127.0.0.0/16": "127.0.0.0/8", "169.254.0.0/16": "169.254.0.0/16", "239.1.0.0/16": "224.0.0.0/3", "128.0.0.0/1": "169.254.0.0/16",
		"::/0": "::/8", "fe80::/64": "fe80::/10", "ff02::/16": "ff00::/8",
	} {
		_, err := ParseNetwork([]byte(`{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "ipam": {"type": "multibond", "subnet": "`+subnet+`", "hostBlock": 6}}`), "net1")
		assert.EqualError(t, err, "network n: ipam.subnet: is "+subnet+", which overlaps "+of+", whose addresses no pod can have (use a private network)")
	}
	b := blocksOf(t, `{"type": "multibond", "subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6, "exclude": ["192.168.3.0/24"]}`)
	assert.Empty(t, b.Check("x", 3, 63))
	assert.EqualError(t, b.Check("links[4]", 4, 64), "ipam.interfaceBlock: is 2, which is room for 4 interfaces, but links[4] is number 4, counted from 0"+raise+
		"; ipam.hostBlock: is 6, which is room for 64 hosts, but this host is number 64, counted from 0"+raise)
	assert.EqualError(t, b.Check("x", 0, 3), "ipam.exclude: leaves no address of 192.168.3.0/24, which interface 0 of host 3 has (exclude less)")
}

// TestBlocksOfLinks: which links divided subnets can be for.
func TestBlocksOfLinks(t *testing.T) {
	const blocks = `"ipam": {"type": "multibond", "subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6}`
	for _, test := range []struct{ links, want string }{
		{`{"pool": {}, "count": 3}`, ""},
		{`{"deviceID": "0000:3b:02.0"}, {"config": {"type": "macvlan", "master": "eth1"}}`, ""},
		{`{"pool": {}, ` + blocks + `}, {"pool": {"names": ["eth2"]}}`, ""},
		{`{"pool": {}}, {"deviceID": "0000:3b:02.0"}`, "network n: ipam: is multibond, which numbers the NICs of one pool, but is for 2 elements of links (use one pool with a count, or give each element of links an ipam with a subnet of its own)"},
		{`{"pool": {}, "count": 2, "config": {"type": "host-device"}}`, "network n: links[0].pool.networks: is missing, want the networks of the NICs, which number them: those that host-device has moved into pods are not on the host (or give whole names)"},
		{`{"pool": {"names": ["eth1", "eth2"]}, "count": 2, "config": {"type": "host-device"}}`, ""},
		{`{"pool": {"names": ["eth*"]}, "count": 2, "config": {"type": "ipvlan", "mode": "l3s"}}`, "network n: links[0].pool.networks: is missing, want the networks of the NICs, which number them: ipvlan in mode l3 or l3s needs one number on all hosts (or give whole names)"},
		{`{"pool": {"names": ["eth1", "eth2"]}, "count": 2, "config": {"type": "ipvlan", "mode": "l3"}}`, ""},
		{`{"pool": {"networks": ["10.0.0.0/8"]}, "config": {"type": "ipvlan", "mode": "l3"}}`, ""},
		{`{"pool": {}, "config": {"type": "ipvlan", "mode": "l2"}}`, ""},
		{`{"config": {"type": "ipvlan", "mode": "l2"}}`, ""},
		{`{"config": {"type": "ipvlan", "mode": "l3", "master": "eth1"}}`, ""},
		{`{"config": {"type": "ipvlan", "mode": "l3"}}`, "network n: links[0]: is ipvlan in mode l3 or l3s without master, over which the pods of other hosts are reached (name the master, or use a pool)"},
		{`{"config": {"type": "ipvlan", "mode": "l3s", "master": "eth1", "linkInContainer": true}}`, "network n: links[0]: is ipvlan in mode l3 or l3s with linkInContainer, but the pods of other hosts are reached by routes over a master of the host (use mode l2)"},
		{`{"pool": {"networks": ["10.0.0.0/8"]}, "config": {"type": "host-device"}}`, ""},
	} {
		n, err := ParseNetwork([]byte(`{"name": "n", "attach": "each", "delegate": {"type": "macvlan"}, "links": [`+test.links+`], `+blocks+`}`), "net1")
		if test.want != "" {
			assert.EqualError(t, err, test.want)
			continue
		}
		require.NoError(t, err, test.links)
		for _, l := range n.Links {
			assert.Equal(t, HostLocal, l.IPAM.Type)
			assert.NotNil(t, l.Blocks)
		}
	}
	_, err := ParseNetwork([]byte(`{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "arpInterval": 100, "arpIpTarget": "gateway", `+blocks+`}`), "net1")
	assert.EqualError(t, err, "network n: ipam: is multibond, which names no gateway, but the bond is to probe it (write the target's address)")
}

// TestBlocksOfAnything: how many there is room for can be asked of blocks that were refused.
func TestBlocksOfAnything(t *testing.T) {
	for bits, want := range map[int]int{-1: 1, 0: 1, 3: 8, 1 << 40: 1 << maxHostBits} {
		assert.Equal(t, want, Blocks{HostBits: bits}.Hosts())
		assert.Equal(t, min(want, 1<<maxInterfaceBits), Blocks{InterfaceBits: bits}.Interfaces())
	}
}
