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
func readEachOptions(top strictjson.Object, elements []strictjson.Object, links []Link) bond.Options {
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
	hasIPAM := top.Has("ipam") || slices.ContainsFunc(elements, func(o strictjson.Object) bool { return o.Has("ipam") })
	if hasIPAM && options[bond.AcceptRA] == "" {
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
	refuse("ips", `write them into the network, for each link: "links": [{"ipam": {"type": "static", ...}, ...}, ...]`)
}

// addressing is what gives addresses to links.
type addressing struct {
	path   string
	plugin Plugin
	blocks *Blocks
}

// readAddressing reads the ipam of a network or of a link. It returns nil if there is none.
// config is what the plugin gets.
func readAddressing(o strictjson.Object, config Config) *addressing {
	ipam, there := o.Object("ipam")
	if !there || len(ipam.Fields) == 0 {
		return nil
	}
	a := &addressing{path: ipam.Path}
	a.plugin.Config = config
	a.plugin.Type, a.blocks = readIPAM(ipam)
	return a
}

// withIPAM returns the links, each with what gives it addresses: an ipam of its own, or that
// of the network.
func withIPAM(links []Link, top strictjson.Object, elements []strictjson.Object, config Config) []Link {
	out := slices.Clone(links)
	shared := readAddressing(top, config)
	var sharing []strictjson.Object
	at := 0
	for _, o := range elements {
		a := readAddressing(o, config.withIPAM(o.Fields["ipam"]))
		a.check([]strictjson.Object{o})
		if a == nil {
			a, sharing = shared, append(sharing, o)
		}
		for end := at; at < len(out) && at < end+out[end].count(); at++ {
			if a == nil {
				continue
			}
			out[at].IPAM, out[at].Blocks = &a.plugin, a.blocks
			if a.blocks != nil && at == end {
				out[at].checkNumbers(o.Problems)
				out[at].checkMaster(o)
			}
		}
	}
	shared.check(sharing)
	return out
}

// checkNumbers refuses a pool whose NICs would have other numbers on another host, or later.
func (l Link) checkNumbers(problems *bond.Problems) {
	switch {
	case l.Pool == nil || len(l.Pool.Networks) > 0 || l.Pool.Numbered():
	case l.MovesNIC():
		problems.Add(code.BlocksPool, l.Pool.Path+".networks", "or give whole names", "is missing, want the networks of the NICs, which number them: those that host-device has moved into pods are not on the host")
	case l.NeedsRoutes():
		problems.Add(code.BlocksPool, l.Pool.Path+".networks", "or give whole names", "is missing, want the networks of the NICs, which number them: ipvlan in mode l3 or l3s needs one number on all hosts")
	}
}

// checkMaster refuses a link that needs routes of the host, but names no NIC of it.
func (l Link) checkMaster(o strictjson.Object) {
	if l.Pool != nil || !l.NeedsRoutes() {
		return
	}
	for _, p := range l.Plugins {
		var given struct {
			Master          string
			LinkInContainer bool
		}
		_ = json.Unmarshal(p.Config.Raw, &given) // the plugin reads it again
		switch {
		case p.Type != "ipvlan":
		case given.LinkInContainer:
			o.Problems.Add(code.RoutesMaster, o.Path, "use mode l2", "is ipvlan in mode l3 or l3s with linkInContainer, but the pods of other hosts are reached by routes over a master of the host")
		case given.Master == "":
			o.Problems.Add(code.RoutesMaster, o.Path, "name the master, or use a pool", "is ipvlan in mode l3 or l3s without master, over which the pods of other hosts are reached")
		}
	}
}

// check refuses what cannot give addresses to all links of these elements.
func (a *addressing) check(elements []strictjson.Object) {
	if a == nil || len(elements) == 0 {
		return
	}
	problems := elements[0].Problems
	if n := totalOf(elements); a.plugin.Type == "static" && n > 1 {
		problems.Add(code.EachIPAM, a.path, `give each element of links its own: "links": [{"ipam": {"type": "static", ...}, ...}, ...]`, "is static, which would give the same addresses to each of %d links", n)
	}
	pooled := func(o strictjson.Object) bool { return o.Has("pool") }
	if a.blocks != nil && len(elements) > 1 && slices.ContainsFunc(elements, pooled) {
		problems.Add(code.BlocksPool, a.path, "use one pool with a count, or give each element of links an ipam with a subnet of its own", "is %s, which numbers the NICs of one pool, but is for %d elements of links", BlocksType, len(elements))
	}
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

// NamedTables lists the routing tables that the configurations of a network name for its
// plugins, such as sbr and vrf, and in the routes of its IPAM.
func (n Network) NamedTables() (tables []int) {
	tables = tablesIn(n.Config.Raw)
	for _, p := range slices.Concat(n.Chain, n.After) {
		tables = append(tables, tablesIn(p.Config.Raw)...)
	}
	return tables
}

// tablesIn returns the numbers that have the key table anywhere in a configuration.
func tablesIn(raw json.RawMessage) (tables []int) {
	var object map[string]json.RawMessage
	var list []json.RawMessage
	switch {
	case json.Unmarshal(raw, &object) == nil:
		for key, value := range object {
			var table int
			if key == "table" && json.Unmarshal(value, &table) == nil {
				tables = append(tables, table)
			}
			tables = append(tables, tablesIn(value)...)
		}
	case json.Unmarshal(raw, &list) == nil:
		for _, value := range list {
			tables = append(tables, tablesIn(value)...)
		}
	}
	return tables
}
