package bond

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

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
		return Addresses{}, fmt.Errorf("reading the addresses of %s: %w", link.Name, err)
	}
	a := Addresses{}
	for _, one := range addrs {
		switch {
		case !one.byKernel:
			a.add(one, link.Name)
		case one.learnt:
			a.Learnt = append(a.Learnt, one.prefix)
		}
	}
	if a.Routes, a.Default, err = n.routes(index); err != nil {
		return Addresses{}, fmt.Errorf("reading the routes of %s: %w", link.Name, err)
	}
	return a, nil
}

// add adds an address of the link with that name, which is the usual label.
func (a *Addresses) add(one addr, link string) {
	a.IPs = append(a.IPs, one.prefix)
	if one.peer.IsValid() {
		if a.Peers == nil {
			a.Peers = map[netip.Prefix]netip.Addr{}
		}
		a.Peers[one.prefix] = one.peer
	}
	if one.Label == link {
		one.Label = ""
	}
	if one.Attributes != (Attributes{}) {
		if a.Attributes == nil {
			a.Attributes = map[netip.Prefix]Attributes{}
		}
		a.Attributes[one.prefix] = one.Attributes
	}
}

type addr struct {
	Attributes
	prefix   netip.Prefix
	peer     netip.Addr // invalid: no peer
	byKernel bool       // made by the kernel from the MAC or a router's advertisement
	learnt   bool       // see [Addresses]
}

// userFlags are the flags of an address that somebody sets. Others are the kernel's
// own, or set for each address.
const userFlags = unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MCAUTOJOIN

// passing are the flags of an IPv6 address that is not to be relied on: it changes every day,
// goes away soon, or is not in use yet or never, because somebody else has it.
const passing = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// ifaProto is IFA_PROTO of include/uapi/linux/if_addr.h, which x/sys/unix lacks.
const ifaProto = 11

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
	var ip, local, peer, lastOf netip.Addr
	var set Attributes
	flags := uint32(head.Flags)
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_LABEL:
			set.Label = unix.ByteSliceToString(a.Value)
		case unix.IFA_BROADCAST:
			lastOf, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_RT_PRIORITY:
			set.Metric = int(decodeUint(a.Value))
		case ifaProto:
			set.Proto = int(decodeUint(a.Value))
		case unix.IFA_CACHEINFO:
			set.PreferredUntil, set.ValidUntil = lifetimes(a.Value, time.Now())
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
	prefix := netip.PrefixFrom(ip, int(head.Prefixlen))
	set.Flags = flags & userFlags
	if ip.Is4() {
		set.Scope = int(head.Scope) // that of an IPv6 address follows from it
		if lastOf != usualBroadcast(prefix, peer) {
			set.Broadcast = &lastOf
		}
	}
	byKernel := ip.Is6() && (ip.IsLinkLocalUnicast() || flags&unix.IFA_F_PERMANENT == 0)
	learnt := byKernel && !ip.IsLinkLocalUnicast() && flags&passing == 0
	return addr{Attributes: set, prefix: prefix, peer: peer, byKernel: byKernel, learnt: learnt}
}

// lifetimes reads struct ifa_cacheinfo, which has seconds. The zero time is for ever.
func lifetimes(info []byte, now time.Time) (preferred, valid time.Time) {
	const forEver = 1<<32 - 1
	if len(info) < unix.SizeofIfaCacheinfo {
		return preferred, valid
	}
	until := func(b []byte) (at time.Time) {
		if seconds := binary.NativeEndian.Uint32(b); seconds != forEver {
			at = now.Add(time.Duration(seconds) * time.Second).Round(time.Second).UTC()
		}
		return at
	}
	return until(info), until(info[4:])
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
			return fmt.Errorf("removing address %s: %w", a.prefix, err)
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

// usualBroadcast returns the broadcast address that an address has if nothing else is
// known of it: the last one of its network. It returns an invalid one if there is none.
func usualBroadcast(ip netip.Prefix, peer netip.Addr) netip.Addr {
	if !ip.Addr().Is4() || ip.Bits() >= 31 || peer.IsValid() {
		return netip.Addr{}
	}
	b := ip.Masked().Addr().As4()
	for bit := ip.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
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
	var errs []error
	ips := a.IPs
	if slices.ContainsFunc(ips, isIPv6) {
		if err := n.allowIPv6(index); err != nil {
			errs = append(errs, err)
			ips = slices.DeleteFunc(slices.Clone(ips), isIPv6)
		}
	}
	for _, ip := range ips {
		if err := n.addAddr(index, ip, a.Peers[ip], a.Attributes[ip]); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("adding address %s: %w", ip, err))
		}
	}
	for _, route := range a.gatewaysLast() {
		if err := n.routeRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, index, route); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("adding route %s: %w", route, err))
		}
	}
	return errors.Join(errs...)
}

func isIPv6(ip netip.Prefix) bool { return ip.Addr().Is6() }

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
	if err := n.setIPv6(link, settings); err != nil {
		return fmt.Errorf("turning IPv6 on for %s: %w", link.Name, err)
	}
	return nil
}

// acceptRA sets whether a link that is down will accept router advertisements. "" leaves
// that to the kernel. A link that cannot have IPv6 accepts none.
func (n *namespace) acceptRA(link Link, value string) error {
	if value == "" {
		return nil
	}
	err := n.setIPv6(link, map[string]string{"accept_ra": value})
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if value == "0" {
		return nil
	}
	return cmp.Or(link.CheckIPv6(), err)
}

// setIPv6 writes IPv6 settings of a link (Documentation/networking/ip-sysctl.rst of the
// kernel). If the link cannot have IPv6, the error is compatible with
// errors.Is(err, fs.ErrNotExist).
func (n *namespace) setIPv6(link Link, settings map[string]string) error {
	return n.inside(func() error {
		for name, value := range settings {
			file := filepath.Join("/proc/sys/net/ipv6/conf", link.Name, name)
			if err := os.WriteFile(file, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// addAddr adds an address. It does not add one whose time is over.
func (n *namespace) addAddr(index int, ip netip.Prefix, peer netip.Addr, set Attributes) error {
	preferred, valid := remaining(set.PreferredUntil), remaining(set.ValidUntil)
	if valid == 0 {
		return nil
	}
	other := ip.Addr()
	if peer.IsValid() {
		other = peer
	}
	flags, lastOf := set.Flags, usualBroadcast(ip, peer)
	if ip.Addr().Is6() {
		flags |= unix.IFA_F_NODAD
	}
	if set.Broadcast != nil {
		lastOf = *set.Broadcast
	}
	r := n.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	m := addrMessage(index, ip)
	m.Scope = uint8(set.Scope)
	r.AddData(m)
	r.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip.Addr().AsSlice()))
	r.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, other.AsSlice()))
	if flags != 0 {
		r.AddData(nl.NewRtAttr(unix.IFA_FLAGS, encodeUint(32, flags)))
	}
	if lastOf.IsValid() {
		r.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, lastOf.AsSlice()))
	}
	if set.Label != "" {
		r.AddData(nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(set.Label)))
	}
	if set.Metric != 0 {
		r.AddData(nl.NewRtAttr(unix.IFA_RT_PRIORITY, uint32Attr(set.Metric)))
	}
	if set.Proto != 0 {
		r.AddData(nl.NewRtAttr(ifaProto, encodeUint(8, uint32(set.Proto))))
	}
	if !set.PreferredUntil.IsZero() || !set.ValidUntil.IsZero() {
		info := make([]byte, unix.SizeofIfaCacheinfo)
		binary.NativeEndian.PutUint32(info, preferred)
		binary.NativeEndian.PutUint32(info[4:], valid)
		r.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, info))
	}
	return do(r)
}

// remaining returns the seconds until a time, as struct ifa_cacheinfo has them.
func remaining(until time.Time) uint32 {
	if until.IsZero() {
		return 1<<32 - 1 // for ever
	}
	return uint32(max(0, time.Until(until).Round(time.Second)/time.Second))
}

func familyOf(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
