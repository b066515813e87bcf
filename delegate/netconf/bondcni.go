package netconf

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// BondCNI is the CNI type of bond-cni. Multibond takes its configurations as they are:
// what bond-cni reads means the same here, and what it ignores is ignored and named in a
// warning. Multibond's defaults replace what a configuration leaves out.
const BondCNI = "bond"

// bondCNIOptions are the bond options that bond-cni reads.
var bondCNIOptions = []string{bond.Mode, bond.Miimon, bond.FailOverMac, bond.MTU, "allSlavesActive", "tlbDynamicLb", "xmitHashPolicy"}

// bondCNIKeys are all keys that bond-cni reads or a runtime adds.
var bondCNIKeys = slices.Concat(bondCNIOptions, []string{
	"links", "linksInContainer", "ipam", "dns",
	"cniVersion", "name", "type", "runtimeConfig", "capabilities", "args", "prevResult", "disableCheck", "disableGC", ValidKey, AttachmentsKey,
})

// fromBondCNI returns the fields of a configuration of ours for the bond that a bond-cni
// configuration describes, and warns of what it leaves out or changes.
func fromBondCNI(given map[string]json.RawMessage, bondName string) (fields map[string]json.RawMessage, warnings bond.Problems) {
	fields = maps.Clone(given)
	strictjson.FoldKeys(fields, bondCNIKeys)
	o := lenient(fields)
	if name := o.Text("ifname"); name != "" && bondName != "" && name != bondName {
		warnings.Add(code.BondCNIName, "ifname", "", "is %s, but the runtime asks for %s (CNI_IFNAME), which becomes the bond's name, as with bond-cni", name, bondName)
	}
	delete(fields, "ifname")
	if ignored := dropIgnored(fields); len(ignored) > 0 {
		hint := ""
		if ours := slices.DeleteFunc(slices.Clone(ignored), func(key string) bool { return !slices.Contains(ownKeys, key) }); len(ours) > 0 {
			hint = fmt.Sprintf(`with "type": "multibond" these have an effect: %s`, strings.Join(ours, ", "))
		}
		warnings.Add(code.BondCNIKeys, "", hint, "these keys are ignored, as by bond-cni: %s", strings.Join(ignored, ", "))
	}
	return fields, append(warnings, settleBondCNI(fields)...)
}

// ownKeys are keys of ours that bond-cni ignores.
var ownKeys = slices.DeleteFunc(slices.Concat(topKeys, bond.OptionKeys(), []string{"runtimeConfig." + bond.MAC}), func(key string) bool {
	return slices.Contains(bondCNIKeys, key)
})

// bondCNIPodLinks lists the interfaces of the pod that bond-cni bonds as a plugin of a
// chain. It reports no problem, because bond-cni does.
func bondCNIPodLinks(o strictjson.Object) (names []string) {
	o.Fields, o.Problems = maps.Clone(o.Fields), &bond.Problems{}
	strictjson.FoldKeys(o.Fields, bondCNIKeys)
	if !o.Bool("linksInContainer") {
		return nil
	}
	for _, l := range o.Each("links") {
		strictjson.FoldKeys(l.Fields, []string{"name"})
		names = append(names, l.Text("name"))
	}
	return names
}

// dropIgnored removes what bond-cni ignores and returns its paths, sorted.
func dropIgnored(fields map[string]json.RawMessage) (ignored []string) {
	drop := func(o map[string]json.RawMessage, path string, others func(key string) bool) {
		for key := range o {
			if others(key) {
				ignored = append(ignored, path+key)
				delete(o, key)
			}
		}
	}
	drop(fields, "", func(key string) bool { return !slices.Contains(bondCNIKeys, key) })
	o := lenient(fields)
	if runtime, there := o.Object("runtimeConfig"); there {
		drop(runtime.Fields, "runtimeConfig.", func(key string) bool { return key == bond.MAC })
		fields["runtimeConfig"] = strictjson.Encode(runtime.Fields)
	}
	var links []map[string]json.RawMessage
	if o.Read("links", &links, "") && links != nil {
		for i, link := range links {
			drop(link, fmt.Sprintf("links[%d].", i), func(key string) bool { return key != "name" })
		}
		fields["links"] = strictjson.Encode(links)
	}
	slices.Sort(ignored)
	return ignored
}

// settleBondCNI changes what bond-cni accepts and Multibond refuses, so that a file that
// made a bond there makes one here.
func settleBondCNI(fields map[string]json.RawMessage) (warnings bond.Problems) {
	if isZero(fields[bond.MTU]) {
		delete(fields, bond.MTU) // for bond-cni, 0 means that none is given
	}
	if isZero(fields[bond.Miimon]) {
		warnings.Add(code.BondCNIMiimon, bond.Miimon, "", "is 0, with which the bond would never notice a dead link; the default is used instead")
		delete(fields, bond.Miimon)
	}
	mode := bond.ActiveBackup
	if raw, there := fields[bond.Mode]; there {
		given, _ := bond.ParseOptions(map[string]json.RawMessage{bond.Mode: raw}, nil, nil)
		mode = given[bond.Mode]
	}
	for _, key := range bondCNIOptions {
		if _, there := fields[key]; there && mode != "" && !bond.HasOption(mode, key) {
			warnings.Add(code.BondCNIOption, key, "", "is ignored, because mode %s does not have this option", mode)
			delete(fields, key)
		}
	}
	if _, there := fields[bond.FailOverMac]; !there && mode == bond.ActiveBackup {
		warnings.Add(code.BondCNIFailOver, bond.FailOverMac, "", "is not set; the default is active, not none as with bond-cni, because an untrusted VF refuses none")
	}
	return warnings
}

// isZero reports whether raw is 0, as a number or a string.
func isZero(raw json.RawMessage) bool {
	number, err := strconv.Atoi(strings.Trim(string(raw), "\" \t\r\n"))
	return err == nil && number == 0
}

// IsBondCNI reports whether the configuration is bond-cni's. Then bond-cni may have
// attached a container before this plugin replaced it.
func (n Network) IsBondCNI() bool { return n.Config.Type == BondCNI }
