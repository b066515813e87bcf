package netconf

import (
	"encoding/json"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// withVLAN returns the links with the bond's VLAN in the configuration of each VF. So
// users write it once, and links cannot differ. vlan is "" for none.
func withVLAN(links []Link, vlan string, problems *bond.Problems) []Link {
	if vlan == "" {
		return links
	}
	out := slices.Clone(links)
	for i, l := range links {
		if l.Source == FromAgent {
			continue // the agent returns it with its device, and it is read again
		}
		sriov := slices.IndexFunc(l.Plugins, func(p Plugin) bool { return p.Type == "sriov" })
		if l.Source != FromDevice || sriov < 0 {
			problems.Add(code.VLANLink, bond.VLAN, "leave vlan out, and set it where the link is made", "is %s, but links[%d], %s, is not a VF that sriov attaches", vlan, i, l.Name)
			continue
		}
		config := l.Plugins[sriov].Config
		o, _ := strictjson.Decode(config.Raw, "", problems)
		if own := o.Fields[bond.VLAN]; o.Has(bond.VLAN) && string(own) != vlan {
			problems.Add(code.VLANTwice, bond.VLAN, "set it once", "is %s, but the configuration that attaches links[%d] has %s", vlan, i, strictjson.KindOf(own))
			continue
		}
		out[i].Plugins = slices.Clone(l.Plugins)
		out[i].Plugins[sriov].Config = NewConfig(config.With(map[string]json.RawMessage{bond.VLAN: json.RawMessage(vlan)}))
	}
	return out
}
