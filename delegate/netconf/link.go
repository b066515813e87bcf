package netconf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// Source is where a link of a bond comes from.
type Source string

const (
	FromDevice Source = "device" // a PCI device that a plugin brings into the pod
	FromConfig Source = "config" // whatever a plugin makes in the pod
	FromHost   Source = "host"   // an interface of the host, moved into the pod
	FromPod    Source = "pod"    // an interface that is in the pod already
	FromAgent  Source = "agent"  // whatever the agent answers
	FromPool   Source = "pool"   // one of the others, once its NIC is chosen
)

// Link is one link as the configuration asks for it.
type Link struct {
	Name    string // its name in the pod
	Source  Source
	Device  string   // the PCI address, for FromDevice
	Plugins []Plugin // what brings it into the pod, in order
	By      string   // the key that names it, for FromAgent
	Pool    *Pool    // for FromPool; the links of one pool share it
	Options bond.Options
	IPAM    *Plugin // what gives it addresses of its own, with AttachEach; nil: none
	Blocks  *Blocks // how the subnets of IPAM are divided; nil: IPAM has them as they are
}

// linkKeys are the keys of an element of links.
var linkKeys = slices.Concat([]string{"name", "deviceID", "config", "pool", "ipam"}, agentKeys, bond.LinkOptionKeys())

// agentKeys are those of linkKeys that the agent resolves.
var agentKeys = []string{"resourceName", "request", "network", "count"}

// DefaultVersion is the CNI version of a configuration that names none. It is the first
// version whose results name the interfaces, which is what is published. Every plugin in
// use knows it, including every release of sriov-cni, and no later version is needed.
const DefaultVersion = "0.3.1"

// MaxLinks limits the work that one configuration can ask for. No switch has more cables
// to one pod.
const MaxLinks = 32

// readElements reads links as a list of objects. The objects have no fields where the
// list has something else. It returns false if there are no links that could be read.
func readElements(top strictjson.Object) ([]strictjson.Object, bool) {
	var raws []json.RawMessage
	if !top.Read("links", &raws, "a list of links") {
		return nil, false
	}
	if len(raws) > MaxLinks {
		top.Problems.Add(code.ManyLinks, "links", "", "has %d links, want at most %d", len(raws), MaxLinks)
		return nil, false
	}
	elements := make([]strictjson.Object, len(raws))
	for i, raw := range raws {
		elements[i], _ = strictjson.Decode(raw, fmt.Sprintf("links[%d]", i), top.Problems)
	}
	return elements, true
}

// readLinks reads the links. bondName makes the names of those that have none.
func readLinks(top strictjson.Object, elements []strictjson.Object, h head, bondName string) (links []Link) {
	attach := strictjson.Object{Path: "delegate", Fields: map[string]json.RawMessage{"type": strictjson.Encode("sriov")}, Problems: top.Problems}
	if given, there := top.Object("delegate"); there {
		attach = given
	}
	inPod := top.Bool("linksInContainer")
	for _, o := range elements {
		var l Link
		if o.Fields != nil {
			l = readLink(o, attach, h, inPod)
		}
		for range l.count() {
			one := l
			one.Name = cmp.Or(l.Name, DefaultName(bondName, len(links)))
			links = append(links, one)
		}
	}
	if len(links) > MaxLinks {
		top.Problems.Add(code.ManyLinks, "links", "", "has %d links with those of pools, want at most %d", len(links), MaxLinks)
		return links[:MaxLinks]
	}
	if h.attach == AttachEach {
		bondName = "" // which is free
	}
	checkNames(links, bondName, top.Problems)
	return links
}

// count returns how many links the link stands for.
func (l Link) count() int {
	if l.Pool == nil {
		return 1
	}
	return l.Pool.Count
}

// DefaultName returns the name of link i of a bond. If the bond's name leaves no room for
// the number, most of it becomes a hash: the links of two bonds whose names begin alike
// have different names.
func DefaultName(bondName string, i int) string {
	number := fmt.Sprintf("-%d", i+1)
	if len(bondName)+len(number) <= bond.MaxName || len(bondName) > bond.MaxName {
		return bondName + number
	}
	hash := fnv.New32a()
	hash.Write([]byte(bondName))
	end := fmt.Sprintf("-%08x%s", hash.Sum32(), number)
	return bondName[:bond.MaxName-len(end)] + end
}

// NeedsRoutes reports whether a link is reached only by routes: it answers no ARP.
func (l Link) NeedsRoutes() bool {
	return slices.ContainsFunc(l.Plugins, func(p Plugin) bool {
		return p.Type == "ipvlan" && (p.Config.Mode == "l3" || p.Config.Mode == "l3s")
	})
}

func readLink(o, attach strictjson.Object, h head, inPod bool) Link {
	before := len(*o.Problems)
	for _, key := range o.Unknown(linkKeys) {
		o.Problems.Add(code.UnknownKey, o.At(key), strictjson.DidYouMean(key, linkKeys), "is not a known key")
	}
	if o.Has("ipam") && h.attach == "" {
		o.Problems.Add(code.LinkIPAM, o.At("ipam"), "set ipam once, beside links", "is set for a link, but links of a bond have no addresses")
	}
	l := Link{Name: o.Text("name"), Options: linkOptions(o)}
	config, own := o.Object("config")
	if o.Has("pool") {
		if own {
			attach = config
		}
		return readPooled(l, o, attach, h)
	}
	l.Device = deviceOf(o, config)
	byAgent := slices.IndexFunc(agentKeys, o.Has)
	switch {
	case byAgent >= 0:
		l.Source, l.By = FromAgent, agentKeys[byAgent]
	case l.Device != "":
		l.Source = FromDevice
		if own {
			attach = config
		}
		l.Plugins = readPlugins(attach, h, l.Device)
	case own:
		l.Source = FromConfig
		l.Plugins = readPlugins(config, h, "")
	case inPod:
		l.Source = FromPod
	default:
		l.Source = FromHost
	}
	if l.Name == "" && (l.Source == FromPod || l.Source == FromHost) && len(*o.Problems) == before {
		o.Problems.Add(code.NoSource, o.Path, "", "has no source, want one of deviceID, config, pool or name")
	}
	return l
}

// podLinks lists the links that are in the pod already.
func podLinks(links []Link) (names []string) {
	for _, l := range links {
		if l.Source == FromPod {
			names = append(names, l.Name)
		}
	}
	return names
}

// linkOptions reads the options of a link in the bond.
func linkOptions(o strictjson.Object) bond.Options {
	fields := maps.Clone(o.Fields)
	maps.DeleteFunc(fields, func(key string, _ json.RawMessage) bool { return !o.Has(key) })
	options, problems := bond.ParseLinkOptions(fields)
	for _, p := range problems {
		o.Problems.Add(p.Code, o.At(p.Path), p.Hint, "%s", p.Text)
	}
	if len(options) == 0 {
		return nil
	}
	return options
}

// deviceOf reads the PCI address of a link. It is beside the configuration that attaches
// the link, or inside, where sriov-cni and host-device read it.
func deviceOf(o, config strictjson.Object) (device string) {
	first := ""
	read := func(place strictjson.Object, key string) {
		if !place.Has(key) {
			return
		}
		found := strings.ToLower(place.Text(key))
		if err := bond.CheckPCI(found); err != nil && found != "" {
			o.Problems.Add(code.BadDevice, place.At(key), "", "%v", err)
		}
		if first != "" && found != device {
			o.Problems.Add(code.TwoDevices, place.At(key), "set it once", "is %s, but %s is %s", found, first, device)
			return
		}
		device, first = found, place.At(key)
	}
	read(o, "deviceID")
	for _, place := range append([]strictjson.Object{config}, config.Each("plugins")...) {
		read(place, "deviceID")
		read(place, "pciBusID")
	}
	return device
}

// readPlugins completes the configuration, or the list of configurations, that
// attaches a link.
func readPlugins(config strictjson.Object, h head, device string) []Plugin {
	if !config.Has("plugins") {
		return []Plugin{readPlugin(config, config, h, device)}
	}
	list := pluginObjects(config)
	if strictjson.KindOf(config.Fields["plugins"]) == "a list" && len(list) == 0 {
		config.Problems.Add(code.NoPlugins, config.At("plugins"), "", "has no plugin configuration")
	}
	var out []Plugin
	for _, one := range list {
		out = append(out, readPlugin(one, config, h, device))
	}
	return out
}

// MaxPlugins limits the plugins of one list. Each gets the list's name and version, and
// is executed.
const MaxPlugins = 32

// pluginObjects reads the plugins of a list.
func pluginObjects(o strictjson.Object) []strictjson.Object {
	list := o.Each("plugins")
	if len(list) > MaxPlugins {
		o.Problems.Add(code.ManyPlugins, o.At("plugins"), "", "has %d plugins, want at most %d", len(list), MaxPlugins)
		return list[:MaxPlugins]
	}
	return list
}

// readPlugin returns one plugin with its standard input: what the user wrote, with the
// fields that CNI wants to be the same in every plugin of the list.
func readPlugin(o, list strictjson.Object, h head, device string) Plugin {
	if ipam, there := o.Object("ipam"); there && len(ipam.Fields) > 0 {
		if h.attach == AttachEach {
			o.Problems.Add(code.LinkIPAM, o.At("ipam"), "set ipam beside links, or beside config in an element of links", "is set for what attaches a link, but the interface gets its addresses afterwards")
		} else {
			o.Problems.Add(code.LinkIPAM, o.At("ipam"), "set ipam once, beside links", "is set for a link, but links of a bond have no addresses")
		}
	}
	p := Plugin{Type: pluginType(o)}
	if p.Type == "sriov" {
		checkSRIOV(o, device)
	}
	fields := maps.Clone(o.Fields)
	setDefault := func(key string, values ...string) {
		if o.Text(key) == "" {
			fields[key] = strictjson.Encode(cmp.Or(values...))
		}
	}
	setDefault("name", list.Text("name"), h.name)
	if device == "" {
		setDefault("cniVersion", list.Text("cniVersion"), h.cniVersion)
	} else {
		setDefault("cniVersion", list.Text("cniVersion"), DefaultVersion)
		fields["deviceID"], fields["pciBusID"] = strictjson.Encode(device), strictjson.Encode(device)
	}
	p.Config = NewConfig(strictjson.Encode(fields))
	p.DisableCheck, p.DisableGC = flagOf(list, "disableCheck"), flagOf(list, "disableGC")
	return p
}

func flagOf(o strictjson.Object, key string) (f Flag) {
	_ = f.UnmarshalJSON(o.Fields[key])
	return f
}

// checkSRIOV finds words that sriov-cni misunderstands: it takes every word except "on"
// for off, even "true".
func checkSRIOV(o strictjson.Object, device string) {
	if device == "" {
		o.Problems.Add(code.SRIOVDevice, o.At("deviceID"), "set it beside config", "is missing, want the VF's PCI address")
	}
	check := func(key string, words ...string) {
		if o.Has(key) && !slices.Contains(words, o.Text(key)) {
			o.Problems.Add(code.SRIOVWord, o.At(key), "", "is %s, want %s", strictjson.KindOf(o.Fields[key]), strings.Join(words, " or "))
		}
	}
	check("trust", "on", "off")
	check("spoofchk", "on", "off")
	check("link_state", "auto", "enable", "disable")
}

// checkNames checks that each link has a unique name that the kernel accepts.
func checkNames(links []Link, bondName string, problems *bond.Problems) {
	seen := map[string]int{}
	for i, l := range links {
		path := fmt.Sprintf("links[%d].name", i)
		if l.Name == "" {
			continue
		}
		if err := bond.CheckName(l.Name); err != nil {
			problems.Add(code.BadInterface, path, "", "%v", err)
		}
		if first, twice := seen[l.Name]; twice {
			problems.Add(code.SameLinkName, path, "", "is %s, which links[%d] already has", l.Name, first)
		}
		if l.Name == bondName {
			hint := ""
			if l.Source == FromPod {
				hint = "name the interfaces in the pod's annotation, as in net@" + l.Name + "; an interface without a name is called net1, net2, ... by position"
			}
			problems.Add(code.BondsName, path, hint, "is %s, which is the bond's name", l.Name)
		}
		seen[l.Name] = i
		same := slices.IndexFunc(links[:i], func(o Link) bool { return l.Device != "" && o.Device == l.Device })
		if same >= 0 {
			problems.Add(code.SameDevice, fmt.Sprintf("links[%d].deviceID", i), "", "is %s, which links[%d] already has", l.Device, same)
		}
	}
}
