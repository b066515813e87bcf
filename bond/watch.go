package bond

import (
	"errors"
	"slices"
)

// ErrEventsLost is returned if the kernel had more to tell than the socket could hold.
// What is known of all links is out of date then.
var ErrEventsLost = errors.New("events were lost")

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
	MIIFail            // it has failed, and downdelay is not over; or nothing is heard of it by ARP
	MIIDown            // it has failed
	MIIBack            // it works again, and updelay is not over
)
