package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
)

// linkMAC returns the MAC that all links get, if that is asked for: the bond's MAC then
// outlives a failover. It is not the default, because a NIC delivers a frame from one of
// its VFs to another's MAC by itself: a pod's idle link gets what a pod on the same node
// sends to its busy one on another PF, and drops it.
func (c *compiler) linkMAC(b plannedBond) string {
	unknown := func(l plannedLink) bool { return l.Source == netconf.FromDevice && l.Before == nil } // which is reported already
	if b.Options[bond.MACPolicy] != bond.Shared || slices.ContainsFunc(b.links, unknown) {
		return ""
	}
	if why := notShared(b.links); why != "" {
		c.problems.Add(code.NotShared, bond.MACPolicy, "leave macPolicy out, or set it to own", "is shared, but %s", why)
		return ""
	}
	return cmp.Or(b.Options[bond.MAC], b.links[0].Before.MAC)
}

// notShared returns why links cannot have one MAC, or "" if they can.
func notShared(links []plannedLink) string {
	pfs := map[string]int{}
	for _, l := range links {
		if l.Before == nil || l.VFBefore == nil {
			return fmt.Sprintf("links[%d], %s, is not a VF that Multibond attaches", l.at, l.Name)
		}
		if first, twice := pfs[l.PF]; twice {
			return fmt.Sprintf("links[%d] is on the same PF as links[%d], %s, whose switch would have one MAC twice", l.at, first, l.PF)
		}
		pfs[l.PF] = l.at
		if l.HasMAC() {
			return fmt.Sprintf("the configuration that attaches links[%d] sets a mac", l.at)
		}
	}
	if first := links[0]; !bond.IsUnicast(first.Before.MAC) {
		return fmt.Sprintf("links[%d] has no MAC that can be shared, but %q", first.at, first.Before.MAC)
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
