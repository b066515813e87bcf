package netconf

import (
	"encoding/json"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/strictjson"
)

// setVLAN has each VF attached with the bond's VLAN: one place in the
// configuration, in place of one per link that can differ.
func (n *Network) setVLAN(problems *bond.Problems) {
	vlan := n.Options[bond.VLAN]
	if vlan == "" {
		return
	}
	for i, l := range n.Links {
		if l.Source == FromAgent {
			continue // it is read again when its device is known
		}
		sriov := slices.IndexFunc(l.Plugins, func(p Plugin) bool { return p.Type == "sriov" })
		if l.Source != FromDevice || sriov < 0 {
			problems.Add(bond.VLAN, "leave vlan out, and set it where the link is made", "is %s, and links[%d], %s, is no VF that sriov attaches", vlan, i, l.Name)
			continue
		}
		p := &n.Links[i].Plugins[sriov]
		var fields map[string]json.RawMessage
		_ = json.Unmarshal(p.Config, &fields) // it was made by Encode
		if own, there := fields[bond.VLAN]; there && string(own) != vlan && string(own) != "null" {
			problems.Add(bond.VLAN, "write it once", "is %s, and the configuration that attaches links[%d] has %s", vlan, i, strictjson.KindOf(own))
			continue
		}
		fields[bond.VLAN] = json.RawMessage(vlan)
		p.Config = strictjson.Encode(fields)
	}
}
