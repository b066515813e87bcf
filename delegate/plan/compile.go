package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// Compile returns the plan for r on a node that looks like f. It depends on nothing but its
// arguments, and does not change them. All problems are returned at once. The error's code
// is cnierror.Node. There are warnings only with a plan that can be carried out.
func Compile(r Request, f Facts) (p Plan, warnings bond.Problems, err error) {
	c := compiler{r: r, f: f}
	c.checkNode()
	p = Plan{
		ContainerID: r.ContainerID, IfName: r.IfName, Netns: r.Netns, Args: r.Args, Path: f.Path,
		Network: r.Network.Name, Config: r.Network.Config, IPAM: r.Network.IPAM, After: r.Network.After, Group: r.Group,
		DefaultRoute: r.DefaultRoute, DeviceInfo: r.DeviceInfo, DeviceInfoFile: r.DeviceInfoFile,
	}
	switch {
	case r.Network.Chain != nil:
		p.Links = []Link{c.chain()}
	case r.Network.Attach == netconf.AttachEach:
		p.Attach, p.AcceptRA = r.Network.Attach, r.Network.Options[bond.AcceptRA]
		p.Links, p.MTU = c.each()
	default:
		b := c.bond()
		p.Bond = b.Spec
		for _, l := range b.links {
			p.Links = append(p.Links, l.Link)
		}
		c.checkHost()
		if b, ipam := c.block(r.Network.Blocks, "the bond", 0, p.Config); b != nil {
			p.Block, p.Config = b, ipam.Config
		}
	}
	if err := c.problems.Err(); err != nil {
		return Plan{}, nil, cnierror.Errorf(cnierror.Node, "network %s: %w", r.Network.Name, err)
	}
	return p, append(slices.Clone(r.Network.Warnings), c.warnings...), nil
}

// Texts returns the warnings of the request's plan, each with its code.
func (r Request) Texts(warnings bond.Problems) []string {
	return warnings.Texts("network " + r.Network.Name + ": ")
}

type compiler struct {
	r        Request
	f        Facts
	nics     map[int]bond.NIC // chosen from pools, by the link's index
	problems bond.Problems
	warnings bond.Problems
}

// plannedBond is a bond, and its links with their places in the configuration.
type plannedBond struct {
	bond.Spec
	links []plannedLink
	vfs   []plannedVF   // those of links that are VFs
	ports []plannedPort // of the links' PFs, and of the NICs of pools
}

// plannedLink is a link that can be attached.
type plannedLink struct {
	Link
	at   int    // index in the configuration's links
	path string // where the configuration names it
	nic  *bond.NIC
}

// bond plans a bond and its links.
func (c *compiler) bond() plannedBond {
	c.nics = c.chooseNICs()
	links := c.attachable()
	b := plannedBond{c.specOf(links), links, c.vfsOf(links), c.portsOf(links)}
	c.checkNear()
	b.Options = c.nearPrimary(b)
	if len(links) == 0 {
		return b
	}
	c.checkTypes(b)
	c.checkLACP(b)
	c.warnSwitch(b)
	b.LinkMAC = c.linkMAC(b)
	c.checkMTUs(b)
	c.require(b)
	return b
}

// specOf returns how the bond is made of its links.
func (c *compiler) specOf(links []plannedLink) bond.Spec {
	n := c.r.Network
	s := bond.Spec{Name: c.r.IfName, Options: n.Options}
	for _, l := range links {
		s.Links = append(s.Links, l.Name)
		if own := n.Links[l.at].Options; len(own) > 0 {
			if s.LinkOptions == nil {
				s.LinkOptions = map[string]bond.Options{}
			}
			s.LinkOptions[l.Name] = own
		}
	}
	if len(links) > 0 && len(links) < len(n.Links) {
		s.Options = s.Options.WithLinks(s.Links)
	}
	s.Options = withMTU(s.Options, links)
	return s
}

// chain plans the interface of a chain. A VF is restored like a bond's, if it has one
// interface on the host. One of another kind, such as one with a userspace driver, its
// plugins reset; it is held too. Other kinds of devices are left to the plugins.
func (c *compiler) chain() Link {
	n := c.r.Network
	l := Link{Name: c.r.IfName, Source: netconf.FromConfig, Plugins: n.Chain}
	d := c.f.Devices[n.Device]
	if n.Device == "" || c.isHeld("deviceID", n.Device) || d.PF == "" {
		return l
	}
	c.checkRemains("deviceID", "VF "+n.Device, n.Device)
	l.Driver, l.PF, l.VF, l.VFBefore = d.Driver, d.PFNetdev, d.Number, d.Admin
	if d.Link == nil || len(d.Others) > 0 || d.PFLink == nil {
		l.Held = n.Device
		return l
	}
	l.Source, l.Device = netconf.FromDevice, n.Device
	l.Before, l.AddressesBefore = d.Link, c.f.InUse[n.Device]
	return l
}

// checkNode checks what does not concern a single link.
func (c *compiler) checkNode() {
	if c.f.Bonding != nil {
		c.problems.Add(code.NoBonding, "", "install the kernel's modules, or use a kernel that has bonding", "%v", c.f.Bonding)
	}
	for _, plugin := range c.r.Network.PluginTypes() {
		if !c.f.Plugins[plugin] {
			c.problems.Add(code.NoPlugin, "", "install it, or add its directory to the runtime's CNI plugin path", "the CNI plugin %s is not in %s", plugin, strings.Join(c.f.Path, ", "))
		}
	}
	if c.r.Network.Attach == netconf.AttachEach {
		return // its links have names of their own
	}
	if other, taken := bond.Taken(c.f.Pod, c.r.IfName); taken {
		c.problems.Add(code.NameTaken, "", "ask for another interface name", "the name %s is taken in the pod by %s", c.r.IfName, DescribeLink(other, c.r.IfName))
	}
}

// DescribeLink describes the link that has a name.
func DescribeLink(l bond.Link, name string) string {
	switch {
	case l.Name != name:
		return fmt.Sprintf("%s, as its alternative name", l.Name)
	case l.Device != "":
		return fmt.Sprintf("%s (device %s)", l.Name, l.Device)
	case l.Kind != "":
		return fmt.Sprintf("%s (%s)", l.Name, l.Kind)
	}
	return l.Name
}

// link plans element i of links.
func (c *compiler) link(i int, l netconf.Link) plannedLink {
	path := fmt.Sprintf("links[%d]", i)
	named := path + ".name"
	if l.Source == netconf.FromDevice {
		named = path + ".deviceID"
	}
	nic, chosen := c.nics[i]
	if l.Pool != nil {
		named = l.Pool.Path
	}
	if chosen {
		l = l.On(nic)
	}
	p := Link{Name: l.Name, Source: l.Source, Device: l.Device, Plugins: l.Plugins, IPAM: l.IPAM}
	if l.Source != netconf.FromPod {
		if other, taken := bond.Taken(c.f.Pod, l.Name); taken {
			c.problems.Add(code.NameTaken, path+".name", "give the link another name", "%s is taken in the pod by %s", l.Name, DescribeLink(other, l.Name))
		}
	}
	switch l.Source {
	case netconf.FromDevice:
		c.device(named, l, &p)
	case netconf.FromHost:
		c.hostLink(named, l, &p)
	case netconf.FromPod:
		c.podLink(named, l, &p)
	case netconf.FromAgent:
		c.problems.Add(code.NoDeviceLeft, path+"."+l.By, "request one more in resources.limits of the pod's containers", "the pod has no device left for it")
	case netconf.FromPool:
		c.problems.Add(code.PoolShort, named, "see what the pool asks for, and what the host has", "%s", c.describePool(l))
	}
	if !chosen {
		return plannedLink{Link: p, at: i, path: named}
	}
	p.NIC = &NIC{nic.Link.Name, nic.Identity()}
	return plannedLink{p, i, named, &nic}
}

// device plans a link by its device: a VF, or a device of which nothing is kept by a PF,
// such as a PF itself or what a virtual machine was given.
func (c *compiler) device(path string, l netconf.Link, p *Link) {
	d := c.f.Devices[l.Device]
	kind := "VF"
	if d.PF == "" {
		kind = "device"
	}
	what := kind + " " + l.Device
	bySRIOV := slices.ContainsFunc(l.Plugins, func(p netconf.Plugin) bool { return p.Type == "sriov" })
	switch {
	case d.Missing:
		c.problems.Add(code.NoDevice, path, "list them with: lspci -D | grep 'Virtual Function'", "there is no PCI device %s", l.Device)
	case d.PF == "" && bySRIOV:
		c.problems.Add(code.NotVF, path, `create VFs with sriov_numvfs, and name one of them, or attach this device with "delegate": {"type": "host-device"}`, "%s is not a VF (driver %s)", l.Device, cmp.Or(d.Driver, "none"))
	case c.isHeld(path, l.Device):
	case d.Userspace():
		c.problems.Add(code.Userspace, path, "bind it to the "+kind+"'s network driver, or leave it to a DPDK program", "%s has the userspace driver %s, so the kernel has no interface to bond", what, d.Driver)
	case d.Driver == "":
		c.problems.Add(code.NoDriver, path, "bind it to the "+kind+"'s network driver", "%s has no driver", what)
	case d.Link == nil:
		c.problems.Add(code.NotOnHost, path, c.whoHas(l.Device), "%s has no interface on the host", what)
	case len(d.Others) > 0:
		names := append([]string{d.Link.Name}, d.Others...)
		c.problems.Add(code.SeveralInterfaces, path, fmt.Sprintf(`name the one that you want: {"name": %q}`, d.Link.Name), "%s has several interfaces: %s", what, strings.Join(names, ", "))
	case d.Link.Master != 0:
		c.problems.Add(code.HasMaster, path, "remove it with: ip link set "+d.Link.Name+" nomaster", "%s (%s) is part of a bond or bridge of the host", what, d.Link.Name)
	case d.PF != "" && d.PFLink == nil:
		c.problems.Add(code.PFNotOnHost, path, "a VF is configured through its PF: use a VF whose PF is on the host", "the PF %s of VF %s has no interface on the host", d.PF, l.Device)
	default:
		c.checkRemains(path, what, l.Device)
		c.checkDefault(path, d.Link.Name, c.f.InUse[l.Device])
		p.Before, p.AddressesBefore = d.Link, c.f.InUse[l.Device]
		p.Driver, p.PF, p.VF, p.VFBefore = d.Driver, d.PFNetdev, d.Number, d.Admin
	}
}

// whoHas returns what is known about the place of a VF that is not on the host.
func (c *compiler) whoHas(device string) string {
	if netns := c.f.Netns[device]; netns != "" {
		return fmt.Sprintf("sriov-cni gave it to the pod at %q", netns)
	}
	return "another pod or program has it"
}

// isHeld reports whether the Record of another attachment has the device.
func (c *compiler) isHeld(path, device string) bool {
	holder := c.f.Holders[device]
	held := holder != Key{} && holder != c.r.Key()
	if held {
		c.problems.Add(code.InUse, path, "delete that pod, or use another VF", "VF %s is in use by container %s, as a link of %s", device, holder.ContainerID, holder.IfName)
	}
	return held
}

// checkRemains refuses a link that would bring something of a pod that is gone into the
// next one. Carrying out the ADD has just failed to take it back.
func (c *compiler) checkRemains(path, what, key string) {
	if r := c.f.Remains[key]; len(r.What) > 0 {
		c.problems.Add(code.Leftovers, path, "to see why it cannot be taken back: multibond plan -container "+r.ContainerID, "%s still has what container %s has left on it: %s", what, r.ContainerID, strings.Join(r.What, ", "))
	}
}

func (c *compiler) hostLink(path string, l netconf.Link, p *Link) {
	found, there := c.f.Host[l.Name]
	if !there {
		c.problems.Add(code.NoHostLink, path, `if it is an interface of the pod, set "linksInContainer": true`, "the host has no interface %s", l.Name)
		return
	}
	if found.Name != l.Name {
		c.problems.Add(code.AltName, path, "use "+found.Name, "%s is an alternative name of the host's %s, which loses it in the pod", l.Name, found.Name)
		return
	}
	if found.Master != 0 {
		c.problems.Add(code.HasMaster, path, "remove it with: ip link set "+l.Name+" nomaster", "%s is part of a bond or bridge of the host", l.Name)
	}
	c.checkDefault(path, l.Name, found.Addresses)
	p.Before, p.AddressesBefore, p.Device, p.DevPort = &found.Link, found.Addresses, found.Device, found.DevPort
	c.isHeld(path, p.Identity())
	c.checkRemains(path, l.Name, cmp.Or(p.Identity(), l.Name))
	d, is := c.f.Devices[p.Identity()]
	// An interface that is not the first has siblings, wherever they are.
	p.Siblings = is && (p.Identity() != p.Device || len(d.Others) > 0 || c.podHas(p.Device, 0))
	if d.PF != "" {
		p.Driver, p.PF, p.VF, p.VFBefore = d.Driver, d.PFNetdev, d.Number, d.Admin
	}
}

func (c *compiler) podLink(path string, l netconf.Link, p *Link) {
	found, there := bond.Find(c.f.Pod, func(x bond.Link) bool { return x.Name == l.Name })
	if !there {
		var names []string
		for _, x := range c.f.Pod {
			names = append(names, x.Name)
		}
		c.problems.Add(code.NoPodLink, path, "another network of the pod must make it, under this name; with Multus as the meta plugin, the annotation must name that network before the bond", "the pod has no interface %s, it has %s", l.Name, cmp.Or(strings.Join(names, ", "), "none"))
		return
	}
	if found.Master != 0 {
		c.problems.Add(code.HasMaster, path, "", "%s is already part of another bond or bridge", l.Name)
	}
	p.Before, p.AddressesBefore, p.Device = &found, c.f.PodAddr[found.Index], found.Device
	p.Siblings = found.Device != "" && (c.f.Devices[found.Device].Netdev != "" || c.podHas(found.Device, found.Index))
}

// podHas reports whether the pod has an interface of a device other than the one with an
// index.
func (c *compiler) podHas(device string, index int) bool {
	return slices.ContainsFunc(c.f.Pod, func(l bond.Link) bool { return l.Device == device && l.Index != index })
}

// checkDefault refuses the interface through which the host is reached.
func (c *compiler) checkDefault(path, name string, a bond.Addresses) {
	if a.Default {
		c.problems.Add(code.HostRoute, path, "use another interface", "%s carries the host's default route; moving it into a pod would cut the host off", name)
	}
}

// checkMTUs refuses an MTU above the maximum of a link, and router advertisements on a
// bond that cannot have IPv6.
func (c *compiler) checkMTUs(b plannedBond) {
	mtu, err := strconv.Atoi(b.Options[bond.MTU])
	if err != nil {
		return
	}
	made := bond.Link{Name: b.Name, MTU: mtu}
	if err := made.CheckIPv6(); err != nil && b.Options[bond.AcceptRA] == "1" {
		c.problems.Add(code.NoIPv6, bond.AcceptRA, "leave it out, or set a larger mtu", "is true, but without IPv6 there are none: %v", err)
	}
	for _, l := range b.links {
		if l.Before != nil && l.Before.MaxMTU > 0 && mtu > l.Before.MaxMTU {
			c.problems.Add(code.LinkMTU, bond.MTU, "", "is %d, but %s (%s) allows at most %d", mtu, l.path, l.Before.Name, l.Before.MaxMTU)
		}
	}
}

// checkLACP refuses 802.3ad over VFs unless the configuration allows it: such a bond comes
// up without an error and does not work.
func (c *compiler) checkLACP(b plannedBond) {
	if b.Options[bond.Mode] != bond.LACP || c.r.Network.AllowLACP {
		return
	}
	var vfs []string
	for _, v := range b.vfs {
		vfs = append(vfs, v.link.path)
	}
	if len(vfs) == 0 {
		return
	}
	one := bond.Problem{
		Code: code.LACPOverVFs,
		Path: bond.Mode,
		Text: fmt.Sprintf("is 802.3ad over VFs (%s), but a switch port speaks LACP with only one bond (IEEE 802.1AX), and all VFs of a PF share that port", strings.Join(vfs, ", ")),
		Hint: `use active-backup, or set "allowLACP": true if neither another pod nor the host uses the PFs' ports`,
	}
	if c.r.Network.Lenient {
		c.warn(one)
		return
	}
	c.problems = append(c.problems, one)
}

// warnSwitch warns of what the switch must do for modes that send the traffic of one MAC
// over several ports. Nothing on the node can check that.
func (c *compiler) warnSwitch(b plannedBond) {
	mode := b.Options[bond.Mode]
	if len(b.vfs) > 0 && (mode == bond.BalanceRR || mode == bond.BalanceXOR) {
		c.warn(bond.Problem{Code: code.SwitchGroup, Path: bond.Mode, Text: mode + " over VFs needs a static link aggregation group of the PFs' ports on the switch, and every user of these PFs must then send over all of them; active-backup needs neither"})
	}
}

// withMTU returns the options with the smallest MTU of the links if they have none. If a
// plugin makes a link, its MTU is known only later.
func withMTU(o bond.Options, links []plannedLink) bond.Options {
	if o[bond.MTU] != "" || len(links) == 0 {
		return o
	}
	var before []bond.Link
	for _, l := range links {
		if l.Before == nil {
			return o
		}
		before = append(before, *l.Before)
	}
	return o.WithMTU(bond.SmallestMTU(before))
}
