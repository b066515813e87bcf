package plan

import (
	"cmp"
	"maps"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
)

// checkNear warns if it is not known where the pod's devices or CPUs are.
func (c *compiler) checkNear() {
	n := c.r.Network
	switch {
	case n.Near == "":
	case c.r.Near == nil:
		c.warn(bond.Problem{Code: code.NearUnknown, Path: "near", Text: "is " + n.Near + ", but no agent has said where they are, so it has no effect", Hint: "update the agent; without Kubernetes leave near out"})
	case c.r.Near.Unknown != "":
		c.warn(bond.Problem{Code: code.NearUnknown, Path: "near", Text: "is " + n.Near + ", but " + c.r.Near.Unknown + ", so it has no effect"})
	}
}

// compareNear orders two places on the node: first the one whose NUMA node has more of what
// the links should be near, then the one whose PCI root has.
func (c *compiler) compareNear(numaA, rootA, numaB, rootB string) int {
	near := c.r.Near
	if c.r.Network.Near == "" || near == nil {
		return 0
	}
	return cmp.Or(cmp.Compare(near.NUMA[numaB], near.NUMA[numaA]), cmp.Compare(near.Roots[rootB], near.Roots[rootA]))
}

// nearPrimary returns the options of a bond with its nearest link as the primary, unless
// the configuration names one or the mode has none.
func (c *compiler) nearPrimary(b plannedBond) bond.Options {
	if !c.r.Network.AnyPrimary || b.Options[bond.Primary] == "" || len(b.ports) == 0 {
		return b.Options
	}
	nearest := b.ports[0]
	for _, p := range b.ports[1:] {
		if c.compareNear(p.NUMA, c.rootOf(p), nearest.NUMA, c.rootOf(nearest)) < 0 {
			nearest = p
		}
	}
	if nearest.link.at == b.ports[0].link.at {
		return b.Options
	}
	out := maps.Clone(b.Options)
	out[bond.Primary] = nearest.link.Name
	return out
}

// nearestFirst returns the links of a network without a bond in the order of nearness. The
// default names are those of the places, so <ifname>-1 is the nearest. A link that has a name
// in the configuration stays in its place.
func (c *compiler) nearestFirst(links []plannedLink) []plannedLink {
	if c.r.Network.Near == "" {
		return links
	}
	var places []int
	var movable []plannedLink
	for i, l := range links {
		if l.Name == netconf.DefaultName(c.r.IfName, l.at) {
			places, movable = append(places, i), append(movable, l)
		}
	}
	slices.SortStableFunc(movable, func(a, b plannedLink) int {
		numaA, rootA := c.placeOf(a)
		numaB, rootB := c.placeOf(b)
		return c.compareNear(numaA, rootA, numaB, rootB)
	})
	out := slices.Clone(links)
	for i, place := range places {
		out[place] = movable[i]
		out[place].Name = links[place].Name
	}
	return out
}

// placeOf returns the NUMA node and the PCI root of a link, "" if they are not known.
func (c *compiler) placeOf(l plannedLink) (numa, root string) {
	for _, p := range c.portsOf([]plannedLink{l}) {
		numa, root = p.NUMA, c.rootOf(p)
	}
	return numa, root
}

// rootOf returns the PCI root of a port.
func (c *compiler) rootOf(p plannedPort) string {
	if p.link.nic != nil {
		return p.link.nic.Root
	}
	return c.f.Roots[p.vf]
}
