package netconf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/containernetworking/cni/pkg/version"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// ParseChain reads the configuration, single or a list, of a network that other
// plugins make. All problems are returned at once, each with its path. The error's
// code is 6 if raw is not JSON, and 7 if something in it is wrong.
func ParseChain(raw []byte) (Network, error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return Network{}, err
	}
	return readChain(raw, fields, nil)
}

// readChain reads a chain and passes runtime on to its plugins.
func readChain(raw json.RawMessage, fields, runtime map[string]json.RawMessage) (Network, error) {
	var problems bond.Problems
	top := strictjson.Object{Fields: fields, Problems: &problems}
	n := Network{Config: NewConfig(raw), CNIVersion: cmp.Or(top.Text("cniVersion"), DefaultVersion), Name: networkName(top)}
	plugins := []strictjson.Object{top}
	if top.Has("plugins") {
		n.CNIVersion = cmp.Or(listVersion(top), DefaultVersion)
		if plugins = pluginObjects(top); len(plugins) == 0 && len(problems) == 0 {
			top.Problems.Add(code.NoPlugins, "plugins", "", "has no plugin configuration")
		}
	}
	for _, o := range plugins {
		p := chainPlugin(o, n.Name, n.CNIVersion, runtime)
		n.Chain = append(n.Chain, p)
		n.Device = cmp.Or(n.Device, staticDevice(o))
		if p.Type == BondCNI {
			n.PodLinks = append(n.PodLinks, bondCNIPodLinks(o)...)
		} else {
			n.PodLinks = append(n.PodLinks, podMaster(o)...)
		}
	}
	return n, problemsOf(n.Name, problems)
}

// newestVersion is the newest CNI version that Multibond knows.
const newestVersion = "1.1.0"

// listVersion returns the newest version of a list's cniVersions and cniVersion that
// Multibond knows. If it knows none of them, that is cniVersion.
func listVersion(top strictjson.Object) string {
	own := top.Text("cniVersion")
	var all []string
	top.Read("cniVersions", &all, "a list of CNI versions")
	var newest string
	for i, v := range append(all, own) {
		known, err := version.GreaterThanOrEqualTo(newestVersion, v)
		if err != nil && i < len(all) {
			top.Problems.Add(code.BadVersion, top.At(fmt.Sprintf("cniVersions[%d]", i)), "", "is %q, want a CNI version", v)
		}
		if newer, err := version.GreaterThan(v, newest); err == nil && known && (newer || newest == "") {
			newest = v
		}
	}
	return cmp.Or(newest, own)
}

// podMaster returns the interface of the pod that a plugin makes its own interface over,
// as vlan, macvlan and ipvlan do with linkInContainer. It reports no problem, because the
// plugin does.
func podMaster(o strictjson.Object) []string {
	o.Problems = &bond.Problems{}
	if master := o.Text("master"); master != "" && o.Bool("linkInContainer") {
		return []string{master}
	}
	return nil
}

// staticDevice returns the PCI address that a plugin's configuration names, where sriov-cni
// and host-device read it, or "".
func staticDevice(o strictjson.Object) string {
	o.Problems = &bond.Problems{}
	for _, key := range []string{"deviceID", "pciBusID"} {
		if address := strings.ToLower(o.Text(key)); bond.CheckPCI(address) == nil {
			return address
		}
	}
	return ""
}

// chainPlugin returns one plugin with its standard input. Every plugin of a list gets the
// list's name and version (CNI specification, section 4).
func chainPlugin(o strictjson.Object, name, version string, runtime map[string]json.RawMessage) Plugin {
	fields := maps.Clone(o.Fields)
	addRuntimeConfig(fields, runtime)
	fields["name"], fields["cniVersion"] = strictjson.Encode(name), strictjson.Encode(version)
	return Plugin{Type: pluginType(o), Config: NewConfig(strictjson.Encode(fields))}
}
