package kubeclient

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/multibond/multibond/bond"
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
// deviceInfoFile the plugin may describe the device. The error lists each value
// that no plugin of the network supports, with the path of the element.
func (n Network) Configure(e Element, device, deviceInfoFile string) (json.RawMessage, error) {
	var problems bond.Problems
	config := n.Config
	offered := capabilities(e, device, deviceInfoFile)
	if n.IsBond() {
		config, offered = n.configureBond(config, e, offered, &problems)
	}
	taken := map[string]bool{}
	config = eachPlugin(config, func(plugin json.RawMessage) json.RawMessage {
		return configurePlugin(plugin, offered, taken, e.CNIArgs, device)
	})
	for _, c := range offered {
		if c.asked != "" && c.value != nil && !taken[c.name] {
			problems.Add(e.Path+"."+c.asked, `its configuration needs "capabilities": {"`+c.name+`": true}`, "is asked for, and no plugin of network %s takes it", n.Name)
		}
	}
	return config, problems.Err()
}

// configureBond passes on what a bond takes without declaring a capability: mac is
// an option of the bond, and its IPAM plugin assigns ips.
func (n Network) configureBond(config json.RawMessage, e Element, offered []capability, problems *bond.Problems) (json.RawMessage, []capability) {
	if e.MAC != "" {
		config = strictjson.SetField(config, bond.MAC, strictjson.Encode(e.MAC))
	}
	if len(e.IPs) > 0 {
		var own struct{ IPAM map[string]json.RawMessage }
		if _ = json.Unmarshal(config, &own); len(own.IPAM) == 0 {
			problems.Add(e.Path+".ips", "", "is asked for, and network %s has no ipam to give addresses", n.Name)
		}
		config = setRuntimeConfig(config, map[string]any{"ips": e.IPs})
	}
	own := func(c capability) bool { return c.name == "mac" || c.name == "ips" }
	return config, slices.DeleteFunc(offered, own)
}

// configurePlugin completes the configuration of one plugin, and adds the
// capabilities that it supports to taken.
func configurePlugin(plugin json.RawMessage, offered []capability, taken map[string]bool, args map[string]json.RawMessage, device string) json.RawMessage {
	var head struct{ Capabilities map[string]bool }
	_ = json.Unmarshal(plugin, &head)
	values := map[string]any{}
	for _, c := range offered {
		if c.value != nil && head.Capabilities[c.name] {
			values[c.name], taken[c.name] = c.value, true
		}
	}
	plugin = setRuntimeConfig(plugin, values)
	if device != "" {
		plugin = strictjson.SetField(plugin, "deviceID", strictjson.Encode(device))
		plugin = strictjson.SetField(plugin, "pciBusID", strictjson.Encode(device))
	}
	return setArgs(plugin, args)
}

// setRuntimeConfig adds values to runtimeConfig and keeps those that are there.
func setRuntimeConfig(plugin json.RawMessage, values map[string]any) json.RawMessage {
	if len(values) == 0 {
		return plugin
	}
	var own struct{ RuntimeConfig map[string]any }
	_ = json.Unmarshal(plugin, &own)
	merged := map[string]any{}
	maps.Copy(merged, own.RuntimeConfig)
	maps.Copy(merged, values)
	return strictjson.SetField(plugin, "runtimeConfig", strictjson.Encode(merged))
}

// setArgs adds the pod's cni-args to args.cni. They override those of the
// configuration.
func setArgs(plugin json.RawMessage, args map[string]json.RawMessage) json.RawMessage {
	if len(args) == 0 {
		return plugin
	}
	var own struct{ Args map[string]json.RawMessage }
	_ = json.Unmarshal(plugin, &own)
	var given map[string]json.RawMessage
	_ = json.Unmarshal(own.Args["cni"], &given)
	merged := map[string]json.RawMessage{}
	maps.Copy(merged, given)
	maps.Copy(merged, args)
	outer := map[string]json.RawMessage{}
	maps.Copy(outer, own.Args)
	outer["cni"] = strictjson.Encode(merged)
	return strictjson.SetField(plugin, "args", strictjson.Encode(outer))
}
