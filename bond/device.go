package bond

import (
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
	Address  string // PCI address
	PF       string // the PF's PCI address; "" if the device is not a VF
	Number   int    // the VF's number at its PF
	Driver   string // "" if none is bound
	Netdev   string // its interface in this namespace; "" if there is none
	PFNetdev string // the PF's interface in this namespace; "" if there is none
}

const pciDevices = "bus/pci/devices"

// userspaceDrivers hand a device to a program and never make a network interface.
// Any other driver may make one.
var userspaceDrivers = map[string]bool{"vfio-pci": true, "uio_pci_generic": true, "igb_uio": true}

// Userspace reports whether the device's driver hands it to a program. The kernel
// then has no interface to bond.
func (d Device) Userspace() bool { return userspaceDrivers[d.Driver] }

// ReadDevice reads a device from sys, the root of sysfs. If there is no such
// device, the error is compatible with errors.Is(err, fs.ErrNotExist).
func ReadDevice(sys fs.FS, address string) (Device, error) {
	dir := path.Join(pciDevices, address)
	if _, err := fs.Stat(sys, dir); err != nil {
		return Device{}, fmt.Errorf("PCI device %s: %w", address, err)
	}
	d := Device{Address: address, PF: linkBase(sys, dir+"/physfn"), Driver: linkBase(sys, dir+"/driver")}
	var err error
	if d.Netdev, err = netdev(sys, dir); err != nil {
		return Device{}, fmt.Errorf("PCI device %s: %w", address, err)
	}
	if d.PF == "" {
		return d, nil
	}
	pf := path.Join(pciDevices, d.PF)
	if d.PFNetdev, err = netdev(sys, pf); err != nil {
		return Device{}, fmt.Errorf("PF %s: %w", d.PF, err)
	}
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

// netdev returns the name of a device's network interface, or "" if it has none in
// the namespace in which sysfs was mounted. A PF in switchdev mode has
// representors of its VFs as well as its own interface; their phys_port_name tells
// them apart (Documentation/networking/switchdev.rst).
func netdev(sys fs.FS, dir string) (string, error) {
	entries, err := fs.ReadDir(sys, dir+"/net")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	second := ""
	for _, e := range entries {
		switch port := sysText(sys, path.Join(dir, "net", e.Name(), "phys_port_name")); {
		case isOwnPort(port):
			return e.Name(), nil
		case second == "" && !isRepresentor(port):
			second = e.Name()
		}
	}
	return second, nil
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
