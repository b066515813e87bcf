package kubeclient

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
)

// bondType is the CNI type of a bond network.
const bondType = "multibond"

// isBond reports whether the plugin makes a bond. Multibond also takes the
// configurations of bond-cni.
func (p plugin) isBond() bool { return p.pluginType == bondType || p.pluginType == netconf.BondCNI }

// BondNetwork is a bond network before the pod's devices are known. Its links may
// name resources, requests of claims, and other networks.
type BondNetwork struct {
	network Network
	links   []bondLink
	least   int    // minLinks; 0 for all links
	near    string // as in netconf.Network; package netconf reports what is wrong with it
	hosts   int    // how many hosts its ipam has room for; 0: it needs no number of this one
}

// bondLink is one element of "links".
type bondLink struct {
	netconf.OpenLink
	fixed  string // device that the configuration names
	pool   bool   // it is made on a NIC of a pool
	pooled int    // further links that are of its pool
}

// ReadBond parses the links of a bond network. resolve finds the networks that
// links name; a name without a namespace belongs to the namespace of the bond.
// ReadBond checks only the sources of links that Kubernetes provides. The rest is
// checked by [github.com/multibond/multibond/delegate/netconf.ParseNetwork]. The error
// wraps the errors of resolve.
func ReadBond(n Network, resolve func(types.NamespacedName) (Network, error)) (BondNetwork, error) {
	b := BondNetwork{network: n}
	top := n.Config.plugins[0]
	if top.pluginType == netconf.BondCNI {
		return b, nil // links of bond-cni have only names
	}
	b.least, _ = strconv.Atoi(strings.Trim(string(top.rest.Fields["minLinks"]), `"`)) // netconf.ParseNetwork reports what is wrong with it
	b.near = top.rest.Text("near")
	r := bondReader{namespace: n.Name.Namespace, each: top.rest.Text("attach") == netconf.AttachEach, resolve: resolve}
	var links []json.RawMessage
	top.rest.Read("links", &links, "a list of links")
	b.hosts = readHosts(top.rest)
	for i, text := range links {
		b.links = append(b.links, r.readLink(text, fmt.Sprintf("links[%d]", i)))
	}
	if err := join(append(r.errs, r.problems.Err())...); err != nil {
		return b, fmt.Errorf("network %s: %w", n.Name, err)
	}
	return b, nil
}

// readHosts returns for how many hosts there is room in all subnets that the ipam of a network
// or of its links divides, or 0 if none does.
func readHosts(network strictjson.Object) (hosts int) {
	network.Problems = &bond.Problems{} // package netconf reports what is wrong with it
	for _, o := range append(network.Each("links"), network) {
		var b netconf.Blocks
		if ipam, _ := o.Object("ipam"); ipam.Text("type") == netconf.BlocksType && ipam.Read("hostBlock", &b.HostBits, "") && b.HostBits >= 0 && b.HostBits < 32 {
			hosts = min(cmp.Or(hosts, b.Hosts()), b.Hosts())
		}
	}
	return hosts
}

// bondReader reads the links of one bond network.
type bondReader struct {
	namespace string
	each      bool // the links are not bonded
	resolve   func(types.NamespacedName) (Network, error)
	problems  bond.Problems
	errs      []error // of resolve
}

// sources are the keys that name the source of a link. A link has at most one of
// them.
var sources = []string{"resourceName", "request", "network", "deviceID", "pool"}

func (r *bondReader) readLink(text json.RawMessage, path string) bondLink {
	l := bondLink{OpenLink: netconf.OpenLink{Text: text, Count: 1}}
	o, is := strictjson.Decode(text, path, &bond.Problems{})
	if !is {
		return l
	}
	l.fixed, l.pool = fixedDevice(o), o.Has("pool")
	o.Problems = &r.problems
	given := slices.DeleteFunc(slices.Clone(sources), func(key string) bool { return !o.Has(key) })
	if len(given) > 1 {
		r.problems.Add(code.SeveralSources, path, "", "has %s, but a link has one source", strings.Join(given, " and "))
		return l
	}
	l.readCount(o, given)
	for _, key := range given {
		r.readSource(&l, o, key)
	}
	return l
}

// fixedDevice returns the device that a link or its config names, in any case of the
// keys, or "".
func fixedDevice(o strictjson.Object) string {
	o.Fields = maps.Clone(o.Fields)
	strictjson.FoldKeys(o.Fields, []string{"deviceID", "config"})
	config, _ := o.Object("config")
	strictjson.FoldKeys(config.Fields, []string{"deviceID", "pciBusID"})
	return strings.ToLower(cmp.Or(o.Text("deviceID"), config.Text("deviceID"), config.Text("pciBusID")))
}

func (l *bondLink) readCount(o strictjson.Object, given []string) {
	if !o.Has("count") || !o.Read("count", &l.Count, "a whole number") {
		return
	}
	switch {
	case len(given) > 0 && given[0] == "pool":
		l.pooled, l.Count = max(0, l.Count-1), 1
		return // package netconf reads it
	case len(given) == 0 || given[0] == "deviceID":
		o.Problems.Add(code.LinkCount, o.At("count"), "", "is %d, but only links by resourceName, request, network or pool can have a count", l.Count)
	case l.Count < 1 || l.Count > netconf.MaxLinks:
		o.Problems.Add(code.LinkCount, o.At("count"), "", "is %d, want 1 to %d", l.Count, netconf.MaxLinks)
		l.Count = 1
	case l.Count > 1 && o.Has("name"):
		o.Problems.Add(code.CountedName, o.At("name"), "leave it out; the links are <bond>-1, <bond>-2, ...", "names one link, but count is %d", l.Count)
	}
	l.Text = strictjson.DropField(l.Text, "count")
}

// readSource reads the source of the link, which is the value of key.
func (r *bondReader) readSource(l *bondLink, o strictjson.Object, key string) {
	if key == "pool" {
		return // package netconf reads it
	}
	before := len(r.problems)
	text := o.Text(key)
	if text == "" && len(r.problems) == before {
		r.problems.Add(code.EmptySource, o.At(key), "", "is empty")
	}
	if len(r.problems) > before || key == "deviceID" {
		return
	}
	l.Text = strictjson.DropField(l.Text, key)
	if key == "network" {
		r.readNetwork(l, o, text)
	} else {
		l.Asks, l.Value = key, text
	}
}

// readNetwork gives the link the configuration and the resource of another network.
func (r *bondReader) readNetwork(l *bondLink, o strictjson.Object, text string) {
	path := o.At("network")
	ref := types.NamespacedName{Namespace: r.namespace, Name: text}
	if ns, name, found := strings.Cut(text, "/"); found {
		ref = types.NamespacedName{Namespace: ns, Name: name}
	}
	if o.Has("config") {
		r.problems.Add(code.SeveralSources, o.At("config"), "leave one of the two out", "is set, but network %s has a configuration too", ref)
	}
	before := len(r.problems)
	checkNetworkName(ref, path, &r.problems)
	if len(r.problems) > before {
		return
	}
	n, err := r.resolve(ref)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", path, err))
		return
	}
	switch {
	case n.Config.has(plugin.isBond):
		r.problems.Add(code.NestedBond, path, "", "network %s is a bond, which cannot be a link of a bond", ref)
	case n.Config.has(plugin.hasIPAM) && r.each:
		r.problems.Add(code.LinkIPAM, path, "set ipam beside links, or beside network in an element of links", "network %s has an ipam, but the interface gets its addresses afterwards", ref)
	case n.Config.has(plugin.hasIPAM):
		r.problems.Add(code.LinkIPAM, path, "set ipam once, beside links", "network %s has an ipam, but links of a bond have no addresses", ref)
	}
	l.Text = strictjson.SetField(l.Text, "config", n.Config.text)
	if n.Resource != "" {
		l.Asks, l.Value = "resourceName", n.Resource
	}
}

// choose notes what the pod chooses by cni-args. Package netconf checks that the network lets
// its pods choose it.
func (b *BondNetwork) choose(args map[string]json.RawMessage) {
	json.Unmarshal(args["near"], &b.near)
	for _, key := range []string{"count", "nics"} {
		var count int
		if json.Unmarshal(args[key], &count) != nil {
			continue
		}
		for i, l := range b.links {
			if l.pool {
				b.links[i].pooled = max(0, count-1)
			}
		}
	}
}

// Need returns which devices the bond needs, link by link.
func (b BondNetwork) Need() Need {
	need := Need{Network: b.network.Name.String()}
	all := 0
	for _, l := range b.links {
		all += l.Count + l.pooled
		if l.fixed != "" {
			need.Fixed = append(need.Fixed, l.fixed)
		}
		switch l.Asks {
		case "resourceName":
			need.Wants = append(need.Wants, slices.Repeat([]Want{{Resource: l.Value}}, l.Count)...)
		case "request":
			need.Wants = append(need.Wants, slices.Repeat([]Want{{Request: l.Value}}, l.Count)...)
		}
	}
	if b.least > 0 {
		need.Spare = max(0, all-b.least)
	}
	return need
}

// Network returns the bond network in a form that netconf.ParseNetwork accepts:
// devices, in the order of Need, replace what asked for them. Every byte outside
// of links stays. A link whose device is "" still asks for one, and
// plan.Compile reports that there is none.
func (b BondNetwork) Network(devices []string) Network {
	var open []netconf.OpenLink
	for _, l := range b.links {
		open = append(open, l.OpenLink)
	}
	n, p := b.network, b.network.Config.plugins[0]
	p.text = netconf.FillLinks(p.text, open, devices)
	n.Config = n.Config.withFirst(p)
	return n
}
