package bond

import (
	"io/fs"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// OwnNamespace is the NSID of events in the network namespace in which the socket was
// opened.
const OwnNamespace = -1

// Event is what the kernel tells about a link, or about the end of a network namespace.
type Event struct {
	NSID int // the namespace, by the number that it has in the one in which the socket was opened
	Kind EventKind
	Link Link // Vanished: only its index; Forgotten: none

	ActiveLink int     // of a bond: the index of the link that carries its traffic; 0: none, or its mode has none
	FailedOver bool    // of a bond: it has another ActiveLink, which is why this was sent
	Announced  bool    // the kernel announces the link's addresses, which is why this was sent
	Member     *Member // nil: the link is in no bond
}

// EventKind is what has happened.
type EventKind int

// The kinds of events.
const (
	Changed   EventKind = iota // a link is new, or has changed
	Vanished                   // a link is gone, or has left its namespace
	Forgotten                  // a namespace is gone, and the next one can get its number
)

// Member is a link as its bond sees it.
type Member struct {
	Active   bool   // it carries traffic, or would
	MII      MII    // what monitoring says of it
	Failures uint32 // how often monitoring has found that it had failed, since it is in the bond

	Ends [2]uint8 `json:"-"` // in 802.3ad: the states of its port and of the partner's
}

// Bits of the state of a port that speaks LACP (LACP_STATE_* in include/net/bond_3ad.h; IEEE
// 802.1AX-2014, 6.4.2.3): aggregation, synchronization, collecting, distributing.
const passes = 0x04 | 0x08 | 0x10 | 0x20

// HasPartner reports whether both ends of a link in 802.3ad have agreed to pass traffic.
func (m Member) HasPartner() bool { return m.Ends[0]&m.Ends[1]&passes == passes }

// LoneInLACP returns how a bond in 802.3ad sees its only link. alone is false if a link is in
// no such bond, or not the only one in it. events are those of all links of the namespace.
func LoneInLACP(events []Event, index int) (m Member, alone bool) {
	at := slices.IndexFunc(events, func(e Event) bool { return e.Link.Index == index })
	if at < 0 || events[at].Member == nil {
		return Member{}, false
	}
	link := events[at]
	inLACP := slices.ContainsFunc(events, func(e Event) bool { return e.Link.Index == link.Link.Master && e.Link.Options[Mode] == LACP })
	hasOthers := slices.ContainsFunc(events, func(e Event) bool { return e.Link.Master == link.Link.Master && e.Link.Index != index })
	return *link.Member, inLACP && !hasOthers
}

// MII is the state of a link in a bond (BOND_LINK_* in include/net/bonding.h).
type MII uint8

// The states of a link in a bond.
const (
	MIIUp   MII = iota // it works
	MIIFail            // it has failed, and downdelay is not over
	MIIDown            // it has failed
	MIIBack            // it works again, and updelay is not over
)

// bondingFailover is IFLA_EVENT of a bond that has another active link
// (IFLA_EVENT_BONDING_FAILOVER in include/uapi/linux/if_link.h).
const bondingFailover = 3

// notifyPeers is IFLA_EVENT of a link whose addresses are announced (IFLA_EVENT_NOTIFY_PEERS
// there).
const notifyPeers = 4

// parseEvent reads one message. known is false if it says nothing about a link or the end
// of a namespace. parseEvent trusts no length in the message and returns an error if one
// is wrong.
func parseEvent(sys fs.FS, nsid int, kind uint16, message []byte) (e Event, known bool, err error) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		e, err = parseLinkEvent(sys, kind, message)
		e.NSID = nsid
		return e, err == nil, err
	case unix.RTM_DELNSID:
		if nsid != OwnNamespace {
			return Event{}, false, nil // the number is one that another namespace has given
		}
		return parseForgotten(message)
	}
	return Event{}, false, nil
}

func parseLinkEvent(sys fs.FS, kind uint16, message []byte) (Event, error) {
	link, err := parseLink(sys, message)
	if err != nil {
		return Event{}, err
	}
	if kind == unix.RTM_DELLINK {
		return Event{Kind: Vanished, Link: Link{Index: link.Index}}, nil
	}
	e := Event{Kind: Changed, Link: link}
	attrs, err := attributes(message[unix.SizeofIfInfomsg:])
	if err != nil {
		return Event{}, err
	}
	for _, a := range attrs {
		switch a.Attr.Type &^ unix.NLA_F_NESTED {
		case unix.IFLA_EVENT:
			e.FailedOver = link.Kind == kindBond && decodeUint(a.Value) == bondingFailover
			e.Announced = decodeUint(a.Value) == notifyPeers
		case unix.IFLA_LINKINFO:
			e.parseInfo(nested(a))
		}
	}
	return e, nil
}

func (e *Event) parseInfo(attrs []syscall.NetlinkRouteAttr) {
	info := byType(attrs)
	switch {
	case e.Link.Kind == kindBond:
		e.ActiveLink = int(decodeUint(byType(nested(info[unix.IFLA_INFO_DATA]))[nl.IFLA_BOND_ACTIVE_SLAVE].Value))
	case unix.ByteSliceToString(info[unix.IFLA_INFO_SLAVE_KIND].Value) == kindBond:
		data := byType(nested(info[unix.IFLA_INFO_SLAVE_DATA]))
		e.Member = &Member{
			Active:   decodeUint(data[nl.IFLA_BOND_SLAVE_STATE].Value) == 0,
			MII:      MII(decodeUint(data[nl.IFLA_BOND_SLAVE_MII_STATUS].Value)),
			Failures: decodeUint(data[nl.IFLA_BOND_SLAVE_LINK_FAILURE_COUNT].Value),
			Ends: [2]uint8{
				uint8(decodeUint(data[nl.IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE].Value)),
				uint8(decodeUint(data[nl.IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE].Value)),
			},
		}
	}
}

// byType returns attributes by their types. The last one of a type counts.
func byType(attrs []syscall.NetlinkRouteAttr) map[uint16]syscall.NetlinkRouteAttr {
	out := map[uint16]syscall.NetlinkRouteAttr{}
	for _, a := range attrs {
		out[a.Attr.Type&^unix.NLA_F_NESTED] = a
	}
	return out
}

// netnsaNSID is the attribute with the number of a namespace (NETNSA_NSID in
// include/uapi/linux/net_namespace.h).
const netnsaNSID = 1

// parseForgotten reads RTM_DELNSID, whose head is a struct rtgenmsg.
func parseForgotten(message []byte) (e Event, known bool, err error) {
	const head = 4 // struct rtgenmsg has one byte, and attributes are aligned
	if len(message) < head {
		return Event{}, false, nil
	}
	attrs, err := attributes(message[head:])
	if err != nil {
		return Event{}, false, err
	}
	id, there := byType(attrs)[netnsaNSID]
	return Event{NSID: int(int32(decodeUint(id.Value))), Kind: Forgotten}, there, nil
}
