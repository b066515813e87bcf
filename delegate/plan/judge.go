package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
)

// Judge compiles the plan for a node that has whatever the request asks for, with VFs as they
// are when they are created. It finds what is wrong on every such node. The plan is for
// people: what a real node decides, such as names of PFs and MTUs, is not in it, and a device
// that stands for any one of its kind, by words, is called by them.
func Judge(r Request, words map[string]string) (Plan, bond.Problems, error) {
	asked := r.Network
	r.Network.Links = onNICs(r.Network.Links)
	if r.Near == nil {
		r.Near = &agentapi.Near{}
	}
	if r.HostIndex == nil {
		r.HostIndex = new(int)
	}
	p, warnings, err := Compile(r, assumedFor(r.Network))
	return p.forPeople(asked, words), warnings, err
}

// forPeople returns the plan without what was assumed.
func (p Plan) forPeople(n netconf.Network, words map[string]string) Plan {
	p.Links = slices.Clone(p.Links)
	for i := range p.Links {
		l := &p.Links[i]
		l.PF, l.VF, l.VFBefore = "", 0, nil
		if word := words[l.Device]; word != "" {
			l.Device = word
		}
		if i < len(n.Links) && n.Links[i].Pool != nil {
			l.Device = "a NIC of " + n.Links[i].Pool.Path
		}
	}
	if n.Options[bond.MTU] == "" {
		p.Bond.Options = maps.Clone(p.Bond.Options)
		delete(p.Bond.Options, bond.MTU)
	}
	if n.Options[bond.MAC] == "" {
		p.Bond.LinkMAC = ""
	}
	return p
}

// onNICs returns the links, those of pools on NICs that are as their pools ask.
func onNICs(links []netconf.Link) []netconf.Link {
	out := slices.Clone(links)
	for i, l := range out {
		if l.Pool != nil {
			out[i] = l.On(bond.NIC{Link: bond.Link{Name: fmt.Sprintf("nic%d", i), Device: fmt.Sprintf("ffff:fe:%02x.0", i)}})
			out[i].Pool = nil
		}
	}
	return out
}

// assumedFor returns the facts of a node that has all that a network needs: each link on a
// PF and a card of its own.
func assumedFor(n netconf.Network) Facts {
	f := Facts{Keep: true, Plugins: map[string]bool{}, Facts: bond.Facts{Devices: map[string]bond.DeviceFacts{}, Host: map[string]bond.HostLink{}}}
	for _, plugin := range n.PluginTypes() {
		f.Plugins[plugin] = true
	}
	for i, l := range n.Links {
		link := bond.Link{Index: i + 1, Name: l.Name, Type: bond.Ethernet, MTU: 1500, MAC: fmt.Sprintf("02:00:00:00:00:%02x", i+1)}
		switch l.Source {
		case netconf.FromDevice:
			f.Devices[l.Device] = assumedDevice(i, l, link)
		case netconf.FromHost:
			f.Host[l.Name] = bond.HostLink{Link: link}
		case netconf.FromPod:
			f.Pod = append(f.Pod, link)
		}
	}
	return f
}

// assumedDevice returns the device of link i: a VF if sriov attaches it.
func assumedDevice(i int, l netconf.Link, link bond.Link) bond.DeviceFacts {
	d := bond.DeviceFacts{Device: bond.Device{Address: l.Device, Driver: "assumed", Netdev: l.Name}, Link: &link}
	if !slices.ContainsFunc(l.Plugins, func(p netconf.Plugin) bool { return p.Type == "sriov" }) {
		return d
	}
	d.PF, d.PFNetdev = fmt.Sprintf("ffff:ff:%02x.0", i), fmt.Sprintf("pf%d", i)
	d.PFLink = &bond.Link{Name: d.PFNetdev, Up: true, Carrier: true, MTU: 65535}
	d.Admin = &bond.VF{}
	return d
}
