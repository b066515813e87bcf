package written

import (
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/multibond/multibond/kubeclient"
)

// multiNIC is a MultiNicNetwork of multi-nic-cni.
type multiNIC struct {
	Object
	namespace, name string
	spec            multiNICSpec
}

type multiNICSpec struct {
	Subnet       string
	MasterNets   []string
	IPAM         string // JSON
	MultiNICIPAM bool
	Plugin       struct {
		CNIVersion string
		Type       string
		Args       map[string]json.RawMessage // strings, whatever they mean
	}
	AttachPolicy struct{ Strategy string }
	Namespaces   []string
}

// addMultiNIC adds a MultiNicNetwork.
func (s *Set) addMultiNIC(is Object, metadata metav1.ObjectMeta, raw json.RawMessage) error {
	n := multiNIC{Object: is, namespace: metadata.Namespace, name: metadata.Name}
	n.Name = metadata.Name // it has no namespace
	var o struct{ Spec *multiNICSpec }
	o.Spec = &n.spec
	err := json.Unmarshal(raw, &o)
	s.multiNICs = append(s.multiNICs, n)
	return err
}

// someNICs is the number of NICs of a network that does not say how many there are.
const someNICs = 2

// migrateMultiNICs makes a NAD for each namespace of each MultiNicNetwork. The pods need no
// change: multi-nic-cni's NADs have the same names.
func (s *Set) migrateMultiNICs(m *Migration) {
	for _, n := range s.multiNICs {
		config, is := n.fields(m)
		if !is {
			continue
		}
		for _, namespace := range s.namespacesOf(m, n) {
			m.add(n.Object, namespace, n.name, config)
		}
		m.unused("MultiNicNetwork " + n.name)
		m.note(n.Object, "interfaces are <name>-1, <name>-2, ..., and not <name>-0, <name>-1, ...")
		m.note(n.Object, "each interface answers ARP for its own addresses only, and replies leave by the interface that was asked")
		m.note(n.Object, "an ADD that fails leaves nothing; there is no daemon with an open port, and no IPPool, CIDR and HostInterface")
	}
}

// namespacesOf returns the namespaces that get a NAD.
func (s *Set) namespacesOf(m *Migration, n multiNIC) []string {
	if len(n.spec.Namespaces) > 0 {
		return n.spec.Namespaces
	}
	var all []string
	for _, p := range s.pods {
		elements, err := kubeclient.ParseNetworks(p.Annotations[kubeclient.NetworksAnnotation], p.Namespace, []string{"eth0"})
		if err != nil {
			continue
		}
		for _, e := range elements {
			if e.Network.Name == n.name && !slices.Contains(all, e.Network.Namespace) {
				all = append(all, e.Network.Namespace)
			}
		}
	}
	if len(all) == 0 {
		all = []string{n.namespace}
	}
	m.note(n.Object, "namespaces: there is no NAD for every namespace, but for those whose pods are here and name it: %s", strings.Join(all, ", "))
	return all
}

// fields returns the configuration of the NADs.
func (n multiNIC) fields(m *Migration) (out fields, is bool) {
	links, delegate, is := n.links(m)
	if !is {
		return nil, false
	}
	out.set("cniVersion", "1.0.0")
	out.set("name", n.name)
	out.set("type", "multibond")
	out.set("attach", "each")
	out.set("links", links)
	if delegate != nil {
		out.set("delegate", delegate)
	}
	if ipam := n.ipam(m); ipam != nil {
		out.set("ipam", ipam)
	}
	n.strategy(m, &out, delegate == nil)
	return out, true
}

// links returns the links, and what attaches them if that is the same for all.
func (n multiNIC) links(m *Migration) (links []fields, delegate fields, is bool) {
	plugin := n.plugin(m)
	resource := textOf(n.spec.Plugin.Args["resourceName"])
	count := len(n.spec.MasterNets)
	if count == 0 {
		count = someNICs
		m.note(n.Object, "masterNets: is empty, which meant all NICs of a node with an address; count is %d now: write how many there are", count)
	}
	var link fields
	switch n.spec.Plugin.Type {
	case "ipvlan", "macvlan":
		pool := fields{}
		if len(n.spec.MasterNets) > 0 {
			pool.set("networks", n.spec.MasterNets)
		}
		link.set("pool", pool)
	case "sriov", "host-device":
		if resource == "" {
			m.problem(n.Object, "plugin.args has no resourceName: write links with the resource of the VFs")
			return nil, nil, false
		}
		link.set("resourceName", resource)
		delegate = plugin
	default:
		m.problem(n.Object, "plugin.type %s has no equivalent", n.spec.Plugin.Type)
		return nil, nil, false
	}
	link.set("count", count)
	if delegate == nil {
		link.set("config", plugin)
	}
	return []fields{link}, delegate, true
}

// plugin returns the configuration of the plugin that makes each interface. Its args were
// strings.
func (n multiNIC) plugin(m *Migration) (out fields) {
	out.set("type", n.spec.Plugin.Type)
	args := n.spec.Plugin.Args
	for _, key := range slices.Sorted(keys(args)) {
		switch {
		case key == "resourceName" || key == "master" || key == "deviceID":
		case n.spec.Plugin.Type == "sriov" && (key == "numVfs" || key == "needVhostNet" || key == "isRdma" || key == "deviceType" || key == "priority"):
			m.note(n.Object, "plugin.args.%s: is dropped: it is for the SR-IOV operator, which makes the VFs", key)
		default:
			out.set(key, plainValue(args[key]))
		}
	}
	var ipam struct{ VLANMode string }
	_ = json.Unmarshal([]byte(n.spec.IPAM), &ipam)
	if n.spec.Plugin.Type == "ipvlan" && ipam.VLANMode != "" && args["mode"] == nil {
		out.set("mode", ipam.VLANMode)
	}
	return out
}

// plainValue returns what a string means: a number, true, false, or itself.
func plainValue(raw json.RawMessage) json.RawMessage {
	switch text := textOf(raw); text {
	case "true", "false":
		return json.RawMessage(text)
	}
	return number(raw)
}

// ipam returns what gives the interfaces their addresses.
func (n multiNIC) ipam(m *Migration) any {
	var given struct {
		HostBlock      *int
		InterfaceBlock *int
		ExcludeCIDRs   []string
		VLANMode       string
	}
	if n.spec.IPAM == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(n.spec.IPAM), &given); err != nil {
		m.problem(n.Object, "ipam: is not valid JSON: %v", err)
		return nil
	}
	if !n.spec.MultiNICIPAM {
		m.note(n.Object, "ipam: is called for each interface")
		return json.RawMessage(n.spec.IPAM)
	}
	var out fields
	out.set("type", "multibond")
	out.set("subnet", n.spec.Subnet)
	if given.InterfaceBlock != nil {
		out.set("interfaceBlock", *given.InterfaceBlock)
	}
	if given.HostBlock != nil {
		out.set("hostBlock", *given.HostBlock)
	}
	if len(given.ExcludeCIDRs) > 0 {
		out.set("exclude", given.ExcludeCIDRs)
	}
	m.note(n.Object, "ipam: hosts have other numbers, so pods have other addresses; do not run both at once in one subnet")
	if n.spec.Plugin.Type == "ipvlan" && strings.HasPrefix(given.VLANMode, "l3") {
		m.note(n.Object, "routes between hosts are set by keep, which has to run on each node: kubectl apply -k deploy/keep")
	}
	return out
}

// strategy sets what takes the place of attachPolicy.
func (n multiNIC) strategy(m *Migration, out *fields, pooled bool) {
	switch s := n.spec.AttachPolicy.Strategy; s {
	case "", "none":
	case "topology":
		out.set("near", "devices")
	case "devClass":
		m.note(n.Object, "attachPolicy devClass: pods cannot choose a class; write vendor and device of the class into pool, in a network for each class")
	case "costOpt", "perfOpt":
		m.note(n.Object, "attachPolicy %s: is dropped; multi-nic-cni never implemented it", s)
	default:
		m.note(n.Object, "attachPolicy %s: is dropped; multi-nic-cni takes an unknown word for none", s)
	}
	if pooled {
		out.set("allow", []string{"count", "names"})
		m.note(n.Object, "cni-args: nics and masters are understood; more NICs than there are, and names of no NIC, are errors")
	}
}
