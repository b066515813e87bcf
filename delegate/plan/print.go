package plan

import (
	"fmt"
	"strings"

	"github.com/multibond/multibond/delegate/netconf"
)

// String returns the plan with a line per step, in the words of a network engineer.
func (p Plan) String() string {
	var lines []string
	for _, l := range p.Links {
		if how := l.how(); how != "" {
			lines = append(lines, l.Name+": "+how)
		}
		if mac := p.Bond.LinkMAC; mac != "" && mac != l.Before.MAC {
			lines = append(lines, l.Name+": mac "+mac)
		}
	}
	switch {
	case p.IsChain():
		return strings.Join(lines, "\n")
	case p.IsEach():
		return strings.Join(append(lines, p.eachSteps()...), "\n")
	}
	lines = append(lines, p.Bond.Steps()...)
	if p.IPAM != "" {
		lines = append(lines, fmt.Sprintf("%s: get addresses from %s%s, announce them", p.IfName, p.IPAM, p.Block.where()))
	}
	if len(p.After) > 0 {
		lines = append(lines, fmt.Sprintf("%s: call %s with the result", p.IfName, strings.Join(typesOf(p.After), ", ")))
	}
	return strings.Join(lines, "\n")
}

// eachSteps lists what is done with links that are interfaces of the pod.
func (p Plan) eachSteps() (lines []string) {
	for _, l := range p.Links {
		up := l.Name + ": set it up, answer ARP only for its own addresses"
		if p.AcceptRA != "" {
			up += ", accept_ra " + p.AcceptRA
		}
		if p.MTU != 0 {
			up += fmt.Sprintf(", mtu %d", p.MTU)
		}
		lines = append(lines, up)
	}
	for _, l := range p.Links {
		if l.IPAM != nil {
			lines = append(lines, fmt.Sprintf("%s: get addresses from %s%s, use table %d for what leaves from them, announce them", l.Name, l.IPAM.Type, l.Block.where(), l.Table))
		}
	}
	return lines
}

// how returns where a link comes from, such as "VF 3 of ens1f0 (0000:3b:02.1) by sriov,
// vlan 100", or "" if nothing is done for it.
func (l Link) how() string {
	what := ""
	switch {
	case l.PF != "":
		what = fmt.Sprintf("VF %d of %s (%s) ", l.VF, l.PF, l.Device)
	case l.NIC != nil:
		what = fmt.Sprintf("on %s (%s) ", l.NIC.Name, l.NIC.Device)
	case l.Device != "":
		what = l.Device + " "
	}
	switch l.Source {
	case netconf.FromHost:
		return what + "from the host"
	case netconf.FromPod:
		return ""
	}
	if len(l.Plugins) == 0 {
		return what + "by keep"
	}
	return what + "by " + strings.Join(append(typesOf(l.Plugins), vfWords(l.vfSettings())...), ", ")
}

func typesOf(plugins []netconf.Plugin) (types []string) {
	for _, p := range plugins {
		types = append(types, p.Type)
	}
	return types
}

// vfWords returns the settings of a VF in the words of ip link set.
func vfWords(s netconf.VFSettings) (out []string) {
	number := func(name string, n *int) {
		if n != nil {
			out = append(out, fmt.Sprintf("%s %d", name, *n))
		}
	}
	word := func(name, w string) {
		if w != "" {
			out = append(out, name+" "+w)
		}
	}
	number("vlan", s.VLAN)
	number("qos", s.VLANQoS)
	word("proto", s.VLANProto)
	word("mac", s.MAC)
	word("trust", s.Trust)
	word("spoofchk", s.SpoofChk)
	word("state", s.LinkState)
	number("min_tx_rate", s.MinRate)
	number("max_tx_rate", s.MaxRate)
	return out
}
