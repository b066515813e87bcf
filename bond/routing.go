package bond

import (
	"fmt"
	"net/netip"
	"strings"
)

// Routing is what belongs to no single link of a namespace: rules, and routes over several
// links.
type Routing struct {
	Rules  []Rule      `json:"rules,omitempty"`
	Paths  []Multipath `json:"paths,omitempty"`
	Tables []int       `json:"-"` // that have a rule or a route, sorted, without the kernel's own
}

// Rule has packets from an address use a routing table (ip rule).
type Rule struct {
	From     netip.Prefix `json:"from"` // invalid: from anywhere
	Table    int          `json:"table"`
	Priority int          `json:"priority"`
}

func (r Rule) String() string {
	return fmt.Sprintf("%d: from %s lookup %d", r.Priority, r.From, r.Table)
}

// ProtocolRoutes is the protocol of the routes between hosts: who set them, as
// /etc/iproute2/rt_protos names such numbers. No routing daemon, and nothing in the kernel's
// list of them, has it (RTPROT_* in include/uapi/linux/rtnetlink.h).
const ProtocolRoutes = 201

// Multipath is a route with all its ways, which have equal weights. Its own Gateway is
// invalid.
type Multipath struct {
	Route
	Hops []Hop `json:"hops"`
}

// Hop is one way of a multipath route. Without a Gateway the destination is on the link.
type Hop struct {
	Index   int        `json:"index"` // of the link
	Gateway netip.Addr `json:"gateway,omitzero"`
}

func (m Multipath) String() string {
	var hops []string
	for _, h := range m.Hops {
		if h.Gateway.IsValid() {
			hops = append(hops, fmt.Sprintf("via %s dev %d", h.Gateway, h.Index))
		} else {
			hops = append(hops, fmt.Sprintf("dev %d", h.Index))
		}
	}
	return fmt.Sprintf("%s %s", m.Dst, strings.Join(hops, ", "))
}

// The routing tables that every namespace has (RT_TABLE_* in
// include/uapi/linux/rtnetlink.h).
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

// IsOwnTable reports whether the kernel has a routing table itself.
func IsOwnTable(table int) bool {
	return table == 0 || table == tableDefault || table == tableMain || table == tableLocal
}
