package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

// plannedVF is a link of a bond that is a VF.
type plannedVF struct {
	bond.DeviceFacts
	link plannedLink
	set  netconf.VFSettings
}

// String returns "VF 3 of ens1f0 (0000:3b:02.3)".
func (v plannedVF) String() string {
	return fmt.Sprintf("VF %d of %s (%s)", v.Number, v.PFNetdev, v.Address)
}

// vfSettings returns what sriov-cni sets on the link's VF.
func (l Link) vfSettings() (s netconf.VFSettings) {
	for _, p := range l.Plugins {
		if p.Type == "sriov" {
			s = p.Config.VFSettings
		}
	}
	return s
}

// vfsOf lists the links that are VFs of a PF on this host.
func (c *compiler) vfsOf(links []plannedLink) (vfs []plannedVF) {
	for _, l := range links {
		if d := c.f.Devices[l.Identity()]; d.PF != "" {
			vfs = append(vfs, plannedVF{d, l, l.vfSettings()})
		}
	}
	return vfs
}

// administered lists those VFs whose PF reports their settings.
func (b plannedBond) administered() (vfs []plannedVF) {
	for _, v := range b.vfs {
		if v.Admin != nil {
			vfs = append(vfs, v)
		}
	}
	return vfs
}

// likeEarlier finds each VF that is like an earlier one. alike returns in what, or "".
func likeEarlier(vfs []plannedVF, alike func(v, earlier plannedVF) string) (out []finding) {
	for i, v := range vfs {
		for _, earlier := range vfs[:i] {
			if text := alike(v, earlier); text != "" {
				out = append(out, finding{path: v.link.path, text: text})
				break
			}
		}
	}
	return out
}

// unlikeFirst finds each VF that is unlike the first one. differs returns in what, or "".
func unlikeFirst(vfs []plannedVF, differs func(v, first plannedVF) string) (out []finding) {
	for i, v := range vfs {
		if text := differs(v, vfs[0]); i > 0 && text != "" {
			out = append(out, finding{path: v.link.path, text: text})
		}
	}
	return out
}

func hinted(hint string, findings []finding) []finding {
	for i := range findings {
		findings[i].hint = hint
	}
	return findings
}

func findSamePF(b plannedBond) []finding {
	return hinted("use a VF of another PF", likeEarlier(b.vfs, func(v, earlier plannedVF) string {
		switch {
		case v.PF == earlier.PF:
			return fmt.Sprintf("VF %s is on the same PF as links[%d]: %s (%s); one dead cable would take down both", v.Address, earlier.link.at, v.PF, v.PFNetdev)
		case v.Port.ID != "" && v.Port.ID == earlier.Port.ID:
			return fmt.Sprintf("VF %s is on %s, which has the same port as %s of links[%d] (phys_port_id %s); one dead cable would take down both", v.Address, v.PFNetdev, earlier.PFNetdev, earlier.link.at, v.Port.ID)
		}
		return ""
	}))
}

func findSameCard(b plannedBond) []finding {
	card := func(v plannedVF) string { card, _, _ := strings.Cut(v.PF, "."); return card }
	return hinted("use a VF of another card", likeEarlier(b.vfs, func(v, earlier plannedVF) string {
		if card(v) != card(earlier) || v.PF == earlier.PF {
			return ""
		}
		return fmt.Sprintf("VF %s is on the same card as links[%d]: %s (%s and %s)", v.Address, earlier.link.at, card(v), earlier.PFNetdev, v.PFNetdev)
	}))
}

func findOtherNUMA(b plannedBond) []finding {
	return hinted("use VFs of one NUMA node", unlikeFirst(b.vfs, func(v, first plannedVF) string {
		if v.Port.NUMA == "" || first.Port.NUMA == "" || v.Port.NUMA == first.Port.NUMA {
			return ""
		}
		return fmt.Sprintf("VF %s is on NUMA node %s, but links[%d] is on node %s", v.Address, v.Port.NUMA, first.link.at, first.Port.NUMA)
	}))
}

func findOtherSpeed(b plannedBond) []finding {
	return hinted("use PFs of the same speed", unlikeFirst(b.vfs, func(v, first plannedVF) string {
		if v.Port.Speed == 0 || first.Port.Speed == 0 || v.Port.Speed == first.Port.Speed {
			return ""
		}
		return fmt.Sprintf("the PF %s of VF %s has %d Mbit/s, but %s of links[%d] has %d", v.PFNetdev, v.Address, v.Port.Speed, first.PFNetdev, first.link.at, first.Port.Speed)
	}))
}

func findPFDown(b plannedBond) (out []finding) {
	for _, v := range b.vfs {
		switch {
		case v.PFLink == nil:
		case !v.PFLink.Up:
			out = append(out, finding{path: v.link.path, text: fmt.Sprintf("the PF %s of VF %s is down", v.PFNetdev, v.Address), hint: "ip link set " + v.PFNetdev + " up"})
		case !v.PFLink.Carrier:
			out = append(out, finding{path: v.link.path, text: fmt.Sprintf("the PF %s of VF %s has no carrier", v.PFNetdev, v.Address), hint: "check its cable and its switch port"})
		}
	}
	return out
}

// findHostBond skips bonds in the same kind of mode, which listen on all of their links.
func findHostBond(b plannedBond) (out []finding) {
	if slices.Contains([]string{bond.BalanceRR, bond.BalanceXOR, bond.Broadcast}, b.Options[bond.Mode]) {
		return nil
	}
	for _, v := range b.vfs {
		if slices.Contains([]string{bond.BalanceRR, bond.BalanceXOR, bond.Broadcast, bond.LACP}, v.Port.BondMode) {
			out = append(out, finding{path: v.link.path,
				text: fmt.Sprintf("the PF %s of VF %s is part of the host's %s (%s): the switch may send the VF's frames to any port of that bond", v.PFNetdev, v.Address, v.Port.Bond, v.Port.BondMode),
				hint: "use PFs that are in no bond of the host"})
		}
	}
	return out
}

func findMTUAbovePF(b plannedBond) (out []finding) {
	mtu, err := strconv.Atoi(b.Options[bond.MTU])
	if err != nil {
		return nil
	}
	for _, v := range b.vfs {
		if v.PFLink != nil && mtu > v.PFLink.MTU {
			out = append(out, finding{path: bond.MTU,
				text: fmt.Sprintf("is %d, but the PF %s of %s allows at most %d", mtu, v.PFNetdev, v.link.path, v.PFLink.MTU),
				hint: "raise the PF's MTU or lower the bond's"})
		}
	}
	return out
}

func findUntrusted(b plannedBond) (out []finding) {
	for _, v := range changedMACs(b, b.administered()) {
		if v.set.Trust != "on" && (v.set.Trust == "off" || v.Admin.Trust != nil && !*v.Admin.Trust) {
			out = append(out, finding{path: v.link.path,
				text: fmt.Sprintf("mode %s changes the MAC of %s, which the PF does not trust; if the PF has set that MAC, the VF refuses the change", b.Options[bond.Mode], v),
				hint: `set "trust": "on" in the configuration that attaches it (delegate)`})
		}
	}
	return out
}

func findSpoofChecked(b plannedBond) (out []finding) {
	for _, v := range changedMACs(b, b.administered()) {
		if v.set.SpoofChk != "off" && (v.set.SpoofChk == "on" || v.Admin.SpoofChk) {
			out = append(out, finding{path: v.link.path,
				text: fmt.Sprintf("mode %s changes the MAC of %s, whose spoof checking is on; if the PF checks against the MAC that it knows, it drops what the VF sends", b.Options[bond.Mode], v),
				hint: `set "spoofchk": "off" in the configuration that attaches it (delegate)`})
		}
	}
	return out
}

// changedMACs lists the VFs whose MAC the mode changes from the one that their PF has set.
func changedMACs(b plannedBond, vfs []plannedVF) []plannedVF {
	o := b.Options
	if o[bond.Mode] == bond.ActiveBackup && o[bond.FailOverMac] == "active" {
		return nil
	}
	// These exchange the links' MACs when the active one changes.
	exchanges := o[bond.Mode] == bond.BalanceTLB || o[bond.Mode] == bond.BalanceALB || o[bond.FailOverMac] == "follow"
	bonds := cmp.Or(o[bond.MAC], macOf(b.links[0]))
	differs := func(l plannedLink) bool { return macOf(l) != bonds }
	anyDiffers := slices.ContainsFunc(b.links, differs)
	return slices.DeleteFunc(vfs, func(v plannedVF) bool {
		changes := differs(v.link) || exchanges && anyDiffers
		return !changes || v.Admin.MAC == bonds && !exchanges
	})
}

// macOf returns the MAC that a link has before it is bonded, or "" if it is not known.
func macOf(l plannedLink) string {
	if mac := l.vfSettings().MAC; mac != "" {
		return strings.ToLower(mac)
	}
	if l.Before != nil {
		return l.Before.MAC
	}
	return ""
}

// linkStates are in the order of IFLA_VF_LINK_STATE_* in include/uapi/linux/if_link.h.
var linkStates = []string{"auto", "enable", "disable"}

func findForcedState(b plannedBond) (out []finding) {
	miimon := b.Options[bond.Miimon]
	for _, v := range b.administered() {
		state := v.set.LinkState
		if n := int(v.Admin.LinkState); state == "" && n < len(linkStates) {
			state = linkStates[n]
		}
		switch {
		case v.isInfiniBand():
			// Its subnet manager decides about carriers.
		case state == "disable":
			out = append(out, finding{path: v.link.path, text: fmt.Sprintf("the link state of %s is disable, so it never has a carrier", v), hint: `set "link_state": "auto" in the configuration that attaches it (delegate)`})
		case state == "enable" && miimon != "" && miimon != "0":
			out = append(out, finding{path: v.link.path,
				text: fmt.Sprintf("the link state of %s is enable, so it has a carrier even if the PF is dead, and miimon looks at nothing else", v),
				hint: `set "link_state": "auto" in the configuration that attaches it (delegate), or use arpInterval instead of miimon`})
		}
	}
	return out
}

func (v plannedVF) isInfiniBand() bool { return v.Link != nil && v.Link.Type == bond.InfiniBand }

func findOtherVLAN(b plannedBond) []finding {
	return hinted("give all links the same VLAN", unlikeFirst(b.administered(), func(v, first plannedVF) string {
		if v.vlan() == first.vlan() {
			return ""
		}
		return fmt.Sprintf("%s has %s, but links[%d] has %s; a failover would lead into another network", v, v.vlan(), first.link.at, first.vlan())
	}))
}

// vlan returns the VLAN that a VF will have, as "VLAN 7" or "VLAN 7 (802.1ad)".
func (v plannedVF) vlan() string {
	id, proto := v.Admin.VLAN, vlanProto(v.Admin.Proto)
	if v.set.VLAN != nil {
		id, proto = *v.set.VLAN, strings.ToLower(v.set.VLANProto)
	}
	if id == 0 || proto != serviceVLAN {
		return fmt.Sprintf("VLAN %d", id)
	}
	return fmt.Sprintf("VLAN %d (%s)", id, proto)
}

// checkTypes refuses what the kernel refuses for links that are not Ethernet. The links of
// a bond have one type. InfiniBand works in active-backup only, and each link keeps its
// address.
func (c *compiler) checkTypes(b plannedBond) {
	first := slices.IndexFunc(b.links, func(l plannedLink) bool { return l.Before != nil })
	if first < 0 {
		return
	}
	kind := b.links[first].Before.Type
	for _, l := range b.links {
		if l.Before != nil && l.Before.Type != kind {
			c.problems.Add(l.path, "use links of one type", "%s is %s, but links[%d] is %s", l.Before.Name, bond.TypeName(l.Before.Type), b.links[first].at, bond.TypeName(kind))
		}
	}
	if kind != bond.InfiniBand {
		return
	}
	o := b.Options
	switch only := fmt.Sprintf("but links[%d] is InfiniBand, which", b.links[first].at); {
	case o[bond.Mode] != bond.ActiveBackup:
		c.problems.Add(bond.Mode, "use active-backup", "is %s, %s the kernel bonds only in active-backup", o[bond.Mode], only)
	case o[bond.MAC] != "":
		c.problems.Add(bond.MAC, "leave mac out", "is %s, %s keeps its own address", o[bond.MAC], only)
	case o[bond.FailOverMac] != "active":
		c.problems.Add(bond.FailOverMac, "leave failOverMac out", "is %s, %s keeps its own address and allows only active", o[bond.FailOverMac], only)
	}
}
