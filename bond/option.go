package bond

import (
	"slices"
)

// The bonding modes, by the kernel's names.
const (
	BalanceRR    = "balance-rr"
	ActiveBackup = "active-backup"
	BalanceXOR   = "balance-xor"
	Broadcast    = "broadcast"
	LACP         = "802.3ad"
	BalanceTLB   = "balance-tlb"
	BalanceALB   = "balance-alb"
)

// Keys of the options that the code refers to. All other keys are in [table] only.
const (
	Mode         = "mode"
	MTU          = "mtu"
	MAC          = "mac"
	Miimon       = "miimon"
	Primary      = "primary"
	FailOverMac  = "failOverMac"
	MinLinks     = "minLinks"
	MACPolicy    = "macPolicy"
	VLAN         = "vlan"
	AcceptRA     = "acceptRA"
	arpInterval  = "arpInterval"
	arpIPTarget  = "arpIpTarget"
	arpValidate  = "arpValidate"
	updelay      = "updelay"
	downdelay    = "downdelay"
	numGratArp   = "numGratArp"
	notifDelay   = "peerNotifDelay"
	nsIP6Target  = "nsIp6Target"
	activeSlave  = "activeSlave"
	reselect     = "primaryReselect"
	queueID      = "queueId"
	prio         = "prio"
	portPrio     = "actor_port_prio"
	maxDelay     = 1<<31 - 1
	maxARPTarget = 16
	maxVLAN      = 4094
	maxQueue     = 16 // the queues of a bond (the module's parameter tx_queues)
)

// Shared is the value of macPolicy that gives all links the same MAC.
const Shared = "shared"

// Modes that several options have in common.
var (
	withActive = []string{ActiveBackup, BalanceTLB, BalanceALB}
	withARP    = []string{BalanceRR, ActiveBackup, BalanceXOR, Broadcast}
	onlyLACP   = []string{LACP}
	onlyBackup = []string{ActiveBackup}
)

var modeNames = []string{BalanceRR, ActiveBackup, BalanceXOR, Broadcast, LACP, BalanceTLB, BalanceALB}

// option is one row of [table]. Parsing, the check against the mode, the netlink
// attribute, reading back and the documentation are all made from it.
type option struct {
	key   string // as users write it: camelCase of the kernel's name
	alias string // another key of the same option; may be empty
	attr  uint16 // IFLA_BOND_*, unless ofLink or perLink says otherwise
	kind  kind
	modes []string // the modes that have it; empty: all
	unset string   // the kernel's value if none was sent; "" if that depends on something
	needs string   // another option without which this one has no effect; may be empty
	since string   // the first Linux release that has it; "": every one that Multibond supports

	newer map[string]string // values that later releases have, with the first such release

	ofLink  bool   // attr is IFLA_*, which every link has
	perLink bool   // an option of each link in the bond: attr is IFLA_BOND_SLAVE_*
	ours    bool   // not an option of the kernel
	once    bool   // set once the links have a carrier; the kernel may change it later
	always  bool   // read in every mode, sent only in those that have it
	doc     string // what it does, in a sentence or two

	// fallback describes the default, for the documentation. Empty: the default is
	// the value that ParseOptions adds, or else unset.
	fallback string
}

// table lists all options. Attributes and order are those of
// include/uapi/linux/if_link.h, ranges and modes those of
// drivers/net/bonding/bond_options.c.
var table = []option{
	{key: Mode, attr: iflaBondMode, kind: names(8, modeNames...), unset: BalanceRR,
		doc: "How the links share the traffic."},
	{key: MTU, attr: iflaMTU, ofLink: true, kind: number(32, 68, 65535, "bytes"),
		fallback: "the smallest MTU of its links", doc: "MTU of the bond and its links."},
	{key: MAC, attr: iflaAddress, ofLink: true, kind: hardwareAddr{},
		fallback: "the first link's", doc: "MAC address of the bond. Refused with failOverMac active, unless macPolicy is shared."},
	{key: MACPolicy, kind: names(8, "own", Shared), unset: "own", modes: onlyBackup, ours: true,
		doc: "own: failOverMac decides. shared: all links have one MAC, which does not change in a failover."},
	{key: VLAN, kind: number(16, 0, maxVLAN, ""), ours: true,
		fallback: "as the links' own configurations set it", doc: "VLAN of every link, set on each VF through its PF; the pod sees no tag. 0: no VLAN."},
	{key: AcceptRA, kind: boolean{numeric{bits: 8, max: 1}}, ours: true,
		fallback: "false with ipam; otherwise the kernel's", doc: "Whether router advertisements on the bond give the pod IPv6 addresses and routes, also a default route."},
	{key: Miimon, attr: iflaBondMiimon, kind: number(32, 0, maxDelay, "ms"),
		fallback: "100; 0 with arpInterval, unless a target is gateway", doc: "Interval at which the carrier of each link is checked."},
	{key: updelay, attr: iflaBondUpdelay, kind: number(32, 0, maxDelay, "ms"), unset: "0", needs: Miimon,
		doc: "How long a link must have a carrier before it is used. A multiple of miimon."},
	{key: downdelay, attr: iflaBondDowndelay, kind: number(32, 0, maxDelay, "ms"), unset: "0", needs: Miimon,
		doc: "How long a link must lack a carrier before the bond stops using it. A multiple of miimon."},
	{key: FailOverMac, attr: iflaBondFailOverMAC, kind: names(8, "none", "active", "follow"), unset: "none", modes: onlyBackup,
		fallback: "active; none with mac, unless macPolicy is shared", doc: "none: all links get the bond's MAC. active: the bond takes the active link's. follow: the active link gets the bond's."},
	{key: Primary, attr: iflaBondPrimary, kind: linkName{}, modes: withActive,
		fallback: "the first link", doc: "Name, in the pod, of the preferred link. none leaves the choice to the kernel."},
	{key: activeSlave, attr: iflaBondActiveSlave, kind: linkName{}, modes: withActive, once: true,
		fallback: "none", doc: "Name, in the pod, of the link to use first. Later faults and primary override it."},
	{key: "xmitHashPolicy", attr: iflaBondXmitHashPolicy, unset: "layer2", modes: []string{BalanceXOR, LACP, BalanceTLB},
		kind: names(8, "layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"),
		doc:  "Which parts of a packet select its link."},
	{key: "allSlavesActive", attr: iflaBondAllSlavesActive, kind: number(8, 0, 1, ""), unset: "0",
		doc: "1: accept what arrives on inactive links too."},
	{key: "tlbDynamicLb", attr: iflaBondTLBDynamicLB, kind: number(8, 0, 1, ""), unset: "1", modes: []string{BalanceTLB, BalanceALB},
		doc: "1: balance by load. 0: balance by hash only."},
	{key: arpInterval, attr: iflaBondARPInterval, kind: number(32, 0, maxDelay, "ms"), unset: "0", needs: arpIPTarget, modes: withARP,
		fallback: "0; 1000 with the target gateway", doc: "Interval at which the targets are probed. It replaces miimon, and notices a dead path behind a carrier."},
	{key: arpIPTarget, attr: iflaBondARPIPTarget, kind: addresses{family: 4, most: maxARPTarget}, needs: arpInterval, modes: withARP,
		fallback: "none", doc: "IPv4 addresses to probe: a list, or one string separated by commas. gateway: the one that IPAM names."},
	{key: arpValidate, attr: iflaBondARPValidate, unset: "none", needs: arpInterval, modes: withARP,
		kind: names(32, "none", "active", "backup", "all", "filter", "filter_active", "filter_backup"),
		doc:  "On which links only answers of the targets count as a sign of life. On the others any frame does."},
	{key: "arpAllTargets", attr: iflaBondARPAllTargets, kind: names(32, "any", "all"), unset: "any", needs: arpValidate, modes: onlyBackup,
		doc: "any: one target that answers keeps a link up. all: every target must answer."},
	{key: "arpMissedMax", attr: iflaBondMissedMax, kind: number(8, 1, 255, ""), unset: "2", needs: arpInterval, modes: withARP, since: "5.17",
		doc: "Checks without an answer after which a link is down."},
	{key: nsIP6Target, attr: iflaBondNSIP6Target, kind: addresses{family: 6, most: maxARPTarget}, needs: arpInterval, modes: withARP, since: "5.18",
		fallback: "none", doc: "IPv6 addresses to probe by neighbour solicitation, instead of or in addition to arpIpTarget."},
	{key: "useCarrier", attr: iflaBondUseCarrier, kind: number(8, 0, 1, ""), unset: "1",
		doc: "1: miimon asks the network stack. 0: it asks the driver, by ioctl. The newest kernels accept only 1."},
	{key: reselect, attr: iflaBondPrimaryReselect, kind: names(8, "always", "better", "failure"), unset: "always", needs: Primary, modes: withActive,
		doc: "When a primary that is back becomes active: always, if it is better, or only if the active link fails."},
	{key: numGratArp, alias: "numUnsolNa", attr: iflaBondNumPeerNotif, kind: number(8, 0, 255, ""), unset: "1", modes: onlyBackup,
		doc: "Announcements (ARP, neighbour advertisement) of an address, at the start and per failover. Both keys are one option."},
	{key: notifDelay, attr: iflaBondPeerNotifDelay, kind: number(32, 0, 300000, "ms"), unset: "0", needs: Miimon, modes: onlyBackup,
		doc: "Time between two of these announcements. A multiple of miimon."},
	{key: "resendIgmp", attr: iflaBondResendIGMP, kind: number(32, 0, 255, ""), unset: "1",
		doc: "IGMP membership reports per failover."},
	{key: "packetsPerSlave", attr: iflaBondPacketsPerSlave, kind: number(32, 0, 65535, "packets"), unset: "1", modes: []string{BalanceRR},
		doc: "Packets sent over one link before the next link is used. 0: a random link for each packet."},
	{key: "lpInterval", attr: iflaBondLPInterval, kind: number(32, 1, maxDelay, "s"), unset: "1", modes: []string{BalanceTLB, BalanceALB},
		doc: "Interval of the learning packets that each link sends to its switch."},
	{key: MinLinks, attr: iflaBondMinLinks, kind: number(32, 0, maxDelay, "links"), unset: "0", modes: onlyLACP, always: true,
		doc: "Links that must be up for the bond to have a carrier. In every mode: links that ADD needs."},
	{key: "lacpRate", attr: iflaBondADLACPRate, kind: names(8, "slow", "fast"), unset: "slow", modes: onlyLACP,
		doc: "How often the switch is asked to send LACPDUs: every 30 s (slow) or every second (fast)."},
	{key: "lacpActive", attr: iflaBondADLACPActive, kind: number(8, 0, 1, ""), unset: "1", modes: onlyLACP, since: "5.15",
		doc: "1: send LACPDUs periodically. 0: only answer."},
	{key: "adSelect", attr: iflaBondADSelect, kind: names(8, "stable", "bandwidth", "count", portPrio), unset: "stable", modes: onlyLACP, newer: map[string]string{portPrio: "6.18"},
		doc: "Group of links: the first until it fails, or by bandwidth, links or port priority."},
	{key: "adActorSysPrio", attr: iflaBondADActorSysPrio, kind: number(16, 1, 65535, ""), unset: "65535", modes: onlyLACP,
		doc: "LACP system priority of the bond."},
	{key: "adActorSystem", attr: iflaBondADActorSystem, kind: hardwareAddr{}, modes: onlyLACP,
		fallback: "the bond's MAC", doc: "LACP system MAC address of the bond."},
	{key: "adUserPortKey", attr: iflaBondADUserPortKey, kind: number(16, 0, 1023, ""), unset: "0", modes: onlyLACP,
		doc: "Upper ten bits of the LACP port key of the links."},
	{key: "coupledControl", attr: bondCoupledControl, kind: number(8, 0, 1, ""), unset: "1", modes: onlyLACP, since: "6.9",
		doc: "1: a link collects and distributes together. 0: independent control (IEEE 802.1AX)."},
	{key: "broadcastNeighbor", attr: bondBroadcastNeigh, kind: number(8, 0, 1, ""), unset: "0", modes: onlyLACP, since: "6.17",
		doc: "1: send ARP and neighbour solicitations over all links, for switches that do not share what they learn."},
	{key: "lacpStrict", attr: bondLACPStrict, kind: number(8, 0, 1, ""), unset: "0", modes: onlyLACP, since: "7.2",
		doc: "1: the bond has no carrier until minLinks links have agreed with the switch."},
	{key: queueID, attr: iflaBondSlaveQueueID, kind: number(16, 0, maxQueue, ""), unset: "0", perLink: true,
		doc: "The bond's transmit queue that uses this link, for tc's skbedit. 0: none. Different for each link."},
	{key: prio, attr: iflaBondSlavePrio, kind: signed{}, unset: "0", modes: withActive, perLink: true, since: "6.0",
		doc: "Which link is used if the primary cannot be: the one with the highest number."},
	{key: "actorPortPrio", attr: bondSlavePortPrio, kind: number(16, 1, 65535, ""), unset: "255", modes: onlyLACP, perLink: true, since: "6.18",
		doc: "LACP port priority of the link. The lower number wins."},
}

// Attributes of include/uapi/linux/if_link.h (IFLA_BOND_*) that x/sys/unix lacks.
const (
	bondCoupledControl = 32
	bondBroadcastNeigh = 33
	bondLACPStrict     = 34
	bondSlavePortPrio  = 10
)

var tableByKey = func() map[string]option {
	m := make(map[string]option, len(table))
	for _, o := range table {
		m[o.key] = o
	}
	return m
}()

// OptionKeys lists the keys of all options of a bond, in the table's order.
func OptionKeys() []string { return keysWhere(false) }

// LinkOptionKeys lists the keys of all options of a link in a bond.
func LinkOptionKeys() []string { return keysWhere(true) }

func keysWhere(perLink bool) (keys []string) {
	for _, o := range table {
		if o.perLink == perLink {
			keys = append(keys, o.keys()...)
		}
	}
	return keys
}

// keys lists the keys under which an option can be written.
func (o option) keys() []string {
	if o.alias == "" {
		return []string{o.key}
	}
	return []string{o.key, o.alias}
}

func (o option) hasMode(mode string) bool {
	return len(o.modes) == 0 || slices.Contains(o.modes, mode)
}

// HasOption reports whether mode has the option with key.
func HasOption(mode, key string) bool {
	row, known := tableByKey[key]
	return known && row.hasMode(mode)
}
