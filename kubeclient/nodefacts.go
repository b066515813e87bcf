package kubeclient

import (
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// pciFunctions is where sysfs has the PCI devices.
const pciFunctions = "bus/pci/devices"

// vf is a VF of the node.
type vf struct {
	address, pf string
	away        bool // it has a driver of the kernel, and no interface in the host
}

// config returns what the runtime finds in its directory.
func (m Machine) config() (ConfigReport, error) {
	s, err := confdir.Look(m.ConfDir)
	return ConfigReport{State: string(s.State), First: s.First, Message: s.String(), OK: s.OK()}, err
}

// pfs returns the node's PFs by name, and their VFs.
func (m Machine) pfs() (pfs []PFReport, vfs []vf, err error) {
	found, err := fs.Glob(m.Sys, pciFunctions+"/*/sriov_totalvfs")
	for _, file := range found {
		address := path.Base(path.Dir(file))
		d, wrong := bond.ReadDevice(m.Sys, address, "")
		if wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		one := m.readPF(d)
		of := m.vfsOf(address, one.Name)
		one.VFs = len(of)
		pfs, vfs = append(pfs, one), append(vfs, of...)
	}
	slices.SortFunc(pfs, func(a, b PFReport) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Device, b.Device)) })
	return pfs, vfs, err
}

func (m Machine) readPF(d bond.Device) PFReport {
	p := PFReport{Name: cmp.Or(d.Netdev, d.Address), Device: d.Address, Driver: d.Driver}
	dir := path.Join(pciFunctions, d.Address)
	if node, is := m.number(dir, "numa_node"); is && node >= 0 {
		p.NUMA = &node
	}
	net := path.Join(dir, "net", d.Netdev)
	flags, _ := strconv.ParseUint(m.text(net, "flags"), 0, 32)
	p.Up = flags&1 == 1
	p.MTU, _ = m.number(net, "mtu")
	if speed, _ := m.number(net, "speed"); speed > 0 {
		p.Speed = speed
	}
	p.Carrier = m.text(net, "carrier") == "1"
	p.Switchdev = m.text(net, "phys_switch_id") != ""
	return p
}

// vfsOf returns the VFs of a PF, in their order.
func (m Machine) vfsOf(pf, name string) (out []vf) {
	links, _ := fs.Glob(m.Sys, path.Join(pciFunctions, pf, "virtfn*"))
	slices.SortFunc(links, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, link := range links {
		target, err := fs.ReadLink(m.Sys, link)
		if err != nil {
			continue
		}
		address := path.Base(target)
		out = append(out, vf{address, name, m.isAway(path.Join(pciFunctions, address))})
	}
	return out
}

// isAway reports whether a device has a driver of the kernel, and no interface in the host.
// An interface of virtio is a child's.
func (m Machine) isAway(device string) bool {
	driver, err := fs.ReadLink(m.Sys, path.Join(device, "driver"))
	if err != nil || (bond.Device{Driver: path.Base(driver)}).Userspace() {
		return false
	}
	own, _ := fs.Glob(m.Sys, path.Join(device, "net/*"))
	child, _ := fs.Glob(m.Sys, path.Join(device, "virtio*/net/*"))
	return len(own)+len(child) == 0
}

// text returns a file of sysfs without its line's end, or "" if it cannot be read: the
// kernel refuses the carrier of an interface that is down.
func (m Machine) text(dir, name string) string {
	raw, _ := fs.ReadFile(m.Sys, path.Join(dir, name))
	return strings.TrimSpace(string(raw))
}

func (m Machine) number(dir, name string) (int, bool) {
	n, err := strconv.Atoi(m.text(dir, name))
	return n, err == nil
}

func (m Machine) hasBonding() bool {
	_, err := fs.Stat(m.Sys, "module/bonding")
	return err == nil
}

func (m Machine) kernel() string {
	if m.Root == nil {
		return ""
	}
	raw, _ := fs.ReadFile(m.Root, "proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(raw))
}

// plugins returns the plugins that networks use, with their versions, and which are missing.
// used has the networks of each type. A link is there although its target is not: on k3s, it
// is outside of what the agent mounts.
func (m Machine) plugins(used map[string][]string) (out []PluginReport, wrong error) {
	if _, err := fs.Stat(m.Bin, "."); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		_, err := fs.Lstat(m.Bin, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			networks := used[name]
			slices.Sort(networks)
			out = append(out, PluginReport{Name: name, Missing: true, Networks: slices.Compact(networks)})
		case err != nil:
			wrong = errors.Join(wrong, err)
		default:
			out = append(out, PluginReport{Name: name, Version: m.versionOf(name)})
		}
	}
	return out, wrong
}

// versionOf returns the version that Go's linker has noted in a plugin, or "".
func (m Machine) versionOf(plugin string) string {
	f, err := m.Bin.Open(plugin)
	if err != nil {
		return ""
	}
	defer f.Close()
	file, is := f.(io.ReaderAt)
	if !is {
		return ""
	}
	info, err := buildinfo.Read(file)
	if err != nil {
		return ""
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimSuffix(v, "+incompatible")
	}
	i := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" })
	if i < 0 {
		return ""
	}
	return info.Settings[i].Value[:min(12, len(info.Settings[i].Value))]
}

// configTypes is as much of a configuration as tells which plugins it needs.
type configTypes struct {
	Type     string
	Plugins  []configTypes
	IPAM     struct{ Type string }
	Delegate *struct{ Type string }
	Links    []struct {
		Config                          configTypes
		ResourceName, Request, DeviceID string
	}
}

// neededPlugins returns the types of the plugins that a network's configuration needs. A bond's
// links are sriov-cni's if it names no other delegate. What cannot be the name of a file is no
// plugin's type: anybody who may create a NAD writes it.
func neededPlugins(config string) (types []string) {
	var top configTypes
	if json.Unmarshal([]byte(config), &top) != nil {
		return nil
	}
	top.collect(&types)
	types = slices.DeleteFunc(types, func(t string) bool { return !isFileName(t) })
	slices.Sort(types)
	return slices.Compact(types)
}

// maxFileName is the most bytes of a file's name in Linux (NAME_MAX).
const maxFileName = 255

func isFileName(name string) bool {
	return name != "." && len(name) <= maxFileName && fs.ValidPath(name) && !strings.ContainsAny(name, "/\x00")
}

func (c configTypes) collect(into *[]string) {
	*into = append(*into, c.Type, c.IPAM.Type)
	if c.Delegate != nil {
		*into = append(*into, cmp.Or(c.Delegate.Type, sriovType))
	}
	for _, p := range c.Plugins {
		p.collect(into)
	}
	for _, l := range c.Links {
		l.Config.collect(into)
		if c.Delegate == nil && l.ResourceName+l.Request+l.DeviceID != "" {
			*into = append(*into, sriovType)
		}
	}
}

const sriovType = "sriov"

// given returns the devices that the kubelet has given to pods, and how many of each
// resource.
func given(to *podresourcesv1.ListPodResourcesResponse) (devices map[string]bool, count map[string]int) {
	devices, count = map[string]bool{}, map[string]int{}
	for _, pod := range to.GetPodResources() {
		for _, c := range pod.GetContainers() {
			for _, d := range c.GetDevices() {
				count[d.GetResourceName()] += len(d.GetDeviceIds())
				for _, id := range d.GetDeviceIds() {
					devices[id] = true
				}
			}
			for _, d := range c.GetDynamicResources() {
				for _, r := range d.GetClaimResources() {
					if device, is := deviceOf(r.GetDeviceName(), nil); is {
						devices[device] = true
					}
				}
			}
		}
	}
	return devices, count
}

// resources returns the resources of PCI devices that the kubelet has, with the names of
// their PFs. names has them by PCI address.
func (m Machine) resources(can *podresourcesv1.AllocatableResourcesResponse, count map[string]int, names map[string]string) (out []ResourceReport) {
	devices, pfs := map[string]int{}, map[string][]string{}
	for _, d := range can.GetDevices() {
		for _, id := range d.GetDeviceIds() {
			if bond.CheckPCI(id) != nil {
				continue
			}
			name := d.GetResourceName()
			devices[name]++
			if pf := m.pf(id); pf != "" {
				pfs[name] = append(pfs[name], cmp.Or(names[pf], pf))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		slices.Sort(pfs[name])
		out = append(out, ResourceReport{Name: name, PFs: slices.Compact(pfs[name]), Devices: devices[name], Allocated: count[name]})
	}
	return out
}
