package bond

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attr makes a netlink attribute.
func attr(kind int, payload ...[]byte) []byte {
	return nl.NewRtAttr(kind, slices.Concat(payload...)).Serialize()
}

func text(s string) []byte { return nl.ZeroTerminated(s) }

func linkMessageOf(index int32, flags uint32, attrs ...[]byte) []byte {
	head := nl.NewIfInfomsg(unix.AF_UNSPEC)
	head.Index, head.Type, head.Flags = index, unix.ARPHRD_ETHER, flags
	return append(head.Serialize(), slices.Concat(attrs...)...)
}

// virtioSys is a sysfs with two devices on the virtio bus. One is a child of a VF.
var virtioSys = fstest.MapFS{
	"bus/virtio/devices/virtio0": {Mode: fs.ModeSymlink, Data: []byte("../../../devices/platform/a003e00.virtio_mmio/virtio0")},
	"bus/virtio/devices/virtio3": {Mode: fs.ModeSymlink, Data: []byte("../../../devices/pci0000:00/0000:00:02.0/0000:01:10.2/virtio3")},
}

// withNothingSet is the link with what parseLink knows although the kernel does not
// send it.
func withNothingSet(l Link) Link {
	if l.AltNames == nil {
		l.AltNames = []string{}
	}
	if l.Alias == nil {
		l.Alias = new("")
	}
	if l.Flags == nil {
		l.Flags = new(Flags(0))
	}
	return l
}

func TestParseLink(t *testing.T) {
	const up, carrier = unix.IFF_UP, unix.IFF_LOWER_UP
	mac := []byte{2, 0, 0, 0, 0, 1}
	for _, c := range []struct {
		name    string
		message []byte
		want    Link
	}{
		{"nothing but a head", linkMessageOf(7, 0), Link{Index: 7, Type: 1}},
		{"a VF in a bond, without data", linkMessageOf(7, up|carrier,
			attr(unix.IFLA_IFNAME, text("net1")), attr(unix.IFLA_ADDRESS, mac), attr(unix.IFLA_PERM_ADDRESS, []byte{2, 0, 0, 0, 0, 2}),
			attr(unix.IFLA_MTU, uint32Attr(1500)), attr(unix.IFLA_MAX_MTU, uint32Attr(9216)), attr(unix.IFLA_MASTER, uint32Attr(9)),
			attr(unix.IFLA_PARENT_DEV_NAME, text("0000:01:10.0")),
			attr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, attr(unix.IFLA_ALT_IFNAME, text("one")), attr(unix.IFLA_ALT_IFNAME, text("two"))),
			attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_SLAVE_KIND, text("bond")))),
			Link{Index: 7, Type: 1, Name: "net1", MAC: "02:00:00:00:00:01", PermMAC: "02:00:00:00:00:02", MTU: 1500, MaxMTU: 9216, Master: 9,
				Device: "0000:01:10.0", AltNames: []string{"one", "two"}, Up: true, Carrier: true, Options: Options{}}},
		{"all flags, an alias and a queue", linkMessageOf(7, 0xffffffff&^unix.IFF_MULTICAST, attr(unix.IFLA_IFALIAS, text("of the pod")), attr(unix.IFLA_TXQLEN, uint32Attr(77))),
			Link{Index: 7, Type: 1, Up: true, Carrier: true, Alias: new("of the pod"), TxQueueLen: new(77),
				Flags: new(Flags(unix.IFF_PROMISC | unix.IFF_ALLMULTI | unix.IFF_NOARP))}},
		{"a group, offloads and XDP", linkMessageOf(7, 0, attr(unix.IFLA_GROUP, uint32Attr(5)), attr(unix.IFLA_GSO_MAX_SIZE, uint32Attr(65536)),
			attr(unix.IFLA_GSO_MAX_SEGS, uint32Attr(64)), attr(unix.IFLA_GRO_MAX_SIZE, uint32Attr(9000)),
			attr(unix.IFLA_XDP, attr(unix.IFLA_XDP_ATTACHED, []byte{2}), attr(unix.IFLA_XDP_PROG_ID, uint32Attr(9)), attr(unix.IFLA_XDP_SKB_PROG_ID, uint32Attr(9)),
				attr(unix.IFLA_XDP_DRV_PROG_ID, uint32Attr(9)), attr(unix.IFLA_XDP_HW_PROG_ID, uint32Attr(9)))),
			Link{Index: 7, Type: 1, Group: 5, Offload: Offload{GSOMaxSize: 65536, GSOMaxSegs: 64, GROMaxSize: 9000}, XDP: 2 | 4 | 8}},
		{"no XDP", linkMessageOf(7, 0, attr(unix.IFLA_XDP, attr(unix.IFLA_XDP_ATTACHED, []byte{0}))), Link{Index: 7, Type: 1}},
		{"in a bond", linkMessageOf(7, 0, attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, text("veth")), attr(unix.IFLA_INFO_SLAVE_KIND, text("bond")),
			attr(unix.IFLA_INFO_SLAVE_DATA, attr(unix.IFLA_BOND_SLAVE_QUEUE_ID, []byte{3, 0}), attr(unix.IFLA_BOND_SLAVE_PRIO, uint32Attr(-7))))),
			Link{Index: 7, Type: 1, Kind: "veth", Options: Options{queueID: "3", prio: "-7"}}},
		{"in a bridge", linkMessageOf(7, 0, attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_SLAVE_KIND, text("bridge")),
			attr(unix.IFLA_INFO_SLAVE_DATA, attr(unix.IFLA_BOND_SLAVE_PRIO, uint32Attr(7))))), Link{Index: 7, Type: 1}},
		{"virtio over PCI", linkMessageOf(7, up, attr(unix.IFLA_PARENT_DEV_NAME, text("virtio3"))), Link{Index: 7, Type: 1, Up: true, Device: "0000:01:10.2"}},
		{"virtio without PCI", linkMessageOf(7, up, attr(unix.IFLA_PARENT_DEV_NAME, text("virtio0"))), Link{Index: 7, Type: 1, Up: true}},
		{"on another bus", linkMessageOf(7, up, attr(unix.IFLA_PARENT_DEV_NAME, text("1-1:1.0"))), Link{Index: 7, Type: 1, Up: true}},
		{"a bond", linkMessageOf(8, 0,
			attr(unix.IFLA_IFNAME, text("bond0")), attr(unix.IFLA_ADDRESS, mac), attr(unix.IFLA_MTU, uint32Attr(1400)),
			attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, text("bond")), attr(unix.IFLA_INFO_DATA,
				attr(unix.IFLA_BOND_MODE, []byte{1}), attr(unix.IFLA_BOND_MIIMON, uint32Attr(100)), attr(unix.IFLA_BOND_PRIMARY, uint32Attr(7)),
				attr(unix.IFLA_BOND_ARP_IP_TARGET|unix.NLA_F_NESTED, attr(0, []byte{10, 0, 0, 1}), attr(1, []byte{10, 0, 0, 2})),
				attr(unix.IFLA_BOND_AD_INFO, attr(1, []byte{1, 0})), attr(999, []byte("newer"))))),
			Link{Index: 8, Type: 1, Name: "bond0", MAC: "02:00:00:00:00:01", MTU: 1400, Kind: "bond", Options: Options{
				Mode: ActiveBackup, Miimon: "100", Primary: "7", arpIPTarget: "10.0.0.1,10.0.0.2", MTU: "1400", MAC: "02:00:00:00:00:01"}}},
		{"a bond without data", linkMessageOf(8, 0, attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, text("bond")))),
			Link{Index: 8, Type: 1, Kind: "bond", Options: Options{MTU: "0", MAC: ""}}},
		{"data of another kind", linkMessageOf(8, 0, attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, text("vlan")), attr(unix.IFLA_INFO_DATA, attr(1, []byte{1, 0})))),
			Link{Index: 8, Type: 1, Kind: "vlan"}},
		{"a name without its zero", linkMessageOf(7, 0, attr(unix.IFLA_IFNAME, []byte("net1"))), Link{Index: 7, Type: 1, Name: "net1"}},
		{"the last one without padding", linkMessageOf(7, 0, []byte{5, 0, unix.IFLA_IFNAME, 0, 'x'}), Link{Index: 7, Type: 1, Name: "x"}},
		{"a broken nest", linkMessageOf(7, 0, attr(unix.IFLA_LINKINFO, []byte{99, 0, 1, 0})), Link{Index: 7, Type: 1}},
		{"three bytes too many", linkMessageOf(7, 0, []byte{1, 2, 3}), Link{Index: 7, Type: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseLink(virtioSys, c.message)
			require.NoError(t, err)
			assert.Equal(t, withNothingSet(c.want), got)
		})
	}
	for text, message := range map[string][]byte{
		"a link message of 0 bytes: unexpected EOF":             nil,
		"a link message of 15 bytes: unexpected EOF":            make([]byte, 15),
		"link 7: an attribute of 99 bytes in 8: unexpected EOF": linkMessageOf(7, 0, []byte{99, 0, 3, 0, 0, 0, 0, 0}),
		"link 7: an attribute of 3 bytes in 4: unexpected EOF":  linkMessageOf(7, 0, []byte{3, 0, 3, 0}),
		"link 7: an attribute of 0 bytes in 4: unexpected EOF":  linkMessageOf(7, 0, []byte{0, 0, 0, 0}),
	} {
		_, err := parseLink(virtioSys, message)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.EqualError(t, err, text)
	}
}

// FuzzParseLink: no message makes parseLink panic, and a bond always has options.
func FuzzParseLink(f *testing.F) {
	f.Add([]byte{})
	f.Add(linkMessageOf(7, 0, attr(unix.IFLA_IFNAME, []byte("net1")), attr(unix.IFLA_ADDRESS, []byte{1})))
	f.Add(linkMessageOf(8, 1, attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, text("bond")), attr(unix.IFLA_INFO_DATA,
		attr(unix.IFLA_BOND_MODE, []byte{1}), attr(unix.IFLA_BOND_ARP_IP_TARGET, attr(0, []byte{10, 0, 0, 1})), attr(unix.IFLA_BOND_PRIMARY, []byte{1, 2})))))
	f.Add(linkMessageOf(9, 0, []byte{5, 0, unix.IFLA_PROP_LIST, 0, 1}))
	f.Add(linkMessageOf(9, 0, attr(unix.IFLA_LINKINFO, []byte{6, 0, unix.IFLA_INFO_KIND, 0, 'b', 'o'})))
	f.Fuzz(func(t *testing.T, message []byte) {
		l, err := parseLink(virtioSys, message)
		if err != nil {
			return
		}
		if l.Kind == kindBond {
			assert.NotNil(t, l.Options)
		}
		if l.Device != "" {
			require.NoError(t, CheckPCI(l.Device))
		}
		// Reading does not change the message.
		again, err := parseLink(virtioSys, message)
		require.NoError(t, err)
		assert.Equal(t, l, again)
	})
}

func TestParseAddr(t *testing.T) {
	v4 := func(b ...byte) []byte { return b }
	v6 := func(first, second, last byte) []byte {
		b := make([]byte, 16)
		b[0], b[1], b[15] = first, second, last
		return b
	}
	for _, c := range []struct {
		name     string
		head     unix.IfAddrmsg
		attrs    []byte
		want     string // with the peer, if any
		byKernel bool
		learnt   bool
	}{
		{"IPv4", unix.IfAddrmsg{Prefixlen: 24, Flags: unix.IFA_F_PERMANENT}, slices.Concat(attr(unix.IFA_ADDRESS, v4(10, 0, 0, 1)), attr(unix.IFA_LOCAL, v4(10, 0, 0, 1))), "10.0.0.1/24", false, false},
		{"IPv4 with a peer", unix.IfAddrmsg{Prefixlen: 32}, slices.Concat(attr(unix.IFA_ADDRESS, v4(10, 0, 0, 2)), attr(unix.IFA_LOCAL, v4(10, 0, 0, 1))), "10.0.0.1/32 peer 10.0.0.2", false, false},
		{"IPv4 for some time, by DHCP", unix.IfAddrmsg{Prefixlen: 24}, attr(unix.IFA_LOCAL, v4(10, 0, 0, 1)), "10.0.0.1/24", false, false},
		{"IPv6", unix.IfAddrmsg{Prefixlen: 64, Flags: unix.IFA_F_PERMANENT}, attr(unix.IFA_ADDRESS, v6(0xfd, 0, 1)), "fd00::1/64", false, false},
		{"IPv6 with a peer", unix.IfAddrmsg{Prefixlen: 128, Flags: unix.IFA_F_PERMANENT}, slices.Concat(attr(unix.IFA_ADDRESS, v6(0xfd, 0, 2)), attr(unix.IFA_LOCAL, v6(0xfd, 0, 1))), "fd00::1/128 peer fd00::2", false, false},
		{"IPv6, flags of 32 bits", unix.IfAddrmsg{Prefixlen: 64}, slices.Concat(attr(unix.IFA_ADDRESS, v6(0xfd, 0, 1)), attr(unix.IFA_FLAGS, uint32Attr(unix.IFA_F_PERMANENT|unix.IFA_F_NOPREFIXROUTE))), "fd00::1/64", false, false},
		{"IPv6 by a router", unix.IfAddrmsg{Prefixlen: 64}, attr(unix.IFA_ADDRESS, v6(0xfd, 0, 1)), "fd00::1/64", true, true},
		{"IPv6 by a router, one of a day", unix.IfAddrmsg{Prefixlen: 64, Flags: unix.IFA_F_TEMPORARY}, attr(unix.IFA_ADDRESS, v6(0xfd, 0, 1)), "fd00::1/64", true, false},
		{"IPv6 by a router, going away", unix.IfAddrmsg{Prefixlen: 64, Flags: unix.IFA_F_DEPRECATED}, attr(unix.IFA_ADDRESS, v6(0xfd, 0, 1)), "fd00::1/64", true, false},
		{"IPv6 by a router, not yet", unix.IfAddrmsg{Prefixlen: 64, Flags: unix.IFA_F_TENTATIVE}, attr(unix.IFA_ADDRESS, v6(0xfd, 0, 1)), "fd00::1/64", true, false},
		{"IPv6 by a router, that of others", unix.IfAddrmsg{Prefixlen: 64, Flags: unix.IFA_F_DADFAILED}, attr(unix.IFA_ADDRESS, v6(0xfd, 0, 1)), "fd00::1/64", true, false},
		{"IPv6 by a router, from which temporary ones are made", unix.IfAddrmsg{Prefixlen: 64}, slices.Concat(attr(unix.IFA_ADDRESS, v6(0xfd, 0, 1)), attr(unix.IFA_FLAGS, uint32Attr(unix.IFA_F_MANAGETEMPADDR|unix.IFA_F_STABLE_PRIVACY))), "fd00::1/64", true, true},
		{"link-local", unix.IfAddrmsg{Prefixlen: 64, Flags: unix.IFA_F_PERMANENT}, attr(unix.IFA_ADDRESS, v6(0xfe, 0x80, 1)), "fe80::1/64", true, false},
	} {
		attrs, err := attributes(c.attrs)
		require.NoError(t, err, c.name)
		got := parseAddr(&nl.IfAddrmsg{IfAddrmsg: c.head}, attrs)
		text := got.prefix.String()
		if got.peer.IsValid() {
			text += " peer " + got.peer.String()
		}
		assert.Equal(t, c.want, text, c.name)
		assert.Equal(t, c.byKernel, got.byKernel, c.name+", by the kernel")
		assert.Equal(t, c.learnt, got.learnt, c.name+", learnt")
	}
}

func TestParseRoute(t *testing.T) {
	hop := func(index int, attrs ...[]byte) []byte { // struct rtnexthop
		rest := slices.Concat(attrs...)
		return slices.Concat(encodeUint(16, uint32(8+len(rest))), []byte{0, 0}, uint32Attr(index), rest)
	}
	nine := netip.MustParseAddr("10.0.0.9")
	universe, gateway := 0, attr(unix.RTA_GATEWAY, []byte{10, 0, 0, 9})
	v4 := unix.RtMsg{Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_BOOT}
	but := func(change func(*unix.RtMsg)) unix.RtMsg { head := v4; change(&head); return head }
	all := netip.MustParsePrefix("0.0.0.0/0")
	for _, c := range []struct {
		name  string
		head  unix.RtMsg
		attrs []byte
		want  Route
		over  []Hop
	}{
		{"default", v4, slices.Concat(gateway, attr(unix.RTA_OIF, uint32Attr(7))),
			Route{Dst: all, Gateway: netip.MustParseAddr("10.0.0.9"), Table: 254, Scope: &universe}, []Hop{{Index: 7}}},
		{"all that is kept", but(func(h *unix.RtMsg) {
			h.Protocol, h.Flags, h.Dst_len, h.Scope = unix.RTPROT_STATIC, unix.RTNH_F_ONLINK, 24, unix.RT_SCOPE_LINK
		}),
			slices.Concat(attr(unix.RTA_DST, []byte{10, 9, 0, 0}), gateway, attr(unix.RTA_OIF, uint32Attr(7)), attr(unix.RTA_PREFSRC, []byte{10, 0, 0, 1}),
				attr(unix.RTA_PRIORITY, uint32Attr(50)), attr(unix.RTA_TABLE, uint32Attr(1000)),
				attr(unix.RTA_METRICS, attr(unix.RTAX_MTU, uint32Attr(1300)), attr(unix.RTAX_ADVMSS, uint32Attr(1200)))),
			Route{Dst: netip.MustParsePrefix("10.9.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.9"), OnLink: true, Source: netip.MustParseAddr("10.0.0.1"),
				Protocol: unix.RTPROT_STATIC, MTU: 1300, AdvMSS: 1200, Priority: 50, Table: 1000, Scope: new(unix.RT_SCOPE_LINK)}, []Hop{{Index: 7}}},
		{"an IPv6 gateway of IPv4", v4, slices.Concat(attr(unix.RTA_VIA, encodeUint(16, unix.AF_INET6), netip.MustParseAddr("fe80::1").AsSlice()), attr(unix.RTA_OIF, uint32Attr(7))),
			Route{Dst: all, Gateway: netip.MustParseAddr("fe80::1"), Table: 254, Scope: &universe}, []Hop{{Index: 7}}},
		{"two hops", v4, attr(unix.RTA_MULTIPATH, hop(7, gateway), hop(9, gateway)), Route{Dst: all, Table: 254, Scope: &universe}, []Hop{{7, nine}, {9, nine}}},
		{"a hop that is cut off", v4, attr(unix.RTA_MULTIPATH, hop(7, gateway), hop(9, gateway)[:12]), Route{Dst: all, Table: 254, Scope: &universe}, []Hop{{7, nine}}},
		{"a hop of no size", v4, attr(unix.RTA_MULTIPATH, make([]byte, 8)), Route{Dst: all, Table: 254, Scope: &universe}, nil},
		{"a gateway that is cut off", v4, attr(unix.RTA_VIA, []byte{2}), Route{Dst: all, Table: 254, Scope: &universe}, nil},
		{"IPv6, by a router", unix.RtMsg{Family: unix.AF_INET6, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_RA}, attr(unix.RTA_OIF, uint32Attr(7)),
			Route{Dst: netip.MustParsePrefix("::/0"), Protocol: unix.RTPROT_RA, Table: 254}, []Hop{{Index: 7}}},
	} {
		attrs, err := attributes(c.attrs)
		require.NoError(t, err, c.name)
		got, over := parseRoute(&nl.RtMsg{RtMsg: c.head}, attrs)
		assert.Equal(t, c.want, got, c.name)
		assert.Equal(t, c.over, over, c.name+", over")
	}
}

// TestGatewaysLast: routes without a gateway come first; apart from that the
// order stays.
func TestGatewaysLast(t *testing.T) {
	a := Addresses{}
	for _, r := range []string{"0.0.0.0/0 via 10.0.0.1", "10.0.0.1/32", "10.8.0.0/16 via 10.0.0.2", "10.0.0.2/32"} {
		dst, gateway, _ := strings.Cut(r, " via ")
		route := Route{Dst: netip.MustParsePrefix(dst)}
		if gateway != "" {
			route.Gateway = netip.MustParseAddr(gateway)
		}
		a.Routes = append(a.Routes, route)
	}
	var got []string
	for _, r := range a.gatewaysLast() {
		got = append(got, r.String())
	}
	assert.Equal(t, []string{"10.0.0.1/32", "10.0.0.2/32", "0.0.0.0/0 via 10.0.0.1", "10.8.0.0/16 via 10.0.0.2"}, got)
}

func TestAddressesJSON(t *testing.T) {
	a := Addresses{
		IPs:     []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")},
		Peers:   map[netip.Prefix]netip.Addr{netip.MustParsePrefix("10.0.0.1/32"): netip.MustParseAddr("10.0.0.2")},
		Routes:  []Route{{Dst: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("fe80::1"), OnLink: true, Source: netip.MustParseAddr("fd00::1"), Protocol: 4}},
		Default: true,

		Attributes: map[netip.Prefix]Attributes{netip.MustParsePrefix("10.0.0.1/32"): {
			Label: "v0:1", Metric: 50, Broadcast: new(netip.Addr{}), ValidUntil: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)}},
	}
	text, err := json.Marshal(a)
	require.NoError(t, err)
	assert.Equal(t, `{"ips":["10.0.0.1/32"],"peers":{"10.0.0.1/32":"10.0.0.2"},`+
		`"routes":[{"dst":"::/0","gateway":"fe80::1","onLink":true,"source":"fd00::1","protocol":4}],`+
		`"attributes":{"10.0.0.1/32":{"label":"v0:1","metric":50,"broadcast":"","validUntil":"2027-01-02T03:04:05Z"}}}`, string(text))
	var back Addresses
	require.NoError(t, json.Unmarshal(text, &back))
	a.Default = false
	assert.Equal(t, a, back)
}

// TestLifetimes reads struct ifa_cacheinfo: seconds, all bits set for ever.
func TestLifetimes(t *testing.T) {
	now := time.Date(2027, 1, 2, 3, 4, 5, 600e6, time.UTC)
	info := func(preferred, valid uint32) []byte {
		return slices.Concat(encodeUint(32, preferred), encodeUint(32, valid), make([]byte, 8))
	}
	for _, c := range []struct {
		info             []byte
		preferred, valid time.Time
	}{
		{info(1<<32-1, 1<<32-1), time.Time{}, time.Time{}},
		{info(0, 60), time.Date(2027, 1, 2, 3, 4, 6, 0, time.UTC), time.Date(2027, 1, 2, 3, 5, 6, 0, time.UTC)},
		{[]byte{1, 2, 3}, time.Time{}, time.Time{}},
	} {
		preferred, valid := lifetimes(c.info, now)
		assert.Equal(t, c.preferred, preferred)
		assert.Equal(t, c.valid, valid)
	}
	assert.EqualValues(t, 1<<32-1, remaining(time.Time{}))
	assert.EqualValues(t, 0, remaining(time.Now().Add(-time.Hour)))
	assert.InDelta(t, 3600, remaining(time.Now().Add(time.Hour)), 1)
}

// TestTimeout: a request that the kernel does not answer ends in time. Here it
// asks for neither a message nor an acknowledgement, which needs no privilege.
func TestTimeout(t *testing.T) {
	handle, err := openRoute()
	require.NoError(t, err)
	defer handle.Close()
	short := unix.NsecToTimeval(int64(50 * time.Millisecond))
	require.NoError(t, handle.Socket.SetReceiveTimeout(&short))
	n := &namespace{route: handle}
	begin := time.Now()
	err = do(n.request(unix.NLMSG_NOOP, 0))
	assert.ErrorIs(t, err, unix.EAGAIN)
	assert.EqualError(t, err, "the kernel did not answer within 30s: resource temporarily unavailable")
	assert.GreaterOrEqual(t, time.Since(begin), 50*time.Millisecond)
	// The socket still works: a late answer belongs to no later request.
	l, err := n.Link("lo")
	require.NoError(t, err)
	assert.Equal(t, "lo", l.Name)
}

// TestVLANInNetworkOrder reads struct ifla_vf_vlan_info of if_link.h in the list
// that carries it.
func TestVLANInNetworkOrder(t *testing.T) {
	list, err := attributes(vlanList(3, VF{VLAN: 100, QoS: 5, Proto: unix.ETH_P_8021AD}))
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.EqualValues(t, nl.IFLA_VF_VLAN_INFO, list[0].Attr.Type)
	v := list[0].Value
	assert.EqualValues(t, 3, binary.NativeEndian.Uint32(v))
	assert.EqualValues(t, 100, binary.NativeEndian.Uint32(v[4:]))
	assert.EqualValues(t, 5, binary.NativeEndian.Uint32(v[8:]))
	assert.Equal(t, []byte{0x88, 0xa8}, v[12:14])

	list, err = attributes(vlanList(3, VF{}))
	require.NoError(t, err)
	assert.Equal(t, []byte{0x81, 0x00}, list[0].Value[12:14])
}

func TestVFDifferences(t *testing.T) {
	on, off := true, false
	was := VF{MAC: "02:00:00:00:00:01", VLAN: 0, Proto: 0x8100, SpoofChk: true, Trust: &off}
	is := VF{MAC: "02:00:00:00:00:02", VLAN: 5, QoS: 3, Proto: 0x88a8, Trust: &on, MinRate: 10, MaxRate: 100, LinkState: 1}
	assert.Empty(t, was.Differences(was))
	assert.Equal(t, []string{
		"admin MAC is 02:00:00:00:00:02, was 02:00:00:00:00:01", "vlan is 5, was 0", "qos is 3, was 0", "vlan protocol is 0x88a8, was 0x8100",
		"spoofchk is false, was true", "trust is true, was false", "min_tx_rate is 10, was 0", "max_tx_rate is 100, was 0", "link state is 1, was 0",
	}, is.Differences(was))
	is = was
	is.Proto, is.Trust = 0, nil // without VLAN the protocol does not count, nor does an unknown trust
	assert.Empty(t, is.Differences(was))
	assert.NotContains(t, strings.Join(is.Differences(was), ""), "vlan")
}

func TestLinkDifferences(t *testing.T) {
	was := Link{Index: 1, Name: "enp1s0v0", MAC: "02:00:00:00:00:01", MTU: 1500,
		AltNames: []string{"b", "a"}, Flags: new(Flags(unix.IFF_MULTICAST)), Alias: new(""), TxQueueLen: new(1000),
		Offload: Offload{GSOMaxSize: 65536, GSOMaxSegs: 65535, GROMaxSize: 65536}}
	is := Link{Index: 9, Name: "net1", MAC: "02:00:00:00:00:02", MTU: 9000, Up: true, Carrier: true,
		AltNames: []string{"a", "x"}, Flags: new(allFlags &^ unix.IFF_MULTICAST), Alias: new("mine"), TxQueueLen: new(77),
		Group: 7, XDP: 2, Offload: Offload{GSOMaxSize: 1, GSOMaxSegs: 2, GROMaxSize: 3}}
	assert.Empty(t, was.Differences(was))
	common := []string{"name is net1, was enp1s0v0", "MAC is 02:00:00:00:00:02, was 02:00:00:00:00:01", "MTU is 9000, was 1500"}
	all := append(slices.Clone(common), "promisc is true, was false", "allmulticast is true, was false", "noarp is true, was false", "multicast is false, was true",
		"alias is mine, was ", "txqueuelen is 77, was 1000", "group is 7, was 0",
		"gso_max_size is 1, was 65536", "gso_max_segs is 2, was 65535", "gro_max_size is 3, was 65536", "XDP is 2, was 0", "alternative names is [a x], was [a b]", "up is true, was false")
	assert.Equal(t, all, is.Differences(was))
	assert.Len(t, all, len(properties), "each property differs")

	// A program that the link has lost cannot be brought back.
	had := was
	had.XDP = 2
	assert.Empty(t, was.Differences(had))

	// The order in which the kernel lists alternative names does not count.
	same := was
	same.AltNames = []string{"a", "b"}
	assert.Empty(t, same.Differences(was))

	// What a Record of an earlier version does not have is not known, and not empty.
	earlier := was
	earlier.AltNames, earlier.Flags, earlier.Alias, earlier.TxQueueLen = nil, nil, nil, nil
	earlier.Offload = Offload{}
	assert.Equal(t, append(common, "up is true, was false"), is.Differences(earlier))
}

// TestLinkJSON: what is not known of a link has no key, and what is known has one even
// if it is empty. Earlier versions left out an empty list of alternative names.
func TestLinkJSON(t *testing.T) {
	for text, want := range map[string]Link{
		`{"index":3,"name":"enp1s0v0","mac":"02:00:00:00:00:03","mtu":1500,"up":false,"carrier":false,"type":1}`: {
			Index: 3, Name: "enp1s0v0", MAC: "02:00:00:00:00:03", MTU: 1500, Type: 1},
		`{"index":3,"name":"enp1s0v0","altNames":["x"],"mac":"02:00:00:00:00:03","mtu":1500,"up":false,"carrier":false,"type":1}`: {
			Index: 3, Name: "enp1s0v0", AltNames: []string{"x"}, MAC: "02:00:00:00:00:03", MTU: 1500, Type: 1},
		`{"index":3,"name":"enp1s0v0","altNames":[],"mac":"02:00:00:00:00:03","mtu":1500,"up":false,"carrier":false,"type":1,"flags":0,"alias":"","txQueueLen":0}`: {
			Index: 3, Name: "enp1s0v0", AltNames: []string{}, MAC: "02:00:00:00:00:03", MTU: 1500, Type: 1, Flags: new(Flags(0)), Alias: new(""), TxQueueLen: new(0)},
	} {
		var l Link
		require.NoError(t, json.Unmarshal([]byte(text), &l))
		assert.Equal(t, want, l)
		back, err := json.Marshal(l)
		require.NoError(t, err)
		assert.Equal(t, text, string(back))
	}
}

func TestRouteString(t *testing.T) {
	assert.Equal(t, "10.0.0.0/8", Route{Dst: prefix("10.0.0.0/8")}.String())
	assert.Equal(t, "::/0 via fd00::1", Route{Dst: prefix("::/0"), Gateway: prefix("fd00::1/128").Addr()}.String())
}

func TestCheckIPv6(t *testing.T) {
	assert.EqualError(t, Link{Name: "bond0", MTU: 1279}.CheckIPv6(), "IPv6 on bond0: mtu is 1279, but IPv6 needs at least 1280")
	assert.NoError(t, Link{Name: "bond0", MTU: 1280}.CheckIPv6())
}
