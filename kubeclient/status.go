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

// Attached is one network that a pod got. The pod's default network is the
// first of a list of them.
type Attached struct {
	Name   string // "demo/bond-net1"; the configuration's name where it is no NAD's
	IfName string // as it was asked for
	Bond   bool
	Result *current.Result

	// DefaultRoute is as in Element: nil where the network was not asked for.
	DefaultRoute []netip.Addr

	// DeviceInfo is what the plugin or the device plugin says of the
	// network's own device; nil where it has none.
	DeviceInfo *nettypes.DeviceInfo
}

// NetworkStatus is an entry of the annotation k8s.v1.cni.cncf.io/network-status.
type NetworkStatus struct {
	nettypes.NetworkStatus
	Links []LinkStatus `json:"multibond.io/links,omitempty"`
}

// LinkStatus is one link of a bond.
type LinkStatus struct {
	Name       string               `json:"name"`
	Mac        string               `json:"mac,omitempty"`
	DeviceInfo *nettypes.DeviceInfo `json:"device-info,omitempty"`
}

// Statuses makes an entry for each network, of which the first is the pod's
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

// gateways are those of the default route where it goes over this network:
// the ones that were asked for, else those of the result.
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

// links are what follows the bond in a bond's result.
func links(interfaces []*current.Interface) (out []LinkStatus) {
	for _, i := range interfaces {
		if inSandbox(i) {
			out = append(out, LinkStatus{Name: i.Name, Mac: i.Mac, DeviceInfo: PCIInfo(i.PciID, "")})
		}
	}
	return out
}

// PCIInfo describes a PCI device as the device-info specification has it;
// pf may be "". It is nil of no device.
func PCIInfo(device, pf string) *nettypes.DeviceInfo {
	if device == "" {
		return nil
	}
	return &nettypes.DeviceInfo{
		Type: nettypes.DeviceInfoTypePCI, Version: nettypes.DeviceInfoVersion,
		Pci: &nettypes.PciDevice{PciAddress: device, PfPciAddress: pf},
	}
}

// StatusPatch is the JSON merge patch that publishes statuses. The API server
// refuses it where the pod of that name is not the one with that UID any
// more; nothing but the one annotation is touched.
func StatusPatch(uid types.UID, statuses []NetworkStatus) json.RawMessage {
	var text bytes.Buffer
	_ = json.Indent(&text, strictjson.Encode(statuses), "", "    ") // people read it too
	return strictjson.Encode(map[string]any{"metadata": map[string]any{
		"uid":         uid,
		"annotations": map[string]string{nettypes.NetworkStatusAnnot: text.String()},
	}})
}
