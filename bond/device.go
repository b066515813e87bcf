package bond

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

const (
	hexByte = "[0-9a-f][0-9a-f]"
	// pciAddress is a pattern for [path.Match]. A regular expression would be
	// compiled at each start of the plugin, which takes longer than its use.
	pciAddress = hexByte + hexByte + ":" + hexByte + ":" + hexByte + ".[0-7]"
)

// CheckPCI returns an error if address does not have the form of a PCI address.
func CheckPCI(address string) error {
	if is, _ := path.Match(pciAddress, address); !is {
		return fmt.Errorf("is %q, want a PCI address in lower case such as 0000:3b:02.1", address)
	}
	return nil
}

// Device is a PCI network device as sysfs shows it
// (Documentation/ABI/testing/sysfs-bus-pci).
type Device struct {
	Address  string   // PCI address
	PF       string   // the PF's PCI address; "" if the device is not a VF
	Number   int      // the VF's number at its PF
	Driver   string   // "" if none is bound
	Netdev   string   // its interface in this namespace; "" if there is none
	Others   []string // its other interfaces in this namespace, representors included
	PFNetdev string   // the PF's interface in this namespace; "" if there is none
}

const pciDevices = "bus/pci/devices"

// userspaceDrivers hand a device to a program and never make a network interface.
// Any other driver may make one.
var userspaceDrivers = map[string]bool{"vfio-pci": true, "uio_pci_generic": true, "igb_uio": true}

// Userspace reports whether the device's driver hands it to a program. The kernel
// then has no interface to bond.
func (d Device) Userspace() bool { return userspaceDrivers[d.Driver] }

// ReadDevice reads a device from sys, the root of sysfs. Its interface is the one
// with the given port, see [PortOf]; if port is "", it is the device's own. If there
// is no such device, the error is compatible with errors.Is(err, fs.ErrNotExist).
func ReadDevice(sys fs.FS, address, port string) (Device, error) {
	dir := path.Join(pciDevices, address)
	if _, err := fs.Stat(sys, dir); err != nil {
		return Device{}, fmt.Errorf("PCI device %s: %w", address, err)
	}
	d := Device{Address: address, PF: linkBase(sys, dir+"/physfn"), Driver: linkBase(sys, dir+"/driver")}
	all, err := netdevs(sys, dir, d.Driver, port)
	if err != nil {
		return Device{}, fmt.Errorf("PCI device %s: %w", address, err)
	}
	d.Netdev = ownNetdev(all)
	if port != "" {
		d.Netdev = netdevAt(all, port)
	}
	for _, n := range all {
		if n.name != d.Netdev {
			d.Others = append(d.Others, n.name)
		}
	}
	if d.PF == "" {
		return d, nil
	}
	pf := path.Join(pciDevices, d.PF)
	ofPF, err := netdevs(sys, pf, d.Driver, port) // virtio has one driver for both
	if err != nil {
		return Device{}, fmt.Errorf("PF %s: %w", d.PF, err)
	}
	// If a VF has several ports, each port of the PF keeps the settings of one of them.
	d.PFNetdev = cmp.Or(netdevAt(ofPF, port), ownNetdev(ofPF))
	if d.Number, err = vfNumber(sys, pf, address); err != nil {
		return Device{}, fmt.Errorf("PF %s: %w", d.PF, err)
	}
	return d, nil
}

// linkBase returns the last element of a symbolic link's target, or "".
func linkBase(sys fs.FS, name string) string {
	target, err := fs.ReadLink(sys, name)
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// netdev is a network interface of a PCI device, which can have several: one for each
// port (mlx4, cxgb4, mana, nfp), or the representors of its VFs.
type netdev struct {
	name     string
	devPort  string
	portName string // phys_port_name
}

// netdevs lists the interfaces that a device has in the namespace in which sysfs was
// mounted. It does not read the port of a single one if no port is asked for.
func netdevs(sys fs.FS, dir, driver, port string) (all []netdev, err error) {
	dir, entries, err := readNetDir(sys, dir, driver)
	for _, e := range entries {
		n := netdev{e.Name(), firstPort, sysText(sys, path.Join(dir, e.Name(), "phys_port_name"))}
		if len(entries) > 1 || port != "" {
			n.devPort = readDevPort(sys, dir, n.name)
		}
		all = append(all, n)
	}
	return all, err
}

// readNetDir lists the directory of the interfaces of a PCI device, if there is one. A
// virtio device is on a bus of its own, as a child of its PCI device, and the interface is
// the child's (drivers/virtio/virtio_pci_common.c).
func readNetDir(sys fs.FS, device, driver string) (dir string, entries []fs.DirEntry, err error) {
	dir = path.Join(device, "net")
	entries, err = fs.ReadDir(sys, dir)
	if errors.Is(err, fs.ErrNotExist) && driver == "virtio-pci" {
		children, _ := fs.Glob(sys, device+"/virtio*")
		for _, child := range children {
			dir = path.Join(child, "net")
			entries, err = fs.ReadDir(sys, dir)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return dir, entries, err
}

// pciOf returns the PCI address of an interface, whose parent device the kernel names: the
// parent itself, or the PCI device of which it is a virtio child. It returns "" if there
// is no PCI device.
func pciOf(sys fs.FS, parent string) string {
	if CheckPCI(parent) == nil {
		return parent
	}
	target, err := fs.ReadLink(sys, "bus/virtio/devices/"+parent)
	if err != nil {
		return ""
	}
	if above := path.Base(path.Dir(target)); CheckPCI(above) == nil {
		return above
	}
	return ""
}

func readDevPort(sys fs.FS, netDir, name string) string {
	return cmp.Or(sysText(sys, path.Join(netDir, name, "dev_port")), firstPort)
}

// firstPort is the port of an interface that is the only one of its PCI device, and of
// the first one of several.
const firstPort = "0"

// Identity returns what tells an interface with a device from all others: the PCI
// address, followed by the port if that is not the first one.
func Identity(address, port string) string {
	if port == "" || port == firstPort {
		return address
	}
	return address + "#" + port
}

// PortOf returns which of the interfaces of its PCI device l is, a link of the
// namespace in which sysfs was mounted. It returns "" for a link without a device.
// rtnetlink does not tell it: the kernel reports dev_port in sysfs only
// (Documentation/ABI/testing/sysfs-class-net).
func PortOf(sys fs.FS, l Link) string {
	if l.Device == "" {
		return ""
	}
	device := path.Join(pciDevices, l.Device)
	dir, _, _ := readNetDir(sys, device, linkBase(sys, device+"/driver"))
	return netdev{l.Name, readDevPort(sys, dir, l.Name), sysText(sys, path.Join(dir, l.Name, "phys_port_name"))}.port()
}

// port returns the number of the interface's port, dev_port, unless that is 0, and
// otherwise its phys_port_name, by which nfp tells its ports, and switchdev its
// representors.
func (n netdev) port() string {
	if n.devPort != firstPort || n.portName == "" || n.portName == "p0" {
		return n.devPort
	}
	return n.portName
}

// netdevAt returns the name of the interface at a port, or "".
func netdevAt(all []netdev, port string) string {
	for _, n := range all {
		if n.port() == port {
			return n.name
		}
	}
	return ""
}

// ownNetdev returns the name of the interface that is the device itself, or "". A PF
// in switchdev mode has representors of its VFs as well; their phys_port_name tells
// them apart (Documentation/networking/switchdev.rst).
func ownNetdev(all []netdev) string {
	var first, own, other string
	for _, n := range all {
		switch {
		case isOwnPort(n.portName) && n.devPort == firstPort:
			first = cmp.Or(first, n.name)
		case isOwnPort(n.portName):
			own = cmp.Or(own, n.name)
		case !isRepresentor(n.portName):
			other = cmp.Or(other, n.name)
		}
	}
	return cmp.Or(netdevAt(all, firstPort), first, own, other)
}

// isOwnPort reports whether a phys_port_name is that of the device itself: p0, or
// none.
func isOwnPort(name string) bool {
	rest, is := cutNumbered(name, "p")
	return name == "" || is && rest == ""
}

// isRepresentor reports whether a phys_port_name is that of a representor: pf0vf1,
// pf0sf1, or c1pf0vf1 for another controller.
func isRepresentor(name string) bool {
	if rest, is := cutNumbered(name, "c"); is {
		name = rest
	}
	rest, is := cutNumbered(name, "pf")
	return is && (strings.HasPrefix(rest, "vf") || strings.HasPrefix(rest, "sf"))
}

// Representor returns the name of the interface that stands for a VF of a PF in switchdev
// mode, or "" if there is none. While it is down, the VF has no carrier.
func Representor(sys fs.FS, pf string, number int) (string, error) {
	all, err := netdevs(sys, path.Join(pciDevices, pf), "", "")
	if err != nil {
		return "", fmt.Errorf("PF %s: %w", pf, err)
	}
	for _, n := range all {
		rest, is := cutNumbered(n.portName, "pf")
		if is && rest == fmt.Sprintf("vf%d", number) {
			return n.name, nil
		}
	}
	return "", nil
}

// cutNumbered returns s without prefix and the number that follows it. found
// reports whether s begins with both; otherwise rest has no meaning.
func cutNumbered(s, prefix string) (rest string, found bool) {
	number, found := strings.CutPrefix(s, prefix)
	rest = strings.TrimLeft(number, "0123456789")
	return rest, found && rest != number
}

func vfNumber(sys fs.FS, pf, address string) (int, error) {
	entries, err := fs.ReadDir(sys, pf)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		digits, is := strings.CutPrefix(e.Name(), "virtfn")
		if is && linkBase(sys, pf+"/"+e.Name()) == address {
			return strconv.Atoi(digits)
		}
	}
	return 0, fmt.Errorf("VF %s: %w", address, fs.ErrNotExist)
}
