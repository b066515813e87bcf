// Package agentapi is what the plugin and the agent of its node say to each
// other: the messages, the plugin's client, and the pod that a runtime names.
//
// The agent's side is in kubeclient. What a lookup's answer means for a sandbox
// is decided in delegate.
package agentapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// Version is the version of the messages between plugin and agent. It grows by one in a
// release that the release before it cannot understand. Versions that are one apart work
// together: a field is added one release before it is needed, and removed one release
// after.
const Version = 1

// maxMessage is the largest message, in bytes. A pod with 32 networks of 100 KiB each is
// far below it.
const maxMessage = 8 << 20

// Request is the one message that the plugin sends on a connection. An empty one asks
// whether the agent is ready.
type Request struct {
	Version int      `json:"version"`
	Lookup  *Lookup  `json:"lookup,omitempty"`
	Publish *Publish `json:"publish,omitempty"`
	Watch   *Watch   `json:"watch,omitempty"`
	Routes  *Routes  `json:"routes,omitempty"` // of keep
}

// Reply is the one message that the agent answers with.
type Reply struct {
	Version int           `json:"version"`
	Lookup  *LookupReply  `json:"lookup,omitempty"`
	Publish *PublishReply `json:"publish,omitempty"`
	Error   *types.Error  `json:"error,omitempty"` // with a CNI code

	// Blind says that the agent does not hear of its node's bonds, or has missed
	// something: it needs a Watch.
	Blind bool `json:"blind,omitempty"`
}

// Pod is a pod as the container runtime names it (CNI_ARGS).
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// String returns the namespace and the name, as kubectl writes them.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// Lookup asks which networks a sandbox gets.
type Lookup struct {
	ContainerID string  `json:"containerID"`
	Netns       string  `json:"netns"`
	IfName      string  `json:"ifName"` // CNI_IFNAME
	Pod         Pod     `json:"pod"`
	Cluster     Cluster `json:"cluster,omitzero"`

	// Secondary says that another meta plugin called this one for a single
	// network of the pod's annotations, the one whose interface is IfName.
	Secondary bool `json:"secondary,omitempty"`
}

// Cluster has the keys of the cluster's configuration that the agent needs. They mean
// what they mean to Multus.
type Cluster struct {
	Isolated  bool     `json:"isolated,omitempty"`        // namespaceIsolation
	Global    []string `json:"globalNamespaces,omitzero"` // nil: the namespace default; none if it is empty
	System    []string `json:"systemNamespaces,omitzero"` // whose pods get no Defaults; nil: kube-system; none if it is empty
	Namespace string   `json:"multusNamespace,omitempty"` // of Network's and Defaults' NADs; default: kube-system
	Network   string   `json:"clusterNetwork,omitempty"`  // a NAD; "" if the plugin knows the default network
	ConfDir   string   `json:"confDir,omitempty"`         // searched before the agent's own directory
	Strict    bool     `json:"strict,omitempty"`          // what Multus only ignores is an error
	Defaults  []string `json:"defaultNetworks,omitempty"` // NADs that every pod gets after its default network
}

// LookupReply has a pod's networks.
type LookupReply struct {
	// Pod is the pod as the API has it, for Publish. The UID of a static pod differs
	// from the one that the runtime knows.
	Pod Pod `json:"pod"`

	// Attachments are in the order in which they are attached. The default network is
	// one of them only if Cluster.Network or the pod's own annotation names it.
	Attachments []Attachment `json:"attachments"`
	Warnings    []string     `json:"warnings,omitempty"`
}

// Attachment is one network of a pod, with all that its plugins are told.
type Attachment struct {
	Name    string          `json:"name"` // of the NAD, "demo/bond-net1"
	IfName  string          `json:"ifName"`
	Config  json.RawMessage `json:"config"` // single or a list
	Bond    bool            `json:"bond,omitempty"`
	Default bool            `json:"default,omitempty"` // the pod's default network
	Devices []string        `json:"devices,omitempty"` // of the pod, as they were assigned

	// Args are pairs for CNI_ARGS in addition to the runtime's, such as MAC=... They are
	// for the plugins of a chain.
	Args string `json:"args,omitempty"`

	// DefaultRoute has the gateways of the pod's default route if it goes over this
	// network. If it is empty but not nil, the gateways are those of the result.
	DefaultRoute []netip.Addr `json:"defaultRoute,omitzero"`

	// Near is for a network that asks for links near the pod's devices or CPUs. Agents of
	// earlier releases do not send it.
	Near *Near `json:"near,omitempty"`

	// HostIndex is the number of the host, for a network whose ipam needs it. Agents of
	// earlier releases do not send it.
	HostIndex *int `json:"hostIndex,omitempty"`

	// DeviceInfo describes a chain's device. In DeviceInfoFile its plugin may describe
	// it better.
	DeviceInfo     json.RawMessage `json:"deviceInfo,omitempty"`
	DeviceInfoFile string          `json:"deviceInfoFile,omitempty"`
}

// Near says where on the node a pod's devices, without those of its networks, or its CPUs
// are.
type Near struct {
	NUMA    map[string]int `json:"numa,omitempty"`    // how many of them each NUMA node has
	Roots   map[string]int `json:"roots,omitempty"`   // how many of the devices are below each PCI root
	Unknown string         `json:"unknown,omitempty"` // why nothing is known of them; "" if it is, or there are none
}

// Publish tells what became of a sandbox. Attachments go to the pod's network-status and
// events, Warnings and Failure to its events, and all of it to the agent's metrics.
type Publish struct {
	Verb        string       `json:"verb"` // ADD or DEL
	Pod         Pod          `json:"pod"`
	Attachments []Result     `json:"attachments,omitempty"` // the default network first
	Failure     *types.Error `json:"failure,omitempty"`
	Warnings    []string     `json:"warnings,omitempty"` // each names its network
	Steps       []Step       `json:"steps,omitempty"`
	Bonds       []Bond       `json:"bonds,omitempty"` // those of Attachments
}

// Watch gives the agent a socket of events (see [bond.ReadEvents]), and has what was there
// when the socket was open already.
type Watch struct {
	Events *os.File  `json:"-"`  // sent beside the message; the agent closes it
	At     time.Time `json:"at"` // when the Records were listed: of two, the later one counts

	Bonds []Bond       `json:"bonds"`
	Now   []bond.Event `json:"now"` // the bonds, their links, and the host's devices
}

// Bond is a pod's bond, as the agent watches it.
type Bond struct {
	Pod     Pod        `json:"pod"`
	Network string     `json:"network"` // the NAD, "demo/bond-net1"
	IfName  string     `json:"ifName"`
	NSID    int        `json:"nsid"` // the pod's network namespace, as the host numbers it
	Index   int        `json:"index"`
	Links   []BondLink `json:"links"`  // in their order, without those that are missing
	Wanted  int        `json:"wanted"` // how many links it has if none is missing
}

// BondLink is a link of a pod's bond.
type BondLink struct {
	Name   string `json:"name"`
	Index  int    `json:"index"`
	Device string `json:"device,omitempty"` // the PCI address
	PF     string `json:"pf,omitempty"`     // the PF's interface
}

// Result is one network that a pod got.
type Result struct {
	Name         string          `json:"name"`
	IfName       string          `json:"ifName"`
	Bond         bool            `json:"bond,omitempty"`
	Each         bool            `json:"each,omitempty"` // the interfaces of Result are links with addresses of their own
	Result       *current.Result `json:"result"`         // CNI 1.1.0
	DefaultRoute []netip.Addr    `json:"defaultRoute,omitzero"`
	DeviceInfo   json.RawMessage `json:"deviceInfo,omitempty"`
}

// PublishReply says what has been published.
type PublishReply struct {
	// Queued says why it is not published yet. The agent keeps trying.
	Queued string `json:"queued,omitempty"`
	Blind  bool   `json:"-"` // as in Reply
}

// ErrVersion is returned if the versions of plugin and agent are too far apart.
var ErrVersion = errors.New("the versions of plugin and agent are too far apart")

// CheckVersion returns an error if a plugin and an agent of these versions do not
// understand each other. The error is compatible with errors.Is(err, ErrVersion). Its
// code is 11, because an update that is under way will end.
func CheckVersion(plugin, agent int) error {
	older := "plugin"
	if agent < plugin {
		older = "agent"
	}
	if plugin-agent > 1 || agent-plugin > 1 {
		return cnierror.Errorf(types.ErrTryAgainLater, "the plugin speaks version %d, but the agent speaks %d: %w (they may differ by one; update the %s)", plugin, agent, ErrVersion, older)
	}
	return nil
}

// Write writes one message.
func Write(w io.Writer, message any) error {
	raw, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	_, err = w.Write(append(raw, '\n'))
	return err
}

// Read reads one message, of limited length.
func Read(r io.Reader, into any) error {
	limited := &io.LimitedReader{R: r, N: maxMessage}
	err := json.NewDecoder(limited).Decode(into)
	if err != nil && limited.N == 0 {
		return fmt.Errorf("the message has more than %d bytes", maxMessage)
	}
	return err
}

// Step is a step of a verb, and the time it took.
type Step struct {
	What         string  `json:"what"`
	Milliseconds float64 `json:"ms"`
}

// Since returns the step that began then and has just ended.
func Since(what string, began time.Time) Step {
	return Step{What: what, Milliseconds: float64(time.Since(began).Microseconds()) / 1000}
}
