package delegate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// way is a route to the pods of another host.
type way struct {
	dst     netip.Prefix
	gateway netip.Addr
	index   int // of our NIC
}

func (w way) route() bond.Route {
	return bond.Route{Dst: w.dst, Gateway: w.gateway, Protocol: bond.ProtocolRoutes}
}

// sortedWays lists the keys of a map in the order of their destinations.
func sortedWays(ways map[way]string) (all []way) {
	for w := range ways {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b way) int {
		return cmp.Or(a.dst.Addr().Compare(b.dst.Addr()), cmp.Compare(a.dst.Bits(), b.dst.Bits()))
	})
	return all
}

// wantedRoutes are the routes that the Records need.
type wantedRoutes struct {
	host map[way]string       // the host to which it leads
	to   map[netip.Prefix]way // the one to a destination
	now  *agentapi.Routes     // is told of what cannot be
}

// wantedRoutes returns the routes that the Records need, each with the host to which it leads.
// It adds those to now for which something is missing. The error is why nothing is known of
// other hosts.
func (k *keeper) wantedRoutes(now *agentapi.Routes) (map[way]string, error) {
	rails := k.allRails()
	if len(rails) == 0 || k.Yield {
		return nil, nil
	}
	hosts, err := agentapi.ReadHosts(k.hostsFile())
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w (the agent writes it: does it run?)", err)
	}
	if err != nil {
		return nil, err
	}
	want := wantedRoutes{map[way]string{}, map[netip.Prefix]way{}, now}
	nics := map[string]nic{}
	for _, r := range withoutConflict(rails, now) {
		if _, known := nics[r.master]; !known {
			nics[r.master] = k.nicOf(r.master)
		}
		want.addRail(r, nics[r.master], hosts.Hosts)
	}
	return want.host, nil
}

// addRail adds the routes to all other hosts that an interface needs over its NIC.
func (want *wantedRoutes) addRail(r rail, over nic, hosts []agentapi.PeerHost) {
	taken := addressesIn(r.Subnets, hosts)
	for _, h := range hosts {
		if err := r.checkHost(h); err != nil {
			want.now.Fail(h.Node, err)
			continue
		}
		for _, subnet := range r.Subnets {
			gateway, err := over.gateway(h, subnet.Addr().Is4())
			if err != nil {
				want.now.Wait(h.Node, err)
				continue
			}
			w := way{r.OfHost(subnet, r.Interface, h.Index), gateway, over.Index}
			if err := want.add(r, w, h.Node, taken); err != nil {
				want.now.Fail(h.Node, err)
			}
		}
	}
}

// add adds a route that an interface needs to a host. It returns an error if the route would take the traffic to one
// of the addresses of hosts, or if there is another way to its destination already.
func (want *wantedRoutes) add(r rail, w way, node string, taken []netip.Addr) error {
	if at := slices.IndexFunc(taken, w.dst.Contains); at >= 0 {
		return fmt.Errorf("%s has %s, which is the address of a host (give the network another subnet)", w.dst, taken[at])
	}
	if first, twice := want.to[w.dst]; twice && first != w {
		return fmt.Errorf("%s is to be reached over two NICs of this host: a pod has interface %d of the subnet on another NIC than %s", w.dst, r.Interface, r.master)
	}
	want.host[w], want.to[w.dst] = node, w
	return nil
}

// addressesIn lists the addresses of hosts that are in subnets.
func addressesIn(subnets []netip.Prefix, hosts []agentapi.PeerHost) (in []netip.Addr) {
	for _, h := range hosts {
		for _, n := range h.NICs {
			for _, ip := range n.Addresses {
				if slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Contains(ip.Addr()) }) {
					in = append(in, ip.Addr())
				}
			}
		}
	}
	return in
}

// nic is a NIC of this host.
type nic struct {
	bond.Link
	networks []netip.Prefix // its addresses, with what is on link
	missing  error          // why there is no route over it
}

func (k *keeper) nicOf(name string) nic {
	l, there, err := bond.LinkIfThere(k.host, name)
	switch {
	case err != nil:
		return nic{missing: err}
	case !there:
		return nic{missing: fmt.Errorf("this host has no NIC %q", name)}
	case !l.Up:
		return nic{missing: fmt.Errorf("the NIC %s of this host is down", name)}
	}
	a, err := k.host.Addresses(l.Index)
	return nic{l, slices.Concat(a.IPs, a.Learnt), err}
}

// gateway returns an address of another host in a network of the NIC. If several of its NICs
// have one, it is that of the NIC with the same name.
func (n nic) gateway(h agentapi.PeerHost, is4 bool) (found netip.Addr, err error) {
	if n.missing != nil {
		return found, n.missing
	}
	for _, theirs := range h.NICs {
		for _, ip := range theirs.Addresses {
			near := func(p netip.Prefix) bool { return !p.IsSingleIP() && p.Masked().Contains(ip.Addr()) }
			if ip.Addr().Is4() != is4 || !slices.ContainsFunc(n.networks, near) {
				continue
			}
			if theirs.Name == n.Name {
				return ip.Addr(), nil
			}
			if !found.IsValid() {
				found = ip.Addr()
			}
		}
	}
	if !found.IsValid() {
		family := map[bool]string{true: "IPv4", false: "IPv6"}[is4]
		return found, fmt.Errorf("none of its NICs has an %s address in a network of %s, which has %v", family, n.Name, n.networks)
	}
	return found, nil
}
