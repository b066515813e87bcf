package plan

import (
	"net/netip"

	"github.com/multibond/multibond/bond"
)

// Facts is the state of the node, as far as it matters to one Request.
type Facts struct {
	bond.Facts
	Bonding error                     // nil if the kernel can make bonds
	Path    []string                  // directories of plugins, CNI_PATH
	Plugins map[string]bool           // by type: whether the program is there
	InUse   map[string]bond.Addresses // by PCI address: what the host has on a device that is up
	Holders map[string]Key            // by PCI address: whose Record has it
	Netns   map[string]string         // by PCI address: the namespace to which sriov-cni has moved a VF
	Tables  []int                     // routing tables of the pod that are in use; looked for if links need some
	Remains map[string]Remains        // by bond.Identity, or by name if a link has no device
	NICs    []bond.NIC                // of the host, if the request has a pool
	Keep    bool                      // keep runs; looked for if links need routes
	Nets    []netip.Prefix            // what the host has on its links; looked for if links need routes
	Beside  map[string]bool           // by bond.Identity: NICs that pools of other networks of the same ADD have, and whether they are moved
	Roots   map[string]string         // by PCI address: bond.PCIRoot, if the request asks for nearness
}

// AddBeside adds a NIC that another network of the same ADD has.
func (f *Facts) AddBeside(n NIC, moved bool) {
	if f.Beside == nil {
		f.Beside = map[string]bool{}
	}
	f.Beside[n.Device] = f.Beside[n.Device] || moved
}

// Remains are what a pod that is gone has left on a link, and what could not be taken
// back.
type Remains struct {
	ContainerID string
	What        []string
}
