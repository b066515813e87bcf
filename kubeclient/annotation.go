package kubeclient

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// The annotations of a pod that name its networks.
const (
	NetworksAnnotation       = nettypes.NetworkAttachmentAnnot
	DefaultNetworkAnnotation = "v1.multus-cni.io/default-network"
)

// Element is one network that a pod asks for, validated (multi-network
// standard v1.3, section 4.1.2). A nil or empty value was not asked for.
type Element struct {
	Path      string // where it is written: "networks[1]"
	Network   types.NamespacedName
	Interface string // interface name in the pod, CNI_IFNAME

	// Namespaces are the namespaces whose NADs the author of the element may
	// name, in addition to the global ones, if namespaces are isolated.
	Namespaces []string

	// System is the namespace of the cluster's own networks if the element may name
	// a NAD of it. A NAD of that namespace may then name others there.
	System string

	// OrFile allows a configuration of that name on the node if there is no
	// such NAD.
	OrFile bool

	IPs            []string // addresses or CIDRs, as written
	MAC            string
	InfinibandGUID string
	PortMappings   []nettypes.PortMapEntry
	Bandwidth      *nettypes.BandwidthEntry
	DeviceID       string
	CNIArgs        map[string]json.RawMessage

	// DefaultRoute lists the gateways of the pod's default route, at most one
	// per address family. Nil leaves the route alone. If it is empty but not
	// nil, the route uses this network and the gateways of its result.
	DefaultRoute []netip.Addr

	// Doubts are values that no plugin can use. Multus passes them on.
	Doubts bond.Problems
}

// ParseNetworks parses the annotation k8s.v1.cni.cncf.io/networks of a pod in
// namespace. taken lists the interface names of the networks that come before,
// beginning with the default network. An element without an interface name gets
// net1, net2, ... by its position after the default network. The error has all
// problems, each with its element.
func ParseNetworks(annotation, namespace string, taken []string) ([]Element, error) {
	elements, problems := readNetworks(annotation, namespace, taken)
	if err := annotationError(problems); err != nil {
		return nil, err
	}
	return elements, nil
}

// readNetworks is ParseNetworks that returns what could be read as well.
func readNetworks(annotation, namespace string, taken []string) (elements []Element, problems bond.Problems) {
	elements = parseElements(annotation, "networks", namespace, &problems)
	nameInterfaces(elements, taken, &problems)
	checkDefaultRoutes(elements, &problems)
	for i := range elements {
		elements[i].Namespaces = []string{namespace}
	}
	return elements, problems
}

func annotationError(problems bond.Problems) error {
	if err := problems.Err(); err != nil {
		return fmt.Errorf("annotation %s: %w", NetworksAnnotation, err)
	}
	return nil
}

// aboutInterface returns the problems that concern the network of one interface: its own,
// and those of the annotation as a whole. If no element has the interface, it is all.
func aboutInterface(elements []Element, ifName string, problems bond.Problems) (about bond.Problems) {
	its := func(e Element) bool { return e.Interface == ifName }
	if !slices.ContainsFunc(elements, its) {
		return problems
	}
	for _, p := range problems {
		of := func(e Element) bool { return p.Path == e.Path || strings.HasPrefix(p.Path, e.Path+".") }
		if i := slices.IndexFunc(elements, of); i < 0 || its(elements[i]) {
			about = append(about, p)
		}
	}
	return about
}

// ParseDefaultNetwork parses the annotation v1.multus-cni.io/default-network of
// a pod in namespace. The annotation names exactly one network. A name without a
// namespace is one of the system namespace. ifName is the name that the runtime
// gives to the pod's first interface.
func ParseDefaultNetwork(annotation, namespace, system, ifName string) (Element, error) {
	const path = "default-network"
	var problems bond.Problems
	elements := parseElements(annotation, path, system, &problems)
	if len(elements) != 1 && len(problems) == 0 {
		problems.Add(code.OneNetwork, path, "", "has %d networks, want one", len(elements))
	}
	for _, e := range elements {
		if e.Interface != "" && e.Interface != ifName {
			problems.Add(code.DefaultInterface, e.Path+".interface", "", "is %s, but the runtime names the default network's interface %s", e.Interface, ifName)
		}
	}
	if err := problems.Err(); err != nil {
		return Element{}, fmt.Errorf("annotation %s: %w", DefaultNetworkAnnotation, err)
	}
	e := elements[0]
	e.Interface, e.Namespaces, e.System = ifName, []string{namespace}, system
	return e, nil
}

// mayName returns the namespaces whose NADs the element may name.
func (e Element) mayName() []string {
	if e.System == "" {
		return e.Namespaces
	}
	return append(slices.Clone(e.Namespaces), e.System)
}

// linksMayName returns the namespaces whose NADs the element's NAD may name.
func (e Element) linksMayName() []string {
	if e.Network.Namespace == e.System {
		return e.mayName()
	}
	return e.Namespaces
}

// maxNetworks limits the work that one annotation can cause.
const maxNetworks = 32

// tooMany reports whether an annotation has more networks than a pod can have.
func tooMany(n int, path string, problems *bond.Problems) bool {
	if n > maxNetworks {
		problems.Add(code.ManyNetworks, path, "", "has %d networks, want at most %d", n, maxNetworks)
	}
	return n > maxNetworks
}

// parseElements parses both forms of the annotation. A blank annotation has no
// elements.
func parseElements(annotation, path, namespace string, problems *bond.Problems) []Element {
	text := strings.TrimSpace(annotation)
	switch {
	case text == "":
		return nil
	case text[0] == '[':
		return parseList(json.RawMessage(text), path, namespace, problems)
	case text[0] == '{' || text[0] == '"' || text == "null":
		problems.Add(code.BadAnnotation, path, `[{"name": "net"}] or net, other/net@eth5`, "is %s, want a JSON list, or names separated by commas", strictjson.KindOf(json.RawMessage(text)))
		return nil
	}
	if tooMany(strings.Count(text, ",")+1, path, problems) {
		return nil
	}
	var out []Element
	for i, word := range strings.Split(text, ",") {
		out = append(out, parseWord(strings.TrimSpace(word), fmt.Sprintf("%s[%d]", path, i), namespace, problems))
	}
	return out
}

// parseWord parses an element of the comma form, namespace/name@interface. There may be
// blanks around each part, as in annotations that charts make.
func parseWord(word, path, namespace string, problems *bond.Problems) Element {
	e := Element{Path: path, Network: types.NamespacedName{Namespace: namespace}}
	ref, ifName, named := cutBlanks(word, "@")
	if ns, name, found := cutBlanks(ref, "/"); found {
		e.Network = types.NamespacedName{Namespace: ns, Name: name}
	} else {
		e.Network.Name = ref
	}
	checkNetworkName(e.Network, path, problems)
	if e.Interface = ifName; named {
		checkInterface(ifName, path+".interface", problems)
	}
	return e
}

// cutBlanks is strings.Cut without the blanks around both parts.
func cutBlanks(s, separator string) (before, after string, found bool) {
	before, after, found = strings.Cut(s, separator)
	return strings.TrimSpace(before), strings.TrimSpace(after), found
}

func parseList(raw json.RawMessage, path, namespace string, problems *bond.Problems) []Element {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		problems.Add(code.NotJSON, path, "", "is not valid JSON: %v", err)
		return nil
	}
	if tooMany(len(list), path, problems) {
		return nil
	}
	var out []Element
	for i, one := range list {
		out = append(out, parseObject(one, fmt.Sprintf("%s[%d]", path, i), namespace, problems))
	}
	return out
}

// elementKeys are the keys that an element can have. Other keys are ignored, as
// the standard requires.
var elementKeys = []string{
	"name", "namespace", "interface", "ips", "mac", "infiniband-guid", "portMappings", "bandwidth", "deviceID",
	"cni-args", "default-route", "ipam-claim-reference", oldInterface,
}

// oldInterface is the key of Multus for interface before version 3.2, which it still reads.
const oldInterface = "interfaceRequest"

// parseObject parses an element of the JSON form.
func parseObject(raw json.RawMessage, path, namespace string, problems *bond.Problems) Element {
	e := Element{Path: path}
	o, is := strictjson.Decode(raw, path, problems)
	if !is {
		return e
	}
	strictjson.FoldKeys(o.Fields, elementKeys)
	e.Network = types.NamespacedName{Namespace: o.Text("namespace"), Name: o.Text("name")}
	if e.Network.Namespace == "" {
		e.Network.Namespace = namespace
	}
	checkNetworkName(e.Network, path, problems)
	if e.Interface = cmp.Or(o.Text("interface"), o.Text(oldInterface)); e.Interface != "" {
		checkInterface(e.Interface, o.At("interface"), problems)
	}
	e.IPs = readIPs(o, &e.Doubts)
	e.MAC = readMAC(o, &e.Doubts)
	e.InfinibandGUID = readGUID(o)
	e.PortMappings = readPortMappings(o, &e.Doubts)
	e.Bandwidth = readBandwidth(o, &e.Doubts)
	e.DeviceID = readDeviceID(o)
	e.DefaultRoute = readDefaultRoute(o)
	o.Read("cni-args", &e.CNIArgs, "a JSON object")
	checkIPAMClaim(o, e.IPs)
	return e
}

func checkNetworkName(n types.NamespacedName, path string, problems *bond.Problems) {
	if n.Name == "" {
		problems.Add(code.NetworkName, path+".name", "", "is missing, want the name of a NetworkAttachmentDefinition")
	} else if len(validation.IsDNS1123Subdomain(n.Name)) > 0 {
		problems.Add(code.NetworkName, path+".name", "lower-case letters, digits, hyphens and dots", "is %q, which is not a valid name of a NetworkAttachmentDefinition", n.Name)
	}
	if len(validation.IsDNS1123Label(n.Namespace)) > 0 {
		problems.Add(code.NetworkName, path+".namespace", "lower-case letters, digits and hyphens", "is %q, which is not a valid name of a namespace", n.Namespace)
	}
}

func checkInterface(name, path string, problems *bond.Problems) {
	if err := bond.CheckName(name); err != nil {
		problems.Add(code.BadInterface, path, "", "%v", err)
	}
}

// nameInterfaces names the interface of each element that asks for no name, and
// reports names that are in use.
func nameInterfaces(elements []Element, taken []string, problems *bond.Problems) {
	owner := map[string]string{"lo": "the loopback interface"}
	for _, name := range taken {
		owner[name] = "another network of the pod"
	}
	for i := range elements {
		e := &elements[i]
		how := ""
		if e.Interface == "" {
			e.Interface, how = fmt.Sprintf("net%d", len(taken)+i), " by position"
		}
		if other, used := owner[e.Interface]; used {
			problems.Add(code.SameInterface, e.Path+".interface", "", "is %s%s, which is also the name of %s", e.Interface, how, other)
			continue
		}
		owner[e.Interface] = e.Path
	}
}

// checkDefaultRoutes checks that at most one network asks for the default route. An empty
// list asks for it too, but gives way to another one: Multus ignores empty lists.
func checkDefaultRoutes(elements []Element, problems *bond.Problems) {
	asks := func(e Element) bool { return e.DefaultRoute != nil }
	gets := slices.IndexFunc(elements, func(e Element) bool { return len(e.DefaultRoute) > 0 })
	if gets < 0 {
		gets = slices.IndexFunc(elements, asks)
	}
	for i := range elements {
		e := &elements[i]
		const hint, text = "a pod has only one default route", "is also requested by %s"
		switch {
		case i == gets || !asks(*e):
		case len(e.DefaultRoute) > 0:
			problems.Add(code.DefaultRoutes, e.Path+".default-route", hint, text, elements[gets].Path)
		default:
			e.DefaultRoute = nil
			e.Doubts.Add(code.DefaultRoutes, e.Path+".default-route", hint, text+", and has no effect", elements[gets].Path)
		}
	}
}
