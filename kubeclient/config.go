package kubeclient

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/utils"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
)

// maxConfig is the most bytes that the configuration of one network may have. It is
// copied for each plugin of a list and for each link of a bond.
const maxConfig = 128 << 10

// ParseConfig validates a CNI configuration, a single one or a list, and returns it
// with the name and the cniVersion added if they are missing. Every other byte
// stays. The error has all problems, each with its path.
func ParseConfig(raw []byte, name string) (json.RawMessage, error) {
	var problems bond.Problems
	if len(raw) > maxConfig {
		problems.Add("", "", "has %d bytes, wanted are at most %d", len(raw), maxConfig)
		return nil, problems.Err()
	}
	if !utf8.Valid(raw) {
		problems.Add("", "", "is not valid UTF-8")
		return nil, problems.Err()
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		problems.Add("", "", "is no JSON object: %s", orElse(err, strictjson.KindOf(raw)))
		return nil, problems.Err()
	}
	o := strictjson.Object{Fields: fields, Problems: &problems}
	config := json.RawMessage(raw)
	if o.Text("cniVersion") == "" {
		config = strictjson.SetField(config, "cniVersion", strictjson.Encode(netconf.DefaultVersion))
	}
	own := o.Text("name")
	if own == "" {
		config = strictjson.SetField(config, "name", strictjson.Encode(name))
	} else if utils.ValidateNetworkName(own) != nil {
		problems.Add("name", "letters, digits, dots, hyphens and underscores", "is %q, which is no name of a CNI network", own)
	}
	checkPlugins(o)
	return config, problems.Err()
}

func orElse(err error, otherwise string) string {
	if err == nil {
		return otherwise
	}
	return err.Error()
}

// checkPlugins checks that each plugin of a configuration can be called and that
// its configuration can be completed.
func checkPlugins(o strictjson.Object) {
	if !o.Has("plugins") {
		checkPlugin(o)
		return
	}
	var list []json.RawMessage
	if o.Read("plugins", &list, "a list of plugin configurations") && len(list) == 0 {
		o.Problems.Add("plugins", "", "is empty, wanted is at least one plugin")
	}
	if len(list) > netconf.MaxPlugins {
		o.Problems.Add("plugins", "", "has %d plugins, wanted are at most %d", len(list), netconf.MaxPlugins)
		return
	}
	for i, raw := range list {
		plugin, _ := strictjson.Decode(raw, fmt.Sprintf("plugins[%d]", i), o.Problems)
		checkPlugin(plugin)
	}
}

func checkPlugin(o strictjson.Object) {
	switch t := o.Text("type"); {
	case t == "":
		o.Problems.Add(o.At("type"), "", "is missing, wanted is the name of a CNI plugin")
	case strings.ContainsAny(t, "/\x00") || t == "." || t == "..":
		o.Problems.Add(o.At("type"), "", "is %q, which is no name of a CNI plugin", t)
	}
	o.Read("capabilities", &map[string]bool{}, "an object whose values are true or false")
	o.Object("runtimeConfig")
	args, _ := o.Object("args")
	args.Object("cni")
}

// pluginList returns the plugins of a list, or nil for a single configuration.
func pluginList(config json.RawMessage) (list []json.RawMessage) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(config, &fields) == nil {
		_ = json.Unmarshal(fields["plugins"], &list)
	}
	return list
}

// eachPlugin applies change to every plugin of a parsed configuration, a single one
// or a list.
func eachPlugin(config json.RawMessage, change func(plugin json.RawMessage) json.RawMessage) json.RawMessage {
	list := pluginList(config)
	if list == nil {
		return change(config)
	}
	for i, plugin := range list {
		list[i] = change(plugin)
	}
	return strictjson.SetField(config, "plugins", strictjson.JoinList(list))
}

// pluginTypes returns the types of the plugins of a parsed configuration, in order,
// and whether it is a list.
func pluginTypes(config json.RawMessage) (types []string, isList bool) {
	var head struct {
		Type    string
		Plugins []struct{ Type string }
	}
	_ = json.Unmarshal(config, &head)
	if head.Plugins == nil {
		return []string{head.Type}, false
	}
	for _, plugin := range head.Plugins {
		types = append(types, plugin.Type)
	}
	return types, true
}
