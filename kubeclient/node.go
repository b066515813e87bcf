package kubeclient

import (
	"encoding/json"
	"io/fs"
	"path"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/strictjson"
)

// Machine has the files of the node that the agent reads.
type Machine struct {
	Sys        fs.FS // root of sysfs
	ConfDir    fs.FS // CNI configurations, for NADs without a spec.config
	Root       fs.FS // the node's files, for a directory that the cluster's configuration names
	Bin        fs.FS // CNI plugins; nil: not seen
	DeviceInfo fs.FS // files of the device-info specification (v1.1), in cni and dp

	// NICs returns the NICs of the host.
	NICs func() ([]bond.NIC, error)

	// DeviceInfoDir is the path at which plugins find DeviceInfo.
	DeviceInfoDir string
}

// confDirs returns where the configurations of NADs without a spec.config are: the directory
// that the cluster's configuration names, if any, and the agent's own.
func (m Machine) confDirs(named string) []fs.FS {
	if dir, err := fs.Sub(m.Root, strings.Trim(path.Clean(named), "/")); named != "" && m.Root != nil && err == nil {
		return []fs.FS{dir, m.ConfDir}
	}
	return []fs.FS{m.ConfDir}
}

// pf returns the PCI address of a VF's PF, or "" if the device is not a VF
// (Documentation/ABI/testing/sysfs-bus-pci).
func (m Machine) pf(device string) string {
	target, err := fs.ReadLink(m.Sys, path.Join("bus/pci/devices", device, "physfn"))
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// deviceInfo returns the device-info of a device: that of its device plugin, or one
// made from sysfs, because the file may be missing after the plugin restarted. It returns
// nil if neither knows the device.
func (m Machine) deviceInfo(resource, device string) json.RawMessage {
	name := strings.ReplaceAll(resource+"-"+device, "/", "-") + "-device.json"
	if raw, err := fs.ReadFile(m.DeviceInfo, "dp/"+name); err == nil && json.Valid(raw) {
		return raw
	}
	if bond.CheckPCI(device) != nil {
		return nil
	}
	return strictjson.Encode(PCIInfo(device, m.pf(device)))
}

// infoFile returns the file in which a plugin may describe the device of e.
func (m Machine) infoFile(containerID string, e Element) string {
	return path.Join(m.DeviceInfoDir, "cni", e.Network.Namespace+"-"+e.Network.Name+"-"+containerID+"_"+e.Interface)
}
