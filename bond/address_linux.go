package bond

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func (n *namespace) Addresses(index int) (Addresses, error) {
	link, err := n.byIndex(index)
	if err != nil {
		return Addresses{}, err
	}
	addrs, err := n.addrs(index)
	if err != nil {
		return Addresses{}, fmt.Errorf("addresses of %s: %w", link.Name, err)
	}
	a := Addresses{}
	for _, one := range addrs {
		if one.byKernel {
			continue
		}
		a.IPs = append(a.IPs, one.prefix)
		if one.peer.IsValid() {
			if a.Peers == nil {
				a.Peers = map[netip.Prefix]netip.Addr{}
			}
			a.Peers[one.prefix] = one.peer
		}
	}
	if a.Routes, a.Default, err = n.routes(index); err != nil {
		return Addresses{}, fmt.Errorf("routes of %s: %w", link.Name, err)
	}
	return a, nil
}

type addr struct {
	prefix   netip.Prefix
	peer     netip.Addr // invalid: no peer
	byKernel bool       // made by the kernel from the MAC or a router's advertisement
}

func (n *namespace) addrs(index int) ([]addr, error) {
	messages, err := n.dump(unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC), unix.RTM_NEWADDR)
	if err != nil {
		return nil, err
	}
	var out []addr
	for _, m := range messages {
		head := nl.DeserializeIfAddrmsg(m)
		if int(head.Index) != index {
			continue
		}
		attrs, err := attributes(m[head.Len():])
		if err != nil {
			return nil, err
		}
		out = append(out, parseAddr(head, attrs))
	}
	return out, nil
}

func parseAddr(head *nl.IfAddrmsg, attrs []syscall.NetlinkRouteAttr) addr {
	var ip, local, peer netip.Addr
	flags := uint32(head.Flags)
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_ADDRESS:
			ip, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_FLAGS:
			flags = decodeUint(a.Value)
		}
	}
	if local.IsValid() {
		if ip != local {
			peer = ip
		}
		ip = local
	}
	byKernel := ip.Is6() && (ip.IsLinkLocalUnicast() || flags&unix.IFA_F_PERMANENT == 0)
	return addr{prefix: netip.PrefixFrom(ip, int(head.Prefixlen)), peer: peer, byKernel: byKernel}
}

// routes lists the unicast routes over a link that somebody set. isDefault reports
// whether a default route leaves by the link, set or learnt.
func (n *namespace) routes(index int) (set []Route, isDefault bool, err error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		messages, err := n.dump(unix.RTM_GETROUTE, &nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family)}}, unix.RTM_NEWROUTE)
		if err != nil {
			return nil, false, err
		}
		for _, m := range messages {
			head := nl.DeserializeRtMsg(m)
			if head.Type != unix.RTN_UNICAST || head.Flags&unix.RTM_F_CLONED != 0 {
				continue
			}
			attrs, err := attributes(m[head.Len():])
			if err != nil {
				return nil, false, err
			}
			route, over := parseRoute(head, attrs)
			if !slices.Contains(over, index) {
				continue
			}
			isDefault = isDefault || head.Dst_len == 0
			if setBySomebody(head) && len(over) == 1 {
				set = append(set, route)
			}
		}
	}
	return set, isDefault, nil
}

// setBySomebody reports whether a route came neither with an address nor from a
// router.
func setBySomebody(head *nl.RtMsg) bool {
	return head.Protocol != unix.RTPROT_KERNEL && head.Protocol != unix.RTPROT_RA
}

// parseRoute returns the route and the indexes of its links: one, or those of all
// hops of a multipath route. It does not read the gateways of such a route.
func parseRoute(head *nl.RtMsg, attrs []syscall.NetlinkRouteAttr) (r Route, over []int) {
	r = Route{Table: int(head.Table), OnLink: head.Flags&unix.RTNH_F_ONLINK != 0}
	if head.Protocol != unix.RTPROT_BOOT {
		r.Protocol = int(head.Protocol)
	}
	dst := netip.IPv6Unspecified()
	if head.Family == unix.AF_INET {
		dst = netip.IPv4Unspecified()
		scope := int(head.Scope)
		r.Scope = &scope
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_OIF:
			over = append(over, int(decodeUint(a.Value)))
		case unix.RTA_MULTIPATH:
			over = append(over, hops(a.Value)...)
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_VIA: // struct rtvia: a gateway of the other family
			r.Gateway, _ = netip.AddrFromSlice(a.Value[min(2, len(a.Value)):])
		case unix.RTA_PREFSRC:
			r.Source, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_PRIORITY:
			r.Priority = int(decodeUint(a.Value))
		case unix.RTA_TABLE:
			r.Table = int(decodeUint(a.Value))
		case unix.RTA_METRICS:
			for _, metric := range nested(a) {
				switch metric.Attr.Type {
				case unix.RTAX_MTU:
					r.MTU = int(decodeUint(metric.Value))
				case unix.RTAX_ADVMSS:
					r.AdvMSS = int(decodeUint(metric.Value))
				}
			}
		}
	}
	r.Dst = netip.PrefixFrom(dst, int(head.Dst_len))
	return r, over
}

// hops lists the links of a multipath route, a sequence of struct rtnexthop
// (include/uapi/linux/rtnetlink.h).
func hops(b []byte) (links []int) {
	for len(b) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			break
		}
		links = append(links, int(binary.NativeEndian.Uint32(b[4:])))
		b = b[min(len(b), (size+unix.RTNH_ALIGNTO-1)&^(unix.RTNH_ALIGNTO-1)):]
	}
	return links
}

func (n *namespace) Flush(index int) error {
	addrs, err := n.addrs(index)
	if err != nil {
		return fmt.Errorf("flushing link %d: %w", index, err)
	}
	for _, a := range addrs {
		// The removal of an address can remove its secondary addresses too.
		err := n.removeAddr(index, a.prefix)
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("removing %s: %w", a.prefix, err)
		}
	}
	routes, _, err := n.routes(index)
	if err != nil {
		return fmt.Errorf("flushing link %d: %w", index, err)
	}
	for _, route := range routes {
		err := n.routeRequest(unix.RTM_DELROUTE, 0, index, route)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing route %s: %w", route, err)
		}
	}
	return nil
}

// removeAddr removes an address. The request has no IFA_ADDRESS, with which the
// kernel would not find an address that has a peer.
func (n *namespace) removeAddr(index int, ip netip.Prefix) error {
	r := n.request(unix.RTM_DELADDR, unix.NLM_F_ACK)
	r.AddData(addrMessage(index, ip))
	r.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip.Addr().AsSlice()))
	return do(r)
}

func addrMessage(index int, ip netip.Prefix) *nl.IfAddrmsg {
	m := nl.NewIfAddrmsg(familyOf(ip.Addr()))
	m.Index, m.Prefixlen = uint32(index), uint8(ip.Bits())
	return m
}

// Configure adds addresses, then routes without a gateway, then the other routes,
// whose gateways may be reached over the former. What is there already is no
// error. If another link has a route to the same destination, a new IPv4 route goes
// before it and a new IPv6 route beside it, as with CNI's own plugins.
//
// Duplicate address detection is off for IPv6, as it always is for IPv4: IPAM
// assigns addresses once. Optimistic addresses (RFC 4429) do not help: during the
// two seconds of detection their owner may not send neighbour solicitations, and a
// pod loses its first packets (seen on 6.12).
func (n *namespace) Configure(index int, a Addresses) error {
	for _, ip := range a.IPs {
		flags := uint32(0)
		if ip.Addr().Is6() {
			flags = unix.IFA_F_NODAD
			if err := n.allowIPv6(index); err != nil {
				return err
			}
		}
		if err := n.addAddr(index, ip, a.Peers[ip], flags); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("adding address %s: %w", ip, err)
		}
	}
	for _, route := range a.gatewaysLast() {
		if err := n.routeRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, index, route); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("adding route %s: %w", route, err)
		}
	}
	return nil
}

func (n *namespace) RemoveRoute(index int, r Route) error {
	if err := n.routeRequest(unix.RTM_DELROUTE, 0, index, r); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("removing route %s: %w", r, err)
	}
	return nil
}

// allowIPv6 makes a link ready for IPv6 addresses. Some runtimes turn IPv6 off for all
// links of a pod. A bond keeps its addresses when it is set down, as with CNI's own
// plugins; other links have settings of the host, which stay.
func (n *namespace) allowIPv6(index int) error {
	link, err := n.byIndex(index)
	if err != nil {
		return err
	}
	if err := link.CheckIPv6(); err != nil {
		return err
	}
	settings := map[string]string{"disable_ipv6": "0"}
	if link.Kind == kindBond {
		settings["keep_addr_on_down"] = "1"
	}
	return n.inside(func() error {
		for name, value := range settings {
			file := filepath.Join("/proc/sys/net/ipv6/conf", link.Name, name)
			if err := os.WriteFile(file, []byte(value), 0); err != nil {
				return fmt.Errorf("IPv6 on %s: %w", link.Name, err)
			}
		}
		return nil
	})
}

func (n *namespace) addAddr(index int, ip netip.Prefix, peer netip.Addr, addrFlags uint32) error {
	other := ip.Addr()
	if peer.IsValid() {
		other = peer
	}
	r := n.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	r.AddData(addrMessage(index, ip))
	r.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip.Addr().AsSlice()))
	r.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, other.AsSlice()))
	if addrFlags != 0 {
		r.AddData(nl.NewRtAttr(unix.IFA_FLAGS, encodeUint(32, addrFlags)))
	}
	if ip.Addr().Is4() && ip.Bits() < 31 && !peer.IsValid() {
		r.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(ip)))
	}
	return do(r)
}

func broadcast(ip netip.Prefix) []byte {
	b := ip.Masked().Addr().As4()
	for bit := ip.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return b[:]
}

func familyOf(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (n *namespace) routeRequest(kind, flags, index int, route Route) error {
	r := n.request(kind, flags|unix.NLM_F_ACK)
	m := nl.NewRtMsg()
	m.Family = uint8(familyOf(route.Dst.Addr()))
	m.Dst_len = uint8(route.Dst.Bits())
	m.Protocol = uint8(cmp.Or(route.Protocol, unix.RTPROT_BOOT))
	if kind == unix.RTM_DELROUTE {
		m.Protocol = unix.RTPROT_UNSPEC
	}
	m.Scope = unix.RT_SCOPE_UNIVERSE
	if !route.Gateway.IsValid() {
		m.Scope = unix.RT_SCOPE_LINK
	}
	if route.Scope != nil {
		m.Scope = uint8(*route.Scope)
	}
	if route.OnLink {
		m.Flags |= unix.RTNH_F_ONLINK
	}
	r.AddData(m)
	r.AddData(nl.NewRtAttr(unix.RTA_DST, route.Dst.Masked().Addr().AsSlice()))
	r.AddData(nl.NewRtAttr(unix.RTA_OIF, uint32Attr(index)))
	switch {
	case !route.Gateway.IsValid():
	case route.Gateway.Is4() == route.Dst.Addr().Is4():
		r.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, route.Gateway.AsSlice()))
	default:
		via := encodeUint(16, uint32(familyOf(route.Gateway)))
		r.AddData(nl.NewRtAttr(unix.RTA_VIA, append(via, route.Gateway.AsSlice()...)))
	}
	if route.Source.IsValid() {
		r.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, route.Source.AsSlice()))
	}
	if route.Priority != 0 {
		r.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, uint32Attr(route.Priority)))
	}
	if route.Table != 0 {
		m.Table = unix.RT_TABLE_UNSPEC
		r.AddData(nl.NewRtAttr(unix.RTA_TABLE, uint32Attr(route.Table)))
	}
	if route.MTU != 0 || route.AdvMSS != 0 {
		metrics := nl.NewRtAttr(unix.RTA_METRICS, nil)
		if route.MTU != 0 {
			metrics.AddRtAttr(unix.RTAX_MTU, uint32Attr(route.MTU))
		}
		if route.AdvMSS != 0 {
			metrics.AddRtAttr(unix.RTAX_ADVMSS, uint32Attr(route.AdvMSS))
		}
		r.AddData(metrics)
	}
	return do(r)
}
