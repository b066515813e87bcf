package bondfake_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

// ofPod is a change that a pod can make and that outlives it, by the property of which
// bond.Restore and Differences speak.
type ofPod struct {
	property string
	change   bond.Change // the zero Change is a program in a mode of XDP
}

var ofPods = []ofPod{
	{"name", name("eth7")},
	{"MAC", mac("02:00:00:00:cc:09")},
	{"MTU", mtu(1400)},
	{"promisc", bond.Change{Set: unix.IFF_PROMISC}},
	{"allmulticast", bond.Change{Set: unix.IFF_ALLMULTI}},
	{"noarp", bond.Change{Set: unix.IFF_NOARP}},
	{"multicast", bond.Change{Clear: unix.IFF_MULTICAST}},
	{"alias", bond.Change{Alias: new("of the pod")}},
	{"txqueuelen", bond.Change{TxQueueLen: new(77)}},
	{"group", bond.Change{Group: new(7)}},
	{"gso_max_size", bond.Change{Offload: bond.Offload{GSOMaxSize: 9000}}},
	{"gso_max_segs", bond.Change{Offload: bond.Offload{GSOMaxSegs: 7}}},
	{"gro_max_size", bond.Change{Offload: bond.Offload{GROMaxSize: 9000}}},
	{"XDP", bond.Change{}},
	{"alternative names", bond.Change{AddAltNames: []string{"x", "an-alternative-name-of-more-than-15"}}},
	{"up", state(true)},
}

// make makes the change of a link of the host.
func (c ofPod) make(s *stage, n bond.Namespace, before bond.Link) error {
	if c.property == "XDP" {
		return s.attachXDP(byDevice(s, n, before.Device).Name)
	}
	if err := n.Change(before.Index, c.change); err != nil {
		return fmt.Errorf("%s: %w", c.property, err)
	}
	return nil
}

// restoresEach makes each of these changes alone, and restores it.
func restoresEach(s *stage) error {
	return s.in("host", func(n bond.Namespace) error {
		before := s.link(n, a1)
		for _, c := range ofPods {
			if err := c.make(s, n, before); err != nil {
				return err
			}
			now := byDevice(s, n, before.Device)
			want := fmt.Sprintf("%s is %v, was %v", c.property, valueOf(now, c.property), valueOf(before, c.property))
			if d := now.Differences(before); !slices.Equal(d, []string{want}) {
				return fmt.Errorf("%s: differences %q, want %q", c.property, d, want)
			}
			if err := bond.Restore(n, now, before, bond.Addresses{}); err != nil {
				return fmt.Errorf("%s: %w", c.property, err)
			}
			if d := byDevice(s, n, before.Device).Differences(before); len(d) > 0 {
				return fmt.Errorf("%s: restored: %q", c.property, d)
			}
		}
		return nil
	})
}

// restoresAll makes all of these changes, and restores them at once.
func restoresAll(s *stage) error {
	return s.in("host", func(n bond.Namespace) error {
		before := s.link(n, a1)
		for _, c := range ofPods {
			if err := c.make(s, n, before); err != nil {
				return err
			}
		}
		now := byDevice(s, n, before.Device)
		if d := now.Differences(before); len(d) != len(ofPods) {
			return fmt.Errorf("differences %q", d)
		}
		return bond.Restore(n, now, before, bond.Addresses{})
	})
}

func byDevice(s *stage, n bond.Namespace, device string) bond.Link {
	links, err := n.Links()
	if err != nil {
		s.Fatal(err)
	}
	l, there := bond.Find(links, func(l bond.Link) bool { return l.Device == device })
	if !there {
		s.Fatalf("%s is lost", device)
	}
	return l
}

func valueOf(l bond.Link, property string) any {
	set := func(f bond.Flags) bool { return *l.Flags&f != 0 }
	switch property {
	case "name":
		return l.Name
	case "MAC":
		return l.MAC
	case "MTU":
		return l.MTU
	case "promisc":
		return set(unix.IFF_PROMISC)
	case "allmulticast":
		return set(unix.IFF_ALLMULTI)
	case "noarp":
		return set(unix.IFF_NOARP)
	case "multicast":
		return set(unix.IFF_MULTICAST)
	case "alias":
		return *l.Alias
	case "txqueuelen":
		return *l.TxQueueLen
	case "group":
		return l.Group
	case "gso_max_size":
		return l.Offload.GSOMaxSize
	case "gso_max_segs":
		return l.Offload.GSOMaxSegs
	case "gro_max_size":
		return l.Offload.GROMaxSize
	case "XDP":
		return l.XDP
	case "alternative names":
		return slices.Sorted(slices.Values(l.AltNames))
	}
	return l.Up
}

func altNames(names ...string) bond.Change     { return bond.Change{AddAltNames: names} }
func dropAltNames(names ...string) bond.Change { return bond.Change{DropAltNames: names} }

// home moves a link of a pod to the host as bond.MoveHome does. It had these
// alternative names before; nil: that is not known.
func home(pod, name, before string, had []string) func(*stage) error {
	return func(s *stage) error {
		return s.in("host", func(host bond.Namespace) error {
			return on(pod, name, func(n bond.Namespace, l bond.Link) error {
				return bond.MoveHome(n, l, host, bond.Link{Name: before, AltNames: had})
			})(s)
		})
	}
}

// asBefore are steps about what is restored of a link, and about alternative names.
var asBefore = []step{
	{name: "each property is restored", do: restoresEach, state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1
host enp2s0v0 mac b0
host enp2s0v1 mac b1
`},
	{name: "all properties are restored", do: restoresAll, state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1
host enp2s0v0 mac b0
host enp2s0v1 mac b1
`},
	{name: "properties go with a link that moves", do: all(add("pod"),
		change("host", a1, bond.Change{Set: unix.IFF_PROMISC | unix.IFF_NOARP, Clear: unix.IFF_MULTICAST, Alias: new("mine"), TxQueueLen: new(77), AddAltNames: []string{"x"}}),
		move("host", a1, "pod", name("net1"))), state: `
host enp1s0v0 mac a0
host enp2s0v0 mac b0
host enp2s0v1 mac b1
pod net1 mac a1 promisc noarp no multicast alias mine txqueuelen 77 altname x
`},
	{name: "and none of them is changed by the end of the namespace", do: remove("pod"), state: `
host enp1s0v0 mac a0
host enp2s0v0 mac b0
host enp2s0v1 mac b1
host net1 mac a1 promisc noarp no multicast alias mine txqueuelen 77 altname x
`},
	{name: "back to what is usual", do: change("host", "net1",
		bond.Change{Clear: unix.IFF_PROMISC | unix.IFF_NOARP, Set: unix.IFF_MULTICAST, Alias: new(""), TxQueueLen: new(1000), DropAltNames: []string{"x"}, Name: new(a1)}), state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1
host enp2s0v0 mac b0
host enp2s0v1 mac b1
`},

	{name: "an alternative name that is a link's name", do: change("host", a1, altNames(b1)), err: unix.EEXIST},
	{name: "one that is its own name", do: change("host", a1, altNames(a1)), err: unix.EEXIST},
	{name: "one that it has", do: all(change("host", a1, altNames("x")), change("host", a1, altNames("x"))), err: unix.EEXIST},
	{name: "one that another link has", do: change("host", b1, altNames("x")), err: unix.EEXIST},
	{name: "dropping one that is not there", do: change("host", a1, dropAltNames("y")), err: unix.ENOENT},
	{name: "a bond of that name", do: create("host", "x", active), err: unix.EEXIST},
	{name: "renaming another link to it", do: change("host", b1, name("x")), err: unix.EEXIST},
	{name: "renaming the link to it", do: change("host", a1, name("x")), err: unix.EEXIST, state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1 altname x
host enp2s0v0 mac b0
host enp2s0v1 mac b1
`},
	{name: "renaming the link to it by Naming", do: on("host", a1, func(n bond.Namespace, l bond.Link) error {
		return n.Change(l.Index, bond.Naming(l, "x"))
	}), state: `
host enp1s0v0 mac a0
host enp2s0v0 mac b0
host enp2s0v1 mac b1
host x mac a1
`},
	{name: "its old name as an alternative one, as udev leaves it", do: all(change("host", "x", altNames(a1, "y")), on("host", "x", func(n bond.Namespace, l bond.Link) error {
		before := l
		before.Name, before.AltNames = a1, []string{"x"}
		return bond.Restore(n, l, before, bond.Addresses{})
	})), state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1 altname x
host enp2s0v0 mac b0
host enp2s0v1 mac b1
`},
	{name: "an earlier version did not know of x", do: on("host", a1, func(n bond.Namespace, l bond.Link) error {
		before := l
		before.AltNames, before.MTU = nil, 1400
		return bond.Restore(n, l, before, bond.Addresses{})
	}), state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1 mtu 1400 altname x
host enp2s0v0 mac b0
host enp2s0v1 mac b1
`},
	{name: "drop it", do: all(change("host", a1, dropAltNames("x")), change("host", a1, mtu(1500)))},

	{name: "a move to where another link has the alternative name", do: all(add("pod"), add("pod2"),
		move("host", a1, "pod", name("net1")), move("host", b1, "pod2", name("net1")),
		change("pod", "net1", altNames("x")), change("pod2", "net1", altNames("x", "y", b1)),
		home("pod", "net1", a1, nil), move("pod2", "net1", "host", name("net7"))), err: unix.EEXIST, state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1 altname x
host enp2s0v0 mac b0
pod2 net1 mac b1 altname enp2s0v1 altname x altname y
`},
	{name: "MoveHome drops it", do: home("pod2", "net1", b1, nil), state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1 altname x
host enp2s0v0 mac b0
host enp2s0v1 mac b1 altname y
`},
	{name: "MoveHome drops what the pod has added", do: all(
		move("host", a1, "pod", name("net1")), change("pod", "net1", altNames("z", "more")), home("pod", "net1", a1, []string{"x", "gone"})), state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1 altname x
host enp2s0v0 mac b0
host enp2s0v1 mac b1 altname y
`},
	{name: "a move under a name that is an alternative one there", do: all(
		change("host", b1, dropAltNames("y")), change("host", b1, altNames("net1")),
		move("host", a1, "pod", name("net1")), move("pod", "net1", "host", bond.Change{})), err: unix.EEXIST},
	{name: "a move to its own alternative name is half done", do: all(change("host", b1, dropAltNames("net1")),
		move("pod", "net1", "host", name("x"))), err: unix.EEXIST, state: `
host enp1s0v0 mac a0
host enp2s0v0 mac b0
host enp2s0v1 mac b1
host net1 mac a1 altname x
`},
	{name: "the end of a namespace with an alternative name that is taken on the host", do: all(
		move("host", "net1", "pod", bond.Change{}), change("pod", "net1", altNames("taken")), change("host", b1, altNames("taken")),
		remove("pod"), remove("pod2")), state: `
host enp1s0v0 mac a0
host enp2s0v0 mac b0
host enp2s0v1 mac b1 altname taken
host net1 mac a1 altname x
`},
	{name: "all as before", do: all(change("host", b1, dropAltNames("taken")), change("host", "net1", dropAltNames("x")), change("host", "net1", name(a1))), state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1
host enp2s0v0 mac b0
host enp2s0v1 mac b1
`},

	{name: "a bond keeps its addresses when it is set down", do: all(add("pod"), create("pod", "bond0", active), change("pod", "bond0", state(true)),
		configure("pod", "bond0", bond.Addresses{IPs: addrs("10.1.2.3/24", "fd00:1::3/64"), Routes: []bond.Route{route("fd00:7::/64", "")}}),
		change("pod", "bond0", state(false)), change("pod", "bond0", state(true))), state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1
host enp2s0v0 mac b0
host enp2s0v1 mac b1
pod bond0 up mac made-up 10.1.2.3/24 fd00:1::3/64
`},
	{name: "attributes of addresses, and what is not refused", do: all(flush("pod", "bond0"), configure("pod", "bond0", bond.Addresses{
		IPs: addrs("10.1.2.3/24", "fd00:1::3/64"),
		Attributes: map[netip.Prefix]bond.Attributes{
			netip.MustParsePrefix("10.1.2.3/24"): {Metric: 50}, netip.MustParsePrefix("fd00:1::3/64"): {Flags: unix.IFA_F_NOPREFIXROUTE}},
		Routes: []bond.Route{
			{Dst: netip.MustParsePrefix("10.7.0.0/16"), Source: netip.MustParseAddr("10.9.9.9")},
			{Dst: netip.MustParsePrefix("10.8.0.0/16"), TOS: 16, MTU: 1300, Metrics: map[int]uint32{unix.RTAX_LOCK: 1 << unix.RTAX_MTU}}}})), err: unix.EINVAL, state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1
host enp2s0v0 mac b0
host enp2s0v1 mac b1
pod bond0 up mac made-up 10.1.2.3/24 metric 50 flags 0x0 fd00:1::3/64 metric 0 flags 0x200 [10.8.0.0/16 metric 0 table 254 mtu 1300 advmss 0 scope 253 tos 16 metrics map[1:4]]
`},
	{name: "the same again from what was read", do: on("pod", "bond0", func(n bond.Namespace, l bond.Link) error {
		a, err := n.Addresses(l.Index)
		return errors.Join(err, n.Flush(l.Index), n.Configure(l.Index, a))
	}), state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1
host enp2s0v0 mac b0
host enp2s0v1 mac b1
pod bond0 up mac made-up 10.1.2.3/24 metric 50 flags 0x0 fd00:1::3/64 metric 0 flags 0x200 [10.8.0.0/16 metric 0 table 254 mtu 1300 advmss 0 scope 253 tos 16 metrics map[1:4]]
`},
	{name: "the end of that", do: remove("pod")},
}
