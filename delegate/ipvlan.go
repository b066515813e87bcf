package delegate

import (
	"encoding/json"
	"hash/fnv"
	"net"

	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/delegate/strictjson"
)

// ipvlan makes no interface without an address, and IPAM is called only when all links are
// there. Until then the interface has a link-local address (RFC 3927), which no other one of
// its master may have.

// lend returns what the first plugin of a link that it makes gets as prevResult: the
// address, for ipvlan, otherwise nothing.
func lend(rec *record.Record, l plan.Link) (json.RawMessage, error) {
	if l.Plugins[0].Type != "ipvlan" {
		return nil, nil
	}
	h := fnv.New32a()
	h.Write([]byte(rec.Plan.ContainerID + " " + l.Name))
	sum := h.Sum32()
	address := net.IPNet{IP: net.IPv4(169, 254, byte(1+sum>>8%254), byte(sum)), Mask: net.CIDRMask(32, 32)}
	result := current.Result{CNIVersion: current.ImplementedSpecVersion, IPs: []*current.IPConfig{{Address: address}}}
	return invoke.InVersion(strictjson.Encode(result), l.Plugins[0].Config.CNIVersion)
}

// takeBack takes a lent address from a link, and from the result of its plugins.
func takeBack(s sandbox, seen record.Attached) (record.Attached, error) {
	if err := bond.Prepare(s.pod, seen.Link); err != nil {
		return seen, err
	}
	seen.Link.Up, seen.Link.Carrier = false, false
	fields, err := invoke.ResultFields(seen.Result)
	if err != nil {
		return seen, err
	}
	delete(fields, "ips")
	seen.Result = strictjson.Encode(fields)
	return seen, nil
}
