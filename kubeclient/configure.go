package kubeclient

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
)

// capability is a value that a plugin can declare to support (CNI conventions,
// "Dynamic Plugin specific fields").
type capability struct {
	name  string // key in capabilities and in runtimeConfig
	asked string // key of the annotation that asks for it; empty for none
	value any    // nil if there is nothing to pass on
}

// capabilities lists what an attachment passes on to its plugins.
func capabilities(e Element, device, deviceInfoFile string) []capability {
	c := func(name, asked string, there bool, value any) capability {
		if !there {
			value = nil
		}
		return capability{name, asked, value}
	}
	return []capability{
		c("ips", "ips", len(e.IPs) > 0, e.IPs),
		c("mac", "mac", e.MAC != "", e.MAC),
		c("infinibandGUID", "infiniband-guid", e.InfinibandGUID != "", e.InfinibandGUID),
		c("portMappings", "portMappings", len(e.PortMappings) > 0, e.PortMappings),
		c("bandwidth", "bandwidth", e.Bandwidth != nil, e.Bandwidth),
		c("deviceID", "", device != "", device),
		c("CNIDeviceInfoFile", "", deviceInfoFile != "", deviceInfoFile),
	}
}

// Configure returns the configuration of one attachment: that of the network, with
// what the pod asks for. device is the assigned device, "" for none. In
// deviceInfoFile the plugin may describe the device. A value that no plugin takes is an
// error for a bond. For other networks it is a doubt, because Multus ignores it. So is a
// value for which only a bond declares a capability, and no bond has it.
func (n Network) Configure(e Element, device, deviceInfoFile string) (config json.RawMessage, doubts bond.Problems, err error) {
	var problems bond.Problems
	offered := capabilities(e, device, deviceInfoFile)
	taken, declared := map[string]bool{}, map[string]bool{} // declared is by a bond, which has no use for it
	if n.IsBond() {
		if len(e.IPs) > 0 && !n.Config.plugins[0].hasIPAM() {
			problems.Add(code.NoIPAM, e.Path+".ips", "", "is requested, but network %s has no ipam to assign addresses", n.Name)
		}
		if n.Config.plugins[0].rest.Text("attach") == netconf.AttachEach {
			refuseOfEach(n, e, &problems)
		}
		n.Config = n.Config.withFirst(n.Config.plugins[0].asBond(e.MAC))
		taken["mac"], taken["ips"] = true, true
	}
	config = n.Config.each(func(p plugin) json.RawMessage {
		if n.IsBond() && p.isBond() {
			toBond := slices.DeleteFunc(slices.Clone(offered), func(c capability) bool { return c.name == "mac" })
			return p.configure(toBond, declared, e.CNIArgs, "")
		}
		return p.configure(offered, taken, e.CNIArgs, device)
	})
	for _, c := range offered {
		if c.asked == "" || c.value == nil || taken[c.name] {
			continue
		}
		hint, text := `its configuration needs "capabilities": {"`+c.name+`": true}`, "is requested, but no plugin of network %s supports it"
		switch {
		case declared[c.name]:
			doubts.Add(code.NoCapability, e.Path+"."+c.asked, "", "is requested and has no effect: network %s declares the capability, but a bond does not implement it", n.Name)
		case n.IsBond():
			problems.Add(code.NoCapability, e.Path+"."+c.asked, hint, text, n.Name)
		case !slices.Contains(inArgs, c.name):
			doubts.Add(code.NoCapability, e.Path+"."+c.asked, hint, text, n.Name)
		}
	}
	return config, doubts, problems.Err()
}

// inArgs are the values that every plugin gets in CNI_ARGS too.
var inArgs = []string{"mac", "ips"}

// cniArgs returns what the plugins of a network that is not a bond get in CNI_ARGS in
// addition. Multus passes it whether or not a capability is declared: bridge,
// sriov-cni, tuning, static and host-local read it.
func (e Element) cniArgs() string {
	var pairs []string
	if e.MAC != "" {
		pairs = append(pairs, "MAC="+e.MAC)
	}
	if len(e.IPs) > 0 {
		pairs = append(pairs, "IP="+strings.Join(e.IPs, ","))
	}
	return strings.Join(pairs, ";")
}

// refuseOfEach adds what a pod asks for that only one interface can have, from a network
// with an interface for each link.
func refuseOfEach(n Network, e Element, problems *bond.Problems) {
	refuse := func(key, hint string) {
		problems.Add(code.EachRuntime, e.Path+"."+key, hint, "is for one interface, but network %s has one for each link", n.Name)
	}
	if e.MAC != "" {
		refuse("mac", `leave it out, or set "mac" in the network, in the configuration that attaches each link`)
	}
	if len(e.IPs) > 0 {
		refuse("ips", `leave it out, or write the addresses into the network: "ipam": [{"type": "static", ...}, ...], one for each link`)
	}
}

// asBond returns the configuration of a bond with what it takes without declaring a
// capability: mac is an option of the bond, and its IPAM plugin assigns ips.
func (p plugin) asBond(mac string) plugin {
	capabilities := map[string]bool{}
	maps.Copy(capabilities, p.capabilities)
	capabilities["ips"] = true
	p.capabilities = capabilities
	if mac != "" {
		p.text = strictjson.SetField(p.text, bond.MAC, strictjson.Encode(mac))
	}
	return p
}

// configure returns the complete configuration of a plugin, and adds the capabilities
// that it supports to taken. The pod's cni-args override those of the configuration.
func (p plugin) configure(offered []capability, taken map[string]bool, args map[string]json.RawMessage, device string) json.RawMessage {
	values := map[string]any{}
	for _, c := range offered {
		if c.value != nil && p.capabilities[c.name] {
			values[c.name], taken[c.name] = c.value, true
		}
	}
	text := p.text
	if len(values) > 0 {
		text = strictjson.SetField(text, "runtimeConfig", merged(p.runtimeConfig, values))
	}
	if device != "" {
		text = strictjson.SetField(text, "deviceID", strictjson.Encode(device))
		text = strictjson.SetField(text, "pciBusID", strictjson.Encode(device))
	}
	if len(args) > 0 {
		text = strictjson.SetField(text, "args", merged(p.args, map[string]any{"cni": merged(p.cniArgs, args)}))
	}
	return text
}

// merged returns an object with the values of both. Those of more override.
func merged[V any](old map[string]json.RawMessage, more map[string]V) json.RawMessage {
	out := map[string]any{}
	for key, value := range old {
		out[key] = value
	}
	for key, value := range more {
		out[key] = value
	}
	return strictjson.Encode(out)
}
