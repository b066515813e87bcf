package kubeclient

import (
	"encoding/json"
	"io/fs"
	"path"
	"strings"

	"github.com/multibond/multibond/delegate/strictjson"
)

// Machine is what the agent sees of its node's files.
type Machine struct {
	Sys        fs.FS // the root of sysfs
	ConfDir    fs.FS // the CNI configurations of NADs that have none of their own
	DeviceInfo fs.FS // files of the device-info specification (v1.1), in cni and dp

	// DeviceInfoDir is where plugins find DeviceInfo.
	DeviceInfoDir string
}

// pf is the PCI address of a VF's PF; "" where the device is no VF
// (Documentation/ABI/testing/sysfs-bus-pci).
func (m Machine) pf(device string) string {
	target, err := fs.ReadLink(m.Sys, path.Join("bus/pci/devices", device, "physfn"))
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// deviceInfo describes a device of a resource: as its device plugin does,
// else, because that file may be gone after the plugin has started again, as
// sysfs does.
func (m Machine) deviceInfo(resource, device string) json.RawMessage {
	name := strings.ReplaceAll(resource, "/", "-") + "-" + device + "-device.json"
	if raw, err := fs.ReadFile(m.DeviceInfo, "dp/"+name); err == nil && json.Valid(raw) {
		return raw
	}
	return strictjson.Encode(PCIInfo(device, m.pf(device)))
}

// infoFile is where the plugin of one attachment may describe its device.
func (m Machine) infoFile(containerID string, e Element) string {
	return path.Join(m.DeviceInfoDir, "cni", e.Network.Namespace+"-"+e.Network.Name+"-"+containerID+"_"+e.Interface)
}
