package bond

import (
	"io/fs"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
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
