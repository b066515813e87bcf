package netconf

import (
	"encoding/json"
	"maps"
	"strconv"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/strictjson"
)

// readMinLinks reads how many of its links a bond takes to start. In 802.3ad
// it is an option of the bond too, which has the same range.
func (n *Network) readMinLinks(top strictjson.Object) {
	raw, there := top.Fields[bond.MinLinks]
	if !there {
		return
	}
	o, _ := bond.ParseOptions(map[string]json.RawMessage{bond.Mode: strictjson.Encode(bond.LACP), bond.MinLinks: raw}, nil, nil)
	n.MinLinks, _ = strconv.Atoi(o[bond.MinLinks]) // what is wrong readOptions says
	var links []json.RawMessage
	_ = json.Unmarshal(top.Fields["links"], &links)
	total := 0
	for _, l := range links {
		total += countOf(l)
	}
	if n.MinLinks > total && total > 0 {
		top.Problems.Add(bond.MinLinks, "", "is %d, and the bond has %d links", n.MinLinks, total)
	}
}

// onlyLACPMinLinks leaves minLinks out of the options of a mode in which the
// kernel has none, if it can be read.
func onlyLACPMinLinks(fields map[string]json.RawMessage) map[string]json.RawMessage {
	raw, there := fields[bond.MinLinks]
	if !there {
		return fields
	}
	mode := map[string]json.RawMessage{bond.Mode: strictjson.Encode(bond.ActiveBackup)}
	if given, is := fields[bond.Mode]; is {
		mode[bond.Mode] = given
	}
	o, _ := bond.ParseOptions(mode, nil, nil)
	_, problems := bond.ParseOptions(map[string]json.RawMessage{bond.Mode: strictjson.Encode(bond.LACP), bond.MinLinks: raw}, nil, nil)
	if len(problems) > 0 || bond.HasOption(o[bond.Mode], bond.MinLinks) {
		return fields
	}
	out := maps.Clone(fields)
	delete(out, bond.MinLinks)
	return out
}
