package plan

import "github.com/multibond/multibond/bond"

// Facts is what the node looks like, as far as it matters to one Request.
type Facts struct {
	bond.Facts
	Bonding error                     // nil where the kernel can make bonds
	Path    []string                  // the directories in which plugins are looked for, CNI_PATH
	Plugins map[string]bool           // by type: the program is there
	InUse   map[string]bond.Addresses // by PCI address: what the host has on a device that is up
	Holders map[string]Key            // by PCI address: whose Record has it
	Netns   map[string]string         // by PCI address: the namespace that sriov-cni has given a VF to that is not on the host
}
