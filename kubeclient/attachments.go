package kubeclient

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// Attachment is one network of a pod, with the configuration for its plugins.
type Attachment struct {
	Element Element
	Network Network
	Config  json.RawMessage // what its plugins get
	Devices []string        // devices assigned to it; for a bond, in the order of its links
	Bond    bool

	// Near says where what the links should be near is; nil if they need not be near anything.
	Near *agentapi.Near

	// Hosts is how many hosts there is room for in its subnets; 0: it needs no number of this
	// host.
	Hosts int

	// Args are the pairs that its plugins get in CNI_ARGS in addition to the runtime's.
	Args string

	// Doubts are what Multus does without a word, and is likely a mistake.
	Doubts bond.Problems
}

// Node provides what the node knows about the pod's devices.
type Node struct {
	// Containers returns the pod's devices. It is called once, and only if a
	// network wants a device, or wants to be near them. Its error is wrapped.
	Containers func() ([]Container, error)

	Sys      fs.FS                      // root of sysfs
	PF       func(device string) string // empty if the device has no PF
	InfoFile func(Element) string       // file in which a plugin may describe its device; empty for none
}

// maxConfigs is the most bytes that all configurations of a pod may have
// together, so that they fit into the agent's answer.
const maxConfigs = 4 << 20

// Attachments resolves the networks that the pod asks for, assigns the pod's
// devices to them and completes their configurations, in the order of elements.
// The error has the problems of all elements, each with its element, and wraps
// the errors of the resolver. Its code is 100 if the pod has too few devices.
func Attachments(pod types.NamespacedName, elements []Element, r Resolver, node Node) ([]Attachment, error) {
	networks, err := findAll(elements, r)
	if err != nil {
		return nil, err
	}
	var needs []Need
	for _, f := range networks {
		needs = append(needs, f.need())
	}
	var containers []Container
	if slices.ContainsFunc(networks, found.asksForDevices) {
		if containers, err = node.Containers(); err != nil {
			return nil, err
		}
	}
	devices, err := Allocate(pod.String(), containers, needs, node.PF)
	if err != nil {
		return nil, cnierror.With(cnierror.Node, err)
	}
	var out []Attachment
	var errs []error
	var total int
	for i, f := range networks {
		one, err := f.attachment(devices[i], node.InfoFile)
		one.Near = node.near(f, containers, ofNetworks(needs, devices))
		if total += len(one.Config); total > maxConfigs {
			return nil, code.With(code.TooLarge, fmt.Errorf("the configurations of all networks of pod %s have more than %d bytes", pod, maxConfigs))
		}
		out, errs = append(out, one), append(errs, err)
	}
	if err := join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// asksForDevices reports whether the network wants devices of the pod, or to be near them.
func (f found) asksForDevices() bool { return f.isNear() || len(f.need().Wants) > 0 }

// isNear reports whether the network's links should be near something.
func (f found) isNear() bool {
	return f.bond != nil && (f.bond.near == netconf.NearDevices || f.bond.near == netconf.NearCPUs)
}

// found is an element with the network that it names. bond is set if the network
// is a bond.
type found struct {
	element Element
	network Network
	bond    *BondNetwork
}

func findAll(elements []Element, r Resolver) ([]found, error) {
	var out []found
	var errs []error
	for _, e := range elements {
		f, err := find(e, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.Path, err))
		}
		out = append(out, f)
	}
	return out, join(errs...)
}

func find(e Element, r Resolver) (found, error) {
	f := found{element: e}
	named := r
	named.Isolated = r.Isolated && !r.LinksOnly
	var err error
	f.network, err = named.Resolve(e.Network, e.mayName()...)
	if e.OrFile && apierrors.IsNotFound(err) {
		f.network, err = r.fromFile(e.Network, err)
	}
	if err != nil {
		return f, err
	}
	if i := f.network.Config.laterBond(); i > 0 {
		return f, code.With(code.LaterBond, fmt.Errorf("network %s: plugins[%d].type: is %s, but a bond can only be the first plugin of a list: make it the first, or a network of its own", e.Network, i, bondType))
	}
	switch {
	case !f.network.IsBond():
		return f, nil // a list that has bond-cni later is executed like any other
	case e.DeviceID != "":
		return f, code.With(code.BondDevice, fmt.Errorf("deviceID: is %s, but network %s is a bond, whose links have devices of their own", e.DeviceID, e.Network))
	}
	b, err := ReadBond(f.network, func(ref types.NamespacedName) (Network, error) { return r.Resolve(ref, e.linksMayName()...) })
	b.choose(e.CNIArgs)
	f.bond = &b
	return f, err
}

func (f found) need() Need {
	if f.bond != nil {
		return f.bond.Need()
	}
	n := Need{Network: f.network.label()}
	if f.network.Resource != "" || f.element.DeviceID != "" {
		n.Wants = []Want{{Resource: f.network.Resource, Device: f.element.DeviceID}}
		if !f.network.Config.has(plugin.needsDevice) {
			// The resource may be a marker that only the scheduler reads, as of a node
			// with a bridge. A plugin that needs a device says so itself.
			n.Spare = 1
		}
	}
	return n
}

// attachment returns the network with its devices, "" for those that it does without.
func (f found) attachment(devices []string, infoFile func(Element) string) (Attachment, error) {
	config, doubts, err := f.configure(devices, infoFile)
	assigned := slices.DeleteFunc(devices, func(device string) bool { return device == "" })
	one := Attachment{Element: f.element, Network: f.network, Config: config, Devices: assigned, Bond: f.bond != nil, Doubts: slices.Concat(f.element.Doubts, doubts)}
	if one.Bond {
		one.Hosts = f.bond.hosts
	} else {
		one.Args = f.element.cniArgs()
	}
	return one, err
}

// configure returns the configuration that the network's plugins get.
func (f found) configure(devices []string, infoFile func(Element) string) (json.RawMessage, bond.Problems, error) {
	if f.bond != nil {
		return f.bond.Network(devices).Configure(f.element, "", "")
	}
	device := ""
	if len(devices) > 0 {
		device = devices[0]
	}
	return f.network.Configure(f.element, device, infoFile(f.element))
}
