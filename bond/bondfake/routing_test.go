package bondfake_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

// rails are two links of one subnet in a pod, each with a routing table of its own.
var rails = []step{
	{name: "two links of one subnet", do: all(add("pod"), move("host", a0, "pod", name("net1")), move("host", b0, "pod", name("net2")),
		change("pod", "net1", bond.Change{Up: new(true), OwnARP: true}), change("pod", "net2", bond.Change{Up: new(true), OwnARP: true, AcceptRA: "0"}), acceptsRA("pod", "net1", "1"), acceptsRA("pod", "net2", "0"),
		configure("pod", "net1", rail("10.1.2.1/24", "fd00:1::1/64", 1000)), configure("pod", "net2", rail("10.1.2.2/24", "fd00:1::2/64", 1001)),
		hasOwnARP("net1", true), hasOwnARP("net2", true)), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.1/24 fd00:1::1/64 [0.0.0.0/0 via 10.1.2.254 metric 0 table 1000 mtu 0 advmss 0 scope 0] [10.1.2.0/24 metric 0 table 1000 mtu 0 advmss 0 scope 253] [::/0 via fd00:1::fe metric 1024 table 1000 mtu 0 advmss 0 scope -] [fd00:1::/64 metric 1024 table 1000 mtu 0 advmss 0 scope -]
pod net2 up mac b0 10.1.2.2/24 fd00:1::2/64 [0.0.0.0/0 via 10.1.2.254 metric 0 table 1001 mtu 0 advmss 0 scope 0] [10.1.2.0/24 metric 0 table 1001 mtu 0 advmss 0 scope 253] [::/0 via fd00:1::fe metric 1024 table 1001 mtu 0 advmss 0 scope -] [fd00:1::/64 metric 1024 table 1001 mtu 0 advmss 0 scope -]
`},
	{name: "their tables alone", do: hasRouting("tables [1000 1001]")},
	{name: "rules and routes over both, twice", do: all(addsRouting, addsRouting, hasRouting(railsRouting))},
	{name: "another link answers for all", do: all(change("pod", "net2", state(false)), change("pod", "net2", state(true)), hasOwnARP("net2", true),
		move("pod", "net2", "host", name(b0)), hasRouting("tables [1000 1001]",
			"30000: from 10.1.2.1/32 lookup 1000", "30000: from fd00:1::1/128 lookup 1000", "30000: from 10.1.2.2/32 lookup 1001"))},
	{name: "it has lost that", do: all(move("host", b0, "pod", name("net2")), hasOwnARP("net2", false), acceptsRA("pod", "net2", "1"))},
	{name: "away with the rules, twice", do: all(removesRouting, removesRouting, hasRouting("tables [1000]"))},
	{name: "routes of a protocol, and one that is in the way", do: all(
		change("pod", "net2", state(true)), configure("pod", "net2", bond.Addresses{IPs: addrs("10.1.2.2/24", "fd00:1::2/64")}),
		configure("pod", "net1", bond.Addresses{Routes: []bond.Route{{Dst: netip.MustParsePrefix("10.6.0.0/16"), Gateway: netip.MustParseAddr("10.1.2.254"), Priority: 50, Protocol: unix.RTPROT_STATIC}}}),
		addRoute("net2", "10.5.0.0/16", "10.1.2.7", 0), addRoute("net1", "10.6.0.0/16", "10.1.2.7", 0), addRoute("net1", "fd00:5::/64", "fd00:1::7", 0),
		hasRoutes("10.5.0.0/16 via 10.1.2.7 dev net2 metric 0 proto 201", "10.6.0.0/16 via 10.1.2.254 dev net1 metric 50 proto 4",
			"10.6.0.0/16 via 10.1.2.7 dev net1 metric 0 proto 201", "fd00:5::/64 via fd00:1::7 dev net1 metric 1024 proto 201"))},
	{name: "of an address", do: all(hasConnected("net2", "10.1.2.0/24"), hasConnected("net2", "fd00:1::/64"))},
	{name: "its destination is taken over another link", do: addRoute("net1", "10.5.0.0/16", "10.1.2.8", 0), err: unix.EEXIST},
	{name: "with IPv6 too", do: addRoute("net2", "fd00:5::/64", "fd00:1::8", 0), err: unix.EEXIST},
	{name: "by an address", do: addRoute("net1", "10.1.2.0/24", "10.1.2.8", 0), err: unix.EEXIST},
	{name: "its gateway is not on the link", do: addRoute("net1", "10.4.0.0/16", "10.1.3.8", 0), err: unix.ENETUNREACH},
	{name: "a route of another protocol stays", do: all(removeRoute("net1", "10.6.0.0/16", "10.1.2.254", 50), removeRoute("net1", "10.6.0.0/16", "10.1.2.7", 0),
		removeRoute("net2", "10.5.0.0/16", "10.1.2.7", 0), removeRoute("net2", "10.5.0.0/16", "10.1.2.7", 0), removeRoute("net1", "fd00:5::/64", "fd00:1::7", 0),
		hasRoutes("10.6.0.0/16 via 10.1.2.254 dev net1 metric 50 proto 4"))},
	{name: "the end of the rails", do: all(move("pod", "net1", "host", name(a0)), move("pod", "net2", "host", name(b0)), remove("pod"))},
}

// rail is the addresses of a link with a table of its own.
func rail(four, six string, table int) bond.Addresses {
	a := bond.Addresses{IPs: addrs(four, six)}
	for _, r := range []bond.Route{
		{Dst: netip.MustParsePrefix(four).Masked()}, {Dst: netip.MustParsePrefix(six).Masked()},
		route("0.0.0.0/0", "10.1.2.254"), route("::/0", "fd00:1::fe"),
	} {
		r.Table = table
		a.Routes = append(a.Routes, r)
	}
	return a
}

var railRules = []bond.Rule{
	{From: netip.MustParsePrefix("10.1.2.1/32"), Table: 1000, Priority: 30000},
	{From: netip.MustParsePrefix("fd00:1::1/128"), Table: 1000, Priority: 30000},
	{From: netip.MustParsePrefix("10.1.2.2/32"), Table: 1001, Priority: 30000},
}

// railsRouting is what hasRouting prints after addsRouting.
const railsRouting = `tables [1000 1001]
30000: from 10.1.2.1/32 lookup 1000
30000: from fd00:1::1/128 lookup 1000
30000: from 10.1.2.2/32 lookup 1001
10.8.0.0/16 via 10.1.2.254 dev net1, via 10.1.2.253 dev net2 metric 7 table 254
fd00:8::/32 via fd00:1::fe dev net1, via fd00:1::fd dev net2 metric 7 table 254`

func addsRouting(s *stage) error {
	return s.in("pod", func(n bond.Namespace) error { return n.AddRouting(bond.Routing{Rules: railRules, Paths: paths(s, n)}) })
}

func removesRouting(s *stage) error {
	return s.in("pod", func(n bond.Namespace) error {
		return n.RemoveRouting(bond.Routing{Rules: railRules, Paths: paths(s, n)})
	})
}

// paths are two routes over both links.
func paths(s *stage, n bond.Namespace) []bond.Multipath {
	one := func(dst, first, second string) bond.Multipath {
		return bond.Multipath{Route: bond.Route{Dst: netip.MustParsePrefix(dst), Priority: 7}, Hops: []bond.Hop{
			{Index: s.link(n, "net1").Index, Gateway: netip.MustParseAddr(first)}, {Index: s.link(n, "net2").Index, Gateway: netip.MustParseAddr(second)}}}
	}
	return []bond.Multipath{one("10.8.0.0/16", "10.1.2.254", "10.1.2.253"), one("fd00:8::/32", "fd00:1::fe", "fd00:1::fd")}
}

// hasRouting compares the routing of the pod, without the kernel's own rules.
func hasRouting(want ...string) func(*stage) error {
	return func(s *stage) error {
		return s.within(strings.Join(want, "\n"), func() (got string, err error) {
			err = s.in("pod", func(n bond.Namespace) error {
				got, err = routingOf(s, n)
				return err
			})
			return got, err
		})
	}
}

func routingOf(s *stage, n bond.Namespace) (string, error) {
	now, err := n.Routing()
	lines := []string{fmt.Sprint("tables ", now.Tables)}
	for _, table := range slices.Sorted(slices.Values(now.Tables)) {
		for _, rule := range now.Rules {
			if rule.Table == table {
				lines = append(lines, rule.String())
			}
		}
	}
	for _, path := range now.Paths {
		text := path.String()
		for _, name := range []string{"net1", "net2"} {
			text = strings.Replace(text, fmt.Sprint("dev ", s.link(n, name).Index), "dev "+name, 1)
		}
		lines = append(lines, fmt.Sprintf("%s metric %d table %d", text, path.Priority, path.Table))
	}
	return strings.Join(lines, "\n"), err
}

func hasOwnARP(name string, want bool) func(*stage) error {
	return on("pod", name, func(_ bond.Namespace, l bond.Link) error {
		if l.OwnARP != want {
			return fmt.Errorf("%s answers ARP for its own addresses only: %t", name, l.OwnARP)
		}
		return nil
	})
}

// byHosts is a route between hosts.
func byHosts(dst, gateway string, priority int) bond.Route {
	r := route(dst, gateway)
	r.Protocol, r.Priority = bond.ProtocolRoutes, priority
	return r
}

func addRoute(name, dst, gateway string, priority int) func(*stage) error {
	return on("pod", name, func(n bond.Namespace, l bond.Link) error {
		return n.AddRoute(l.Index, byHosts(dst, gateway, priority))
	})
}

func removeRoute(name, dst, gateway string, priority int) func(*stage) error {
	return on("pod", name, func(n bond.Namespace, l bond.Link) error {
		return n.RemoveRoute(l.Index, byHosts(dst, gateway, priority))
	})
}

// hasConnected looks for the route that came with an address.
func hasConnected(name, network string) func(*stage) error {
	return on("pod", name, func(n bond.Namespace, l bond.Link) error {
		all, err := n.Routes()
		if !slices.ContainsFunc(all, func(r bond.Multipath) bool {
			return r.Dst.String() == network && r.Protocol == unix.RTPROT_KERNEL && slices.Equal(r.Hops, []bond.Hop{{Index: l.Index}})
		}) {
			return errors.Join(err, fmt.Errorf("no route of the kernel to %s over %s", network, name))
		}
		return err
	})
}

// hasRoutes compares the routes of the pod's main table that came with no address.
func hasRoutes(want ...string) func(*stage) error {
	return func(s *stage) error {
		return s.in("pod", func(n bond.Namespace) error {
			all, err := n.Routes()
			var got []string
			for _, path := range all {
				if path.Protocol == unix.RTPROT_KERNEL {
					continue
				}
				text := path.String()
				for _, name := range []string{"net1", "net2"} {
					text = strings.Replace(text, fmt.Sprint("dev ", s.link(n, name).Index), "dev "+name, 1)
				}
				got = append(got, fmt.Sprintf("%s metric %d proto %d", text, path.Priority, path.Protocol))
			}
			slices.Sort(got)
			assert.Equal(s, want, got)
			return err
		})
	}
}
