package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

// settleMAC gives all links one MAC where that is asked for: the bond's then
// outlives a failover. It is not the default, because a NIC hands a frame from
// one of its VFs to another's MAC over by itself: a pod's idle link gets what a
// pod on the same node sends to its busy one on another PF, and drops it.
func (c *compiler) settleMAC(p *Plan) {
	unknown := func(l Link) bool { return l.Source == netconf.FromDevice && l.Before == nil } // which is said already
	if p.Bond.Options[bond.MACPolicy] != bond.Shared || slices.ContainsFunc(p.Links, unknown) {
		return
	}
	if why := c.notShared(p.Links); why != "" {
		c.problems.Add(bond.MACPolicy, "leave macPolicy out, or set it to own", "is shared, and %s", why)
		return
	}
	p.Bond.LinkMAC = cmp.Or(p.Bond.Options[bond.MAC], p.Links[0].Before.MAC)
}

// notShared says why links cannot have one MAC; "" where they can.
func (c *compiler) notShared(links []Link) string {
	pfs := map[string]int{}
	for i, l := range links {
		if l.Before == nil || l.VFBefore == nil {
			return fmt.Sprintf("links[%d], %s, is no VF that Multibond attaches", c.at[i], l.Name)
		}
		if first, twice := pfs[l.PF]; twice {
			return fmt.Sprintf("links[%d] is of the same PF as links[%d], %s: its switch would have one MAC twice", c.at[i], first, l.PF)
		}
		pfs[l.PF] = c.at[i]
		if l.HasMAC() {
			return fmt.Sprintf("the configuration that attaches links[%d] has a mac", c.at[i])
		}
	}
	if !bond.IsUnicast(links[0].Before.MAC) {
		return fmt.Sprintf("links[%d] has no MAC to share, but %q", c.at[0], links[0].Before.MAC)
	}
	return ""
}

// HasMAC reports whether a plugin that attaches the link sets its MAC.
func (l Link) HasMAC() bool {
	for _, p := range l.Plugins {
		if p.Config.MAC+p.Config.RuntimeConfig.MAC != "" {
			return true
		}
	}
	return false
}
