package bond

import (
	"errors"
	"fmt"
	"io/fs"
)

// DeviceFacts are the facts about one PCI device.
type DeviceFacts struct {
	Device
	Missing bool  // there is no such device
	Link    *Link // its interface on the host; nil if there is none
	PFLink  *Link // the PF's interface; nil if it is not on the host
	Admin   *VF   // its administrative state; nil if the PF is not on the host, or reports no VFs
	Port    Port  // only [Survey] reads it
}

// HostLink is an interface on the host, with its addresses.
type HostLink struct {
	Link
	Addresses Addresses
	DevPort   string // see [PortOf]; "" if it has no device
}

// Facts are the state of the node as far as it matters to one bond.
type Facts struct {
	Devices map[string]DeviceFacts // by [Identity]
	Host    map[string]HostLink    // by name; those that do not exist are missing
	Pod     []Link                 // all links of the pod
	PodAddr map[int]Addresses      // by index, for the links in Sources.Pod
}

// Sources are the future links of a bond, by where they come from.
type Sources struct {
	Devices []string // PCI addresses
	Host    []string // names on the host
	Pod     []string // names in the pod
}

// Survey reads the facts about the sources s. It looks at no other device or link
// of the host, so that its cost does not grow with the node. A nil pod has no
// links.
func Survey(sys fs.FS, host, pod Namespace, s Sources) (Facts, error) {
	f := Facts{Devices: map[string]DeviceFacts{}, Host: map[string]HostLink{}, PodAddr: map[int]Addresses{}}
	for _, address := range s.Devices {
		if err := f.addDevice(sys, host, address, ""); err != nil {
			return Facts{}, err
		}
	}
	for _, name := range s.Host {
		link, there, err := LinkIfThere(host, name)
		if err != nil {
			return Facts{}, err
		}
		if !there {
			continue
		}
		addrs, err := host.Addresses(link.Index)
		if err != nil {
			return Facts{}, err
		}
		port := PortOf(sys, link)
		f.Host[name] = HostLink{Link: link, Addresses: addrs, DevPort: port}
		if err := f.addDevice(sys, host, link.Device, port); err != nil {
			return Facts{}, err
		}
	}
	if pod == nil {
		return f, nil
	}
	var err error
	if f.Pod, err = pod.Links(); err != nil {
		return Facts{}, err
	}
	for _, name := range s.Pod {
		link, there := Find(f.Pod, func(l Link) bool { return l.Name == name })
		if !there {
			continue
		}
		if f.PodAddr[link.Index], err = pod.Addresses(link.Index); err != nil {
			return Facts{}, err
		}
		if err := f.addDevice(sys, host, link.Device, ""); err != nil {
			return Facts{}, err
		}
	}
	return f, nil
}

// addDevice surveys the interface of a device at a port. An empty address is none.
func (f *Facts) addDevice(sys fs.FS, host Namespace, address, port string) error {
	if address == "" {
		return nil
	}
	d, err := SurveyDevice(sys, host, address, port)
	if err != nil {
		return err
	}
	if d.PF != "" {
		d.Port = ReadPort(sys, d.Device)
	}
	f.Devices[Identity(address, port)] = d
	return nil
}

// SurveyDevice reads the facts about one device, see [ReadDevice]. A missing device is
// no error.
func SurveyDevice(sys fs.FS, host Namespace, address, port string) (DeviceFacts, error) {
	d, err := ReadDevice(sys, address, port)
	if errors.Is(err, fs.ErrNotExist) {
		return DeviceFacts{Missing: true}, nil
	}
	if err != nil {
		return DeviceFacts{}, err
	}
	f := DeviceFacts{Device: d}
	if f.Link, err = linkOrNil(host, d.Netdev); err != nil {
		return DeviceFacts{}, err
	}
	if f.PFLink, err = linkOrNil(host, d.PFNetdev); err != nil || f.PFLink == nil {
		return f, err
	}
	vfs, err := host.VFs(d.PFNetdev)
	if err != nil {
		return DeviceFacts{}, err
	}
	if len(vfs) == 0 {
		return f, nil // virtio, and mlx5 whose embedded processor has the switch
	}
	admin, there := vfs[d.Number]
	if !there {
		return DeviceFacts{}, fmt.Errorf("PF %s does not report VF %d", d.PFNetdev, d.Number)
	}
	f.Admin = &admin
	return f, nil
}

// linkOrNil is LinkIfThere for facts: nil means that there is no link of that
// name, or no name.
func linkOrNil(n Namespace, name string) (*Link, error) {
	if name == "" {
		return nil, nil
	}
	link, there, err := LinkIfThere(n, name)
	if !there {
		return nil, err
	}
	return &link, nil
}

// LinkIfThere reads a link by its name or an alternative one. It is no error if
// no link has the name.
func LinkIfThere(n Namespace, name string) (link Link, there bool, err error) {
	link, err = n.Link(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Link{}, false, nil
	}
	return link, err == nil, err
}

// Find returns the first link for which wanted is true.
func Find(links []Link, wanted func(Link) bool) (Link, bool) {
	for _, l := range links {
		if wanted(l) {
			return l, true
		}
	}
	return Link{}, false
}
