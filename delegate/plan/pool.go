package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

// NIC is the NIC of a pool that was chosen for a link.
type NIC struct {
	Name   string `json:"name"`
	Device string `json:"device"` // bond.Identity
}

// chooseNICs chooses a NIC for each link of a pool, link by link, by its index. It returns
// none for a link for which there is none left.
func (c *compiler) chooseNICs() map[int]bond.NIC {
	chosen := map[int]bond.NIC{}
	taken := c.taken()
	for i, l := range c.r.Network.Links {
		if l.Pool == nil {
			continue
		}
		fits := slices.DeleteFunc(slices.Clone(c.f.NICs), func(n bond.NIC) bool {
			_, is := taken[n.Identity()]
			return is || c.unfit(l, n) != ""
		})
		if len(fits) == 0 {
			continue
		}
		n := slices.MinFunc(fits, func(a, b bond.NIC) int { return c.compareNICs(taken, a, b) })
		chosen[i], taken[n.Identity()] = n, i
	}
	return chosen
}

// compareNICs orders the NICs that fit: those with a carrier first, then those on a card
// on which no link is yet, then the nearest. NICs that are alike keep their order.
func (c *compiler) compareNICs(taken map[string]int, a, b bond.NIC) int {
	used := func(n bond.NIC) bool {
		for other := range taken {
			if bond.Card(other) == n.Card() {
				return true
			}
		}
		return false
	}
	return cmp.Or(falseFirst(!a.Link.Carrier, !b.Link.Carrier), falseFirst(used(a), used(b)),
		c.compareNear(a.Port.NUMA, a.Root, b.Port.NUMA, b.Root))
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// taken returns which NICs the links without a pool take, by bond.Identity: a VF takes that
// of its PF.
func (c *compiler) taken() map[string]int {
	taken := map[string]int{}
	for i, l := range c.r.Network.Links {
		device := l.Device
		if l.Source == netconf.FromHost {
			found := c.f.Host[l.Name]
			device = bond.Identity(found.Device, found.DevPort)
		}
		if device != "" {
			taken[cmp.Or(c.f.Devices[device].PF, device)] = i
		}
	}
	return taken
}

// unfit returns why a NIC is not one for a link of a pool, or "".
func (c *compiler) unfit(l netconf.Link, n bond.NIC) string {
	holder := c.f.Holders[n.Link.Device]
	switch {
	case n.PF != "" || n.Representor:
		return "is of a VF"
	case differsFrom(*l.Pool, n) != "":
		return differsFrom(*l.Pool, n)
	case n.Default:
		return "carries the host's default route"
	case n.Master != "":
		return "is part of the host's " + n.Master
	case !n.Link.Up:
		return "is down"
	case c.isBeside(l, n):
		return "is taken by another network of the pod"
	case !l.MovesNIC():
		return ""
	case n.Stays() != "":
		return n.Stays()
	case holder != Key{} && holder != c.r.Key():
		return "is in use by container " + holder.ContainerID
	case len(c.f.Remains[n.Link.Device].What) > 0:
		return "still has what container " + c.f.Remains[n.Link.Device].ContainerID + " has left on it"
	}
	return ""
}

// isBeside reports whether another network of the pod has a NIC, which can be shared only if
// neither moves it.
func (c *compiler) isBeside(l netconf.Link, n bond.NIC) bool {
	moved, has := c.f.Beside[n.Identity()]
	return has && (moved || l.MovesNIC())
}

// differsFrom returns in what a NIC is not as a pool asks, or "".
func differsFrom(p netconf.Pool, n bond.NIC) string {
	other := func(want, is string) bool { return want != "" && want != is }
	named := func(pattern string) bool { is, _ := path.Match(pattern, n.Link.Name); return is }
	misnamed := func(patterns []string) bool { return patterns != nil && !slices.ContainsFunc(patterns, named) }
	inOne := func(ip netip.Prefix) bool {
		return slices.ContainsFunc(p.Networks, func(of netip.Prefix) bool { return of.Contains(ip.Addr()) })
	}
	switch {
	case misnamed(p.Names):
		return "has another name"
	case misnamed(p.Chosen):
		return "has another name than the pod has chosen"
	case other(p.Vendor, n.Vendor):
		return "has the vendor " + cmp.Or(n.Vendor, "unknown")
	case other(p.Model, n.Model):
		return "has the device ID " + cmp.Or(n.Model, "unknown")
	case other(p.Driver, n.Driver):
		return "has the driver " + cmp.Or(n.Driver, "none")
	case p.LinkType != 0 && p.LinkType != n.Link.Type:
		return "is " + bond.TypeName(n.Link.Type)
	case p.NUMA != nil && n.Port.NUMA != fmt.Sprint(*p.NUMA):
		return "is on NUMA node " + cmp.Or(n.Port.NUMA, "unknown")
	case n.Port.Speed < p.MinSpeed && n.Port.Speed == 0:
		return "reports no speed"
	case n.Port.Speed < p.MinSpeed:
		return fmt.Sprintf("has %d Mbit/s", n.Port.Speed)
	case p.Networks != nil && !slices.ContainsFunc(n.IPs, inOne):
		return "has no address in " + joined(p.Networks)
	}
	return ""
}

func joined(prefixes []netip.Prefix) string {
	var texts []string
	for _, p := range prefixes {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}

// describePool returns how many NICs a link's pool has and wants, and for each NIC of the
// host which link has it, or why it does not fit. VFs, of which there can be hundreds, are
// only counted.
func (c *compiler) describePool(l netconf.Link) string {
	var fit, vfs int
	var all []string
	taken := c.taken()
	for i, n := range c.nics {
		taken[n.Identity()] = i
		if c.r.Network.Links[i].Pool == l.Pool {
			fit++
		}
	}
	for _, n := range c.f.NICs {
		why := c.unfit(l, n)
		if by, is := taken[n.Identity()]; is && why == "" {
			why = fmt.Sprintf("is taken by links[%d]", by)
		}
		if n.PF != "" || n.Representor {
			vfs++
			continue
		}
		all = append(all, fmt.Sprintf("%s (%s) %s", n.Link.Name, n.Identity(), why))
	}
	if vfs > 0 {
		all = append(all, fmt.Sprintf("interfaces of VFs (%d) are in no pool", vfs))
	}
	return fmt.Sprintf("wants %d NICs and gets %d: %s", l.Pool.Count, fit, cmp.Or(strings.Join(all, "; "), "the host has no NIC"))
}
