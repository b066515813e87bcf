package bond

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Port is the place of a VF: its PF as a port of a network card, and the host's
// use of it (Documentation/ABI/testing/sysfs-class-net). A field that the driver
// does not report has its zero value.
type Port struct {
	ID       string // phys_port_id, which is the same for PFs that share a port
	Speed    int    // Mbit/s
	NUMA     string // the VF's NUMA node
	Bond     string // the bond of the host that the PF is part of
	BondMode string
}

// ReadPort reads the place of a VF from sys, the root of sysfs. A file that is
// missing or cannot be read, such as the speed of a link without a carrier, leaves
// its field at the zero value.
func ReadPort(sys fs.FS, d Device) Port {
	pf := path.Join("class/net", d.PFNetdev)
	p := Port{
		ID:   sysText(sys, path.Join(pf, "phys_port_id")),
		NUMA: NUMANode(sys, d.Address),
		Bond: linkBase(sys, path.Join(pf, "master")),
	}
	if speed, err := strconv.Atoi(sysText(sys, path.Join(pf, "speed"))); err == nil && speed > 0 {
		p.Speed = speed
	}
	if p.Bond != "" {
		mode := sysText(sys, path.Join("class/net", p.Bond, "bonding/mode")) // "802.3ad 4"
		if p.BondMode, _, _ = strings.Cut(mode, " "); p.BondMode == "" {
			p.Bond = "" // the master is a bridge or the like
		}
	}
	return p
}

// NUMANode returns the NUMA node of a PCI device, or "" if the machine does not report it.
func NUMANode(sys fs.FS, address string) string {
	node := sysText(sys, path.Join(pciDevices, address, "numa_node"))
	if strings.HasPrefix(node, "-") {
		return ""
	}
	return node
}

// sysText returns a file's text without surrounding blanks, or "".
func sysText(sys fs.FS, name string) string {
	text, err := fs.ReadFile(sys, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
