package bond

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// routes lists the routes over a link that somebody set. isDefault reports
// whether a default route leaves by the link, set or learnt.
func (n *namespace) routes(index int) (set []Route, isDefault bool, err error) {
	err = n.eachRoute(func(head *nl.RtMsg, r Route, hops []Hop) {
		if !slices.ContainsFunc(hops, func(h Hop) bool { return h.Index == index }) {
			return
		}
		isDefault = isDefault || head.Dst_len == 0 && head.Type == unix.RTN_UNICAST
		if setBySomebody(head) && len(hops) == 1 {
			set = append(set, r)
		}
	})
	return set, isDefault, err
}

// eachRoute calls f for each route of the namespace, with its ways.
func (n *namespace) eachRoute(f func(head *nl.RtMsg, r Route, hops []Hop)) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		messages, err := n.dump(unix.RTM_GETROUTE, &nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family)}}, unix.RTM_NEWROUTE)
		if err != nil {
			return err
		}
		for _, m := range messages {
			head := nl.DeserializeRtMsg(m)
			if head.Flags&unix.RTM_F_CLONED != 0 {
				continue
			}
			attrs, err := attributes(m[head.Len():])
			if err != nil {
				return err
			}
			route, hops := parseRoute(head, attrs)
			f(head, route, hops)
		}
	}
	return nil
}

// setBySomebody reports whether a route came neither with an address nor from a
// router.
func setBySomebody(head *nl.RtMsg) bool {
	return head.Protocol != unix.RTPROT_KERNEL && head.Protocol != unix.RTPROT_RA
}

// parseRoute returns the route and its ways: one, or those of a multipath route, which
// has no gateway of its own.
func parseRoute(head *nl.RtMsg, attrs []syscall.NetlinkRouteAttr) (r Route, over []Hop) {
	r = Route{Table: int(head.Table), OnLink: head.Flags&unix.RTNH_F_ONLINK != 0, TOS: int(head.Tos)}
	if head.Type != unix.RTN_UNICAST {
		r.Type = int(head.Type)
	}
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
			over = append(over, Hop{Index: int(decodeUint(a.Value))})
		case unix.RTA_MULTIPATH:
			over = append(over, parseHops(a.Value)...)
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			r.Gateway = parseGateway(a)
		case unix.RTA_PREFSRC:
			r.Source, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_PRIORITY:
			r.Priority = int(decodeUint(a.Value))
		case unix.RTA_TABLE:
			r.Table = int(decodeUint(a.Value))
		case unix.RTA_SRC:
			if src, ok := netip.AddrFromSlice(a.Value); ok {
				r.From = netip.PrefixFrom(src, int(head.Src_len))
			}
		case unix.RTA_PREF:
			r.Pref = int(decodeUint(a.Value))
		case unix.RTA_METRICS:
			for _, metric := range nested(a) {
				r.parseMetric(metric)
			}
		}
	}
	r.Dst = netip.PrefixFrom(dst, int(head.Dst_len))
	return r, over
}

// parseMetric reads one metric, all of which but one are numbers.
func (r *Route) parseMetric(a syscall.NetlinkRouteAttr) {
	switch a.Attr.Type {
	case unix.RTAX_MTU:
		r.MTU = int(decodeUint(a.Value))
	case unix.RTAX_ADVMSS:
		r.AdvMSS = int(decodeUint(a.Value))
	case unix.RTAX_CC_ALGO:
		r.Congestion = unix.ByteSliceToString(a.Value)
	default:
		if r.Metrics == nil {
			r.Metrics = map[int]uint32{}
		}
		r.Metrics[int(a.Attr.Type)] = decodeUint(a.Value)
	}
}

// metrics returns the metrics of a route as an attribute, or nil if it has none.
func (r Route) metrics() *nl.RtAttr {
	numbers := maps.Clone(r.Metrics)
	if numbers == nil {
		numbers = map[int]uint32{}
	}
	if r.MTU != 0 {
		numbers[unix.RTAX_MTU] = uint32(r.MTU)
	}
	if r.AdvMSS != 0 {
		numbers[unix.RTAX_ADVMSS] = uint32(r.AdvMSS)
	}
	if len(numbers) == 0 && r.Congestion == "" {
		return nil
	}
	list := nl.NewRtAttr(unix.RTA_METRICS, nil)
	for _, number := range slices.Sorted(maps.Keys(numbers)) {
		list.AddRtAttr(number, encodeUint(32, numbers[number]))
	}
	if r.Congestion != "" {
		list.AddRtAttr(unix.RTAX_CC_ALGO, nl.ZeroTerminated(r.Congestion))
	}
	return list
}

// parseGateway reads the gateway of a route or of one of its ways.
func parseGateway(a syscall.NetlinkRouteAttr) (gateway netip.Addr) {
	if a.Attr.Type == unix.RTA_VIA { // struct rtvia: a gateway of the other family
		a.Value = a.Value[min(2, len(a.Value)):]
	}
	gateway, _ = netip.AddrFromSlice(a.Value)
	return gateway
}

// parseHops lists the ways of a multipath route, a sequence of struct rtnexthop
// (include/uapi/linux/rtnetlink.h).
func parseHops(b []byte) (hops []Hop) {
	for len(b) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			break
		}
		hop := Hop{Index: int(binary.NativeEndian.Uint32(b[4:]))}
		attrs, _ := attributes(b[unix.SizeofRtNexthop:size])
		for _, a := range attrs {
			if a.Attr.Type == unix.RTA_GATEWAY || a.Attr.Type == unix.RTA_VIA {
				hop.Gateway = parseGateway(a)
			}
		}
		hops = append(hops, hop)
		b = b[min(len(b), (size+unix.RTNH_ALIGNTO-1)&^(unix.RTNH_ALIGNTO-1)):]
	}
	return hops
}

func (n *namespace) AddRoute(index int, r Route) error {
	if err := n.routeRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, index, r); err != nil {
		return fmt.Errorf("adding route %s: %w", r, err)
	}
	return nil
}

func (n *namespace) RemoveRoute(index int, r Route) error {
	if err := n.routeRequest(unix.RTM_DELROUTE, 0, index, r); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("removing route %s: %w", r, err)
	}
	return nil
}

func (n *namespace) routeRequest(kind, flags, index int, route Route) error {
	r := n.routeMessage(kind, flags, route)
	r.AddData(nl.NewRtAttr(unix.RTA_OIF, uint32Attr(index)))
	if route.Gateway.IsValid() {
		r.AddData(gatewayAttr(route.Gateway, route.Dst.Addr().Is4()))
	}
	return do(r)
}

// gatewayAttr returns a gateway as an attribute. is4 is the family of the route.
func gatewayAttr(gateway netip.Addr, is4 bool) *nl.RtAttr {
	if gateway.Is4() == is4 {
		return nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice())
	}
	via := encodeUint(16, uint32(familyOf(gateway)))
	return nl.NewRtAttr(unix.RTA_VIA, append(via, gateway.AsSlice()...))
}

// routeMessage returns a request with all of a route but its ways.
func (n *namespace) routeMessage(kind, flags int, route Route) *nl.NetlinkRequest {
	r := n.request(kind, flags|unix.NLM_F_ACK)
	m := nl.NewRtMsg()
	m.Family = uint8(familyOf(route.Dst.Addr()))
	m.Dst_len, m.Tos = uint8(route.Dst.Bits()), uint8(route.TOS)
	m.Type = uint8(cmp.Or(route.Type, unix.RTN_UNICAST))
	m.Protocol = uint8(route.Protocol)
	if kind == unix.RTM_NEWROUTE {
		m.Protocol = uint8(cmp.Or(route.Protocol, unix.RTPROT_BOOT))
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
	if route.From.IsValid() {
		m.Src_len = uint8(route.From.Bits())
		r.AddData(nl.NewRtAttr(unix.RTA_SRC, route.From.Addr().AsSlice()))
	}
	if route.Pref != 0 {
		r.AddData(nl.NewRtAttr(unix.RTA_PREF, encodeUint(8, uint32(route.Pref))))
	}
	if metrics := route.metrics(); metrics != nil {
		r.AddData(metrics)
	}
	return r
}
