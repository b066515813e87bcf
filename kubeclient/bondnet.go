package kubeclient

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
)

// bondType is the CNI type of a bond network.
const bondType = "multibond"

// isBond reports whether a plugin of this type is a bond. Multibond also takes the
// configurations of bond-cni.
func isBond(pluginType string) bool { return pluginType == bondType || pluginType == netconf.BondCNI }

// BondNetwork is a bond network before the pod's devices are known. Its links may
// name resources, requests of claims, and other networks.
type BondNetwork struct {
	network Network
	links   []bondLink
	least   int // minLinks; 0 for all links
}

// bondLink is one element of "links".
type bondLink struct {
	raw   json.RawMessage // without its source, if Kubernetes provides that
	count int             // number of links that it stands for
	want  *Want           // nil if it takes no device of the pod
	fixed string          // device that the configuration names
}

// ReadBond parses the links of a bond network. resolve finds the networks that
// links name; a name without a namespace belongs to the namespace of the bond.
// ReadBond checks only the sources of links that Kubernetes provides. The rest is
// checked by [github.com/multibond/multibond/delegate.ParseNetwork]. The error
// wraps the errors of resolve.
func ReadBond(n Network, resolve func(types.NamespacedName) (Network, error)) (BondNetwork, error) {
	b := BondNetwork{network: n}
	var head struct {
		Type     string
		Links    []json.RawMessage
		MinLinks json.RawMessage // a number or a string
	}
	if json.Unmarshal(n.Config, &head) != nil || head.Type == netconf.BondCNI {
		return b, nil // netconf.ParseNetwork reports it better; links of bond-cni have only names
	}
	b.least, _ = strconv.Atoi(strings.Trim(string(head.MinLinks), `"`)) // netconf.ParseNetwork reports what is wrong with it
	r := bondReader{namespace: n.Name.Namespace, resolve: resolve}
	for i, raw := range head.Links {
		b.links = append(b.links, r.readLink(raw, fmt.Sprintf("links[%d]", i)))
	}
	if err := join(append(r.errs, r.problems.Err())...); err != nil {
		return b, fmt.Errorf("network %s: %w", n.Name, err)
	}
	return b, nil
}

// bondReader reads the links of one bond network.
type bondReader struct {
	namespace string
	resolve   func(types.NamespacedName) (Network, error)
	problems  bond.Problems
	errs      []error // of resolve
}

// sources are the keys that name the source of a link. A link has at most one of
// them.
var sources = []string{"resourceName", "request", "network", "deviceID"}

func (r *bondReader) readLink(raw json.RawMessage, path string) bondLink {
	l := bondLink{raw: raw, count: 1}
	o := strictjson.Object{Path: path, Problems: &r.problems}
	if json.Unmarshal(raw, &o.Fields) != nil || o.Fields == nil {
		return l
	}
	given := slices.DeleteFunc(slices.Clone(sources), func(key string) bool { return !o.Has(key) })
	if len(given) > 1 {
		r.problems.Add(path, "", "has %s; a link has one source", strings.Join(given, " and "))
		return l
	}
	l.fixed = fixedDevice(o)
	l.readCount(o, given)
	for _, key := range given {
		r.readSource(&l, o, key)
	}
	return l
}

// fixedDevice returns the device that the link or its config names, or "".
func fixedDevice(o strictjson.Object) string {
	var l struct {
		DeviceID string
		Config   struct{ DeviceID, PCIBusID string }
	}
	_ = json.Unmarshal(strictjson.Encode(o.Fields), &l)
	for _, id := range []string{l.DeviceID, l.Config.DeviceID, l.Config.PCIBusID} {
		if id != "" {
			return strings.ToLower(id)
		}
	}
	return ""
}

func (l *bondLink) readCount(o strictjson.Object, given []string) {
	if !o.Has("count") || !o.Read("count", &l.count, "a whole number") {
		return
	}
	switch {
	case len(given) == 0 || given[0] == "deviceID":
		o.Problems.Add(o.At("count"), "", "is %d, and only links by resourceName, request or network can be counted", l.count)
	case l.count < 1 || l.count > netconf.MaxLinks:
		o.Problems.Add(o.At("count"), "", "is %d, wanted is 1 to %d", l.count, netconf.MaxLinks)
		l.count = 1
	case l.count > 1 && o.Has("name"):
		o.Problems.Add(o.At("name"), "leave it out; the links are <bond>-1, <bond>-2, ...", "names one link, and count is %d", l.count)
	}
	l.raw = strictjson.DropField(l.raw, "count")
}

// readSource reads the source of the link, which is the value of key.
func (r *bondReader) readSource(l *bondLink, o strictjson.Object, key string) {
	before := len(r.problems)
	text := o.Text(key)
	if text == "" && len(r.problems) == before {
		r.problems.Add(o.At(key), "", "is empty")
	}
	if len(r.problems) > before {
		return
	}
	switch key {
	case "resourceName":
		l.want = &Want{Resource: text}
	case "request":
		l.want = &Want{Request: text}
	case "network":
		r.readNetwork(l, o, text)
	default:
		return
	}
	l.raw = strictjson.DropField(l.raw, key)
}

// readNetwork gives the link the configuration and the resource of another network.
func (r *bondReader) readNetwork(l *bondLink, o strictjson.Object, text string) {
	path := o.At("network")
	ref := types.NamespacedName{Namespace: r.namespace, Name: text}
	if ns, name, found := strings.Cut(text, "/"); found {
		ref = types.NamespacedName{Namespace: ns, Name: name}
	}
	if o.Has("config") {
		r.problems.Add(o.At("config"), "leave one of the two out", "is given, and network %s has a configuration too", ref)
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
	plugins, _ := pluginTypes(n.Config)
	switch {
	case slices.ContainsFunc(plugins, isBond):
		r.problems.Add(path, "", "network %s is a bond; a bond cannot be a link of a bond", ref)
	case hasIPAM(n.Config):
		r.problems.Add(path, "write ipam beside links, once", "network %s has an ipam; a bond has one address, its links have none", ref)
	}
	l.raw = strictjson.SetField(l.raw, "config", n.Config)
	if n.Resource != "" {
		l.want = &Want{Resource: n.Resource}
	}
}

func hasIPAM(config json.RawMessage) (found bool) {
	eachPlugin(config, func(plugin json.RawMessage) json.RawMessage {
		var head struct{ IPAM map[string]json.RawMessage }
		found = found || json.Unmarshal(plugin, &head) == nil && len(head.IPAM) > 0
		return plugin
	})
	return found
}

// Need returns which devices the bond needs, link by link.
func (b BondNetwork) Need() Need {
	need := Need{Network: b.network.Name.String()}
	all := 0
	for _, l := range b.links {
		all += l.count
		if l.fixed != "" {
			need.Fixed = append(need.Fixed, l.fixed)
		}
		for range l.count {
			if l.want != nil {
				need.Wants = append(need.Wants, *l.want)
			}
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
	n := b.network
	if len(b.links) == 0 {
		return n
	}
	var links []json.RawMessage
	for _, l := range b.links {
		for range l.count {
			raw := l.raw
			if l.want != nil {
				raw, devices = l.with(devices[0]), devices[1:]
			}
			links = append(links, raw)
		}
	}
	n.Config = strictjson.SetField(n.Config, "links", strictjson.JoinList(links))
	return n
}

// with returns the link with its device, or asking for one if device is empty.
func (l bondLink) with(device string) json.RawMessage {
	switch {
	case device != "":
		return strictjson.SetField(l.raw, "deviceID", strictjson.Encode(device))
	case l.want.Request != "":
		return strictjson.SetField(l.raw, "request", strictjson.Encode(l.want.Request))
	}
	return strictjson.SetField(l.raw, "resourceName", strictjson.Encode(l.want.Resource))
}
