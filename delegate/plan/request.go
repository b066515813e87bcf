package plan

import (
	"encoding/json"
	"net/netip"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
)

// Request is what the runtime asks for one attachment.
type Request struct {
	ContainerID string
	IfName      string // of the pod: the bond, or what the network's plugins make
	Netns       string // CNI_NETNS; "" where the namespace is gone
	Args        string // CNI_ARGS
	Network     netconf.Network
	Group       Group
	Steps       []agentapi.Step // what was done for it before, which its Record tells

	// As in agentapi.Attachment.
	DefaultRoute   []netip.Addr
	DeviceInfo     json.RawMessage
	DeviceInfoFile string
}

// Key names the request's Record.
func (r Request) Key() Key { return Key{r.ContainerID, r.IfName} }

// Group is all attachments that one ADD of the runtime makes, of which each
// Record is a part.
type Group struct {
	Network string       `json:"network"`         // as the runtime calls its configuration
	IfNames []string     `json:"ifNames"`         // in the order of attachment; the first is CNI_IFNAME
	Agent   string       `json:"agent,omitempty"` // the socket of the agent that hears of the DEL
	Pod     agentapi.Pod `json:"pod,omitzero"`
}

// Key names a Record: one attachment of one container.
type Key struct{ ContainerID, IfName string }

// String uses a colon, which neither part can contain.
func (k Key) String() string { return k.ContainerID + ":" + k.IfName }
