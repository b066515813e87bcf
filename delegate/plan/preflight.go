package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
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

// plannedPort is the port of a card that a link of a bond uses: that of its VF's PF, or that
// of the NIC that was chosen for it.
type plannedPort struct {
	bond.Port
	link   plannedLink
	vf     string     // the VF's PCI address; "" for a NIC
	device string     // PCI address of the PF or NIC
	name   string     // its interface
	state  *bond.Link // its interface; nil if it is not on the host
}

// portsOf lists the ports of the links for which they are known.
func (c *compiler) portsOf(links []plannedLink) (ports []plannedPort) {
	for _, l := range links {
		switch d := c.f.Devices[l.Identity()]; {
		case d.PF != "":
			ports = append(ports, plannedPort{d.Port, l, d.Address, d.PF, d.PFNetdev, d.PFLink})
		case l.nic != nil:
			ports = append(ports, plannedPort{l.nic.Port, l, "", l.nic.Link.Device, l.nic.Link.Name, &l.nic.Link})
		}
	}
	return ports
}

// kind returns what the port is of.
func (p plannedPort) kind() string {
	if p.vf == "" {
		return "NIC"
	}
	return "PF"
}

// String returns "the PF ens1f0 of VF 0000:3b:02.3" or "the NIC ens1f0".
func (p plannedPort) String() string {
	if p.vf == "" {
		return "the NIC " + p.name
	}
	return fmt.Sprintf("the PF %s of VF %s", p.name, p.vf)
}

// user returns what is on the port: "VF 0000:3b:02.3" or "the NIC ens1f0".
func (p plannedPort) user() string {
	if p.vf == "" {
		return p.String()
	}
	return "VF " + p.vf
}

// isPF reports whether two ports are of one PF. A NIC is one of the ports of a device.
func (p plannedPort) isPF(other plannedPort) bool {
	return p.device == other.device && (p.vf != "" || other.vf != "" || p.name == other.name)
}

// likeEarlier finds each port that is like an earlier one. alike returns in what, or "".
func likeEarlier(ports []plannedPort, alike func(p, earlier plannedPort) string) (out []finding) {
	for i, p := range ports {
		for _, earlier := range ports[:i] {
			if text := alike(p, earlier); text != "" {
				out = append(out, finding{path: p.link.path, text: text})
				break
			}
		}
	}
	return out
}

// unlikeFirst finds each element of all that is unlike the first one. differs returns in
// what, or "".
func unlikeFirst[T interface{ at() plannedLink }](all []T, differs func(one, first T) string) (out []finding) {
	for i, one := range all {
		if text := differs(one, all[0]); i > 0 && text != "" {
			out = append(out, finding{path: one.at().path, text: text})
		}
	}
	return out
}

func (v plannedVF) at() plannedLink   { return v.link }
func (p plannedPort) at() plannedLink { return p.link }

func hinted(hint string, findings []finding) []finding {
	for i := range findings {
		findings[i].hint = hint
	}
	return findings
}

func findSamePF(b plannedBond) []finding {
	return hinted("use a VF of another PF", likeEarlier(b.ports, func(p, earlier plannedPort) string {
		switch {
		case p.isPF(earlier):
			return fmt.Sprintf("%s is on the same PF as links[%d]: %s (%s); one dead cable would take down both", p.user(), earlier.link.at, p.device, p.name)
		case p.ID != "" && p.ID == earlier.ID:
			return fmt.Sprintf("%s is on %s, which has the same port as %s of links[%d] (phys_port_id %s); one dead cable would take down both", p.user(), p.name, earlier.name, earlier.link.at, p.ID)
		}
		return ""
	}))
}

func findSameCard(b plannedBond) []finding {
	return hinted("use a VF of another card", likeEarlier(b.ports, func(p, earlier plannedPort) string {
		card := bond.Card(p.device)
		if card != bond.Card(earlier.device) || p.isPF(earlier) {
			return ""
		}
		return fmt.Sprintf("%s is on the same card as links[%d]: %s (%s and %s)", p.user(), earlier.link.at, card, earlier.name, p.name)
	}))
}

func findOtherNUMA(b plannedBond) []finding {
	return hinted("use VFs of one NUMA node", unlikeFirst(b.ports, func(p, first plannedPort) string {
		if p.NUMA == "" || first.NUMA == "" || p.NUMA == first.NUMA {
			return ""
		}
		return fmt.Sprintf("%s is on NUMA node %s, but links[%d] is on node %s", p.user(), p.NUMA, first.link.at, first.NUMA)
	}))
}

func findOtherSpeed(b plannedBond) []finding {
	return hinted("use PFs of the same speed", unlikeFirst(b.ports, func(p, first plannedPort) string {
		if p.Speed == 0 || first.Speed == 0 || p.Speed == first.Speed {
			return ""
		}
		return fmt.Sprintf("%s has %d Mbit/s, but %s of links[%d] has %d", p, p.Speed, first.name, first.link.at, first.Speed)
	}))
}

func findPFDown(b plannedBond) (out []finding) {
	for _, p := range b.ports {
		switch {
		case p.state == nil:
		case !p.state.Up:
			out = append(out, finding{path: p.link.path, text: p.String() + " is down", hint: "ip link set " + p.name + " up"})
		case !p.state.Carrier:
			out = append(out, finding{path: p.link.path, text: p.String() + " has no carrier", hint: "check its cable and its switch port"})
		}
	}
	return out
}

// findHostBond skips bonds in the same kind of mode, which listen on all of their links.
func findHostBond(b plannedBond) (out []finding) {
	if slices.Contains([]string{bond.BalanceRR, bond.BalanceXOR, bond.Broadcast}, b.Options[bond.Mode]) {
		return nil
	}
	for _, p := range b.ports {
		if slices.Contains([]string{bond.BalanceRR, bond.BalanceXOR, bond.Broadcast, bond.LACP}, p.BondMode) {
			out = append(out, finding{path: p.link.path,
				text: fmt.Sprintf("%s is part of the host's %s (%s): the switch may send the VF's frames to any port of that bond", p, p.Bond, p.BondMode),
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
	for _, p := range b.ports {
		moved := p.vf == "" && p.link.Before != nil // its MTU becomes that of the bond
		if p.state != nil && !moved && mtu > p.state.MTU {
			out = append(out, finding{path: bond.MTU,
				text: fmt.Sprintf("is %d, but the %s %s of %s allows at most %d", mtu, p.kind(), p.name, p.link.path, p.state.MTU),
				hint: "raise the " + p.kind() + "'s MTU or lower the bond's"})
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
	if o[bond.Mode] == "" || o[bond.Mode] == bond.ActiveBackup && o[bond.FailOverMac] == "active" {
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
			c.problems.Add(code.MixedTypes, l.path, "use links of one type", "%s is %s, but links[%d] is %s", l.Before.Name, bond.TypeName(l.Before.Type), b.links[first].at, bond.TypeName(kind))
		}
	}
	if kind != bond.InfiniBand {
		return
	}
	o := b.Options
	switch only := fmt.Sprintf("but links[%d] is InfiniBand, which", b.links[first].at); {
	case o[bond.Mode] != bond.ActiveBackup:
		c.problems.Add(code.InfiniBand, bond.Mode, "use active-backup", "is %s, %s the kernel bonds only in active-backup", o[bond.Mode], only)
	case o[bond.MAC] != "":
		c.problems.Add(code.InfiniBand, bond.MAC, "leave mac out", "is %s, %s keeps its own address", o[bond.MAC], only)
	case o[bond.FailOverMac] != "active":
		c.problems.Add(code.InfiniBand, bond.FailOverMac, "leave failOverMac out", "is %s, %s keeps its own address and allows only active", o[bond.FailOverMac], only)
	}
}
