//go:build lab

package bond

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestLabAnnounce: a peer receives exactly these frames.
func TestLabAnnounce(t *testing.T) {
	here, there := space(t, "here"), space(t, "there")
	ip(t, "-n here link add v0 type veth peer name v1 netns there")
	ip(t, "-n here link set v0 up")
	ip(t, "-n there link set v1 up")
	v0, v1 := find(t, here, "v0"), find(t, there, "v1")
	peer := -1
	require.NoError(t, there.inside(func() (err error) {
		peer, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ALL)))
		return err
	}))
	defer unix.Close(peer)
	require.NoError(t, unix.Bind(peer, &unix.SockaddrLinklayer{Ifindex: v1.Index, Protocol: networkOrder(unix.ETH_P_ALL)}))
	require.NoError(t, unix.SetsockoptTimeval(peer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 120}))

	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	require.NoError(t, here.Announce(v0.Index, addrs))
	mac, err := net.ParseMAC(v0.MAC)
	require.NoError(t, err)
	for _, a := range addrs {
		want := announcement(mac, a)
		frame := make([]byte, 2000)
		for {
			n, _, err := unix.Recvfrom(peer, frame, 0)
			require.NoError(t, err, a.String())
			if slices.Equal(frame[:n], want) {
				break // the kernel sends others
			}
		}
	}

	// Nothing is sent on a link of another type. On this one, which is down, sending
	// would fail.
	lo := find(t, here, "lo")
	require.NotEqualValues(t, Ethernet, lo.Type)
	require.NoError(t, here.Announce(lo.Index, addrs))

	// Nor is it on a link without ARP, which would refuse the advertisement.
	ip(t, "-n here link add l3 link v0 type ipvlan mode l3")
	ip(t, "-n here link set l3 up")
	require.NoError(t, here.Announce(find(t, here, "l3").Index, addrs))
}

// TestLabIPv6AtOnce: a program can bind to an address as soon as Configure
// returns, without a carrier and although the runtime had turned IPv6 off.
func TestLabIPv6AtOnce(t *testing.T) {
	n := space(t, "sixth")
	require.NoError(t, n.inside(func() error {
		const all, later = "/proc/sys/net/ipv6/conf/all/disable_ipv6", "/proc/sys/net/ipv6/conf/default/disable_ipv6"
		return errors.Join(os.WriteFile(all, []byte("1"), 0), os.WriteFile(later, []byte("1"), 0))
	}))
	b := create(t, n, "bond0", Options{Mode: ActiveBackup, Miimon: "100"})
	require.NoError(t, n.Change(b.Index, Change{Up: new(true)}))
	a := Addresses{IPs: []netip.Prefix{prefix("fd00::1/64")}, Routes: []Route{{Dst: prefix("::/0"), Gateway: netip.MustParseAddr("fd00::ff")}}}
	require.NoError(t, n.Configure(b.Index, a))
	require.NoError(t, n.inside(func() error {
		s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		return unix.Bind(s, &unix.SockaddrInet6{Addr: a.IPs[0].Addr().As16()})
	}))
	assert.Empty(t, strings.TrimSpace(ip(t, "-n sixth -6 addr show dev bond0 tentative")))
}

// TestLabKeepsIPv6: the application sets the bond down and up. Its addresses stay.
// Links that are not bonds have the kernel's setting.
func TestLabKeepsIPv6(t *testing.T) {
	n := space(t, "keeps")
	ip(t, "-n keeps link add v0 type veth peer name v1")
	create(t, n, "bond0", Options{Mode: ActiveBackup, Miimon: "100"})
	for i, name := range []string{"bond0", "v0"} {
		l := find(t, n, name)
		a := Addresses{IPs: []netip.Prefix{prefix(fmt.Sprintf("10.0.%d.1/24", i)), prefix(fmt.Sprintf("fd0%d::1/64", i))}}
		require.NoError(t, n.Change(l.Index, Change{Up: new(true)}))
		require.NoError(t, n.Configure(l.Index, a))
		ip(t, "-n keeps link set "+name+" down")
		ip(t, "-n keeps link set "+name+" up")
		want := a
		if name == "v0" {
			want.IPs = a.IPs[:1]
		}
		assert.Equal(t, want, addressesOf(t, n, l), name)
	}
}

// TestLabSmallMTU: the kernel has no IPv6 on a link with a smaller MTU than IPv6's.
func TestLabSmallMTU(t *testing.T) {
	n := space(t, "small")
	b := create(t, n, "bond0", Options{Mode: ActiveBackup, Miimon: "100", MTU: "1279"})
	six := Addresses{IPs: []netip.Prefix{prefix("fd00::1/64")}}
	assert.EqualError(t, n.Configure(b.Index, six), "IPv6 on bond0: mtu is 1279, but IPv6 needs at least 1280")
	require.NoError(t, n.Change(b.Index, Change{MTU: new(1280)}))
	assert.NoError(t, n.Configure(b.Index, six))
}

// TestLabRouter: a router on the network of two bonds. The one that does not accept its
// advertisements gets neither an address nor a default route, however often it is set down
// and up.
func TestLabRouter(t *testing.T) {
	router, n := space(t, "router"), space(t, "hears")
	ip(t, "-n router link add br0 type bridge")
	for i, accept := range []string{"0", "1"} {
		ip(t, fmt.Sprintf("-n hears link add v%d type veth peer name r%d netns router", i, i))
		ip(t, fmt.Sprintf("-n router link set r%d up master br0", i))
		name := fmt.Sprintf("bond%d", i)
		made, err := Build(n, Spec{Name: name, Options: Options{Mode: ActiveBackup, Miimon: "100", AcceptRA: accept}}, []Link{find(t, n, fmt.Sprintf("v%d", i))})
		require.NoError(t, err)
		require.NoError(t, n.Configure(made.Index, Addresses{IPs: []netip.Prefix{prefix(fmt.Sprintf("10.0.%d.1/24", i))}}))
		require.NoError(t, n.inside(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/use_tempaddr", []byte("2"), 0) }))
		ip(t, "-n hears link set "+name+" down")
		ip(t, "-n hears link set "+name+" up")
	}
	ip(t, "-n router addr add fe80::1/64 dev br0 nodad")
	ip(t, "-n router link set br0 up")
	br0 := find(t, router, "br0")
	// Its route comes with the bridge's carrier, and the bond listens some time after it is up.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.NoError(c, router.inside(func() error { return advertise(br0.Index) }))
		assert.Contains(c, ip(t, "-n hears -6 route show default"), "dev bond1")
	}, 2*time.Minute, 200*time.Millisecond)
	assert.NotContains(t, ip(t, "-n hears -6 route show default"), "dev bond0")
	assert.NotContains(t, ip(t, "-n hears -6 addr show dev bond0"), "fd77:")
	assert.Contains(t, ip(t, "-n hears -6 addr show dev bond1"), "fd77:")

	// The address that stays is one that the host has learnt. The temporary one is not.
	bond1 := find(t, n, "bond1")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		a, err := n.Addresses(bond1.Index)
		require.NoError(c, err)
		assert.Equal(c, []netip.Prefix{prefix("10.0.1.1/24")}, a.IPs)
		require.Len(c, a.Learnt, 1)
		temporary := ip(t, "-n hears -6 addr show dev bond1 temporary")
		assert.Contains(c, temporary, "fd77:")
		assert.NotContains(c, temporary, " "+a.Learnt[0].String()+" ")
	}, 2*time.Minute, 200*time.Millisecond)
}

// advertise sends a router advertisement for fd77::/64 over a link (RFC 4861, sections 4.2
// and 4.6.2). The kernel fills in the checksum.
func advertise(index int) error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return err
	}
	const (
		routerLifetime = 30 * 60 / 256
		onLinkAutonom  = 0xc0
	)
	lifetimes := []byte{0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10}
	dst, from := netip.MustParseAddr("ff02::1"), netip.MustParseAddr("fd77::")
	message := slices.Concat([]byte{134, 0, 0, 0, 64, 0, routerLifetime, 0}, make([]byte, 8),
		[]byte{3, 4, 64, onLinkAutonom}, lifetimes, make([]byte, 4), from.AsSlice())
	return unix.Sendto(s, message, 0, &unix.SockaddrInet6{Addr: dst.As16(), ZoneId: uint32(index)})
}

// TestLabFlush: Flush removes addresses of every kind, also one with a peer and
// link-local ones.
func TestLabFlush(t *testing.T) {
	n := space(t, "flush")
	ip(t, "-n flush link add v0 type veth peer name v1")
	ip(t, "-n flush link set v1 up")
	ip(t, "-n flush link set v0 up")
	for _, a := range []string{"10.0.0.1/24", "10.0.0.2/24", "10.0.0.1/16", "10.1.0.1 peer 10.1.0.2/32", "fd00::1/64", "fd01::1 peer fd01::2/128", "fe80::77/64"} {
		ip(t, "-n flush addr add dev v0 "+a)
	}
	ip(t, "-n flush route add 10.9.0.0/16 via 10.0.0.9")
	ip(t, "-n flush -6 route add fd09::/64 via fe80::1 dev v0")
	require.NoError(t, n.Flush(find(t, n, "v0").Index))
	assert.NotContains(t, ip(t, "-n flush addr show dev v0"), "inet")
	assert.NotContains(t, ip(t, "-n flush -4 route show dev v0"), "via")
	assert.NotContains(t, ip(t, "-n flush -6 route show dev v0"), "via")
}

// shown lists what iproute2 prints of a link's addresses and routes, sorted, so
// that the order in which they were added does not count.
func shown(t *testing.T, space, link string) []string {
	t.Helper()
	var out []string
	for _, args := range []string{"addr show dev " + link, "-4 route show table all", "-6 route show table all"} {
		lines := strings.Split(strings.TrimSpace(ip(t, "-n "+space+" "+args)), "\n")
		slices.Sort(lines)
		out = append(out, lines...)
	}
	return out
}

// TestLabRoundTrip: Configure restores what Addresses has read, as iproute2 shows
// it: peers, a gateway behind another route, and the attributes of a route.
func TestLabRoundTrip(t *testing.T) {
	n := space(t, "round")
	ip(t, "-n round link add v0 type veth peer name v1")
	ip(t, "-n round link set v1 up")
	ip(t, "-n round link set v0 up")
	for _, a := range []string{"10.0.0.1/24 brd +", "10.0.0.2/24 brd +", "10.1.0.1 peer 10.1.0.2/32", "10.2.0.1 peer 10.2.0.9/24",
		"fd00::1/64 nodad", "fd00::2/64 nodad", "fd01::1 peer fd01::2/128 nodad",
		"10.10.0.1/24 brd + label v0:1 metric 50 noprefixroute", "10.11.0.1/24 scope link", "10.12.0.1/24 brd 10.12.0.77", "10.13.0.1/24",
		"10.14.0.1/24 brd + metric 50", "fd10::1/64 nodad metric 50 noprefixroute", "fd11::1/64 nodad home", "fd16::1/64 nodad preferred_lft 0"} {
		ip(t, "-n round addr add dev v0 "+a)
	}
	for _, r := range []string{
		"169.254.1.1 dev v0 scope link", "default via 169.254.1.1 dev v0", // the kernel lists them in the other order
		"10.3.0.0/16 via 10.1.0.2", "10.4.0.0/16 via 192.0.2.1 dev v0 onlink", "10.5.0.0/16 via 10.0.0.9 src 10.0.0.2 proto static metric 7",
		"10.6.0.0/16 dev v0 proto bird src 10.2.0.1", "10.7.0.0/16 via 10.0.0.9 mtu 1300 advmss 1200 table 100", "10.8.0.0/16 via inet6 fd00::9 dev v0",
		"fd12::1 dev v0", "fd11::/64 via fd12::1 dev v0", "default via fe80::1 dev v0 metric 9",
		"10.20.0.0/16 via 10.0.0.9 tos 0x10", "10.21.0.0/16 via 10.0.0.9 mtu lock 1300 initcwnd 20 hoplimit 9 congctl reno features ecn",
		"local 10.22.0.1 dev v0", "local 10.23.0.1 dev v0 table 100", "broadcast 10.24.0.255 dev v0", "multicast 239.0.0.0/8 dev v0", "10.25.0.0/16 dev v0 scope host",
		"fd20::/64 via fd00::9 pref high", "fd21::/64 from fd22::/64 via fd00::9", "local fd23::1 dev v0", "anycast fd24::1 dev v0",
		"fd13::/64 via fd99::1 dev v0 onlink", "fd14::/64 via fd00::9 src fd00::1 proto static", "fd15::/64 via fd00::9 mtu 1300 table 100",
	} {
		ip(t, "-n round route add "+r)
	}
	v0 := find(t, n, "v0")
	had := addressesOf(t, n, v0)
	assert.True(t, had.Default)
	record, err := json.Marshal(had)
	require.NoError(t, err)
	var recorded Addresses
	require.NoError(t, json.Unmarshal(record, &recorded))
	// Flush removes the link-local address, two lines and a route, for good.
	withoutLinkLocal := func() []string {
		return slices.DeleteFunc(shown(t, "round", "v0"), func(line string) bool {
			return strings.Contains(line, "fe80::") && !strings.Contains(line, "via") || strings.Contains(line, "valid_lft forever")
		})
	}
	before := withoutLinkLocal()

	require.NoError(t, n.Flush(v0.Index))
	assert.Equal(t, Addresses{}, addressesOf(t, n, v0))
	require.NoError(t, n.Configure(v0.Index, recorded))
	assert.Equal(t, before, withoutLinkLocal())
	again := addressesOf(t, n, v0)
	for _, a := range []Addresses{had, again} { // the kernel lists the newest IPv6 address first
		slices.SortFunc(a.IPs, netip.Prefix.Compare)
		over := a.Attributes[prefix("fd16::1/64")]
		assert.WithinRange(t, over.PreferredUntil, time.Now().Add(-time.Minute), time.Now().Add(time.Second))
		over.PreferredUntil = time.Time{} // when it was read
		a.Attributes[prefix("fd16::1/64")] = over
	}
	assert.Equal(t, had, again)
}

// TestLabLifetimes: an address has the rest of its time, and none whose time is over
// comes back.
func TestLabLifetimes(t *testing.T) {
	n := space(t, "life")
	ip(t, "-n life link add v0 type veth peer name v1")
	ip(t, "-n life link set v0 up")
	for _, a := range []string{"10.0.0.1/24 brd + valid_lft 3600 preferred_lft 1800", "10.0.1.1/24 brd + valid_lft 1 preferred_lft 1", "10.0.2.1/24 brd +"} {
		ip(t, "-n life addr add dev v0 "+a)
	}
	v0 := find(t, n, "v0")
	had := addressesOf(t, n, v0)
	require.NoError(t, n.Flush(v0.Index))
	time.Sleep(1600 * time.Millisecond)
	require.NoError(t, n.Configure(v0.Index, had))
	again := addressesOf(t, n, v0)
	assert.Equal(t, []netip.Prefix{prefix("10.0.0.1/24"), prefix("10.0.2.1/24")}, again.IPs)
	was, is := had.Attributes[prefix("10.0.0.1/24")], again.Attributes[prefix("10.0.0.1/24")]
	assert.WithinDuration(t, was.ValidUntil, is.ValidUntil, 2*time.Second)
	assert.WithinDuration(t, was.PreferredUntil, is.PreferredUntil, 2*time.Second)
	assert.Empty(t, again.Attributes[prefix("10.0.2.1/24")])
}

// TestLabGoesOn: what the kernel refuses does not keep the rest from being configured.
func TestLabGoesOn(t *testing.T) {
	n := space(t, "goeson")
	ip(t, "-n goeson link add v0 type veth peer name v1 mtu 1000")
	v0 := find(t, n, "v0")
	require.NoError(t, n.Change(v0.Index, Change{Up: new(true), MTU: new(1000)}))
	a := Addresses{
		IPs: []netip.Prefix{prefix("fd00::1/64"), prefix("0.0.0.1/24"), prefix("10.0.0.1/24")},
		Routes: []Route{
			{Dst: prefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.9.0.1")},
			{Dst: prefix("10.2.0.0/16"), Gateway: netip.MustParseAddr("10.0.0.9"), Source: netip.MustParseAddr("192.0.2.1")},
			{Dst: prefix("10.3.0.0/16"), Gateway: netip.MustParseAddr("10.0.0.9")},
		},
	}
	err := n.Configure(v0.Index, a)
	for _, words := range []string{"IPv6 on v0: mtu is 1000", "adding route 10.1.0.0/16 via 10.9.0.1: ", "adding route 10.2.0.0/16 via 10.0.0.9: "} {
		assert.ErrorContains(t, err, words)
	}
	got := addressesOf(t, n, v0)
	assert.Contains(t, got.IPs, prefix("10.0.0.1/24"))
	require.Len(t, got.Routes, 1)
	assert.Equal(t, a.Routes[2].Dst, got.Routes[0].Dst)
}

// TestLabDefault reads default routes of each kind, by their outgoing link.
func TestLabDefault(t *testing.T) {
	for _, c := range []struct {
		route          string
		first, second  bool
		firstIsListed  bool
		secondIsListed bool
	}{
		{route: "10.9.0.0/16 via 10.0.0.9", firstIsListed: true},
		{route: "default via 10.0.0.9", first: true, firstIsListed: true},
		{route: "default dev v0 table 77", first: true, firstIsListed: true},
		{route: "default via 10.0.0.9 proto ra", first: true},
		{route: "default via fd00::9 proto ra", first: true},
		{route: "default via fd01::9", second: true, secondIsListed: true},
		{route: "unreachable default"},
		{route: "default nexthop via 10.0.0.9 nexthop via 10.1.0.9", first: true, second: true},
		{route: "default nexthop via fd00::9 nexthop via fd01::9", first: true, second: true},
		{route: "10.9.0.0/16 nexthop via 10.0.0.9 nexthop via 10.1.0.9"},
		{route: "default nhid 5", first: true, firstIsListed: true},
		{route: "default nhid 7", first: true, second: true},
	} {
		t.Run(c.route, func(t *testing.T) {
			n := space(t, "default")
			ip(t, "-n default link add v0 type veth peer name v1")
			for i, link := range []string{"v0", "v1"} {
				ip(t, fmt.Sprintf("-n default link set %s up", link))
				ip(t, fmt.Sprintf("-n default addr add 10.%d.0.1/24 dev %s", i, link))
				ip(t, fmt.Sprintf("-n default addr add fd0%d::1/64 dev %s nodad", i, link))
			}
			for _, hop := range []string{"id 5 via 10.0.0.9 dev v0", "id 6 via 10.1.0.9 dev v1", "id 7 group 5/6"} {
				ip(t, "-n default nexthop add "+hop)
			}
			ip(t, "-n default route add "+c.route)
			first, second := addressesOf(t, n, find(t, n, "v0")), addressesOf(t, n, find(t, n, "v1"))
			assert.Equal(t, c.first, first.Default)
			assert.Equal(t, c.second, second.Default)
			assert.Equal(t, c.firstIsListed, len(first.Routes) > 0)
			assert.Equal(t, c.secondIsListed, len(second.Routes) > 0)
		})
	}
}
