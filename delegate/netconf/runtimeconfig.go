package netconf

import (
	"encoding/json"
	"maps"

	"github.com/multibond/multibond/delegate/strictjson"
)

// WithRuntimeConfig hands what the kubelet asks for on to the plugins of the
// default network that take it (CNI conventions, "Dynamic Plugin specific
// fields"); what is there already wins.
func WithRuntimeConfig(config, runtime json.RawMessage) json.RawMessage {
	var values, fields map[string]json.RawMessage
	if json.Unmarshal(runtime, &values) != nil || len(values) == 0 || json.Unmarshal(config, &fields) != nil {
		return config
	}
	var list []json.RawMessage
	if json.Unmarshal(fields["plugins"], &list) != nil || list == nil {
		return withCapabilities(config, values)
	}
	for i := range list {
		list[i] = withCapabilities(list[i], values)
	}
	fields["plugins"] = strictjson.Encode(list)
	return strictjson.Encode(fields)
}

func withCapabilities(plugin json.RawMessage, values map[string]json.RawMessage) json.RawMessage {
	var own struct {
		Capabilities  map[string]bool
		RuntimeConfig map[string]json.RawMessage
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(plugin, &own) != nil || json.Unmarshal(plugin, &fields) != nil {
		return plugin
	}
	merged := maps.Clone(values)
	maps.DeleteFunc(merged, func(key string, _ json.RawMessage) bool { return !own.Capabilities[key] })
	if len(merged) == 0 {
		return plugin
	}
	maps.Copy(merged, own.RuntimeConfig)
	fields["runtimeConfig"] = strictjson.Encode(merged)
	return strictjson.Encode(fields)
}
