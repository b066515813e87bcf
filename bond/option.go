package bond

import (
	"slices"

	"golang.org/x/sys/unix"
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
	arpInterval  = "arpInterval"
	arpIPTarget  = "arpIpTarget"
	arpValidate  = "arpValidate"
	updelay      = "updelay"
	downdelay    = "downdelay"
	notifDelay   = "peerNotifDelay"
	nsIP6Target  = "nsIp6Target"
	activeSlave  = "activeSlave"
	reselect     = "primaryReselect"
	queueID      = "queueId"
	prio         = "prio"
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

	ofLink  bool // attr is IFLA_*, which every link has
	perLink bool // an option of each link in the bond: attr is IFLA_BOND_SLAVE_*
	ours    bool // not an option of the kernel
	once    bool // set once the links have a carrier; the kernel may change it later
	always  bool // read in every mode, sent only in those that have it
	doc     string
}

// table lists all options. Attributes and order are those of
// include/uapi/linux/if_link.h, ranges and modes those of
// drivers/net/bonding/bond_options.c.
var table = []option{
	{key: Mode, attr: unix.IFLA_BOND_MODE, kind: names(8, modeNames...), unset: BalanceRR,
		doc: "how the links share the traffic. Default: active-backup."},
	{key: MTU, attr: unix.IFLA_MTU, ofLink: true, kind: number(32, 68, 65535, "bytes"),
		doc: "MTU of the bond and its links. Default: the smallest of the links' own."},
	{key: MAC, attr: unix.IFLA_ADDRESS, ofLink: true, kind: hardwareAddr{},
		doc: "the bond's MAC address. Default: the first link's. Not with failOverMac active, where the kernel takes the active link's, unless macPolicy is shared."},
	{key: MACPolicy, kind: names(8, "own", Shared), unset: "own", modes: onlyBackup, ours: true,
		doc: "own: failOverMac says it all; with active each link keeps its own, and the bond's changes with the active link. shared: all links, VFs of different PFs, get one, mac's or the first link's, through their PFs where need be, without trust; the bond's MAC is then the same through a failover. Default: own; see below why."},
	{key: VLAN, kind: number(16, 0, maxVLAN, ""), ours: true,
		doc: "the VLAN of every link, set at each VF through its PF, so that the pod sees no tag and cannot leave it; 0: none. Every link is then a VF that sriov attaches. Default: what the links' own configurations say."},
	{key: Miimon, attr: unix.IFLA_BOND_MIIMON, kind: number(32, 0, maxDelay, "ms"),
		doc: "how often the links' carrier is looked at. Default: 100, or 0 where arpInterval is given."},
	{key: updelay, attr: unix.IFLA_BOND_UPDELAY, kind: number(32, 0, maxDelay, "ms"), unset: "0", needs: Miimon,
		doc: "how long a link must have carrier before it is used; a multiple of miimon."},
	{key: downdelay, attr: unix.IFLA_BOND_DOWNDELAY, kind: number(32, 0, maxDelay, "ms"), unset: "0", needs: Miimon,
		doc: "how long a link must lack carrier before it is left; a multiple of miimon."},
	{key: FailOverMac, attr: unix.IFLA_BOND_FAIL_OVER_MAC, kind: names(8, "none", "active", "follow"), unset: "none", modes: onlyBackup,
		doc: "none: all links get the bond's MAC (an untrusted VF refuses it). active: the bond takes the active link's. follow: the active link gets the bond's. Default: active, or none where mac is given and not shared."},
	{key: Primary, attr: unix.IFLA_BOND_PRIMARY, kind: linkName{}, modes: withActive,
		doc: "the link that is used whenever it can be, by its name in the pod; none: the kernel chooses. Default: the first link, for otherwise it is the one whose carrier came first, and nobody knows which."},
	{key: activeSlave, attr: unix.IFLA_BOND_ACTIVE_SLAVE, kind: linkName{}, modes: withActive, once: true,
		doc: "the link that is used first, as soon as it has a carrier. Later faults and primary move it. Where no primary is given there is none then."},
	{key: "xmitHashPolicy", attr: unix.IFLA_BOND_XMIT_HASH_POLICY, unset: "layer2", modes: []string{BalanceXOR, LACP, BalanceTLB},
		kind: names(8, "layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"),
		doc:  "which parts of a packet choose its link."},
	{key: "allSlavesActive", attr: unix.IFLA_BOND_ALL_SLAVES_ACTIVE, kind: number(8, 0, 1, ""), unset: "0",
		doc: "1: take what arrives on inactive links too."},
	{key: "tlbDynamicLb", attr: unix.IFLA_BOND_TLB_DYNAMIC_LB, kind: number(8, 0, 1, ""), unset: "1", modes: []string{BalanceTLB, BalanceALB},
		doc: "1: balance by load; 0: by hash only."},
	{key: arpInterval, attr: unix.IFLA_BOND_ARP_INTERVAL, kind: number(32, 0, maxDelay, "ms"), unset: "0", needs: arpIPTarget, modes: withARP,
		doc: "how often the targets are asked. In place of miimon: notices a path that is dead behind a carrier."},
	{key: arpIPTarget, attr: unix.IFLA_BOND_ARP_IP_TARGET, kind: addresses{family: 4, most: maxARPTarget}, needs: arpInterval, modes: withARP,
		doc: "the IPv4 addresses to ask, 1 to 16: a list, or separated by commas."},
	{key: arpValidate, attr: unix.IFLA_BOND_ARP_VALIDATE, unset: "none", needs: arpInterval, modes: withARP,
		kind: names(32, "none", "active", "backup", "all", "filter", "filter_active", "filter_backup"),
		doc:  "on which links only answers to ARP or neighbour solicitation count as life."},
	{key: "arpAllTargets", attr: unix.IFLA_BOND_ARP_ALL_TARGETS, kind: names(32, "any", "all"), unset: "any", needs: arpValidate, modes: onlyBackup,
		doc: "how many of the targets must answer for a link to count as alive."},
	{key: "arpMissedMax", attr: unix.IFLA_BOND_MISSED_MAX, kind: number(8, 1, 255, ""), unset: "2", needs: arpInterval, modes: withARP, since: "5.17",
		doc: "how many checks without an answer make a link dead."},
	{key: nsIP6Target, attr: unix.IFLA_BOND_NS_IP6_TARGET, kind: addresses{family: 6, most: maxARPTarget}, needs: arpInterval, modes: withARP, since: "5.18",
		doc: "the IPv6 addresses to ask by neighbour solicitation, instead of or beside arpIpTarget: a list, or separated by commas."},
	{key: "useCarrier", attr: unix.IFLA_BOND_USE_CARRIER, kind: number(8, 0, 1, ""), unset: "1",
		doc: "1: miimon asks the network stack; 0: the driver, by ioctl. The newest kernels have 1 only."},
	{key: reselect, attr: unix.IFLA_BOND_PRIMARY_RESELECT, kind: names(8, "always", "better", "failure"), unset: "always", needs: Primary, modes: withActive,
		doc: "when a primary that is back is used again: always, if it is better, or only when the active link fails. At the start, too: with failure the link whose carrier comes first stays. Where a link that comes and goes must not pull the traffic with it, see updelay."},
	{key: "numGratArp", alias: "numUnsolNa", attr: unix.IFLA_BOND_NUM_PEER_NOTIF, kind: number(8, 0, 255, ""), unset: "1", modes: onlyBackup,
		doc: "how many gratuitous ARPs and unsolicited neighbour advertisements tell of a failover. Both keys are this one option, as in the kernel."},
	{key: notifDelay, attr: unix.IFLA_BOND_PEER_NOTIF_DELAY, kind: number(32, 0, 300000, "ms"), unset: "0", needs: Miimon, modes: onlyBackup,
		doc: "the time between two of these; a multiple of miimon."},
	{key: "resendIgmp", attr: unix.IFLA_BOND_RESEND_IGMP, kind: number(32, 0, 255, ""), unset: "1",
		doc: "how many IGMP membership reports tell of a failover."},
	{key: "packetsPerSlave", attr: unix.IFLA_BOND_PACKETS_PER_SLAVE, kind: number(32, 0, 65535, "packets"), unset: "1", modes: []string{BalanceRR},
		doc: "how many packets leave by one link before it is the next one's turn; 0: by chance."},
	{key: "lpInterval", attr: unix.IFLA_BOND_LP_INTERVAL, kind: number(32, 1, maxDelay, "s"), unset: "1", modes: []string{BalanceTLB, BalanceALB},
		doc: "how often each link sends a packet by which the switch learns where it is."},
	{key: MinLinks, attr: unix.IFLA_BOND_MIN_LINKS, kind: number(32, 0, maxDelay, "links"), unset: "0", modes: onlyLACP, always: true,
		doc: "how many links must work for the bond to have a carrier. In every mode it is also how many it takes to start: see the key of that name above."},
	{key: "lacpRate", attr: unix.IFLA_BOND_AD_LACP_RATE, kind: names(8, "slow", "fast"), unset: "slow", modes: onlyLACP,
		doc: "how often the switch is asked to send LACPDUs: every 30 s or every second."},
	{key: "lacpActive", attr: unix.IFLA_BOND_AD_LACP_ACTIVE, kind: number(8, 0, 1, ""), unset: "1", modes: onlyLACP, since: "5.15",
		doc: "1: send LACPDUs of one's own accord; 0: only as answers."},
	{key: "adSelect", attr: unix.IFLA_BOND_AD_SELECT, kind: names(8, "stable", "bandwidth", "count"), unset: "stable", modes: onlyLACP,
		doc: "which group of links is used: the first until it fails, or always the one with more bandwidth or more links."},
	{key: "adActorSysPrio", attr: unix.IFLA_BOND_AD_ACTOR_SYS_PRIO, kind: number(16, 1, 65535, ""), unset: "65535", modes: onlyLACP,
		doc: "the bond's LACP system priority."},
	{key: "adActorSystem", attr: unix.IFLA_BOND_AD_ACTOR_SYSTEM, kind: hardwareAddr{}, modes: onlyLACP,
		doc: "the bond's LACP system MAC address. Default: the bond's MAC."},
	{key: "adUserPortKey", attr: unix.IFLA_BOND_AD_USER_PORT_KEY, kind: number(16, 0, 1023, ""), unset: "0", modes: onlyLACP,
		doc: "the upper ten bits of the links' LACP port key."},
	{key: "coupledControl", attr: bondCoupledControl, kind: number(8, 0, 1, ""), unset: "1", modes: onlyLACP, since: "6.9",
		doc: "1: a link collects and distributes together; 0: IEEE 802.1AX's independent control."},
	{key: "broadcastNeighbor", attr: bondBroadcastNeigh, kind: number(8, 0, 1, ""), unset: "0", modes: onlyLACP, since: "6.17",
		doc: "1: send ARP and neighbour solicitation by all links, for two switches that do not tell each other what they learn."},
	{key: "lacpStrict", attr: bondLACPStrict, kind: number(8, 0, 1, ""), unset: "0", modes: onlyLACP, since: "7.2",
		doc: "1: the bond has no carrier before minLinks links have agreed with the switch."},
	{key: queueID, attr: unix.IFLA_BOND_SLAVE_QUEUE_ID, kind: number(16, 0, maxQueue, ""), unset: "0", perLink: true,
		doc: "the bond's transmit queue that leaves by this link, for tc's skbedit to choose; 0: none. No two links have the same."},
	{key: prio, attr: unix.IFLA_BOND_SLAVE_PRIO, kind: signed{}, unset: "0", modes: withActive, perLink: true, since: "6.0",
		doc: "which link is used where the primary cannot be: the one with the highest number. Where no primary is given and a link has this, there is none."},
	{key: "actorPortPrio", attr: bondSlavePortPrio, kind: number(16, 1, 65535, ""), unset: "255", modes: onlyLACP, perLink: true, since: "6.18",
		doc: "the link's LACP port priority; the lower number wins."},
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
