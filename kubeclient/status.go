package kubeclient

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"slices"

	current "github.com/containernetworking/cni/pkg/types/100"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/strictjson"
)

// Attached is one network that was attached to a pod. The first of a list is the
// pod's default network.
type Attached struct {
	Name   string // "demo/bond-net1", or the name of the configuration if there is no NAD
	IfName string // as requested
	Bond   bool
	Each   bool // its interfaces are links with addresses of their own
	Result *current.Result

	// DefaultRoute is that of Element: nil if the network was not asked for it.
	DefaultRoute []netip.Addr

	// DeviceInfo is what the plugin or the device plugin reports about the device
	// of the network; nil if it has none.
	DeviceInfo *nettypes.DeviceInfo
}

// linksKey marks an entry that an agent has written for a bond.
const linksKey = "multibond.io/links"

// NetworkStatus is an element of the annotation k8s.v1.cni.cncf.io/network-status.
type NetworkStatus struct {
	nettypes.NetworkStatus
	Bond  *BondStatus  `json:"multibond.io/bond,omitempty"`
	Links []LinkStatus `json:"multibond.io/links,omitempty"`
}

// BondStatus is how a bond is.
type BondStatus struct {
	Up       bool   `json:"up"`               // it has a carrier
	Degraded bool   `json:"degraded"`         // fewer links work than should
	Active   string `json:"active,omitempty"` // the link that carries the traffic, in modes that have one
}

// LinkStatus describes one link of a bond.
type LinkStatus struct {
	Name       string               `json:"name"`
	State      string               `json:"state,omitempty"` // up, down, gone
	Mac        string               `json:"mac,omitempty"`
	DeviceInfo *nettypes.DeviceInfo `json:"device-info,omitempty"`
}

// Statuses returns the status of each network: an entry for each of its interfaces in the
// pod. One entry of the first network is marked as the pod's default.
func Statuses(attached []Attached) []NetworkStatus {
	out := []NetworkStatus{}
	for i, a := range attached {
		entries, first := a.statuses()
		entries[first].Default = i == 0
		out = append(out, entries...)
	}
	return out
}

// statuses returns the entries of a network, at least one, and which of them is the first
// whose interface has a gateway. An address that is on no interface of the pod, which is
// how Calico reports it, belongs to the first entry.
func (a Attached) statuses() (entries []NetworkStatus, withGateway int) {
	base := NetworkStatus{NetworkStatus: nettypes.NetworkStatus{Name: a.Name, Interface: a.IfName, DeviceInfo: a.DeviceInfo}}
	if a.Result == nil {
		return []NetworkStatus{base}, 0
	}
	base.DNS, base.Gateway = nettypes.DNS(a.Result.DNS), a.gateways()
	entryOf := map[int]int{} // index of an interface -> its entry
	for i, one := range a.Result.Interfaces {
		if !inSandbox(one) || a.Bond && len(entries) > 0 {
			continue
		}
		s := base
		s.Interface, s.Mac, s.Mtu = one.Name, one.Mac, one.Mtu
		if a.Each {
			s.DeviceInfo = PCIInfo(one.PciID, "")
		}
		if a.Bond {
			s.Links = links(a.Result.Interfaces[i+1:])
		}
		entryOf[i] = len(entries)
		entries = append(entries, s)
	}
	if entries == nil {
		entries = []NetworkStatus{base}
	}
	withGateway = -1
	for _, ip := range a.Result.IPs {
		at := 0
		if ip.Interface != nil {
			at = entryOf[*ip.Interface]
		}
		entries[at].IPs = append(entries[at].IPs, ip.Address.IP.String())
		if ip.Gateway != nil && withGateway < 0 {
			withGateway = at
		}
	}
	return entries, max(0, withGateway)
}

func inSandbox(i *current.Interface) bool { return i != nil && i.Sandbox != "" }

// gateways returns the gateways of the default route if it uses this network: those that
// were asked for, or else those of the result.
func (a Attached) gateways() (out []string) {
	for _, gateway := range a.DefaultRoute {
		out = append(out, gateway.String())
	}
	add := func(gateway net.IP) {
		if gateway != nil && !slices.Contains(out, gateway.String()) {
			out = append(out, gateway.String())
		}
	}
	switch {
	case out != nil:
	case a.DefaultRoute != nil:
		for _, ip := range a.Result.IPs {
			add(ip.Gateway)
		}
	default:
		for _, route := range a.Result.Routes {
			if ones, _ := route.Dst.Mask.Size(); ones == 0 {
				add(route.GW)
			}
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

// StatusPatch returns the patch that publishes statuses, and a condition unless it is nil.
// It changes nothing else. The API server rejects it if the pod of that name has another
// UID.
func StatusPatch(uid types.UID, statuses []NetworkStatus, condition *corev1.PodCondition) json.RawMessage {
	return statusPatch(uid, "", indented(strictjson.Encode(statuses)), condition)
}

// statusPatch returns a strategic merge patch, which leaves other conditions alone. The
// API server rejects it if the pod is not of that version, unless version is empty. An
// empty text stays as it is.
func statusPatch(uid types.UID, version, text string, condition *corev1.PodCondition) json.RawMessage {
	meta := map[string]any{"uid": uid}
	if version != "" {
		meta["resourceVersion"] = version
	}
	if text != "" {
		meta["annotations"] = map[string]string{nettypes.NetworkStatusAnnot: text}
	}
	patch := map[string]any{"metadata": meta}
	if condition != nil {
		patch["status"] = map[string]any{"conditions": []*corev1.PodCondition{condition}}
	}
	return strictjson.Encode(patch)
}

// indented returns a valid JSON text as people like to read it.
func indented(raw json.RawMessage) string {
	var text bytes.Buffer
	_ = json.Indent(&text, raw, "", "    ")
	return text.String()
}
