package bond

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"
)

// Kernel opens network namespaces and provides bonding.
type Kernel interface {
	// Host opens the namespace that this process runs in.
	Host() (Namespace, error)
	// Open opens the namespace at path. If there is none any more, the error is
	// compatible with errors.Is(err, fs.ErrNotExist).
	Open(path string) (Namespace, error)
	// HasBonding returns nil if the kernel can make bonds, and changes nothing.
	// The error is compatible with errors.Is(err, ErrNoBonding).
	HasBonding() error
	// EnableBonding makes sure that the kernel can make bonds. If it cannot, or
	// ctx ends before it can, the error is compatible with
	// errors.Is(err, ErrNoBonding).
	EnableBonding(ctx context.Context) error
	// OpenEvents opens a socket that hears of each change of a link, in this network
	// namespace and in all that have a number in it. It needs CAP_NET_ADMIN and
	// CAP_NET_BROADCAST. Whoever has the socket can listen to it by [AwaitEvents] and
	// [ReadEvents], and needs no capability for that.
	OpenEvents() (*os.File, error)
}

// Namespace is what this project asks of the kernel in one network namespace.
// Each method is one kernel verb. It either does everything or returns an error
// with the kernel's text. Links are identified by their index. A rename does not
// change it; a move to another namespace does, if the index is taken there.
type Namespace interface {
	// ID identifies the namespace for as long as the machine runs. A path does
	// not: another namespace can be at it later.
	ID() string
	// Links lists all links of the namespace.
	Links() ([]Link, error)
	// Link reads one link by its name or an alternative one. If no link has it,
	// the error is compatible with errors.Is(err, fs.ErrNotExist).
	Link(name string) (Link, error)
	// CreateBond makes a bond, down and without links, and returns it. Whether it
	// accepts router advertisements is settled before it can hear one. If the
	// kernel refuses an option, nothing is made. If the kernel has no bonding,
	// the error is compatible with errors.Is(err, ErrNoBonding).
	CreateBond(name string, o Options) (Link, error)
	// Delete removes a virtual link. If it is a bond, the kernel releases its
	// links, closes them and restores their own MAC and MTU.
	Delete(index int) error
	// Change changes what is not nil in c. One request changes namespace, MAC,
	// MTU, name, alias, state with flags, master and queue, in this order.
	// Options have a request of their own. Alternative names have two: those to
	// drop come before everything else, those to add come last, and the removal of
	// XDP programs comes before these. After an error
	// some of it may be done: look before doing more.
	Change(index int, c Change) error
	// Addresses lists the link's addresses and routes that somebody set. Those
	// that the kernel makes by itself or learns from a router are left out, and
	// so are multipath routes, which belong to several links. If the link is
	// gone, the error is compatible with errors.Is(err, fs.ErrNotExist).
	Addresses(index int) (Addresses, error)
	// Flush removes all addresses of a link, and with them their routes.
	Flush(index int) error
	// Configure adds addresses to a link, then routes without a gateway, then
	// the other routes. What is there already is no error. Routes need a link
	// that is up.
	Configure(index int, a Addresses) error
	// AddRoute adds a route over a link, with its priority. If somebody has a route to the
	// same destination with that priority, over any link, the error is compatible with
	// errors.Is(err, unix.EEXIST).
	AddRoute(index int, r Route) error
	// RemoveRoute removes a route over a link, of whatever protocol if r has none. A
	// missing route is no error.
	RemoveRoute(index int, r Route) error
	// Routes lists the routes of the main table, each with its ways. Those that came with an
	// address or from a router have the protocol of that.
	Routes() ([]Multipath, error)
	// Routing lists the rules that lead to a table, and the multipath routes that
	// somebody set.
	Routing() (Routing, error)
	// AddRouting adds rules, then multipath routes. What is there already is no error.
	AddRouting(r Routing) error
	// RemoveRouting removes multipath routes and rules. What is missing is no error.
	RemoveRouting(r Routing) error
	// Announce sends a gratuitous ARP or an unsolicited neighbour advertisement
	// for each address.
	Announce(index int, addrs []netip.Addr) error
	// Solicit has the kernel ask for the link-layer address of a neighbour, unless it
	// knows it, and reports whether it knows it by now. It does not wait for the answer.
	Solicit(index int, ip netip.Addr) (bool, error)
	// VFs reads the administrative state of all VFs of a PF, by number. If no
	// link has the PF's name, the error is compatible with
	// errors.Is(err, fs.ErrNotExist).
	VFs(pf string) (map[int]VF, error)
	// ChangeVF changes a VF's administrative state from have to want, only where
	// they differ. It continues after an error and joins all errors.
	ChangeVF(pf string, n int, have, want VF) error
	// Number returns the number that another namespace has in this one, and gives it one
	// if it has none. The kernel gives the number to the next namespace once that one is
	// gone.
	Number(other Namespace) (int, error)
	// Observe lists all links of the namespace as events would tell of them, with its
	// number.
	Observe(number int) ([]Event, error)
	// ObserveIn does what Observe does for the namespace that has a number in this one,
	// without entering it. Options do not name a primary. If no namespace has the number,
	// the error is compatible with errors.Is(err, unix.EINVAL).
	ObserveIn(number int) ([]Event, error)
	// OpenProbe opens a probe of a target over a link. If there is no way to the target
	// over the link, the error is compatible with errors.Is(err, unix.ENETUNREACH). The
	// namespace exists until the probe is closed.
	OpenProbe(l Link, target netip.Addr) (Probe, error)
	// Close closes the sockets.
	Close() error
}

// kindBond is the Kind of a bond.
const kindBond = "bond"

// Link is a network interface as the kernel reports it.
type Link struct {
	Index    int      `json:"index"`
	Name     string   `json:"name"`
	AltNames []string `json:"altNames,omitzero"` // nil: not known
	Kind     string   `json:"kind,omitempty"`    // "bond", "veth", ...; "" for a device with a driver
	Device   string   `json:"device,omitempty"`  // the PCI address; "" if there is none
	MAC      string   `json:"mac"`
	PermMAC  string   `json:"permMAC,omitempty"` // as the driver reports it: with igbvf, the MAC at the last reset
	MTU      int      `json:"mtu"`
	MaxMTU   int      `json:"maxMTU,omitempty"` // 0: no limit
	Up       bool     `json:"up"`               // administratively
	Carrier  bool     `json:"carrier"`
	Master   int      `json:"master,omitempty"`  // the bond's or bridge's index
	Type     uint16   `json:"type"`              // ARPHRD_*: 1 Ethernet, 32 InfiniBand
	Options  Options  `json:"options,omitempty"` // those of a bond, or of a link in one

	// OwnARP reports whether the link answers ARP for its own addresses only, asks with
	// one of them, and takes packets that would be answered over another link. A link
	// loses it when it moves to another namespace.
	OwnARP bool `json:"ownARP,omitempty"`

	// nil: not known. The Records of earlier versions do not have them.
	Flags      *Flags  `json:"flags,omitempty"`
	Alias      *string `json:"alias,omitempty"`
	TxQueueLen *int    `json:"txQueueLen,omitempty"` // packets

	// The kernel reports these together. If Offload is zero, none of them is known.
	Group   int     `json:"group,omitempty"`
	XDP     XDP     `json:"xdp,omitempty"`
	Offload Offload `json:"offload,omitzero"`
}

// XDP are the modes in which a link has a program (XDP_FLAGS_*_MODE in
// include/uapi/linux/if_link.h).
type XDP uint32

// Offload is how large a packet the kernel makes for a link, and of those that it
// receives. 0: not known, or as it is.
type Offload struct {
	GSOMaxSize int `json:"gsoMaxSize,omitempty"` // bytes
	GSOMaxSegs int `json:"gsoMaxSegs,omitempty"`
	GROMaxSize int `json:"groMaxSize,omitempty"` // bytes; Linux 5.19 and later
}

// minIPv6MTU is the smallest MTU with which a link can have IPv6 (RFC 8200, section
// 5). The kernel has no IPv6 settings for a link with a smaller one.
const minIPv6MTU = 1280

// CheckIPv6 returns an error if the link cannot have IPv6 addresses.
func (l Link) CheckIPv6() error {
	if l.MTU < minIPv6MTU {
		return fmt.Errorf("IPv6 on %s: mtu is %d, but IPv6 needs at least %d", l.Name, l.MTU, minIPv6MTU)
	}
	return nil
}

// Flags are those flags of a link that [Restore] restores, as the kernel numbers
// them (IFF_* in include/uapi/linux/if.h).
type Flags uint32

// Change is what to change about a link. A nil field leaves it as it is.
type Change struct {
	Up        *bool
	MAC       *string
	MTU       *int
	Name      *string
	Master    *int // 0: no master
	Namespace Namespace
	Number    *int    // the number of a namespace in this one, in place of Namespace; Master is then a link there
	Options   Options // those of a bond that exists, or of a link in one; all other fields are nil then

	Alias        *string
	TxQueueLen   *int
	Group        *int
	Offload      Offload
	DropXDP      XDP // the programs in these modes
	Set, Clear   Flags
	DropAltNames []string // each must be one of the link's
	AddAltNames  []string // nil if there is a Namespace or a Number
	OwnARP       bool     // makes it what Link.OwnARP is
	AcceptRA     string   // "0", "1": whether it accepts router advertisements, before it is up; "": as it is
}

// Addresses are the addresses and routes of a link. If an address has several
// peers, only one of them is kept.
type Addresses struct {
	IPs    []netip.Prefix              `json:"ips,omitempty"`
	Peers  map[netip.Prefix]netip.Addr `json:"peers,omitempty"` // the peers of those IPs that have one
	Routes []Route                     `json:"routes,omitempty"`
	// Attributes are those of the IPs that have any other than usual.
	Attributes map[netip.Prefix]Attributes `json:"attributes,omitempty"`

	// Default reports whether a default route leaves by the link, of any table
	// and protocol, alone or as one hop of a multipath route. Configure ignores
	// it.
	Default bool `json:"-"`

	// Learnt are IPv6 addresses with a time of life: of a router's advertisement, or by
	// DHCPv6. Those that are going away are left out, and so are temporary ones, which
	// are for connections to others only. Configure ignores them.
	Learnt []netip.Prefix `json:"-"`
}

// Attributes are attributes of an address (IFA_* in include/uapi/linux/if_addr.h). A
// field with its zero value is left to the kernel.
type Attributes struct {
	Flags     uint32      `json:"flags,omitempty"` // those of userFlags
	Label     string      `json:"label,omitempty"`
	Scope     int         `json:"scope,omitempty"`
	Metric    int         `json:"metric,omitempty"`    // of the route that comes with the address
	Proto     int         `json:"proto,omitempty"`     // who set it, IFAPROT_*
	Broadcast *netip.Addr `json:"broadcast,omitempty"` // nil: the last address of the network; invalid: none

	ValidUntil     time.Time `json:"validUntil,omitzero"`     // zero: for ever
	PreferredUntil time.Time `json:"preferredUntil,omitzero"` // zero: for ever
}

// gatewaysLast lists the routes in an order in which each can be added: those
// without a gateway first, because a gateway may be reached over one of them.
func (a Addresses) gatewaysLast() []Route {
	var direct, via []Route
	for _, r := range a.Routes {
		if r.Gateway.IsValid() {
			via = append(via, r)
		} else {
			direct = append(direct, r)
		}
	}
	return append(direct, via...)
}

// Route is a route over a link. Without a Gateway the destination is directly
// connected. Numbers that are 0 are left to the kernel.
type Route struct {
	Dst      netip.Prefix `json:"dst"`
	Gateway  netip.Addr   `json:"gateway,omitzero"`
	OnLink   bool         `json:"onLink,omitempty"`   // the gateway is on the link, even if no address says so
	Source   netip.Addr   `json:"source,omitzero"`    // preferred source address
	Protocol int          `json:"protocol,omitempty"` // who set it, RTPROT_*; 0: boot, as ip route does
	MTU      int          `json:"mtu,omitempty"`
	AdvMSS   int          `json:"advmss,omitempty"`
	Priority int          `json:"priority,omitempty"`
	Table    int          `json:"table,omitempty"`
	Scope    *int         `json:"scope,omitempty"`

	Type       int            `json:"type,omitempty"`       // RTN_*; 0: unicast
	From       netip.Prefix   `json:"from,omitzero"`        // IPv6: only for packets from there
	TOS        int            `json:"tos,omitempty"`        // IPv4: only for packets with it
	Pref       int            `json:"pref,omitempty"`       // IPv6: RFC 4191; 1 high, 3 low
	Metrics    map[int]uint32 `json:"metrics,omitempty"`    // others than MTU and AdvMSS, by RTAX_*
	Congestion string         `json:"congestion,omitempty"` // the algorithm of TCP
}

func (r Route) String() string {
	if r.Gateway.IsValid() {
		return fmt.Sprintf("%s via %s", r.Dst, r.Gateway)
	}
	return r.Dst.String()
}

// VF is the administrative state of a VF, which its PF keeps (IFLA_VF_INFO in
// include/uapi/linux/if_link.h).
type VF struct {
	MAC       string `json:"mac"`
	VLAN      int    `json:"vlan"`
	QoS       int    `json:"qos"`
	Proto     int    `json:"proto"` // 0x8100 or 0x88a8
	SpoofChk  bool   `json:"spoofchk"`
	Trust     *bool  `json:"trust,omitempty"` // nil: the driver does not report it
	MinRate   uint32 `json:"minRate"`         // Mbit/s; 0: no limit
	MaxRate   uint32 `json:"maxRate"`         // Mbit/s; 0: no limit
	LinkState uint32 `json:"linkState"`       // IFLA_VF_LINK_STATE_*: 0 auto, 1 enable, 2 disable
}

// The link states of a VF (IFLA_VF_LINK_STATE_* in include/uapi/linux/if_link.h).
const (
	LinkAuto     = 0 // it has the carrier that its driver makes of the PF's
	LinkDisabled = 2 // it has no carrier
)

// setting is one row of [settings].
type setting struct {
	name    string                       // in a difference and in the documentation
	get     func(VF) (v any, known bool) // v is comparable
	doc     string
	matters func(have, want VF) bool // nil: always
}

// settings lists what is compared and restored of what a PF keeps for a VF.
var settings = []setting{
	{name: "admin MAC", get: func(vf VF) (any, bool) { return vf.MAC, true },
		doc: "`ip link set PF vf N mac`. A MAC that the PF only reports, because the VF has it, is restored by the VF."},
	{name: "vlan", get: func(vf VF) (any, bool) { return vf.VLAN, true }, doc: "`ip link set PF vf N vlan`."},
	{name: "qos", get: func(vf VF) (any, bool) { return vf.QoS, true }, doc: "The VLAN's priority."},
	{name: "vlan protocol", get: func(vf VF) (any, bool) { return fmt.Sprintf("%#x", vf.Proto), true }, doc: "802.1q or 802.1ad, of a VF with a VLAN.",
		matters: func(have, want VF) bool { return have.VLAN != 0 || want.VLAN != 0 }},
	{name: "spoofchk", get: func(vf VF) (any, bool) { return vf.SpoofChk, true }, doc: "`ip link set PF vf N spoofchk`."},
	{name: "trust", get: func(vf VF) (any, bool) { return known(vf.Trust) },
		doc: "`ip link set PF vf N trust`. A trusted VF can be promiscuous. Some drivers do not report it."},
	{name: "min_tx_rate", get: func(vf VF) (any, bool) { return vf.MinRate, true }, doc: "`ip link set PF vf N min_tx_rate`."},
	{name: "max_tx_rate", get: func(vf VF) (any, bool) { return vf.MaxRate, true }, doc: "`ip link set PF vf N max_tx_rate`."},
	{name: "link state", get: func(vf VF) (any, bool) { return vf.LinkState, true }, doc: "`ip link set PF vf N state`."},
}

// Differences compares have with want, the state that it should be. It returns
// one sentence per difference.
func (have VF) Differences(want VF) []string {
	var d differences
	for _, s := range settings {
		is, isKnown := s.get(have)
		was, wasKnown := s.get(want)
		if isKnown && wasKnown && (s.matters == nil || s.matters(have, want)) {
			d.add(s.name, is, was)
		}
	}
	return d
}

// Without undoes set: each part of have that is still as in set becomes as in
// before. What has changed since then stays.
func (have VF) Without(set, before VF) VF {
	tag := func(vf VF) [3]int { return [3]int{vf.VLAN, vf.QoS, vf.Proto} }
	if tag(have) == tag(set) {
		have.VLAN, have.QoS, have.Proto = before.VLAN, before.QoS, before.Proto
	}
	if have.Trust != nil && set.Trust != nil && *have.Trust == *set.Trust {
		have.Trust = before.Trust
	}
	have.SpoofChk = without(have.SpoofChk, set.SpoofChk, before.SpoofChk)
	have.MinRate, have.MaxRate = without(have.MinRate, set.MinRate, before.MinRate), without(have.MaxRate, set.MaxRate, before.MaxRate)
	have.LinkState = without(have.LinkState, set.LinkState, before.LinkState)
	return have
}

func without[T comparable](have, set, before T) T {
	if have == set {
		return before
	}
	return have
}

type differences []string

func (d *differences) add(what string, have, want any) {
	if have != want {
		*d = append(*d, fmt.Sprintf("%s is %v, was %v", what, have, want))
	}
}
