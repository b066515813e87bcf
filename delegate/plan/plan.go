// Package plan is what will be done: Compile makes a Plan of a Request and of
// Facts, finds all that is wrong before anything is touched, and a Plan prints
// itself.
//
// It looks at nothing but its arguments. Facts are surveyed, and a Plan is
// carried out, in delegate.
package plan

import (
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

// Plan is what will be done for one attachment, whole: it can be printed,
// stored and compared, and the same Request and Facts give the same Plan.
type Plan struct {
	ContainerID string         `json:"containerID"`
	IfName      string         `json:"ifName"`
	Netns       string         `json:"netns"`
	Args        string         `json:"args,omitempty"`
	Path        []string       `json:"path"`
	Network     string         `json:"network"`
	Config      netconf.Config `json:"config"`        // as the runtime gave it; IPAM gets the same
	Links       []Link         `json:"links"`         // of a chain the one interface that its plugins make
	Bond        bond.Spec      `json:"bond,omitzero"` // the zero Spec of a chain
	IPAM        string         `json:"ipam,omitempty"`
	Group       Group          `json:"group,omitzero"`

	// As in agentapi.Attachment.
	DefaultRoute   []netip.Addr    `json:"defaultRoute,omitzero"`
	DeviceInfo     json.RawMessage `json:"deviceInfo,omitempty"`
	DeviceInfoFile string          `json:"deviceInfoFile,omitempty"`
}

// Link is one link, and how it was before anything was done.
type Link struct {
	Name            string           `json:"name"`
	Source          netconf.Source   `json:"source"`
	Device          string           `json:"device,omitempty"`
	Plugins         []netconf.Plugin `json:"plugins,omitempty"`
	Before          *bond.Link       `json:"before,omitempty"` // nil for what a plugin makes
	AddressesBefore bond.Addresses   `json:"had,omitzero"`     // of a link that is moved or in the pod
	PF              string           `json:"pf,omitempty"`     // the PF's interface
	VF              int              `json:"vf"`
	VFBefore        *bond.VF         `json:"admin,omitempty"`
}

// Key names the plan's Record.
func (p Plan) Key() Key { return Key{p.ContainerID, p.IfName} }

// IsChain says that other plugins make the network whole.
func (p Plan) IsChain() bool { return p.Bond.Name == "" }

// IPAMPlugin is the plugin that gives the bond its addresses.
func (p Plan) IPAMPlugin() netconf.Plugin { return netconf.Plugin{Type: p.IPAM, Config: p.Config} }

// Devices lists the PCI addresses that the plan takes from the host, sorted.
func (p Plan) Devices() []string {
	var out []string
	for _, l := range p.Links {
		if l.Device != "" && l.Source != netconf.FromPod {
			out = append(out, l.Device)
		}
	}
	slices.Sort(out)
	return out
}
