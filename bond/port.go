package bond

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Port is the place of a VF: its PF as a port of a network card, and what the
// host does with it (Documentation/ABI/testing/sysfs-class-net). What the
// driver does not tell is the zero value.
type Port struct {
	ID       string // phys_port_id: PFs that share a port have the same
	Speed    int    // Mbit/s
	NUMA     string // the VF's NUMA node
	Bond     string // the bond of the host that the PF is part of
	BondMode string
}

// ReadPort reads the place of a VF below the root of sysfs. Where a file is
// missing or cannot be read, as a link's speed that has no carrier, it is not
// known.
func ReadPort(sys fs.FS, d Device) Port {
	pf := path.Join(pciDevices, d.PF, "net", d.PFNetdev)
	p := Port{
		ID:   sysText(sys, path.Join(pf, "phys_port_id")),
		NUMA: sysText(sys, path.Join(pciDevices, d.Address, "numa_node")),
		Bond: linkBase(sys, path.Join(pf, "master")),
	}
	if strings.HasPrefix(p.NUMA, "-") {
		p.NUMA = "" // the machine does not say
	}
	if speed, err := strconv.Atoi(sysText(sys, path.Join(pf, "speed"))); err == nil && speed > 0 {
		p.Speed = speed
	}
	if p.Bond != "" {
		mode := sysText(sys, path.Join("class/net", p.Bond, "bonding/mode")) // "802.3ad 4"
		if p.BondMode, _, _ = strings.Cut(mode, " "); p.BondMode == "" {
			p.Bond = "" // it is a bridge or the like
		}
	}
	return p
}

// sysText is a file's text, or "".
func sysText(sys fs.FS, name string) string {
	text, err := fs.ReadFile(sys, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
