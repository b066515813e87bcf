package kubeclient

import (
	"fmt"
	"slices"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/cnierror"
)

// Beside resolves the network of one interface, for another meta plugin that attaches the
// pod's other networks and assigns their devices: Multus. It reads of the others only what
// tells which devices they get. What is wrong with them, that meta plugin reports, or
// accepts. Otherwise Beside is like [Attachments].
func Beside(pod types.NamespacedName, n podNetworks, ifName string, r Resolver, node Node) (Attachment, error) {
	own := slices.IndexFunc(n.elements, func(e Element) bool { return e.Interface == ifName })
	if own < 0 {
		return Attachment{}, code.With(code.NotNamed, fmt.Errorf("pod %s: its annotations have no network for interface %s (name the interface in annotation %s, as in net@%s)", pod, ifName, NetworksAnnotation, ifName))
	}
	var all []found
	for i, e := range n.elements {
		f, err := find(e, r)
		if err != nil && (i == own || cnierror.Code(err) == cnitypes.ErrTryAgainLater) {
			return Attachment{}, fmt.Errorf("%s: %w", e.Path, err)
		}
		if err != nil {
			f = found{element: e, network: Network{Name: e.Network, Resource: f.network.Resource}}
		}
		all = append(all, f)
	}
	if !all[own].asksForDevices() {
		return all[own].attachment(nil, node.InfoFile)
	}
	containers, err := node.Containers()
	if err != nil {
		return Attachment{}, err
	}
	needs, devices, err := node.beside(pod, containers, all, n.hasDefault)
	if err != nil {
		return Attachment{}, err
	}
	one, err := all[own].attachment(devices[own], node.InfoFile)
	one.Near = node.near(all[own], containers, ofNetworks(needs, devices))
	return one, err
}

// beside assigns devices to the bonds: those that are left by the networks of the other
// meta plugin, which are fixed in needs.
func (n Node) beside(pod types.NamespacedName, containers []Container, all []found, hasDefault bool) (needs []Need, devices [][]string, err error) {
	given := givenByMultus(containers, all, hasDefault)
	for i, f := range all {
		need := f.need()
		if f.bond == nil {
			need = Need{Network: f.network.label()}
			// Multus can give one device to two networks.
			if device := given[i]; device != "" && slices.Index(given, device) == i {
				need.Fixed = []string{device}
			}
		}
		needs = append(needs, need)
	}
	devices, err = Allocate(pod.String(), containers, needs, n.PF)
	return needs, devices, cnierror.With(cnierror.Node, err)
}

// givenByMultus returns the device that Multus 4.3.0 gives to each network. It has one list
// of devices for each resource, those of all containers, sorted. Each NAD that names the
// resource takes the next one, also that of a bond, which has no use for it. The network
// of the annotation for the default network is counted apart. An element's deviceID is used
// if the resource has no device.
func givenByMultus(containers []Container, all []found, hasDefault bool) (given []string) {
	devices := map[string][]string{}
	for _, c := range containers {
		for resource, list := range c.Resources {
			devices[resource] = append(devices[resource], list...)
		}
	}
	next := map[string]int{}
	for i, f := range all {
		resource := f.network.Resource
		list := slices.Sorted(slices.Values(devices[resource]))
		device := f.element.DeviceID
		if at := next[resource]; at < len(list) {
			device = list[at]
			if !hasDefault || i > 0 {
				next[resource]++
			}
		}
		if f.bond != nil {
			device = ""
		}
		given = append(given, device)
	}
	return given
}
