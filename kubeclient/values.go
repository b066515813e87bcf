package kubeclient

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// readIPs reads addresses, each with or without a prefix length.
func readIPs(o strictjson.Object, doubts *bond.Problems) []string {
	var list []string
	o.Read("ips", &list, "a list of addresses")
	for i, s := range list {
		addr, err := netip.ParseAddr(s)
		if prefix, notPrefix := netip.ParsePrefix(s); notPrefix == nil {
			addr, err = prefix.Addr(), nil
		}
		path := fmt.Sprintf("%s[%d]", o.At("ips"), i)
		switch {
		case err != nil || addr.Zone() != "":
			o.Problems.Add(code.BadAddress, path, "", "is %q, want an address such as 10.1.2.3, 10.1.2.3/24 or 2001:db8::3/64", s)
		case addr.IsUnspecified() || addr.IsMulticast():
			doubts.Add(code.NoInterfaceHas, path, "", "is %s, which no interface can have", s)
		}
	}
	return list
}

// readMAC reads an Ethernet address and returns it in the kernel's spelling.
func readMAC(o strictjson.Object, doubts *bond.Problems) string {
	text := o.Text("mac")
	if text == "" {
		return ""
	}
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6:
		o.Problems.Add(code.BadMAC, o.At("mac"), "", "is %q, want a MAC address such as 02:00:00:00:00:01", text)
	case mac[0]&1 != 0 || slices.Equal(mac, make(net.HardwareAddr, 6)):
		doubts.Add(code.NoInterfaceHas, o.At("mac"), "", "is %s, which no interface can have", mac)
	}
	return mac.String()
}

// readGUID reads an InfiniBand GUID, which has eight bytes.
func readGUID(o strictjson.Object) string {
	text := o.Text("infiniband-guid")
	if text == "" {
		return ""
	}
	guid, err := net.ParseMAC(text)
	if err != nil || len(guid) != 8 {
		o.Problems.Add(code.BadMAC, o.At("infiniband-guid"), "", "is %q, want eight bytes such as c2:11:22:33:44:55:66:77", text)
	}
	return guid.String()
}

func readPortMappings(o strictjson.Object, doubts *bond.Problems) []nettypes.PortMapEntry {
	var raws []json.RawMessage
	o.Read("portMappings", &raws, "a list of port mappings")
	var out []nettypes.PortMapEntry
	for i, raw := range raws {
		path := fmt.Sprintf("%s[%d]", o.At("portMappings"), i)
		mapping, _ := strictjson.Decode(raw, path, o.Problems)
		out = append(out, readPortMapping(mapping, doubts))
	}
	return out
}

func readPortMapping(o strictjson.Object, doubts *bond.Problems) nettypes.PortMapEntry {
	m := nettypes.PortMapEntry{Protocol: strings.ToLower(o.Text("protocol")), HostIP: o.Text("hostIP")}
	readPort(o, "hostPort", &m.HostPort, doubts)
	readPort(o, "containerPort", &m.ContainerPort, doubts)
	if m.Protocol == "" {
		m.Protocol = "tcp"
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, m.Protocol) {
		doubts.Add(code.BadPort, o.At("protocol"), "", "is %q, want tcp, udp or sctp", m.Protocol)
	}
	if _, err := netip.ParseAddr(m.HostIP); m.HostIP != "" && err != nil {
		doubts.Add(code.BadPort, o.At("hostIP"), "", "is %q, want an address", m.HostIP)
	}
	return m
}

func readPort(o strictjson.Object, key string, into *int, doubts *bond.Problems) {
	const wanted = "a port from 1 to 65535"
	switch {
	case !o.Has(key):
		doubts.Add(code.BadPort, o.At(key), "", "is missing, want %s", wanted)
	case o.Read(key, into, wanted) && (*into < 1 || *into > 65535):
		doubts.Add(code.BadPort, o.At(key), "", "is %d, want %s", *into, wanted)
	}
}

// readBandwidth reads rates in bits per second and bursts in bits.
func readBandwidth(o strictjson.Object, doubts *bond.Problems) *nettypes.BandwidthEntry {
	if !o.Has("bandwidth") {
		return nil
	}
	limits, _ := o.Object("bandwidth")
	var b nettypes.BandwidthEntry
	in := readLimit(limits, "ingress", &b.IngressRate, &b.IngressBurst, doubts)
	out := readLimit(limits, "egress", &b.EgressRate, &b.EgressBurst, doubts)
	if !in && !out {
		doubts.Add(code.BadBandwidth, limits.Path, "", "limits nothing, want ingressRate, egressRate or both")
	}
	return &b
}

// readLimit reads the limits of one direction, and returns whether it has a rate.
func readLimit(o strictjson.Object, direction string, rate, burst *int, doubts *bond.Problems) (given bool) {
	given = readBits(o, direction+"Rate", rate, doubts)
	if readBits(o, direction+"Burst", burst, doubts) && !given {
		doubts.Add(code.BadBandwidth, o.At(direction+"Burst"), "", "is set without %sRate", direction)
	}
	return given
}

func readBits(o strictjson.Object, key string, into *int, doubts *bond.Problems) (given bool) {
	if o.Has(key) && o.Read(key, into, "a whole number of bits") && *into <= 0 {
		doubts.Add(code.BadBandwidth, o.At(key), "", "is %d, want more than 0", *into)
	}
	return o.Has(key)
}

// readDeviceID reads the name of a device as the kubelet knows it, which need not be a
// PCI address.
func readDeviceID(o strictjson.Object) string {
	id := o.Text("deviceID")
	if strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '/' }) {
		o.Problems.Add(code.BadDevice, o.At("deviceID"), "", "is %q, want a device of the pod, such as 0000:3b:02.1", id)
	}
	if lower := strings.ToLower(id); bond.CheckPCI(lower) == nil {
		return lower
	}
	return id
}

// readDefaultRoute reads gateways, at most one per address family. It returns nil if
// the key is absent, and an empty list that is not nil if the list is empty.
func readDefaultRoute(o strictjson.Object) []netip.Addr {
	var list []string
	if !o.Has("default-route") || !o.Read("default-route", &list, "a list of gateways (an empty list selects those of the network)") {
		return nil
	}
	out := []netip.Addr{}
	seen := map[bool]string{}
	for i, s := range list {
		path := fmt.Sprintf("%s[%d]", o.At("default-route"), i)
		gateway, err := netip.ParseAddr(s)
		if err != nil || gateway.Zone() != "" || gateway.IsUnspecified() || gateway.IsMulticast() {
			o.Problems.Add(code.BadAddress, path, "", "is %q, want the address of a gateway", s)
			continue
		}
		gateway = gateway.Unmap()
		if other, twice := seen[gateway.Is4()]; twice {
			o.Problems.Add(code.DefaultRoutes, path, "", "is %s, but %s has the same address family; a default route has one gateway per family", s, other)
		}
		seen[gateway.Is4()] = s
		out = append(out, gateway)
	}
	return out
}

// checkIPAMClaim checks the reference to an IPAMClaim. It is not passed on: the IPAM
// that uses it reads the annotation itself.
func checkIPAMClaim(o strictjson.Object, ips []string) {
	claim := o.Text("ipam-claim-reference")
	switch {
	case claim == "":
	case len(validation.IsDNS1123Subdomain(claim)) > 0:
		o.Problems.Add(code.IPAMClaim, o.At("ipam-claim-reference"), "", "is %q, which is not a valid name of an IPAMClaim", claim)
	case len(ips) > 0:
		o.Problems.Add(code.IPAMClaim, o.At("ipam-claim-reference"), "leave one of the two out", "is %s, but ips requests addresses too", claim)
	}
}
