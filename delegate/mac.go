package delegate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

// settleMAC gives all links one MAC where that is asked for: the bond's then
// outlives a failover. It is not the default, because a NIC hands a frame from
// one of its VFs to another's MAC over by itself: a pod's idle link gets what a
// pod on the same node sends to its busy one on another PF, and drops it.
func (c *compiler) settleMAC(p *Plan) {
	unknown := func(l PlannedLink) bool { return l.Source == netconf.FromDevice && l.Before == nil } // which is said already
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
func (c *compiler) notShared(links []PlannedLink) string {
	pfs := map[string]int{}
	for i, l := range links {
		if l.Before == nil || l.Admin == nil {
			return fmt.Sprintf("links[%d], %s, is no VF that Multibond attaches", c.at[i], l.Name)
		}
		if first, twice := pfs[l.PF]; twice {
			return fmt.Sprintf("links[%d] is of the same PF as links[%d], %s: its switch would have one MAC twice", c.at[i], first, l.PF)
		}
		pfs[l.PF] = c.at[i]
		if l.hasMAC() {
			return fmt.Sprintf("the configuration that attaches links[%d] has a mac", c.at[i])
		}
	}
	if mac, err := net.ParseMAC(links[0].Before.MAC); err != nil || mac[0]&1 != 0 {
		return fmt.Sprintf("links[%d] has no MAC to share, but %q", c.at[0], links[0].Before.MAC)
	}
	return ""
}

// hasMAC says whether a plugin that attaches the link sets its MAC.
func (l PlannedLink) hasMAC() bool {
	for _, p := range l.Plugins {
		var own struct {
			MAC           string
			RuntimeConfig struct{ MAC string }
		}
		if json.Unmarshal(p.Config, &own) == nil && own.MAC+own.RuntimeConfig.MAC != "" {
			return true
		}
	}
	return false
}

// shareMAC gives a link that was just attached the MAC that all have.
func shareMAC(s sandbox, rec *Record, l PlannedLink, now bond.Link) (bond.Link, error) {
	mac := rec.Plan.Bond.LinkMAC
	if mac == "" || now.MAC == mac {
		return now, nil
	}
	if err := bond.GiveMAC(bond.VFLink{Link: now, Pod: s.pod, Host: s.host, PF: l.PF, Number: l.VF}, mac); err != nil {
		return now, fmt.Errorf("macPolicy shared: %w", err)
	}
	now.MAC, now.Up, now.Carrier = mac, false, false
	return now, nil
}
