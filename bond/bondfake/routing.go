package bondfake

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

func (n *namespace) Routing() (bond.Routing, error) {
	unlock, err := n.lock("Routing", "")
	defer unlock()
	if err != nil {
		return bond.Routing{}, err
	}
	all := bond.Routing{Rules: slices.Concat(kernelRules, n.rules), Paths: slices.Clone(n.paths)}
	for _, rule := range n.rules {
		all.Tables = append(all.Tables, rule.Table)
	}
	for _, l := range n.k.in(n) {
		for _, r := range l.addrs.Routes {
			all.Tables = append(all.Tables, r.Table)
		}
	}
	slices.Sort(all.Tables)
	all.Tables = slices.DeleteFunc(slices.Compact(all.Tables), bond.IsOwnTable)
	return all, nil
}

func (n *namespace) Routes() (all []bond.Multipath, err error) {
	unlock, err := n.lock("Routes", "")
	defer unlock()
	if err != nil {
		return nil, err
	}
	for _, l := range n.k.in(n) {
		for _, r := range l.addrs.Routes {
			hop := bond.Hop{Index: l.Index, Gateway: r.Gateway}
			r.Gateway = netip.Addr{}
			all = append(all, bond.Multipath{Route: r, Hops: []bond.Hop{hop}})
		}
		all = append(all, l.connected()...)
	}
	all = append(all, n.paths...)
	return slices.DeleteFunc(all, func(r bond.Multipath) bool { return r.Table != unix.RT_TABLE_MAIN }), nil
}

// connected lists the routes that came with addresses.
func (l *link) connected() (all []bond.Multipath) {
	for _, ip := range l.addrs.IPs {
		if !l.Up || ip.IsSingleIP() {
			continue
		}
		r := bond.Route{Dst: l.network(ip), Protocol: unix.RTPROT_KERNEL}
		if ip.Addr().Is6() {
			r.Priority = 256 // IP6_RT_PRIO_ADDRCONF
		}
		all = append(all, bond.Multipath{Route: asReadBack(r), Hops: []bond.Hop{{Index: l.Index}}})
	}
	return all
}

// kernelRules are those of every namespace: for IPv4, and for IPv6.
var kernelRules = []bond.Rule{
	{Table: unix.RT_TABLE_LOCAL}, {Table: unix.RT_TABLE_MAIN, Priority: 32766}, {Table: unix.RT_TABLE_DEFAULT, Priority: 32767},
	{Table: unix.RT_TABLE_LOCAL}, {Table: unix.RT_TABLE_MAIN, Priority: 32766},
}

func (n *namespace) AddRouting(r bond.Routing) error {
	unlock, err := n.lock("AddRouting", "")
	defer unlock()
	if err != nil {
		return err
	}
	for _, rule := range r.Rules {
		rule.From = rule.From.Masked()
		if !slices.Contains(n.rules, rule) {
			n.rules = append(n.rules, rule)
		}
	}
	for _, path := range r.Paths {
		if path, err = n.readBackPath(path); err != nil {
			return err
		}
		if !slices.ContainsFunc(n.paths, isPath(path)) {
			n.paths = append(n.paths, path)
		}
	}
	return nil
}

// readBackPath returns a multipath route as the kernel reports it, if it takes it.
func (n *namespace) readBackPath(path bond.Multipath) (bond.Multipath, error) {
	first := path.Route
	first.Gateway = path.Hops[0].Gateway // which decides the scope
	path.Route = asReadBack(first)
	for _, hop := range path.Hops {
		l, err := n.byIndex(hop.Index)
		if err != nil {
			return path, err
		}
		r := path.Route
		if r.Gateway = hop.Gateway; r.Gateway.IsValid() {
			if err := l.accepts(r); err != nil {
				return path, err
			}
		}
	}
	path.Gateway = bond.Multipath{}.Gateway
	return path, nil
}

func isPath(path bond.Multipath) func(bond.Multipath) bool {
	return func(other bond.Multipath) bool { return reflect.DeepEqual(other, path) }
}

func (n *namespace) RemoveRouting(r bond.Routing) error {
	unlock, err := n.lock("RemoveRouting", "")
	defer unlock()
	if err != nil {
		return err
	}
	for _, rule := range r.Rules {
		if !rule.From.IsValid() {
			return fmt.Errorf("removing rule %s: %w", rule, unix.EINVAL)
		}
		rule.From = rule.From.Masked()
		n.rules = slices.DeleteFunc(n.rules, func(other bond.Rule) bool { return other == rule })
	}
	for _, path := range r.Paths {
		if path, err := n.readBackPath(path); err == nil {
			n.paths = slices.DeleteFunc(n.paths, isPath(path))
		}
	}
	return nil
}

// loseWay removes the multipath routes over a link that leaves. The kernel removes an IPv4
// route with its first way, and of an IPv6 route only the way.
func (n *namespace) loseWay(index int) {
	over := func(h bond.Hop) bool { return h.Index == index }
	var left []bond.Multipath
	for _, path := range n.paths {
		switch is := slices.ContainsFunc(path.Hops, over); {
		case !is:
			left = append(left, path)
		case path.Dst.Addr().Is6() && len(path.Hops) > 2:
			path.Hops = slices.DeleteFunc(slices.Clone(path.Hops), over)
			left = append(left, path)
		}
	}
	n.paths = left
}
