package netconf

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// AttachEach is the value of attach that makes no bond: each link is an interface of the
// pod, with addresses of its own.
const AttachEach = "each"

// readAttach returns AttachEach if no bond is to be made, otherwise "".
func readAttach(top strictjson.Object) string {
	switch given := top.Text("attach"); given {
	case AttachEach:
		return AttachEach
	case "", "bond":
	default:
		top.Problems.Add(code.WrongWord, "attach", "", "is %q, want bond or each", given)
	}
	return ""
}

// eachOptions are those options of a bond that its links can have without it.
var eachOptions = []string{bond.MTU, bond.VLAN, bond.MinLinks, bond.AcceptRA}

// eachRequirements are those that links have without a bond. The others are about one link
// that takes the place of another, and are checked only if the configuration names them.
var eachRequirements = []string{"pfUp", "noHostBond", "pfMTU", "linkState"}

// bondKeys are the keys of a network, other than options, that are about a bond.
var bondKeys = []string{"allowLACP", "linksInContainer"}

// readEachOptions reads the options of interfaces that are not bonded, and refuses those
// that only a bond has.
func readEachOptions(top strictjson.Object, links []Link) bond.Options {
	const hint, text = `leave it out, or set "attach": "bond"`, `is about a bond, but with "attach": "each" there is none`
	for _, key := range slices.Concat(bond.OptionKeys(), bondKeys) {
		if top.Has(key) && !slices.Contains(eachOptions, key) {
			top.Problems.Add(code.EachOption, key, hint, text)
		}
	}
	for i, l := range links {
		for _, key := range slices.Sorted(maps.Keys(l.Options)) {
			top.Problems.Add(code.EachOption, fmt.Sprintf("links[%d].%s", i, key), hint, text)
		}
	}
	checkRuntime(top)
	given := maps.Clone(top.Fields)
	maps.DeleteFunc(given, func(key string, _ json.RawMessage) bool { return !slices.Contains(eachOptions, key) })
	options, problems := bond.ParseOptions(given, nil, nil)
	for _, p := range problems {
		if slices.Contains(eachOptions, p.Path) {
			*top.Problems = append(*top.Problems, p)
		}
	}
	maps.DeleteFunc(options, func(key, _ string) bool { return !slices.Contains(eachOptions, key) })
	if top.Has("ipam") && options[bond.AcceptRA] == "" {
		options[bond.AcceptRA] = "0"
	}
	return options
}

// checkRuntime refuses what a pod asks for that only one interface can have.
func checkRuntime(top strictjson.Object) {
	runtime, _ := top.Object("runtimeConfig")
	refuse := func(key, hint string) {
		if runtime.Has(key) {
			top.Problems.Add(code.EachRuntime, runtime.At(key), hint, `is for one interface, but with "attach": "each" the pod gets one for each link`)
		}
	}
	refuse(bond.MAC, `set "mac" in the configuration that attaches each link`)
	refuse("ips", `write them into the network: "ipam": [{"type": "static", ...}, ...], one for each link`)
}

// readIPAMs returns the IPAM plugin of each link, whose elements stand for several links
// each if they have a count. ipam is one configuration for all of them, or a list with one
// for each link. There are none without ipam.
func readIPAMs(top strictjson.Object, elements []strictjson.Object, config Config) (plugins []Plugin) {
	total := totalOf(elements)
	if strictjson.KindOf(top.Fields["ipam"]) != "a list" {
		if one, there := top.Object("ipam"); there && len(one.Fields) > 0 {
			plugins = slices.Repeat([]Plugin{{Type: pluginType(one), Config: config}}, total)
		}
		return plugins
	}
	list := top.Each("ipam")
	if len(list) != total {
		top.Problems.Add(code.EachIPAM, "ipam", "write one configuration for each link, or one for all of them without a list", "has %d configurations, but there are %d links", len(list), total)
		return nil
	}
	for _, o := range list {
		own := config.With(map[string]json.RawMessage{"ipam": strictjson.Encode(o.Fields)})
		plugins = append(plugins, Plugin{Type: pluginType(o), Config: NewConfig(own)})
	}
	return plugins
}

// withIPAM returns the links with their IPAM plugins. The links of a pool are there, those
// that the agent resolves are one link before that.
func withIPAM(links []Link, elements []strictjson.Object, plugins []Plugin) []Link {
	out, at, link := slices.Clone(links), 0, 0
	for _, o := range elements {
		for i := range countOf(o) {
			if i > 0 && !o.Has("pool") || link == len(out) {
				at++
				continue
			}
			if at < len(plugins) {
				out[link].IPAM = &plugins[at]
			}
			at, link = at+1, link+1
		}
	}
	return out
}

// noPluginsAfter refuses plugins after interfaces that are not bonded: each of these
// plugins works on one interface, the one of CNI_IFNAME.
func noPluginsAfter(plugins []strictjson.Object, problems *bond.Problems) {
	if len(plugins) == 0 {
		return
	}
	var types []string
	for _, o := range plugins {
		types = append(types, lenient(o.Fields).Text("type"))
	}
	problems.Add(code.EachAfter, "plugins[1]", `give each link its own, after what attaches it: "delegate": {"plugins": [{"type": "sriov"}, ...]}`,
		`%s would work on one interface, but with "attach": "each" the pod gets one for each link`, strings.Join(types, ", "))
}
