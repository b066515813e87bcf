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
)

// readIPs reads addresses, each with a prefix length or without.
func readIPs(o object) []string {
	var list []string
	o.read("ips", &list, "a list of addresses")
	for i, s := range list {
		addr, err := netip.ParseAddr(s)
		if prefix, notPrefix := netip.ParsePrefix(s); notPrefix == nil {
			addr, err = prefix.Addr(), nil
		}
		path := fmt.Sprintf("%s[%d]", o.at("ips"), i)
		switch {
		case err != nil || addr.Zone() != "":
			o.problems.Add(path, "", "is %q, wanted is an address such as 10.1.2.3, 10.1.2.3/24 or 2001:db8::3/64", s)
		case addr.IsUnspecified() || addr.IsMulticast():
			o.problems.Add(path, "", "is %s, which no interface can have", s)
		}
	}
	return list
}

// readMAC reads an Ethernet address and writes it as the kernel does.
func readMAC(o object) string {
	text := o.text("mac")
	if text == "" {
		return ""
	}
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6:
		o.problems.Add(o.at("mac"), "", "is %q, wanted is a MAC address such as 02:00:00:00:00:01", text)
	case mac[0]&1 != 0 || slices.Equal(mac, make(net.HardwareAddr, 6)):
		o.problems.Add(o.at("mac"), "", "is %s, which no interface can have", mac)
	}
	return mac.String()
}

// readGUID reads an InfiniBand GUID, which has eight bytes.
func readGUID(o object) string {
	text := o.text("infiniband-guid")
	if text == "" {
		return ""
	}
	guid, err := net.ParseMAC(text)
	if err != nil || len(guid) != 8 {
		o.problems.Add(o.at("infiniband-guid"), "", "is %q, wanted are eight bytes such as c2:11:22:33:44:55:66:77", text)
	}
	return guid.String()
}

func readPortMappings(o object) []nettypes.PortMapEntry {
	var raws []json.RawMessage
	o.read("portMappings", &raws, "a list of port mappings")
	var out []nettypes.PortMapEntry
	for i, raw := range raws {
		path := fmt.Sprintf("%s[%d]", o.at("portMappings"), i)
		out = append(out, readPortMapping(decodeObject(raw, path, o.problems)))
	}
	return out
}

func readPortMapping(o object) nettypes.PortMapEntry {
	m := nettypes.PortMapEntry{Protocol: strings.ToLower(o.text("protocol")), HostIP: o.text("hostIP")}
	readPort(o, "hostPort", &m.HostPort)
	readPort(o, "containerPort", &m.ContainerPort)
	if m.Protocol == "" {
		m.Protocol = "tcp"
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, m.Protocol) {
		o.problems.Add(o.at("protocol"), "", "is %q, wanted is tcp, udp or sctp", m.Protocol)
	}
	if _, err := netip.ParseAddr(m.HostIP); m.HostIP != "" && err != nil {
		o.problems.Add(o.at("hostIP"), "", "is %q, wanted is an address", m.HostIP)
	}
	return m
}

func readPort(o object, key string, into *int) {
	const wanted = "a port from 1 to 65535"
	switch {
	case o.get(key) == nil:
		o.problems.Add(o.at(key), "", "is missing, wanted is %s", wanted)
	case o.read(key, into, wanted) && (*into < 1 || *into > 65535):
		o.problems.Add(o.at(key), "", "is %d, wanted is %s", *into, wanted)
	}
}

// readBandwidth reads rates in bits per second and bursts in bits.
func readBandwidth(o object) *nettypes.BandwidthEntry {
	if o.get("bandwidth") == nil {
		return nil
	}
	limits := o.inner("bandwidth")
	var b nettypes.BandwidthEntry
	in := readLimit(limits, "ingress", &b.IngressRate, &b.IngressBurst)
	out := readLimit(limits, "egress", &b.EgressRate, &b.EgressBurst)
	if !in && !out {
		o.problems.Add(limits.path, "", "limits nothing, wanted is ingressRate, egressRate or both")
	}
	return &b
}

// readLimit reads one direction; given is false where it has no rate.
func readLimit(o object, direction string, rate, burst *int) (given bool) {
	given = readBits(o, direction+"Rate", rate)
	if readBits(o, direction+"Burst", burst) && !given {
		o.problems.Add(o.at(direction+"Burst"), "", "is given without %sRate", direction)
	}
	return given
}

func readBits(o object, key string, into *int) (given bool) {
	if o.read(key, into, "a whole number of bits") && *into <= 0 {
		o.problems.Add(o.at(key), "", "is %d, wanted is more than 0", *into)
	}
	return o.get(key) != nil
}

// readDeviceID reads a device as the kubelet names it; a PCI address is one
// form of several.
func readDeviceID(o object) string {
	id := o.text("deviceID")
	if strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '/' }) {
		o.problems.Add(o.at("deviceID"), "", "is %q, wanted is a device of the pod, such as 0000:3b:02.1", id)
	}
	if lower := strings.ToLower(id); bond.CheckPCI(lower) == nil {
		return lower
	}
	return id
}

// readDefaultRoute reads gateways, at most one per address family. An empty
// list is not nil.
func readDefaultRoute(o object) []netip.Addr {
	var list []string
	if !o.read("default-route", &list, "a list of gateways; an empty one takes the network's own") {
		return nil
	}
	out := []netip.Addr{}
	seen := map[bool]string{}
	for i, s := range list {
		path := fmt.Sprintf("%s[%d]", o.at("default-route"), i)
		gateway, err := netip.ParseAddr(s)
		if err != nil || gateway.Zone() != "" || gateway.IsUnspecified() || gateway.IsMulticast() {
			o.problems.Add(path, "", "is %q, wanted is the address of a gateway", s)
			continue
		}
		gateway = gateway.Unmap()
		if other, twice := seen[gateway.Is4()]; twice {
			o.problems.Add(path, "", "is %s, and %s is of the same address family; a default route has one gateway", s, other)
		}
		seen[gateway.Is4()] = s
		out = append(out, gateway)
	}
	return out
}

// checkIPAMClaim checks a reference that an IPAM of its own reads from the
// annotation; it is not handed on.
func checkIPAMClaim(o object, ips []string) {
	claim := o.text("ipam-claim-reference")
	switch {
	case claim == "":
	case len(validation.IsDNS1123Subdomain(claim)) > 0:
		o.problems.Add(o.at("ipam-claim-reference"), "", "is %q, which is no name of an IPAMClaim", claim)
	case len(ips) > 0:
		o.problems.Add(o.at("ipam-claim-reference"), "leave one of the two out", "is %s, and ips asks for addresses too", claim)
	}
}
