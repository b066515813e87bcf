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

// The keys of the options that code refers to; every other is in [table] only.
const (
	Mode         = "mode"
	MTU          = "mtu"
	MAC          = "mac"
	Miimon       = "miimon"
	Primary      = "primary"
	FailOverMac  = "failOverMac"
	arpInterval  = "arpInterval"
	arpIPTarget  = "arpIpTarget"
	arpValidate  = "arpValidate"
	updelay      = "updelay"
	downdelay    = "downdelay"
	maxDelay     = 1<<31 - 1
	maxARPTarget = 16
)

var modeNames = []string{BalanceRR, ActiveBackup, BalanceXOR, Broadcast, LACP, BalanceTLB, BalanceALB}

// An option is one row of the table that everything about options is made
// from: parsing, the check against the mode, the netlink attribute, the
// read-back and the documentation.
type option struct {
	key   string // as users write it: camelCase of the kernel's name
	attr  uint16 // IFLA_BOND_*, in the bond's own data; or with ofLink IFLA_*
	kind  kind
	modes []string // the modes that it means something in; none: all
	unset string   // what the kernel has where nothing was sent; "" where that depends
	needs string   // another option, without which it means nothing

	ofLink bool // attr is one that every link has, not a bond's own
	doc    string
}

// Attributes and order are those of include/uapi/linux/if_link.h; ranges and
// modes are those of drivers/net/bonding/bond_options.c.
var table = []option{
	{key: Mode, attr: unix.IFLA_BOND_MODE, kind: names(8, modeNames...), unset: BalanceRR,
		doc: "how the links share the traffic. Default: active-backup."},
	{key: MTU, attr: unix.IFLA_MTU, ofLink: true, kind: number(32, 68, 65535, "bytes"),
		doc: "MTU of the bond and its links. Default: the smallest of the links' own."},
	{key: MAC, attr: unix.IFLA_ADDRESS, ofLink: true, kind: hardwareAddr{},
		doc: "the bond's MAC address. Default: the first link's. Not with failOverMac active, where the kernel takes the active link's."},
	{key: Miimon, attr: unix.IFLA_BOND_MIIMON, kind: number(32, 0, maxDelay, "ms"),
		doc: "how often the links' carrier is looked at. Default: 100, or 0 where arpInterval is given."},
	{key: updelay, attr: unix.IFLA_BOND_UPDELAY, kind: number(32, 0, maxDelay, "ms"), unset: "0", needs: Miimon,
		doc: "how long a link must have carrier before it is used; a multiple of miimon."},
	{key: downdelay, attr: unix.IFLA_BOND_DOWNDELAY, kind: number(32, 0, maxDelay, "ms"), unset: "0", needs: Miimon,
		doc: "how long a link must lack carrier before it is left; a multiple of miimon."},
	{key: FailOverMac, attr: unix.IFLA_BOND_FAIL_OVER_MAC, kind: names(8, "none", "active", "follow"), unset: "none", modes: []string{ActiveBackup},
		doc: "none: all links get the bond's MAC (an untrusted VF refuses it). active: the bond takes the active link's. follow: the active link gets the bond's. Default: active, or none where mac is given."},
	{key: Primary, attr: unix.IFLA_BOND_PRIMARY, kind: linkName{}, modes: []string{ActiveBackup, BalanceTLB, BalanceALB},
		doc: "the link that is used whenever it can be, by its name in the pod."},
	{key: "xmitHashPolicy", attr: unix.IFLA_BOND_XMIT_HASH_POLICY, unset: "layer2", modes: []string{BalanceXOR, LACP, BalanceTLB},
		kind: names(8, "layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"),
		doc:  "which parts of a packet choose its link."},
	{key: "allSlavesActive", attr: unix.IFLA_BOND_ALL_SLAVES_ACTIVE, kind: number(8, 0, 1, ""), unset: "0",
		doc: "1: take what arrives on inactive links too."},
	{key: "tlbDynamicLb", attr: unix.IFLA_BOND_TLB_DYNAMIC_LB, kind: number(8, 0, 1, ""), unset: "1", modes: []string{BalanceTLB, BalanceALB},
		doc: "1: balance by load; 0: by hash only."},
	{key: arpInterval, attr: unix.IFLA_BOND_ARP_INTERVAL, kind: number(32, 0, maxDelay, "ms"), unset: "0", needs: arpIPTarget, modes: []string{BalanceRR, ActiveBackup, BalanceXOR, Broadcast},
		doc: "how often the ARP targets are asked. In place of miimon: notices a path that is dead behind a carrier."},
	{key: arpIPTarget, attr: unix.IFLA_BOND_ARP_IP_TARGET, kind: ipv4List{most: maxARPTarget}, needs: arpInterval, modes: []string{BalanceRR, ActiveBackup, BalanceXOR, Broadcast},
		doc: "the IPv4 addresses to ask, 1 to 16: a list, or separated by commas."},
	{key: arpValidate, attr: unix.IFLA_BOND_ARP_VALIDATE, unset: "none", needs: arpInterval, modes: []string{BalanceRR, ActiveBackup, BalanceXOR, Broadcast},
		kind: names(32, "none", "active", "backup", "all", "filter", "filter_active", "filter_backup"),
		doc:  "on which links only ARP answers count as life."},
}

var tableByKey = func() map[string]option {
	m := make(map[string]option, len(table))
	for _, o := range table {
		m[o.key] = o
	}
	return m
}()

// OptionKeys lists the keys of all bond options, in the order of the table.
func OptionKeys() []string {
	keys := make([]string, len(table))
	for i, o := range table {
		keys[i] = o.key
	}
	return keys
}

func (o option) hasMode(mode string) bool {
	return len(o.modes) == 0 || slices.Contains(o.modes, mode)
}
