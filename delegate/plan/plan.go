// Package plan decides what will be done. Compile makes a Plan from a Request and Facts, and
// finds everything that is wrong before anything is touched. A Plan prints itself.
//
// It depends on nothing but its arguments. Package delegate collects Facts and carries out
// Plans.
package plan

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

// Plan is everything that will be done for one attachment. It can be printed, stored and
// compared. The same Request and Facts give the same Plan.
type Plan struct {
	ContainerID string         `json:"containerID"`
	IfName      string         `json:"ifName"`
	Netns       string         `json:"netns"`
	Args        string         `json:"args,omitempty"`
	Path        []string       `json:"path"`
	Network     string         `json:"network"`
	Config      netconf.Config `json:"config"`             // as the runtime gave it, and with Block the bond's ranges; the IPAM plugin gets the same
	Attach      string         `json:"attach,omitempty"`   // netconf.AttachEach; "" for a bond or a chain
	MTU         int            `json:"mtu,omitempty"`      // of each link, with AttachEach; 0: as it is
	AcceptRA    string         `json:"acceptRA,omitempty"` // of each link, with AttachEach: 0, 1; "": as it is
	Links       []Link         `json:"links"`              // for a chain, the one interface that its plugins make
	Bond        bond.Spec      `json:"bond,omitzero"`      // the zero Spec if there is no bond
	IPAM        string         `json:"ipam,omitempty"`     // the type of the bond's
	Block       *Block         `json:"block,omitempty"`    // the bond's, if the subnets of its ipam are divided
	Group       Group          `json:"group,omitzero"`

	After []netconf.Plugin `json:"after,omitempty"` // those after the bond in its list

	// These are as in agentapi.Attachment.
	DefaultRoute   []netip.Addr    `json:"defaultRoute,omitzero"`
	DeviceInfo     json.RawMessage `json:"deviceInfo,omitempty"`
	DeviceInfoFile string          `json:"deviceInfoFile,omitempty"`
}

// Link is one link, and its state before anything was done.
type Link struct {
	Name            string           `json:"name"`
	Source          netconf.Source   `json:"source"`
	Device          string           `json:"device,omitempty"`
	DevPort         string           `json:"devPort,omitempty"`  // which interface of the device, see bond.PortOf; "": its own
	Held            string           `json:"held,omitempty"`     // the PCI address of a VF that its plugins reset: it has no interface
	Driver          string           `json:"driver,omitempty"`   // of the device
	Siblings        bool             `json:"siblings,omitempty"` // the device has other interfaces, so it alone does not tell the link
	Plugins         []netconf.Plugin `json:"plugins,omitempty"`
	NIC             *NIC             `json:"nic,omitempty"`    // on which a plugin makes it, or which it is; nil if its configuration names it
	Before          *bond.Link       `json:"before,omitempty"` // nil if a plugin makes it
	AddressesBefore bond.Addresses   `json:"had,omitzero"`     // for a link that is moved or in the pod
	PF              string           `json:"pf,omitempty"`     // the PF's interface
	VF              int              `json:"vf"`
	VFBefore        *bond.VF         `json:"admin,omitempty"`
	IPAM            *netconf.Plugin  `json:"ipam,omitempty"`  // what gives it addresses of its own; nil: none
	Table           int              `json:"table,omitempty"` // for what leaves from these addresses
	Block           *Block           `json:"block,omitempty"` // if the subnets of its ipam are divided
}

// Key returns the key of the plan's Record.
func (p Plan) Key() Key { return Key{p.ContainerID, p.IfName} }

// IsChain reports whether other plugins make the network.
func (p Plan) IsChain() bool { return !p.IsBond() && !p.IsEach() }

// IsBond reports whether the links are bonded.
func (p Plan) IsBond() bool { return p.Bond.Name != "" }

// IsEach reports whether each link is an interface with addresses of its own.
func (p Plan) IsEach() bool { return p.Attach == netconf.AttachEach }

// Made returns the bond as a link that the plugins after it work on.
func (p Plan) Made() Link { return Link{Name: p.IfName, Source: netconf.FromConfig, Plugins: p.After} }

// Identity returns what tells the link from all others, if it has a device.
func (l Link) Identity() string { return bond.Identity(l.Device, l.DevPort) }

// Holds returns what the link takes from the host: the PCI address of a device, with the
// port if the device has several interfaces; "" for none.
func (l Link) Holds() string {
	if l.Source == netconf.FromPod {
		return ""
	}
	return cmp.Or(l.Held, l.Identity())
}

// Devices lists what the plan takes from the host, sorted.
func (p Plan) Devices() []string {
	var out []string
	for _, l := range p.Links {
		if held := l.Holds(); held != "" {
			out = append(out, held)
		}
	}
	slices.Sort(out)
	return out
}
