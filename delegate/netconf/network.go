// Package netconf reads what users write, strictly, into values: the configurations of
// networks, including those of bond-cni, and of the cluster.
//
// It depends on nothing but its arguments. Package confdir reads the configuration
// directory. Package plan decides whether a node can do what is written.
package netconf

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

// Network is a network as its configuration describes it: a bond, an interface of each link,
// or a chain of plugins.
type Network struct {
	Chain      []Plugin // in order; nil for a bond and for links
	Attach     string   // AttachEach: an interface of each link; "": a bond or a chain
	After      []Plugin // those after the bond in its list, in order
	Device     string   // PCI address that is assigned to a chain; "" for none
	Agent      string   // the agent's socket, for links that only the agent can resolve
	CNIVersion string
	Name       string
	Options    bond.Options
	Links      []Link
	PodLinks   []string          // interfaces that have to be in the pod before the network is attached
	IPAM       string            // the type of the bond's IPAM plugin; "" for none
	Blocks     *Blocks           // how the subnets of IPAM are divided; nil: IPAM has them as they are
	Lenient    bool              // of bond-cni, which requires nothing: errors by default are warnings
	Require    map[string]string // error, warn or ignore, for each requirement that the configuration names
	MinLinks   int               // links that are needed to start; 0 for all
	AllowLACP  bool              // 802.3ad over VFs is asked for
	Near       string            // what the links should be near, devices or cpus; "" for nothing
	AnyPrimary bool              // with Near: the configuration names no primary
	Valid      []GCAttachment    // for GC, the attachments that the runtime still has; nil if it does not say
	Config     Config            // as it was given
	Warnings   bond.Problems
}

// decodeTop decodes a configuration as an object. The error's code is 6.
func decodeTop(raw []byte) (fields map[string]json.RawMessage, err error) {
	if !utf8.Valid(raw) {
		return nil, undecoded(code.NotJSON, errors.New("the configuration is not valid UTF-8"))
	}
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		if json.Valid(raw) {
			return nil, undecoded(code.NotObject, fmt.Errorf("the configuration is %s, want a JSON object", strictjson.KindOf(raw)))
		}
		return nil, undecoded(code.NotJSON, fmt.Errorf("the configuration is not valid JSON: %w", err))
	}
	return fields, nil
}

func undecoded(kind code.Code, err error) error {
	return cnierror.With(types.ErrDecodingFailure, code.With(kind, err))
}

// NeedsAgent reports whether the network asks for what only the agent knows: a link for a
// resource, a claim's request or another network, nearness, or the number of this host.
func (n Network) NeedsAgent() bool {
	return n.Near != "" || len(n.AllBlocks()) > 0 || slices.ContainsFunc(n.Links, func(l Link) bool { return l.Source == FromAgent })
}

// AllBlocks lists how the subnets of the network are divided, once for each ipam.
func (n Network) AllBlocks() (all []Blocks) {
	if n.Blocks != nil {
		all = append(all, *n.Blocks)
	}
	for _, l := range n.Links {
		if l.Blocks != nil && !slices.ContainsFunc(all, func(b Blocks) bool { return b.Path == l.Blocks.Path }) {
			all = append(all, *l.Blocks)
		}
	}
	return all
}

// CheckAgent returns an error with code 7 if there are links that only the agent can
// resolve. It is for networks that no agent has resolved.
func (n Network) CheckAgent() error {
	var problems bond.Problems
	for i, l := range n.Links {
		if l.Source == FromAgent {
			problems.Add(code.NeedsAgent, fmt.Sprintf("links[%d].%s", i, l.By), "without Kubernetes, set deviceID to the VF's PCI address", "needs a pod and an agent that knows its devices, but there is none here")
		}
	}
	if err := problems.Err(); err != nil {
		return cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: %w", n.Name, err)
	}
	return nil
}

// GCAttachment is one attachment that still exists.
type GCAttachment = types.GCAttachment

// topKeys are the keys of a network configuration other than bond options.
var topKeys = []string{
	"cniVersion", "name", "type", "agent", "attach", "links", "linksInContainer", "delegate", "ifname", "ipam", "dns", "require", "allowLACP", "near", "allow",
	"runtimeConfig", "capabilities", "args", "prevResult", "disableCheck", "disableGC", ValidKey, AttachmentsKey,
}

// ParseNetwork reads the configuration of a bond network, which can be a list whose first
// plugin is the bond. bondName is the name that the runtime asks for (CNI_IFNAME), "" if
// it does not say. All problems are returned at once, each with its path. The
// error's code is 6 if raw is not JSON, and 7 if something in it is wrong.
func ParseNetwork(raw []byte, bondName string) (Network, error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return Network{}, err
	}
	if isBondList(fields) {
		return readBondList(fields, bondName, nil)
	}
	return readNetwork(raw, fields, bondName)
}

// readNetwork reads a bond network that is not a list.
func readNetwork(raw json.RawMessage, fields map[string]json.RawMessage, bondName string) (Network, error) {
	var problems bond.Problems
	n := readBond(raw, fields, bondName, &problems)
	return n, problemsOf(n.Name, problems)
}

// readBond reads a bond step by step: each step takes what it needs and returns what it
// has read. Only problems and warnings are collected.
func readBond(raw json.RawMessage, fields map[string]json.RawMessage, bondName string, problems *bond.Problems) Network {
	top := strictjson.Object{Fields: fields, Problems: problems}
	valid := readValid(top)
	top.Fields = withoutNulls(top)
	isBondCNI := lenient(top.Fields).Text("type") == BondCNI
	var warnings bond.Problems
	if isBondCNI {
		top.Fields, warnings = fromBondCNI(top.Fields, bondName)
	}
	h := readHead(top, bondName)
	elements, whole := readElements(top)
	var names []string
	if !isBondCNI {
		top.Fields, elements, names = withChoices(top, elements)
	}
	links := withNames(readLinks(top, elements, h, cmp.Or(bondName, h.ifName)), names)
	var options bond.Options
	if h.attach == AttachEach {
		options = readEachOptions(top, elements, links)
	} else {
		options = readBondOptions(top, links, cmp.Or(bondName, h.ifName), h, isBondCNI)
	}
	n := Network{
		Attach: h.attach, Config: NewConfig(raw), CNIVersion: h.cniVersion, Name: h.name, Agent: h.agent, IPAM: h.ipam, Blocks: h.blocks,
		Links: withVLAN(links, options[bond.VLAN], problems), PodLinks: podLinks(links), Options: options,
		Require: readRequire(top), AllowLACP: readLACP(top, options[bond.Mode]), Lenient: isBondCNI,
		Valid: valid, Warnings: append(warnings, checkUnknown(top)...),
	}
	if h.attach == AttachEach {
		n.Links = withIPAM(n.Links, top, elements, n.Config)
	}
	if n.Near = readNear(top); n.Near != "" {
		n.AnyPrimary = !top.Has(bond.Primary)
	}
	if whole {
		n.MinLinks = readMinLinks(top, elements, options, h.attach)
	}
	return n
}

// withoutNulls returns the fields that are not null: null means absent everywhere.
func withoutNulls(o strictjson.Object) map[string]json.RawMessage {
	fields := maps.Clone(o.Fields)
	maps.DeleteFunc(fields, func(key string, _ json.RawMessage) bool { return !o.Has(key) })
	return fields
}

// lenient reads fields without reporting what is wrong with them.
func lenient(fields map[string]json.RawMessage) strictjson.Object {
	return strictjson.Object{Fields: fields, Problems: &bond.Problems{}}
}

// problemsOf returns the problems of a network as an error with code 7, or nil.
func problemsOf(name string, problems bond.Problems) error {
	err := problems.Err()
	if err != nil && name != "" {
		err = fmt.Errorf("network %s: %w", name, err)
	}
	return cnierror.With(types.ErrInvalidNetworkConfig, err)
}

// ValidKey is the key with which a runtime lists, for GC, the attachments that it still
// has. AttachmentsKey is its name in an older text of the specification.
const (
	ValidKey       = "cni.dev/valid-attachments"
	AttachmentsKey = "cni.dev/attachments"
)

// readValid reads the list of attachments. It distinguishes an empty list, which runtimes
// also write as null, from none.
func readValid(top strictjson.Object) (valid []GCAttachment) {
	if _, there := top.Fields[ValidKey]; there {
		valid = []GCAttachment{}
		top.Read(ValidKey, &valid, "a list of attachments")
	}
	return valid
}

// head is what a network has other than its links and options. ipam and blocks are the
// bond's.
type head struct {
	cniVersion, name, ifName, agent, attach, ipam string
	blocks                                        *Blocks
}

func readHead(top strictjson.Object, bondName string) head {
	h := head{cniVersion: top.Text("cniVersion"), name: networkName(top), ifName: top.Text("ifname"), agent: cmp.Or(top.Text("agent"), DefaultAgent), attach: readAttach(top)}
	if !strings.HasPrefix(h.agent, "/") {
		top.Problems.Add(code.NotAbsolute, "agent", "", "is %q, want the absolute path of its socket", h.agent)
	}
	top.Read("dns", &types.DNS{}, "a dns object (CNI specification, section 1)")
	if h.ifName != "" {
		if err := bond.CheckName(h.ifName); err != nil {
			top.Problems.Add(code.BadInterface, "ifname", "", "%v", err)
		} else if bondName != "" && bondName != h.ifName {
			top.Problems.Add(code.OtherIfName, "ifname", "leave ifname out, or use that name in the pod's annotation, as in "+h.name+"@"+h.ifName,
				"is %s, but the runtime asks for %s (CNI_IFNAME)", h.ifName, bondName)
		}
	}
	if h.attach == AttachEach {
		return h // each link has its own
	}
	if ipam, there := top.Object("ipam"); there && len(ipam.Fields) > 0 {
		h.ipam, h.blocks = readIPAM(ipam)
	}
	return h
}

// networkName reads a network's name and checks its form (CNI specification, section 1).
// Plugins use it as a part of a path, for example IPAM plugins for their files.
func networkName(top strictjson.Object) string {
	const most = 255
	name := top.Text("name")
	if name == "" {
		top.Problems.Add(code.NoName, "name", "", "is missing")
	} else if len(name) > most {
		top.Problems.Add(code.BadName, "name", "", "has %d bytes, want at most %d", len(name), most)
		return ""
	} else if err := utils.ValidateNetworkName(name); err != nil {
		top.Problems.Add(code.BadName, "name", "", "is %q, want letters, digits, dots, hyphens and underscores, beginning with a letter or digit", name)
	}
	return name
}

// isPluginName reports whether a name is that of a file in a directory.
func isPluginName(t string) bool {
	return !strings.ContainsFunc(t, func(c rune) bool { return c == '/' || c <= ' ' }) && t != "" && t != "." && t != ".." && !strings.HasPrefix(t, "-")
}

// pluginType reads the name of a plugin's program. It must not lead out of the directories
// of CNI_PATH.
func pluginType(o strictjson.Object) string {
	t := o.Text("type")
	switch {
	case t == "":
		o.Problems.Add(code.NoType, o.At("type"), "", "is missing, want the name of a CNI plugin")
	case !isPluginName(t):
		o.Problems.Add(code.BadType, o.At("type"), "", "is %q, which is not a valid name of a CNI plugin", t)
		return ""
	}
	return t
}

// readBondOptions is readOptions, and settles what depends on ipam.
func readBondOptions(top strictjson.Object, links []Link, bondName string, h head, isBondCNI bool) bond.Options {
	options := readOptions(top, links, bondName)
	switch {
	case !options.AwaitsGateway():
	case h.ipam == "":
		top.Problems.Add(code.GatewayIPAM, "ipam", "set ipam, or write the target's address", "is missing, but the bond is to probe the gateway that IPAM names")
	case h.blocks != nil:
		top.Problems.Add(code.GatewayIPAM, "ipam", "write the target's address", "is %s, which names no gateway, but the bond is to probe it", BlocksType)
	}
	if h.ipam != "" && options[bond.AcceptRA] == "" && !isBondCNI {
		options[bond.AcceptRA] = "0"
	}
	return options
}

// readOptions reads the options of the bond. A MAC that the runtime asks for, for one
// attachment, wins over the network's own (CNI conventions, "mac").
func readOptions(top strictjson.Object, links []Link, bondName string) bond.Options {
	var names []string
	var own []bond.Options
	for _, l := range links {
		names, own = append(names, l.Name), append(own, l.Options)
	}
	if primary := lenient(top.Fields).Text(bond.Primary); bondName == "" && primary != "" {
		// STATUS and GC do not name the bond, so the default names of its links are
		// not known.
		names = append(names, primary)
	}
	fields := top.Fields
	if runtime, there := top.Object("runtimeConfig"); there && runtime.Has(bond.MAC) {
		fields = maps.Clone(fields)
		fields[bond.MAC] = runtime.Fields[bond.MAC]
	}
	options, problems := bond.ParseOptions(fields, names, own)
	*top.Problems = append(*top.Problems, problems...)
	return options
}

// readLACP reads whether the switch port of each VF is the bond's alone. In the
// other modes there is nothing to allow.
func readLACP(top strictjson.Object, mode string) bool {
	allowed := top.Bool("allowLACP")
	if allowed && mode != "" && mode != bond.LACP {
		top.Problems.Add(code.NotInMode, "allowLACP", "leave it out", "is true, but has no effect in mode %s, only in mode %s", mode, bond.LACP)
	}
	return allowed
}

// checkUnknown finds keys that mean nothing here. A key that resembles one of ours was
// meant as that one, so it is a problem. Any other key may be meant for another program,
// so it is a warning.
func checkUnknown(top strictjson.Object) (warnings bond.Problems) {
	known := Keys()
	var others []string
	for _, key := range top.Unknown(known) {
		if hint := strictjson.DidYouMean(key, known); hint != "" {
			top.Problems.Add(code.UnknownKey, key, hint, "is not a known key")
			continue
		}
		others = append(others, key)
	}
	if len(others) > 0 {
		warnings.Add(code.IgnoredKeys, "", "", "these keys are ignored: %s", strings.Join(others, ", "))
	}
	return warnings
}

// PluginTypes lists the type of every plugin that the network needs, once and sorted.
func (n Network) PluginTypes() []string {
	var types []string
	for _, l := range n.Links {
		for _, p := range l.Plugins {
			types = append(types, p.Type)
		}
		if l.IPAM != nil {
			types = append(types, l.IPAM.Type)
		}
	}
	for _, p := range slices.Concat(n.Chain, n.After) {
		types = append(types, p.Type)
	}
	if n.IPAM != "" {
		types = append(types, n.IPAM)
	}
	slices.Sort(types)
	return slices.Compact(types)
}
