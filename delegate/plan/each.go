package plan

import (
	"slices"
	"strconv"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
)

// firstTable is the first routing table of links with addresses of their own. CNI's plugins
// sbr and vrf begin lower.
const firstTable = 1000

// each plans links that become interfaces of the pod, and their MTU: 0 leaves it alone.
func (c *compiler) each() (links []Link, mtu int) {
	n := c.r.Network
	c.nics = c.chooseNICs()
	planned := c.nearestFirst(c.attachable())
	c.checkNear()
	b := plannedBond{bond.Spec{Options: n.Options}, planned, c.vfsOf(planned), c.portsOf(planned)}
	c.checkMTUs(b)
	c.require(b)
	if c.r.DefaultRoute != nil {
		c.problems.Add(code.EachDefaultRoute, "attach", "write the default route into ipam, or ask for it on a network with one interface",
			"is each, and the pod asks for its default-route over this network, which has an interface for each link")
	}
	taken := slices.Clone(c.f.Tables)
	c.checkHost()
	for _, l := range planned {
		l.Link = c.withBlock(l)
		if l.IPAM != nil {
			l.Table = freeTable(taken)
			taken = append(taken, l.Table)
		}
		links = append(links, l.Link)
	}
	mtu, _ = strconv.Atoi(n.Options[bond.MTU])
	return links, mtu
}

// freeTable returns the first routing table that is not taken.
func freeTable(taken []int) int {
	table := firstTable
	for slices.Contains(taken, table) {
		table++
	}
	return table
}

// Tables lists the routing tables of the plan's links.
func (p Plan) Tables() (tables []int) {
	for _, l := range p.Links {
		if l.Table != 0 {
			tables = append(tables, l.Table)
		}
	}
	return tables
}

// IPAMs lists the interfaces of the plan that get addresses from an IPAM plugin, in order:
// a bond, or each link. A chain has none.
func (p Plan) IPAMs() (all []Addressed) {
	if p.IPAM != "" {
		all = append(all, Addressed{p.IfName, netconf.Plugin{Type: p.IPAM, Config: p.Config}})
	}
	for _, l := range p.Links {
		if l.IPAM != nil {
			all = append(all, Addressed{l.Name, *l.IPAM})
		}
	}
	return all
}

// Addressed is an interface that gets addresses from an IPAM plugin.
type Addressed struct {
	IfName string
	netconf.Plugin
}

// IPAMOf returns what gives an interface its addresses. Its type is "" if nothing does.
func (p Plan) IPAMOf(ifName string) netconf.Plugin {
	for _, a := range p.IPAMs() {
		if a.IfName == ifName {
			return a.Plugin
		}
	}
	return netconf.Plugin{}
}
