package kubeclient

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// ErrUnseen is what Judge.NAD returns for a NAD that may exist and cannot be read.
var ErrUnseen = errors.New("the NAD cannot be seen")

// Judge finds, with the code that runs for an ADD, what is wrong with NADs and pods on every
// node. Where it cannot see a NAD, or a node decides, it assumes what is right.
type Judge struct {
	NAD     func(types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error)
	Cluster agentapi.Cluster
}

// Judged is a network as it would be attached.
type Judged struct {
	Attachment Attachment
	Plan       plan.Plan // the zero Plan if Err is not nil
	Warnings   bond.Problems
	Err        error
	Unseen     bool // its NAD could not be seen

	// Assumed tells of each device what it stands for: "a device of intel.com/a".
	Assumed map[string]string
}

// One judges a NAD by itself: as a network of a pod that has a device for each link.
func (j Judge) One(nad *nettypes.NetworkAttachmentDefinition) (out Judged) {
	ref := types.NamespacedName{Namespace: nad.Namespace, Name: nad.Name}
	if out.Unseen = isUnseen(nad, nil); out.Unseen {
		return out
	}
	r := j.resolver()
	others := r.NAD
	r.NAD = func(name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		if name == ref {
			return nad, nil
		}
		return others(name)
	}
	e := Element{Network: ref, Namespaces: []string{ref.Namespace}}
	f, err := find(e, r)
	if err != nil {
		out.Err = err
		return out
	}
	need := f.need()
	if _, err := Allocate("of "+need.Network, nil, []Need{{Network: need.Network, Fixed: need.Fixed}}, nil); err != nil {
		out.Err = cnierror.With(cnierror.Node, err)
		return out
	}
	assumed, devices := assumedFor(need)
	out.Assumed = assumed
	out.Attachment, out.Err = f.attachment(devices, noInfoFile)
	return out.compiled()
}

// Need returns the devices that a pod needs for a network.
func (j Judge) Need(network types.NamespacedName) (Need, error) {
	f, err := find(Element{Network: network, Namespaces: []string{network.Namespace}}, j.resolver())
	if err != nil {
		return Need{}, err
	}
	return f.need(), nil
}

// Pod judges all networks of a pod. With enough, the pod has as many devices as its networks
// need, whatever it requests, as if they were injected when it is created.
func (j Judge) Pod(pod *corev1.Pod, enough bool) (out []Judged, err error) {
	networks, err := networksOf(pod, agentapi.Lookup{IfName: defaultInterface, Cluster: j.Cluster})
	if err != nil {
		return nil, err
	}
	r := j.resolver()
	node := Node{Sys: nothing{}, PF: func(string) string { return "" }, InfoFile: noInfoFile}
	assumed := map[string]string{}
	node.Containers = func() ([]Container, error) {
		c := j.containers(pod, networks.elements, r, enough)
		for _, of := range []map[string][]string{c.Resources, c.Requests} {
			for name, devices := range of {
				for _, device := range devices {
					assumed[device] = "a device of " + name
				}
			}
		}
		return []Container{c}, nil
	}
	attachments, err := Attachments(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, networks.elements, r, node)
	if err != nil {
		return nil, err
	}
	for _, a := range attachments {
		nad, err := j.NAD(a.Element.Network)
		one := Judged{Attachment: a, Unseen: isUnseen(nad, err), Assumed: assumed}
		if one = one.compiled(); j.Cluster.Strict {
			one.Err = join(one.Err, cnierror.With(cnitypes.ErrInvalidNetworkConfig, a.Doubts.Err()))
		} else {
			one.Warnings = append(one.Warnings, a.Doubts...)
		}
		out = append(out, one)
	}
	return out, nil
}

// compiled returns the network with its plan and what the compiler says.
func (j Judged) compiled() Judged {
	if j.Err != nil {
		return j
	}
	a := j.Attachment
	n, err := netconf.ParseAttachment(agentapi.Attachment{Name: a.Network.label(), IfName: a.Element.Interface, Config: a.Config, Bond: a.Bond, Devices: a.Devices}, nil)
	if err != nil {
		j.Err = err
		return j
	}
	r := plan.Request{ContainerID: "pod", IfName: a.Element.Interface, Network: n, DefaultRoute: a.Element.DefaultRoute}
	if r.IfName == "" {
		r.IfName = unnamed
	}
	j.Plan, j.Warnings, j.Err = plan.Judge(r, j.Assumed)
	return j
}

// unnamed is the interface of a network that no pod names. No link has that name.
const unnamed = "unnamed"

// resolver returns one that finds a network of any kind where a NAD cannot be seen.
func (j Judge) resolver() Resolver {
	return Resolver{Isolated: j.Cluster.Isolated, Global: j.Cluster.Global, NAD: func(name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		nad, err := j.NAD(name)
		if isUnseen(nad, err) || apierrors.IsNotFound(err) && j.isFile(name) {
			return standIn(name), nil
		}
		return nad, err
	}}
}

// isUnseen reports whether the configuration of a NAD is elsewhere: the NAD cannot be read, or
// each node has a file of its name.
func isUnseen(nad *nettypes.NetworkAttachmentDefinition, err error) bool {
	return errors.Is(err, ErrUnseen) || err == nil && strings.TrimSpace(nad.Spec.Config) == ""
}

// isFile reports whether a name is of the cluster's own networks, which can be files of nodes.
func (j Judge) isFile(name types.NamespacedName) bool {
	return name.Name == j.Cluster.Network || slices.Contains(j.Cluster.Defaults, name.Name)
}

// unseenType and unseenResource are of the network that stands for one that cannot be seen.
const unseenType, unseenResource = "unseen", "unseen/device"

func standIn(name types.NamespacedName) *nettypes.NetworkAttachmentDefinition {
	nad := &nettypes.NetworkAttachmentDefinition{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Annotations: map[string]string{ResourceAnnotation: unseenResource}}}
	nad.Spec.Config = `{"cniVersion": "1.0.0", "type": "` + unseenType + `"}`
	return nad
}

func noInfoFile(Element) string { return "" }

// nothing is a file system without a file: no node is known.
type nothing struct{}

func (nothing) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// assumedFor returns a device for each want, and what it is one of.
func assumedFor(n Need) (assumed map[string]string, devices []string) {
	assumed = map[string]string{}
	for i, w := range n.Wants {
		device := w.Device
		if device == "" {
			device = assumedDevice(0xff, i)
			assumed[device] = "a device of " + w.String()
		}
		devices = append(devices, device)
	}
	return assumed, devices
}

// assumedDevice returns the PCI address of a device that is assumed. kind tells resources
// apart.
func assumedDevice(kind, i int) string {
	return fmt.Sprintf("ffff:%02x:%02x.%d", kind%256, i/8%256, i%8)
}

// containers returns the devices that the pod would be given: as many as its containers
// request, or as its networks need. ResourceClaims, and networks that cannot be seen, get
// what they need.
func (j Judge) containers(pod *corev1.Pod, elements []Element, r Resolver, enough bool) Container {
	kinds := map[string]int{}
	give := func(into map[string][]string, name string, count int) {
		if _, known := kinds[name]; !known {
			kinds[name] = len(kinds)
		}
		for range count {
			into[name] = append(into[name], assumedDevice(kinds[name], len(into[name])))
		}
	}
	all := Container{Resources: map[string][]string{}, Requests: map[string][]string{}}
	for _, c := range running(pod) {
		for _, name := range slices.Sorted(maps.Keys(c.Resources.Limits)) {
			if count := c.Resources.Limits[name]; strings.Contains(string(name), "/") {
				give(all.Resources, string(name), int(min(count.Value(), maxNetworks*netconf.MaxLinks)))
			}
		}
	}
	needed := Container{Resources: map[string][]string{}, Requests: map[string][]string{}}
	for _, e := range elements {
		f, err := find(e, r)
		if err != nil {
			continue
		}
		for _, w := range f.need().Wants {
			switch {
			case w.Device != "":
				all.Resources[w.Resource] = append(all.Resources[w.Resource], w.Device)
			case w.Request != "":
				give(needed.Requests, w.Request, 1)
			case w.Resource != "":
				give(needed.Resources, w.Resource, 1)
			}
		}
	}
	for name, devices := range needed.Resources {
		if name == unseenResource || enough && len(devices) > len(all.Resources[name]) {
			all.Resources[name] = devices
		}
	}
	if enough || len(pod.Spec.ResourceClaims) > 0 {
		all.Requests = needed.Requests
	}
	return all
}
