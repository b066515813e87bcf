package netconf

import (
	"cmp"
	"encoding/json"
	"maps"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// isBondList reports whether a configuration of a bond is a list. Its first plugin is the
// bond; those after it work on the bond.
func isBondList(fields map[string]json.RawMessage) bool {
	_, is := fields["plugins"]
	return is && !isNetwork(fields)
}

// readBondList reads a list whose first plugin is a bond, and passes runtime on to all
// of its plugins.
func readBondList(fields map[string]json.RawMessage, bondName string, runtime map[string]json.RawMessage) (Network, error) {
	var problems, own bond.Problems
	list := strictjson.Object{Fields: fields, Problems: &problems}
	name, version := list.Text("name"), cmp.Or(listVersion(list), DefaultVersion)
	plugins := pluginObjects(list)
	if len(plugins) == 0 && len(problems) == 0 {
		problems.Add(code.NoPlugins, "plugins", "", "has no plugin configuration")
	}
	if len(problems) > 0 {
		return Network{Name: name}, problemsOf(name, problems)
	}
	first := firstOfList(list, plugins[0], version)
	addRuntimeConfig(first, runtime)
	n := readBond(strictjson.Encode(first), first, bondName, &own)
	for _, p := range own {
		if p.Path != "name" { // which is the list's
			p.Path = plugins[0].At(p.Path)
		}
		problems = append(problems, p)
	}
	if n.Attach == AttachEach {
		noPluginsAfter(plugins[1:], &problems)
	}
	for _, o := range plugins[1:] {
		n.After = append(n.After, chainPlugin(o, name, version, runtime))
		n.PodLinks = append(n.PodLinks, podMaster(o)...)
	}
	return n, problemsOf(n.Name, problems)
}

// firstOfList returns the fields of the first plugin of a list, with those of the list
// that hold for a network that is not a list.
func firstOfList(list, first strictjson.Object, version string) map[string]json.RawMessage {
	fields := maps.Clone(first.Fields)
	delete(fields, "name")
	for _, key := range []string{"name", "disableCheck", "disableGC"} {
		if list.Has(key) {
			fields[key] = list.Fields[key]
		}
	}
	fields["cniVersion"] = strictjson.Encode(version)
	return fields
}
