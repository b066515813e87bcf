package kubeclient

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/utils"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
)

// maxConfig is the most bytes that the configuration of one network may have. It is
// copied for each plugin of a list and for each link of a bond.
const maxConfig = 128 << 10

// Config is a CNI configuration, a single one or a list, decoded once. Its text stays
// byte by byte apart from what is set.
type Config struct {
	text    json.RawMessage
	isList  bool
	plugins []plugin
}

// plugin is one plugin of a configuration.
type plugin struct {
	text          json.RawMessage
	pluginType    string
	capabilities  map[string]bool
	runtimeConfig map[string]json.RawMessage
	args          map[string]json.RawMessage
	cniArgs       map[string]json.RawMessage // args.cni

	// rest reads what others check, so its problems are dropped: package netconf
	// reports those of links, and the plugin those of ipam.
	rest strictjson.Object
}

// ParseConfig validates a CNI configuration, a single one or a list, and adds the name
// and the cniVersion if they are missing. The error has all problems, each with its
// path.
func ParseConfig(raw []byte, name string) (Config, error) {
	var problems bond.Problems
	if len(raw) > maxConfig {
		problems.Add(code.TooLarge, "", "", "has %d bytes, want at most %d", len(raw), maxConfig)
		return Config{}, problems.Err()
	}
	if !utf8.Valid(raw) {
		problems.Add(code.NotJSON, "", "", "is not valid UTF-8")
		return Config{}, problems.Err()
	}
	o := strictjson.Object{Problems: &problems}
	if err := json.Unmarshal(raw, &o.Fields); err != nil || o.Fields == nil {
		problems.Add(code.NotJSON, "", "", "is not a JSON object: %s", orElse(err, strictjson.KindOf(raw)))
		return Config{}, problems.Err()
	}
	text := json.RawMessage(raw)
	if o.Text("cniVersion") == "" && !(o.Has("plugins") && o.Has("cniVersions")) {
		text = strictjson.SetField(text, "cniVersion", strictjson.Encode(netconf.DefaultVersion))
	}
	if own := o.Text("name"); own == "" {
		text = strictjson.SetField(text, "name", strictjson.Encode(name))
	} else if utils.ValidateNetworkName(own) != nil {
		problems.Add(code.BadName, "name", "letters, digits, dots, hyphens and underscores", "is %q, which is not a valid name of a CNI network", own)
	}
	c := readConfig(text, o)
	return c, problems.Err()
}

func orElse(err error, otherwise string) string {
	if err == nil {
		return otherwise
	}
	return err.Error()
}

// readConfig reads the plugins of a configuration, and checks that each can be called
// and that its configuration can be completed.
func readConfig(text json.RawMessage, o strictjson.Object) Config {
	c := Config{text: text, isList: o.Has("plugins")}
	if !c.isList {
		c.plugins = []plugin{readPlugin(text, o)}
		return c
	}
	var list []json.RawMessage
	if o.Read("plugins", &list, "a list of plugin configurations") && len(list) == 0 {
		o.Problems.Add(code.NoPlugins, "plugins", "", "is empty, want at least one plugin")
	}
	if len(list) > netconf.MaxPlugins {
		o.Problems.Add(code.ManyPlugins, "plugins", "", "has %d plugins, want at most %d", len(list), netconf.MaxPlugins)
		return c
	}
	for i, text := range list {
		one, _ := strictjson.Decode(text, fmt.Sprintf("plugins[%d]", i), o.Problems)
		c.plugins = append(c.plugins, readPlugin(text, one))
	}
	return c
}

// pluginKeys are the keys that are read of a plugin in any case, as plugins read them.
var pluginKeys = []string{"capabilities", "runtimeConfig", "args", "ipam", "links", "minLinks"}

func readPlugin(text json.RawMessage, o strictjson.Object) plugin {
	strictjson.FoldKeys(o.Fields, pluginKeys)
	p := plugin{text: text, pluginType: o.Text("type"), rest: strictjson.Object{Fields: o.Fields, Problems: &bond.Problems{}}}
	switch {
	case p.pluginType == "":
		o.Problems.Add(code.NoType, o.At("type"), "", "is missing, want the name of a CNI plugin")
	case strings.ContainsAny(p.pluginType, "/\x00") || p.pluginType == "." || p.pluginType == "..":
		o.Problems.Add(code.BadType, o.At("type"), "", "is %q, which is not a valid name of a CNI plugin", p.pluginType)
	}
	o.Read("capabilities", &p.capabilities, "an object whose values are true or false")
	runtimeConfig, _ := o.Object("runtimeConfig")
	args, _ := o.Object("args")
	cniArgs, _ := args.Object("cni")
	p.runtimeConfig, p.args, p.cniArgs = runtimeConfig.Fields, args.Fields, cniArgs.Fields
	return p
}

// needsDevice reports whether the plugin can do nothing without a device.
func (p plugin) needsDevice() bool { return p.pluginType == "sriov" || p.pluginType == "ib-sriov" }

func (p plugin) hasIPAM() bool {
	ipam, _ := p.rest.Object("ipam")
	return len(ipam.Fields) > 0
}

// each returns the text of the configuration after change was applied to each plugin.
func (c Config) each(change func(plugin) json.RawMessage) json.RawMessage {
	if !c.isList {
		return change(c.plugins[0])
	}
	var list []json.RawMessage
	for _, p := range c.plugins {
		list = append(list, change(p))
	}
	return strictjson.SetField(c.text, "plugins", strictjson.JoinList(list))
}

// withFirst returns the configuration with another first plugin.
func (c Config) withFirst(p plugin) Config {
	c.plugins = slices.Clone(c.plugins)
	c.plugins[0] = p
	c.text = c.each(func(p plugin) json.RawMessage { return p.text })
	return c
}

// laterBond returns the place of a plugin of ours that is not the first of its list, or 0.
func (c Config) laterBond() int {
	for i, p := range c.plugins {
		if i > 0 && p.pluginType == bondType {
			return i
		}
	}
	return 0
}

// has reports whether one of the plugins matches.
func (c Config) has(match func(plugin) bool) bool { return slices.ContainsFunc(c.plugins, match) }
