package plan

import (
	"encoding/json"
	"net/netip"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
)

// Request is what the runtime asks for, for one attachment.
type Request struct {
	ContainerID string
	IfName      string // in the pod: the bond, or what the network's plugins make
	Netns       string // CNI_NETNS; "" if the namespace is gone
	Args        string // CNI_ARGS
	Network     netconf.Network
	Group       Group
	Steps       []agentapi.Step // what was done before there is a Record; it is kept there

	// These are as in agentapi.Attachment.
	Near           *agentapi.Near
	HostIndex      *int
	DefaultRoute   []netip.Addr
	DeviceInfo     json.RawMessage
	DeviceInfoFile string
}

// Key returns the key of the request's Record.
func (r Request) Key() Key { return Key{r.ContainerID, r.IfName} }

// Group describes all attachments that one ADD of the runtime makes. Each Record is part of
// one group.
type Group struct {
	Network string       `json:"network"`         // the name of the runtime's configuration
	IfNames []string     `json:"ifNames"`         // in the order of attachment; the first is CNI_IFNAME
	Agent   string       `json:"agent,omitempty"` // socket of the agent to which the DEL is reported
	Pod     agentapi.Pod `json:"pod,omitzero"`
}

// Key identifies a Record, which is about one attachment of one container.
type Key struct{ ContainerID, IfName string }

// String joins the parts with a colon, which neither can contain.
func (k Key) String() string { return k.ContainerID + ":" + k.IfName }
