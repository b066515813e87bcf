package kubeclient

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"

	current "github.com/containernetworking/cni/pkg/types/100"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/strictjson"
)

// Attached is one network that was attached to a pod. The first of a list is the
// pod's default network.
type Attached struct {
	Name   string // "demo/bond-net1", or the name of the configuration if there is no NAD
	IfName string // as requested
	Bond   bool
	Result *current.Result

	// DefaultRoute is that of Element: nil if the network was not asked for it.
	DefaultRoute []netip.Addr

	// DeviceInfo is what the plugin or the device plugin reports about the device
	// of the network; nil if it has none.
	DeviceInfo *nettypes.DeviceInfo
}

// NetworkStatus is an element of the annotation k8s.v1.cni.cncf.io/network-status.
type NetworkStatus struct {
	nettypes.NetworkStatus
	Links []LinkStatus `json:"multibond.io/links,omitempty"`
}

// LinkStatus describes one link of a bond.
type LinkStatus struct {
	Name       string               `json:"name"`
	Mac        string               `json:"mac,omitempty"`
	DeviceInfo *nettypes.DeviceInfo `json:"device-info,omitempty"`
}

// Statuses returns the status of each network. The first is marked as the pod's
// default.
func Statuses(attached []Attached) []NetworkStatus {
	out := []NetworkStatus{}
	for i, a := range attached {
		s := a.status()
		s.Default = i == 0
		out = append(out, s)
	}
	return out
}

func (a Attached) status() NetworkStatus {
	s := NetworkStatus{NetworkStatus: nettypes.NetworkStatus{Name: a.Name, Interface: a.IfName, DeviceInfo: a.DeviceInfo}}
	if a.Result == nil {
		return s
	}
	first := slices.IndexFunc(a.Result.Interfaces, inSandbox)
	if first >= 0 {
		i := a.Result.Interfaces[first]
		s.Interface, s.Mac, s.Mtu = i.Name, i.Mac, i.Mtu
	}
	for _, ip := range a.Result.IPs {
		if ip.Interface == nil || *ip.Interface == first {
			s.IPs = append(s.IPs, ip.Address.IP.String())
		}
	}
	s.DNS = nettypes.DNS(a.Result.DNS)
	s.Gateway = a.gateways(first)
	if a.Bond && first >= 0 {
		s.Links = links(a.Result.Interfaces[first+1:])
	}
	return s
}

func inSandbox(i *current.Interface) bool { return i != nil && i.Sandbox != "" }

// gateways returns the gateways of the default route if it uses this network: those
// that were asked for, or else those of the result.
func (a Attached) gateways(first int) (out []string) {
	if a.DefaultRoute == nil {
		return nil
	}
	for _, gateway := range a.DefaultRoute {
		out = append(out, gateway.String())
	}
	if out != nil {
		return out
	}
	for _, ip := range a.Result.IPs {
		if ip.Gateway != nil && (ip.Interface == nil || *ip.Interface == first) && !slices.Contains(out, ip.Gateway.String()) {
			out = append(out, ip.Gateway.String())
		}
	}
	return out
}

// links returns the links, which follow the bond in its result.
func links(interfaces []*current.Interface) (out []LinkStatus) {
	for _, i := range interfaces {
		if inSandbox(i) {
			out = append(out, LinkStatus{Name: i.Name, Mac: i.Mac, DeviceInfo: PCIInfo(i.PciID, "")})
		}
	}
	return out
}

// PCIInfo returns the device-info of a PCI device, or nil if device is empty. pf may
// be empty.
func PCIInfo(device, pf string) *nettypes.DeviceInfo {
	if device == "" {
		return nil
	}
	return &nettypes.DeviceInfo{
		Type: nettypes.DeviceInfoTypePCI, Version: nettypes.DeviceInfoVersion,
		Pci: &nettypes.PciDevice{PciAddress: device, PfPciAddress: pf},
	}
}

// StatusPatch returns the JSON merge patch that publishes statuses. It changes one
// annotation only. The API server rejects it if the pod of that name has another
// UID.
func StatusPatch(uid types.UID, statuses []NetworkStatus) json.RawMessage {
	var text bytes.Buffer
	_ = json.Indent(&text, strictjson.Encode(statuses), "", "    ") // indented for people
	return strictjson.Encode(map[string]any{"metadata": map[string]any{
		"uid":         uid,
		"annotations": map[string]string{nettypes.NetworkStatusAnnot: text.String()},
	}})
}
