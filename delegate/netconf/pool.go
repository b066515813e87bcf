package netconf

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// Pool describes NICs of the host. Each link of a pool is made on another NIC of those
// that fit; package plan chooses it. A zero value fits every NIC.
type Pool struct {
	Path     string // where it is written: "links[0].pool"
	Count    int    // how many links are of it
	Vendor   string // PCI IDs: four hexadecimal digits in lower case
	Model    string
	Driver   string
	MinSpeed int            // Mbit/s
	Names    []string       // patterns of path.Match, one of which fits the name
	Chosen   []string       // likewise, those of the pod
	Networks []netip.Prefix // an address of the NIC is in one of them
	LinkType uint16         // ARPHRD_*
	NUMA     *int
}

// poolKeys are the keys of a pool.
var poolKeys = []string{"vendor", "device", "driver", "minSpeed", "names", "networks", "linkType", "numa"}

// linkTypes are the values of linkType, by the kernel's names.
var linkTypes = map[string]uint16{"ether": bond.Ethernet, "infiniband": bond.InfiniBand}

// hostDevice is the plugin that moves the NIC itself into the pod.
const hostDevice = "host-device"

// onNIC are the plugins that make a link on a NIC of the host, its master, and hostDevice.
var onNIC = []string{"macvlan", "ipvlan", "vlan", "ipoib", hostDevice}

// chosenKeys are the keys by which these plugins are told of a NIC.
var chosenKeys = []string{"master", "linkInContainer", "device", "deviceID", "pciBusID", "hwaddr", "kernelpath"}

// readPool reads the pool of an element of links.
func readPool(o strictjson.Object) *Pool {
	p := &Pool{Path: o.At("pool"), Count: 1}
	if o.Read("count", &p.Count, "a whole number") && (p.Count < 1 || p.Count > MaxLinks) {
		o.Problems.Add(code.LinkCount, o.At("count"), "", "is %d, want 1 to %d", p.Count, MaxLinks)
		p.Count = 1
	}
	if p.Count > 1 && o.Has("name") {
		o.Problems.Add(code.CountedName, o.At("name"), "leave it out; the links are <bond>-1, <bond>-2, ...", "names one link, but count is %d", p.Count)
	}
	pool, is := o.Object("pool")
	if !is {
		return p
	}
	for _, key := range pool.Unknown(poolKeys) {
		pool.Problems.Add(code.UnknownKey, pool.At(key), strictjson.DidYouMean(key, poolKeys), "is not a known key")
	}
	p.Vendor, p.Model, p.Driver = pciID(pool, "vendor"), pciID(pool, "device"), pool.Text("driver")
	if pool.Read("minSpeed", &p.MinSpeed, "a number of Mbit/s") && p.MinSpeed < 0 {
		pool.Problems.Add(code.PoolNumber, pool.At("minSpeed"), "", "is %d, want a number of Mbit/s", p.MinSpeed)
	}
	if pool.Read("numa", &p.NUMA, "the number of a NUMA node") && p.NUMA != nil && *p.NUMA < 0 {
		pool.Problems.Add(code.PoolNumber, pool.At("numa"), "", "is %d, want the number of a NUMA node", *p.NUMA)
	}
	p.Names, p.Networks, p.LinkType = readPatterns(pool, "names"), readPrefixes(pool), readLinkType(pool)
	return p
}

// Numbered reports whether names has only whole names, so that each has a number: its place.
func (p Pool) Numbered() bool {
	return len(p.Names) > 0 && !slices.ContainsFunc(p.Names, func(name string) bool { return strings.ContainsAny(name, `*?[\`) })
}

// pciID reads a vendor or device ID, with or without 0x.
func pciID(o strictjson.Object, key string) string {
	text := o.Text(key)
	id := strings.TrimPrefix(strings.ToLower(text), "0x")
	if is, _ := path.Match("[0-9a-f][0-9a-f][0-9a-f][0-9a-f]", id); !is && text != "" {
		o.Problems.Add(code.BadPCIID, o.At(key), "lspci -nn shows them", "is %q, want the four hexadecimal digits of a PCI ID, such as 15b3", text)
	}
	return id
}

// readPatterns reads a list of patterns for names of interfaces.
func readPatterns(o strictjson.Object, key string) (patterns []string) {
	o.Read(key, &patterns, "a list of names or patterns")
	if o.Has(key) && patterns != nil && len(patterns) == 0 {
		o.Problems.Add(code.BadPattern, o.At(key), "leave it out", "is an empty list, so no NIC fits")
	}
	for i, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			o.Problems.Add(code.BadPattern, fmt.Sprintf("%s[%d]", o.At(key), i), "", "is %q, want a name or a pattern such as ens*f0 (*, ?, [abc])", pattern)
		}
	}
	return patterns
}

func readPrefixes(o strictjson.Object) (prefixes []netip.Prefix) {
	var texts []string
	o.Read("networks", &texts, "a list of CIDRs")
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		switch at := fmt.Sprintf("%s[%d]", o.At("networks"), i); {
		case err != nil:
			o.Problems.Add(code.BadCIDR, at, "", "is %q, want a CIDR such as 192.168.1.0/24", text)
		case p != p.Masked():
			o.Problems.Add(code.BadCIDR, at, "use "+p.Masked().String(), "is %q, which is an address and not a network", text)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes
}

func readLinkType(o strictjson.Object) uint16 {
	text := o.Text("linkType")
	t, known := linkTypes[text]
	if !known && text != "" {
		o.Problems.Add(code.WrongWord, o.At("linkType"), "", "is %q, want %s", text, strings.Join(slices.Sorted(maps.Keys(linkTypes)), " or "))
	}
	return t
}

// readPooled reads the link of an element with a pool. attach is the configuration that
// makes it: the element's own config, or delegate.
func readPooled(l Link, o, attach strictjson.Object, h head) Link {
	for _, key := range slices.Concat(agentKeys, []string{"deviceID"}) {
		if key != "count" && o.Has(key) {
			o.Problems.Add(code.SeveralSources, o.Path, "leave one of the two out", "has pool and %s, but a link has one source", key)
		}
	}
	l.Source, l.Pool = FromPool, readPool(o)
	first := attach
	if list := lenient(attach.Fields).Each("plugins"); len(list) > 0 {
		first = strictjson.Object{Path: attach.At("plugins[0]"), Fields: list[0].Fields, Problems: o.Problems}
	}
	plugin := lenient(first.Fields).Text("type")
	if !slices.Contains(onNIC, plugin) {
		text := strings.Join(onNIC[:len(onNIC)-1], ", ") + " or " + hostDevice
		if !o.Has("config") && plugin == "sriov" {
			o.Problems.Add(code.PoolPlugin, o.At("config"), `for instance "config": {"type": "macvlan"}`, "is missing, want how a link is made on a NIC of the pool, by %s", text)
		} else {
			o.Problems.Add(code.PoolPlugin, first.At("type"), "", "is %q, which makes no link on a NIC of the host; want %s", plugin, text)
		}
		return l
	}
	for _, key := range chosenKeys {
		if first.Has(key) {
			o.Problems.Add(code.PoolChooses, first.At(key), "leave it out", "is set, but the NIC is chosen from %s", l.Pool.Path)
		}
	}
	l.Plugins = readPlugins(attach, h, "")
	return l
}

// withNames returns the links with the patterns that the pod has chosen for the NICs of pools.
func withNames(links []Link, patterns []string) []Link {
	for _, l := range links {
		if l.Pool != nil {
			l.Pool.Chosen = patterns
		}
	}
	return links
}

// MovesNIC reports whether the link is a NIC of its pool, moved into the pod. Otherwise it
// is made on the NIC, which stays on the host.
func (l Link) MovesNIC() bool {
	return l.Pool != nil && len(l.Plugins) > 0 && l.Plugins[0].Type == hostDevice
}

// On returns the link of a pool as it is made on a NIC.
func (l Link) On(n bond.NIC) Link {
	told := map[string]json.RawMessage{"master": strictjson.Encode(n.Link.Name)}
	l.Source = FromConfig
	if l.MovesNIC() {
		device := strictjson.Encode(n.Link.Device)
		told = map[string]json.RawMessage{"deviceID": device, "pciBusID": device}
		l.Source, l.Device = FromDevice, n.Link.Device
	}
	l.Plugins = slices.Clone(l.Plugins)
	l.Plugins[0].Config = NewConfig(l.Plugins[0].Config.With(told))
	return l
}

// HasPool reports whether a link is made on a NIC that has yet to be chosen.
func (n Network) HasPool() bool {
	return slices.ContainsFunc(n.Links, func(l Link) bool { return l.Pool != nil })
}
