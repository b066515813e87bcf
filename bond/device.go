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
	// pciAddress is a pattern for [path.Match]: a regular expression is compiled at
	// each start of the plugin, which takes longer than all that it is used for.
	pciAddress = hexByte + hexByte + ":" + hexByte + ":" + hexByte + ".[0-7]"
)

// CheckPCI says what is wrong with the form of a PCI address, or nil.
func CheckPCI(address string) error {
	if is, _ := path.Match(pciAddress, address); !is {
		return fmt.Errorf("is %q, wanted is a PCI address such as 0000:3b:02.1, in lower case", address)
	}
	return nil
}

// Device is a PCI network device as sysfs shows it
// (Documentation/ABI/testing/sysfs-bus-pci).
type Device struct {
	Address  string // PCI address
	PF       string // the PF's PCI address; "" where the device is no VF
	Number   int    // the VF's number at its PF
	Driver   string // "" where none is bound
	Netdev   string // its interface in this namespace; "" where none is here
	PFNetdev string // the PF's interface in this namespace
}

const pciDevices = "bus/pci/devices"

// userspaceDrivers never make a network interface, because they hand the device
// to a program. Any other driver may.
var userspaceDrivers = map[string]bool{"vfio-pci": true, "uio_pci_generic": true, "igb_uio": true}

// Userspace reports whether the device's driver hands it to a program, so
// that the kernel has no interface of it to bond.
func (d Device) Userspace() bool { return userspaceDrivers[d.Driver] }

// ReadDevice reads a device below the root of sysfs. The error is compatible
// with errors.Is(err, fs.ErrNotExist) where there is no such device.
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

// linkBase is the last element of a symbolic link's target, or "".
func linkBase(sys fs.FS, name string) string {
	target, err := fs.ReadLink(sys, name)
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// netdev is the name of a device's network interface, or "" where it has
// none in the namespace that sysfs was mounted in. A PF in switchdev mode has
// representors of its VFs beside its own interface; what each is, its
// phys_port_name says (Documentation/networking/switchdev.rst).
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

// isOwnPort says whether a device's phys_port_name is its own: p0, or none.
func isOwnPort(name string) bool {
	rest, is := cutNumbered(name, "p")
	return name == "" || is && rest == ""
}

// isRepresentor says whether a phys_port_name is that of a representor: pf0vf1,
// pf0sf1, or c1pf0vf1 of another controller's.
func isRepresentor(name string) bool {
	if rest, is := cutNumbered(name, "c"); is {
		name = rest
	}
	rest, is := cutNumbered(name, "pf")
	return is && (strings.HasPrefix(rest, "vf") || strings.HasPrefix(rest, "sf"))
}

// cutNumbered cuts a prefix and the number behind it. Where it does not find both,
// rest means nothing.
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
