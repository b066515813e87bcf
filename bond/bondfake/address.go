package bondfake

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

func (n *namespace) Addresses(index int) (bond.Addresses, error) {
	unlock, err := n.lock("Addresses", n.nameOf(index))
	defer unlock()
	if err != nil {
		return bond.Addresses{}, err
	}
	l, err := n.read(index)
	if err != nil {
		return bond.Addresses{}, err
	}
	isDefault := slices.ContainsFunc(l.addrs.Routes, func(r bond.Route) bool { return r.Dst.Bits() == 0 })
	a := bond.Addresses{Peers: maps.Clone(l.addrs.Peers), Attributes: maps.Clone(l.addrs.Attributes), Routes: slices.Clone(l.addrs.Routes), Default: isDefault}
	for _, ip := range l.addrs.IPs {
		if ip.Addr().Is6() && !a.Attributes[ip].ValidUntil.IsZero() {
			delete(a.Attributes, ip)
			a.Learnt = append(a.Learnt, ip)
		} else {
			a.IPs = append(a.IPs, ip)
		}
	}
	return a, nil
}

func (n *namespace) Flush(index int) error {
	unlock, err := n.lock("Flush", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	l, err := n.byIndex(index)
	if err == nil {
		l.addrs = bond.Addresses{}
	}
	return err
}

func (n *namespace) Configure(index int, a bond.Addresses) error {
	unlock, err := n.lock("Configure", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	l, err := n.byIndex(index)
	if err != nil {
		return err
	}
	var errs []error
	ips := a.IPs
	if slices.ContainsFunc(ips, isIPv6) {
		if err := l.CheckIPv6(); err != nil {
			errs = append(errs, err)
			ips = slices.DeleteFunc(slices.Clone(ips), isIPv6)
		}
		l.keepsIPv6 = l.Kind == "bond"
	}
	for _, ip := range ips {
		if !slices.Contains(l.addrs.IPs, ip) {
			l.addAddr(ip, a.Peers[ip], a.Attributes[ip])
		}
	}
	for _, viaGateway := range []bool{false, true} {
		for _, r := range a.Routes {
			if r.Gateway.IsValid() != viaGateway {
				continue
			}
			if err := l.addRoute(asReadBack(r)); err != nil {
				errs = append(errs, fmt.Errorf("adding route %s: %w", r, err))
			}
		}
	}
	return errors.Join(errs...)
}

func isIPv6(ip netip.Prefix) bool { return ip.Addr().Is6() }

func (n *namespace) AddRoute(index int, r bond.Route) error {
	unlock, err := n.lock("AddRoute", n.nameOf(index)+" "+r.Dst.String())
	defer unlock()
	if err != nil {
		return err
	}
	l, err := n.byIndex(index)
	if err != nil {
		return err
	}
	r = asReadBack(r)
	if err := l.accepts(r); err != nil {
		return fmt.Errorf("adding route %s: %w", r, err)
	}
	if n.isTaken(r) {
		return fmt.Errorf("adding route %s: %w", r, unix.EEXIST)
	}
	return l.addRoute(r)
}

// isTaken reports whether there is another route with the same key. An address of IPv4 has
// one of its own.
func (n *namespace) isTaken(r bond.Route) bool {
	same := func(other bond.Route) bool {
		return other.Dst == r.Dst && other.Priority == r.Priority && other.Table == r.Table && other.TOS == r.TOS
	}
	for _, l := range n.k.in(n) {
		byAddress := func(ip netip.Prefix) bool { return ip.Addr().Is4() && same(asReadBack(bond.Route{Dst: l.network(ip)})) }
		if slices.ContainsFunc(l.addrs.Routes, same) || l.Up && slices.ContainsFunc(l.addrs.IPs, byAddress) {
			return true
		}
	}
	return slices.ContainsFunc(n.paths, func(path bond.Multipath) bool { return same(path.Route) })
}

func (n *namespace) RemoveRoute(index int, r bond.Route) error {
	unlock, err := n.lock("RemoveRoute", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	l, err := n.byIndex(index)
	if err == nil {
		l.addrs.Routes = slices.DeleteFunc(l.addrs.Routes, func(other bond.Route) bool { return reflect.DeepEqual(other, asReadBack(r)) })
	}
	return err
}

func (l *link) addAddr(ip netip.Prefix, peer netip.Addr, set bond.Attributes) {
	l.addrs.IPs = append(l.addrs.IPs, ip)
	if set != (bond.Attributes{}) {
		if l.addrs.Attributes == nil {
			l.addrs.Attributes = map[netip.Prefix]bond.Attributes{}
		}
		l.addrs.Attributes[ip] = set
	}
	if !peer.IsValid() {
		return
	}
	if l.addrs.Peers == nil {
		l.addrs.Peers = map[netip.Prefix]netip.Addr{}
	}
	l.addrs.Peers[ip] = peer
}

func (l *link) addRoute(r bond.Route) error {
	if err := l.accepts(r); err != nil {
		return err
	}
	if !slices.ContainsFunc(l.addrs.Routes, func(other bond.Route) bool { return reflect.DeepEqual(other, r) }) {
		l.addrs.Routes = append(l.addrs.Routes, r)
	}
	return nil
}

// accepts returns the kernel's error for a route over the link, or nil.
func (l *link) accepts(r bond.Route) error {
	switch {
	case !l.Up:
		return unix.ENETDOWN
	case r.Source.IsValid() && !slices.ContainsFunc(l.addrs.IPs, func(p netip.Prefix) bool { return p.Addr() == r.Source }):
		return unix.EINVAL
	case r.OnLink:
	case r.Gateway.Is4() && !l.reaches(r.Gateway):
		return unix.ENETUNREACH
	case r.Gateway.Is6() && !l.reaches(r.Gateway):
		return unix.EHOSTUNREACH
	}
	return nil
}

// asReadBack adds to a route what the kernel chooses.
func asReadBack(r bond.Route) bond.Route {
	r.Dst = r.Dst.Masked()
	if r.Protocol == unix.RTPROT_BOOT {
		r.Protocol = 0
	}
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	if r.Dst.Addr().Is6() {
		r.Scope = nil
		if r.Priority == 0 {
			r.Priority = 1024 // IP6_RT_PRIO_USER
		}
	} else if r.Scope == nil {
		scope := unix.RT_SCOPE_UNIVERSE
		if !r.Gateway.IsValid() {
			scope = unix.RT_SCOPE_LINK
		}
		r.Scope = &scope
	}
	return r
}

// reaches reports whether a gateway is reachable over the link.
func (l *link) reaches(gateway netip.Addr) bool {
	return gateway.Is6() && gateway.IsLinkLocalUnicast() ||
		slices.ContainsFunc(l.addrs.IPs, func(p netip.Prefix) bool { return l.network(p).Contains(gateway) }) ||
		slices.ContainsFunc(l.addrs.Routes, func(r bond.Route) bool { return !r.Gateway.IsValid() && r.Dst.Contains(gateway) })
}

// network returns the network that an address makes reachable: its own or its
// peer's.
func (l *link) network(ip netip.Prefix) netip.Prefix {
	if peer := l.addrs.Peers[ip]; peer.IsValid() {
		return netip.PrefixFrom(peer, ip.Bits()).Masked()
	}
	return ip.Masked()
}

func (n *namespace) Announce(index int, addrs []netip.Addr) error {
	unlock, err := n.lock("Announce", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	_, err = n.read(index)
	return err
}

// Solicit reports at once that a neighbour answers over a link that has a carrier.
func (n *namespace) Solicit(index int, ip netip.Addr) (bool, error) {
	unlock, err := n.lock("Solicit", n.nameOf(index))
	defer unlock()
	if err != nil {
		return false, err
	}
	l, err := n.read(index)
	return err == nil && l.Carrier && n.k.answers(ip), err
}

// answers reports whether a neighbour answers to those who ask for it.
func (k *Kernel) answers(ip netip.Addr) bool { return slices.Contains(k.neighbours, ip) }
