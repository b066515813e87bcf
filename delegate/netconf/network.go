// Package netconf is what was written: the configurations of networks and of
// the cluster, of bond-cni too, read strictly into values.
//
// It looks at nothing but its arguments; the configuration directory is in
// confdir. Whether a node can do what is written is decided in plan.
package netconf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

// Network is a network as its configuration asks for it: a bond, or a chain of
// plugins that make it.
type Network struct {
	Chain      []Plugin // in order; nil of a bond
	Device     string   // the PCI address that a chain was given; "" for none
	Agent      string   // the agent's socket, for links that only it can resolve
	CNIVersion string
	Name       string
	IfName     string // the bond's name, where the configuration gives one
	Options    bond.Options
	Links      []Link
	PodLinks   []string          // interfaces that have to be in the pod before the network is attached
	IPAM       string            // the IPAM plugin's type; "" for none
	Lenient    bool              // what is an error by default is a warning
	Require    map[string]string // error, warn or ignore, of the requirements that the configuration names
	MinLinks   int               // the bond may start with fewer links than Links, down to these; 0: with all
	AllowLACP  bool              // 802.3ad over VFs is wanted
	Valid      []GCAttachment    // GC: the attachments that the runtime still has; nil: it does not say
	Config     Config            // as it was given
	Warnings   []string
}

// decodeTop reads a configuration as the object that it is.
func decodeTop(raw []byte) (fields map[string]json.RawMessage, err error) {
	if !utf8.Valid(raw) {
		return nil, cnierror.Errorf(types.ErrDecodingFailure, "the configuration is not valid UTF-8")
	}
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		if json.Valid(raw) {
			return nil, cnierror.Errorf(types.ErrDecodingFailure, "the configuration is %s, wanted is a JSON object", strictjson.KindOf(raw))
		}
		return nil, cnierror.Errorf(types.ErrDecodingFailure, "the configuration is no JSON: %w", err)
	}
	return fields, nil
}

// NeedsAgent says that a link names what only the agent knows: a resource, a
// claim's request, or another network.
func (n Network) NeedsAgent() bool {
	return slices.ContainsFunc(n.Links, func(l Link) bool { return l.Source == FromAgent })
}

// CheckAgent says, of links that only the agent can resolve, that nobody has.
func (n Network) CheckAgent() error {
	var problems bond.Problems
	for i, l := range n.Links {
		if l.Source == FromAgent {
			problems.Add(fmt.Sprintf("links[%d].%s", i, l.By), "without Kubernetes give the PCI address as deviceID", "needs a pod and an agent that knows its devices; there is none here")
		}
	}
	if err := problems.Err(); err != nil {
		return cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: %w", n.Name, err)
	}
	return nil
}

// GCAttachment is one attachment that still exists.
type GCAttachment = types.GCAttachment

// topKeys are the keys of a network configuration that are no bond options.
var topKeys = []string{
	"cniVersion", "name", "type", "agent", "links", "linksInContainer", "delegate", "ifname", "ipam", "dns", "require", "allowLACP",
	"runtimeConfig", "capabilities", "args", "prevResult", "disableCheck", "disableGC", ValidKey, AttachmentsKey,
}

// ParseNetwork reads a configuration. It looks at nothing but its arguments;
// bondName is what the runtime asks for (CNI_IFNAME), "" where it does not
// say. All problems are returned at once, each with its path. The error's
// code is 6 where raw is no JSON, 7 where it says something wrong.
func ParseNetwork(raw []byte, bondName string) (Network, error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return Network{}, err
	}
	var problems bond.Problems
	top := strictjson.Object{Fields: fields, Problems: &problems}
	n := Network{Config: NewConfig(raw)}
	n.Valid = readValid(top)
	// What is null is not there, here as everywhere.
	maps.DeleteFunc(fields, func(key string, _ json.RawMessage) bool { return !top.Has(key) })
	if textOf(fields["type"]) == BondCNI {
		n.fromBondCNI(fields, bondName)
	}
	n.readHead(top, bondName)
	name := bondName
	if name == "" {
		name = n.IfName
	}
	n.readMinLinks(top)
	n.readLinks(top, name)
	n.readOptions(top, name)
	n.readRequire(top)
	n.readLACP(top)
	n.checkUnknown(top)
	if err := problems.Err(); err != nil {
		if n.Name != "" {
			err = fmt.Errorf("network %s: %w", n.Name, err)
		}
		return n, cnierror.With(types.ErrInvalidNetworkConfig, err)
	}
	return n, nil
}

// ValidKey is where a runtime lists, for GC, the attachments that it still has;
// attachmentsKey is what an older text of the specification called it.
const (
	ValidKey       = "cni.dev/valid-attachments"
	AttachmentsKey = "cni.dev/attachments"
)

// readValid tells an empty list, which runtimes also write as null, from none.
func readValid(top strictjson.Object) (valid []GCAttachment) {
	if _, there := top.Fields[ValidKey]; there {
		valid = []GCAttachment{}
		top.Read(ValidKey, &valid, "a list of attachments")
	}
	return valid
}

func (n *Network) readHead(top strictjson.Object, bondName string) {
	n.CNIVersion, n.Name, n.IfName = top.Text("cniVersion"), networkName(top), top.Text("ifname")
	if n.Agent = cmp.Or(top.Text("agent"), DefaultAgent); !strings.HasPrefix(n.Agent, "/") {
		top.Problems.Add("agent", "", "is %q, wanted is the absolute path of its socket", n.Agent)
	}
	top.Read("dns", &types.DNS{}, "a dns object (CNI specification, section 1)")
	if n.IfName != "" {
		if err := bond.CheckName(n.IfName); err != nil {
			top.Problems.Add("ifname", "", "%v", err)
		} else if bondName != "" && bondName != n.IfName {
			top.Problems.Add("ifname", "leave ifname out, or ask for that name where the pod asks for the network, as in "+n.Name+"@"+n.IfName,
				"is %s, and the runtime asks for %s (CNI_IFNAME)", n.IfName, bondName)
		}
	}
	if ipam, there := top.Object("ipam"); there && len(ipam.Fields) > 0 {
		n.IPAM = pluginType(ipam)
	}
}

// networkName reads a network's name and holds it to the specification's form
// (section 1): plugins make a part of a path of it, IPAM's files for one.
func networkName(top strictjson.Object) string {
	const most = 255
	name := top.Text("name")
	if name == "" {
		top.Problems.Add("name", "", "is missing")
	} else if len(name) > most {
		top.Problems.Add("name", "", "has %d bytes, wanted are at most %d", len(name), most)
		return ""
	} else if err := utils.ValidateNetworkName(name); err != nil {
		top.Problems.Add("name", "", "is %q, wanted are letters, digits, dots, hyphens and underscores, the first a letter or digit", name)
	}
	return name
}

// pluginType reads the name of a plugin's program, which must not lead out of
// the directories of CNI_PATH.
func pluginType(o strictjson.Object) string {
	t := o.Text("type")
	switch {
	case t == "":
		o.Problems.Add(o.At("type"), "", "is missing, wanted is the name of a CNI plugin")
	case strings.ContainsFunc(t, func(c rune) bool { return c == '/' || c <= ' ' }) || t == "." || t == ".." || strings.HasPrefix(t, "-"):
		o.Problems.Add(o.At("type"), "", "is %q, which is no name of a CNI plugin", t)
		return ""
	}
	return t
}

// A MAC that the runtime asks for, for one attachment, wins over the
// network's own (CNI conventions, "mac").
func (n *Network) readOptions(top strictjson.Object, bondName string) {
	var names []string
	var own []bond.Options
	for _, l := range n.Links {
		names, own = append(names, l.Name), append(own, l.Options)
	}
	if primary := ""; bondName == "" && json.Unmarshal(top.Fields[bond.Primary], &primary) == nil {
		// STATUS and GC do not say what the bond is called, so nobody knows the
		// names that its links have by default.
		names = append(names, primary)
	}
	fields := top.Fields
	if runtime, there := top.Object("runtimeConfig"); there && runtime.Has(bond.MAC) {
		fields = maps.Clone(fields)
		fields[bond.MAC] = runtime.Fields[bond.MAC]
	}
	fields = onlyLACPMinLinks(fields)
	options, problems := bond.ParseOptions(fields, names, own)
	n.Options = options
	n.Links = withVLAN(n.Links, options[bond.VLAN], top.Problems)
	*top.Problems = append(*top.Problems, problems...)
}

// readLACP takes the word for it that the switch port of each VF is the bond's
// alone. In the other modes there is nothing to allow.
func (n *Network) readLACP(top strictjson.Object) {
	n.AllowLACP = top.Bool("allowLACP")
	if mode := n.Options[bond.Mode]; n.AllowLACP && mode != "" && mode != bond.LACP {
		top.Problems.Add("allowLACP", "leave it out", "is true, and means nothing in mode %s; the mode that it is for: %s", mode, bond.LACP)
	}
}

// checkUnknown finds keys that mean nothing here. One that looks like an
// option or key of ours was meant as such and is a problem; any other may be
// meant for somebody else and is a warning.
func (n *Network) checkUnknown(top strictjson.Object) {
	known := slices.Concat(topKeys, bond.OptionKeys())
	var others []string
	for _, key := range top.Unknown(known) {
		if hint := strictjson.DidYouMean(key, known); hint != "" {
			top.Problems.Add(key, hint, "is not known")
			continue
		}
		others = append(others, key)
	}
	if len(others) > 0 {
		n.Warnings = append(n.Warnings, fmt.Sprintf("network %s: ignored: %s", n.Name, strings.Join(others, ", ")))
	}
}

// PluginTypes lists every plugin that the network needs, once.
func (n Network) PluginTypes() []string {
	var types []string
	for _, l := range n.Links {
		for _, p := range l.Plugins {
			types = append(types, p.Type)
		}
	}
	for _, p := range n.Chain {
		types = append(types, p.Type)
	}
	if n.IPAM != "" {
		types = append(types, n.IPAM)
	}
	slices.Sort(types)
	return slices.Compact(types)
}
