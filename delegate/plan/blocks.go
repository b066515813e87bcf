package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
)

// Block is the place of an interface in divided subnets.
type Block struct {
	netconf.Blocks
	Interface int `json:"interface"`
	Host      int `json:"host"`
}

// where returns in which ranges the addresses are, for people, or "" if b is nil.
func (b *Block) where() string {
	if b == nil {
		return ""
	}
	var parts []netip.Prefix
	for _, s := range b.Subnets {
		parts = append(parts, b.OfHost(s, b.Interface, b.Host))
	}
	return fmt.Sprintf(" in %s (interface %d of host %d)", joined(parts), b.Interface, b.Host)
}

// checkHost finds what keeps this host from having a place in the network's subnets.
func (c *compiler) checkHost() {
	for _, b := range c.r.Network.AllBlocks() {
		if c.r.HostIndex == nil {
			c.problems.Add(code.NoHostIndex, b.Path+".type", "update the agent; without Kubernetes use host-local, with a range for each host", "is %s, which needs the number of this host, but no agent has given one", netconf.BlocksType)
		}
	}
	for i, l := range c.r.Network.Links {
		if l.Blocks == nil || !l.NeedsRoutes() {
			continue
		}
		c.checkSubnets(*l.Blocks)
		if !c.f.Keep {
			c.problems.Add(code.NeedsKeep, l.Blocks.Path+".type", "run keep on the node (deploy/keep), or use ipvlan in mode l2", "is %s, and links[%d] is ipvlan in a mode that reaches the pods of other hosts only by routes of this host, which keep sets, but keep does not run here", netconf.BlocksType, i)
			return
		}
	}
}

// checkSubnets refuses subnets that are networks of the host, too: routes to parts of them would
// take what the host has on link.
func (c *compiler) checkSubnets(b netconf.Blocks) {
	for _, s := range b.Subnets {
		for _, on := range c.f.Nets {
			p := bond.Problem{Code: code.SubnetOnHost, Path: b.Path + ".subnet", Text: fmt.Sprintf("is %s, which overlaps %s, a network of this host", s, on), Hint: "use a subnet that no host has an address in"}
			if s.Overlaps(on) && !slices.Contains(c.problems, p) {
				c.problems = append(c.problems, p)
			}
		}
	}
}

// block returns the place of interface i, which what describes, and what gives it addresses.
// It returns nil if its subnets are not divided.
func (c *compiler) block(b *netconf.Blocks, what string, i int, config netconf.Config) (*Block, *netconf.Plugin) {
	if b == nil || c.r.HostIndex == nil {
		return nil, nil
	}
	host := *c.r.HostIndex
	if problems := b.Check(what, i, host); len(problems) > 0 {
		for _, p := range problems {
			if !slices.Contains(c.problems, p) {
				c.problems = append(c.problems, p)
			}
		}
		return nil, nil
	}
	ipam := b.HostLocal(config, i, host)
	return &Block{*b, i, host}, &ipam
}

// withBlock returns a link with its place in divided subnets. Links of a pool are numbered by
// their NICs, others by their places among those that share an ipam: neither depends on what a pod
// chooses, nor on which NIC is near or in use.
func (c *compiler) withBlock(l plannedLink) Link {
	own := c.r.Network.Links[l.at]
	if own.Blocks == nil {
		return l.Link
	}
	first := slices.IndexFunc(c.r.Network.Links, func(x netconf.Link) bool { return x.Blocks != nil && x.Blocks.Path == own.Blocks.Path })
	what, i := fmt.Sprintf("links[%d]", l.at), l.at-first
	if l.nic != nil {
		what, i = "the NIC "+l.nic.Link.Name, c.numberOf(*own.Pool, *l.nic)
	}
	out := l.Link
	if b, ipam := c.block(own.Blocks, what, i, own.IPAM.Config); b != nil {
		out.Block, out.IPAM = b, ipam
	}
	return out
}

// numberOf returns the number of a NIC: that of the first of the pool's networks in which it
// has an address, or the place of its name in the pool's whole names, or its place among the NICs of the host that the pool describes, whatever
// their state.
func (c *compiler) numberOf(p netconf.Pool, n bond.NIC) int {
	if len(p.Networks) > 0 {
		return slices.IndexFunc(p.Networks, func(of netip.Prefix) bool {
			return slices.ContainsFunc(n.IPs, func(ip netip.Prefix) bool { return of.Contains(ip.Addr()) })
		})
	}
	if p.Numbered() {
		return slices.Index(p.Names, n.Link.Name)
	}
	lasting := p
	lasting.MinSpeed, lasting.Chosen = 0, nil
	number := 0
	for _, other := range c.f.NICs {
		if other.Identity() == n.Identity() {
			break
		}
		if other.PF == "" && !other.Representor && differsFrom(lasting, other) == "" {
			number++
		}
	}
	return number
}

// BlockOf returns the place of an interface in divided subnets, or nil.
func (p Plan) BlockOf(ifName string) *Block {
	if p.IsBond() && ifName == p.IfName {
		return p.Block
	}
	for _, l := range p.Links {
		if l.Name == ifName {
			return l.Block
		}
	}
	return nil
}

// NeedsRoutes reports whether other hosts' pods reach the link only by routes of the hosts.
func (l Link) NeedsRoutes() bool {
	return l.Block != nil && netconf.Link{Plugins: l.Plugins}.NeedsRoutes()
}
