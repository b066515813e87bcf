package bond

import (
	"cmp"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// NIC is a network interface of the host that has a PCI device.
type NIC struct {
	Link        Link
	Port        Port
	Vendor      string // four hexadecimal digits, as in the PCI ID database
	Model       string // the device ID, likewise
	Driver      string
	DevPort     string         // see [PortOf]
	PF          string         // the PF's PCI address, if the NIC is a VF
	Representor bool           // it stands for a VF in switchdev mode
	VFs         bool           // it is a PF that has VFs
	Siblings    bool           // its device has other interfaces
	Root        string         // the PCI root that it is below, such as pci0000:3a
	Master      string         // the bond or bridge that it is part of
	Upper       []string       // what the host has made on it, such as VLANs
	IPs         []netip.Prefix // not those of a VF or a representor
	Learnt      []netip.Prefix // likewise; see [Addresses]
	Default     bool           // see [Addresses]
}

// Identity returns what tells the NIC from all others.
func (n NIC) Identity() string { return Identity(n.Link.Device, n.DevPort) }

// Card returns what the NICs of one card have in common: PCI domain, bus and device.
func (n NIC) Card() string { return Card(n.Link.Device) }

// Card returns what the PCI addresses of one card have in common.
func Card(address string) string {
	card, _, _ := strings.Cut(address, ".")
	return card
}

// Stays returns why the NIC cannot be moved into a pod, or "".
func (n NIC) Stays() string {
	switch {
	case n.PF != "":
		return "is a VF"
	case n.Representor:
		return "is the representor of a VF"
	case len(n.Upper) > 0:
		return "is below the host's " + strings.Join(n.Upper, ", ")
	case n.VFs:
		return "has VFs, whose settings are lost while it is in a pod"
	case n.Siblings:
		return "shares its PCI device with other interfaces"
	}
	return ""
}

// SurveyNICs lists the NICs that are on the host, in the order of their PCI addresses and
// then of their ports.
func SurveyNICs(sys fs.FS, host Namespace) (nics []NIC, err error) {
	links, err := host.Links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Device == "" {
			continue
		}
		n := readNIC(sys, l)
		if master, there := Find(links, func(x Link) bool { return x.Index == l.Master }); there {
			n.Master = master.Name
		}
		if n.PF == "" && !n.Representor {
			a, err := host.Addresses(l.Index)
			if err != nil {
				return nil, err
			}
			n.IPs, n.Learnt, n.Default = a.IPs, a.Learnt, a.Default
		}
		nics = append(nics, n)
	}
	slices.SortFunc(nics, func(a, b NIC) int {
		return cmp.Or(cmp.Compare(a.Link.Device, b.Link.Device), len(a.DevPort)-len(b.DevPort), cmp.Compare(a.DevPort, b.DevPort))
	})
	return nics, nil
}

// SurveyAddressed lists what SurveyNICs does, and then the host's bonds and VLANs, of which
// only the link and its addresses are set.
func SurveyAddressed(sys fs.FS, host Namespace) ([]NIC, error) {
	all, err := SurveyNICs(sys, host)
	if err != nil {
		return nil, err
	}
	links, err := host.Links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Device != "" || l.Kind != kindBond && l.Kind != "vlan" {
			continue
		}
		a, err := host.Addresses(l.Index)
		if err != nil {
			return nil, err
		}
		all = append(all, NIC{Link: l, IPs: a.IPs, Learnt: a.Learnt, Default: a.Default})
	}
	return all, nil
}

// readNIC reads from sysfs what there is about a link with a device.
func readNIC(sys fs.FS, l Link) NIC {
	device := path.Join(pciDevices, l.Device)
	id := func(file string) string { return strings.TrimPrefix(sysText(sys, path.Join(device, file)), "0x") }
	n := NIC{
		Link: l, DevPort: PortOf(sys, l), Port: ReadPort(sys, Device{Address: l.Device, PFNetdev: l.Name}),
		Vendor: id("vendor"), Model: id("device"), Driver: linkBase(sys, device+"/driver"), PF: linkBase(sys, device+"/physfn"),
		VFs: linkBase(sys, device+"/virtfn0") != "", Root: PCIRoot(sys, l.Device),
	}
	dir, entries, _ := readNetDir(sys, device, n.Driver)
	n.Siblings = len(entries) > 1
	uppers, _ := fs.Glob(sys, path.Join(dir, l.Name, "upper_*"))
	for _, upper := range uppers {
		n.Upper = append(n.Upper, strings.TrimPrefix(path.Base(upper), "upper_"))
	}
	n.Representor = isRepresentor(sysText(sys, path.Join(dir, l.Name, "phys_port_name")))
	return n
}

// PCIRoot returns the PCI root that a device is below, such as pci0000:3a, as Kubernetes
// names it in resource.kubernetes.io/pcieRoot. It returns "" if it is not known.
func PCIRoot(sys fs.FS, address string) string {
	target, err := fs.ReadLink(sys, path.Join(pciDevices, address))
	if err != nil {
		return ""
	}
	for part := range strings.SplitSeq(target, "/") {
		if strings.HasPrefix(part, "pci") {
			return part
		}
	}
	return ""
}
