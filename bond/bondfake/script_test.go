package bondfake_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond"
)

// step is one request to a kernel, with the expected answer.
type step struct {
	name  string
	do    func(*stage) error
	err   error  // compared with errors.Is
	state string // afterwards, one line per link; "": not compared
}

var script = []step{
	{name: "a namespace that is not there", do: on("pod", "x", nil), err: fs.ErrNotExist},
	{name: "two pods", do: all(add("pod"), add("pod2"))},
	{name: "IDs differ and stay", do: func(s *stage) error {
		id := map[string]string{}
		for range 2 {
			for _, space := range spaces {
				s.in(space, func(n bond.Namespace) error {
					if was := id[space]; was != "" {
						assert.Equal(s, was, n.ID(), space)
					}
					id[space] = n.ID()
					return nil
				})
			}
		}
		assert.NotEqual(s, id["host"], id["pod"])
		assert.NotEqual(s, id["pod"], id["pod2"])
		assert.NotEqual(s, id["host"], id["pod2"])
		return nil
	}},
	{name: "numbers of namespaces differ and stay", do: func(s *stage) error {
		number := map[string]int{}
		for range 2 {
			for _, space := range spaces[1:] {
				n, err := s.number(space)
				if err != nil {
					return err
				}
				if was, known := number[space]; known {
					assert.Equal(s, was, n, space)
				}
				number[space] = n
			}
		}
		assert.NotEqual(s, number["pod"], number["pod2"])
		assert.GreaterOrEqual(s, min(number["pod"], number["pod2"]), 0)
		return nil
	}},
	{name: "the next namespace gets the number of one that is gone", do: func(s *stage) error {
		before, err := s.number("pod2")
		if err != nil {
			return err
		}
		return s.within(fmt.Sprint(before), func() (string, error) {
			s.removeNamespace(s.T, "pod2")
			s.addNamespace(s.T, "pod2")
			n, err := s.number("pod2")
			return fmt.Sprint(n), err
		})
	}},
	{name: "a link that is not there", do: func(s *stage) error {
		return s.in("pod", func(n bond.Namespace) error { _, err := n.Link("nope"); return err })
	}, err: fs.ErrNotExist},
	{name: "a name that no link can have", do: func(s *stage) error {
		return s.in("pod", func(n bond.Namespace) error { _, err := n.Link("a-name-of-17-chars"); return err })
	}, err: fs.ErrNotExist},
	{name: "changing what is not there", do: func(s *stage) error {
		return s.in("pod", func(n bond.Namespace) error { return n.Change(4711, state(true)) })
	}, err: unix.ENODEV},
	{name: "deleting what is not there", do: func(s *stage) error {
		return s.in("pod", func(n bond.Namespace) error { return n.Delete(4711) })
	}, err: unix.ENODEV},
	{name: "addresses of what is not there", do: func(s *stage) error {
		return s.in("pod", func(n bond.Namespace) error { _, err := n.Addresses(4711); return err })
	}, err: fs.ErrNotExist},
	{name: "announcing on what is not there", do: func(s *stage) error {
		return s.in("pod", func(n bond.Namespace) error {
			return n.Announce(4711, []netip.Addr{netip.MustParseAddr("10.0.0.1")})
		})
	}, err: fs.ErrNotExist},
	{name: "ask for a neighbour over a link that is not there", do: func(s *stage) error {
		return s.in("pod", func(n bond.Namespace) error {
			_, err := n.Solicit(4711, netip.MustParseAddr("10.0.0.1"))
			return err
		})
	}, err: fs.ErrNotExist},
	{name: "a VF cannot be deleted", do: del("host", a0), err: unix.EOPNOTSUPP},

	{name: "move two VFs", do: all(move("host", a0, "pod", name("net1")), move("host", b0, "pod", name("net2"))), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},
	{name: "create a bond", do: create("pod", "bond0", active)},
	{name: "its name is taken", do: create("pod", "bond0", active), err: unix.EEXIST},
	{name: "a link's name is taken", do: create("pod", "net1", active), err: unix.EEXIST},
	{name: "primary is not there", do: create("pod", "bond1", with(active, "primary", "nope")), err: fs.ErrNotExist},
	{name: "set one up", do: change("pod", "net1", state(true))},
	{name: "enslave while up", do: enslave("pod", "bond0", "net1"), err: unix.EPERM, state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac made-up
pod net1 up mac a0
pod net2 mac b0
`},
	{name: "a VF is no bond", do: all(change("pod", "net1", state(false)), enslave("pod", "net2", "net1")), err: unix.EOPNOTSUPP},
	{name: "enslave to nothing", do: change("pod", "net1", bond.Change{Master: new(4711)}), err: unix.EINVAL},
	{name: "enslave both", do: enslave("pod", "bond0", "net1", "net2"), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac of its active link
pod net1 up mac a0 in bond0
pod net2 up mac b0 in bond0
`},
	{name: "enslave again changes nothing", do: enslave("pod", "bond0", "net2")},
	{name: "the bond up", do: change("pod", "bond0", state(true))},
	{name: "the bond's MAC is the active link's", do: change("pod", "bond0", mac("02:00:00:00:cc:01")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 up mac of its active link
pod net1 up mac a0 in bond0
pod net2 up mac b0 in bond0
`},
	{name: "the bond's MTU is its links'", do: change("pod", "bond0", mtu(1400)), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 up mac of its active link mtu 1400
pod net1 up mac a0 mtu 1400 in bond0
pod net2 up mac b0 mtu 1400 in bond0
`},
	{name: "an MTU that a link refuses", do: change("pod", "bond0", mtu(9500)), err: unix.EINVAL},
	{name: "too small an MTU", do: change("pod", "bond0", mtu(60)), err: unix.EINVAL, state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 up mac of its active link mtu 1400
pod net1 up mac a0 mtu 1400 in bond0
pod net2 up mac b0 mtu 1400 in bond0
`},
	{name: "a bond cannot move", do: move("pod", "bond0", "pod2", bond.Change{}), err: unix.EINVAL},
	{name: "release one", do: change("pod", "net1", bond.Change{Master: new(0)}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 up mac of its active link mtu 1400
pod net1 mac a0
pod net2 up mac b0 mtu 1400 in bond0
`},
	{name: "no namespace has the number", do: func(s *stage) error {
		return s.in("host", func(n bond.Namespace) error { _, err := n.ObserveIn(4711); return err })
	}, err: unix.EINVAL},
	{name: "back to the host, and into a bond of the pod that is not there", do: all(
		move("pod", "net1", "host", name(a0)), moveByNumber(a0, "pod", 4711, name("net1"))), err: unix.EINVAL, state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 up mac of its active link mtu 1400
pod net1 mac a0
pod net2 up mac b0 mtu 1400 in bond0
`},
	{name: "back to the host, and by number into the bond in the pod", do: all(
		move("pod", "net1", "host", name(a0)), func(s *stage) error {
			return moveByNumber(a0, "pod", s.indexIn("pod", "bond0"), name("net1"))(s)
		}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 up mac of its active link mtu 1400
pod net1 up mac a0 mtu 1400 in bond0
pod net2 up mac b0 mtu 1400 in bond0
`},
	{name: "the pod's links as the host sees them", do: func(s *stage) error {
		return s.in("host", func(n bond.Namespace) error {
			number := s.numberOf("pod")
			seen, err := n.ObserveIn(number)
			at := slices.IndexFunc(seen, func(e bond.Event) bool { return e.Link.Name == "net1" })
			if assert.GreaterOrEqual(s, at, 0) {
				assert.Equal(s, number, seen[at].NSID)
				assert.Equal(s, vfDevices[0], seen[at].Link.Device)
				assert.Equal(s, s.indexIn("pod", "bond0"), seen[at].Link.Master)
				assert.NotNil(s, seen[at].Member)
			}
			return err
		})
	}},
	{name: "release it again", do: change("pod", "net1", bond.Change{Master: new(0)})},
	{name: "release the last", do: change("pod", "net2", bond.Change{Master: new(0)}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 up mac made-up mtu 1400
pod net1 mac a0
pod net2 mac b0
`},
	{name: "delete the bond", do: del("pod", "bond0"), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},

	{name: "router advertisements: as the kernel does", do: all(create("pod", "bond0", active), acceptsRA("pod", "bond0", "1"), del("pod", "bond0"))},
	{name: "router advertisements: none", do: all(create("pod", "bond0", with(active, "acceptRA", "0")), acceptsRA("pod", "bond0", "0"), del("pod", "bond0"))},
	{name: "router advertisements: accepted", do: all(create("pod", "bond0", with(active, "acceptRA", "1")), acceptsRA("pod", "bond0", "1"), del("pod", "bond0"))},
	{name: "none without IPv6", do: all(create("pod", "bond0", with(active, "acceptRA", "0", "mtu", "1279")), acceptsRA("pod", "bond0", ""), del("pod", "bond0"))},
	{name: "accepted without IPv6", do: func(s *stage) error {
		err := create("pod", "bond0", with(active, "acceptRA", "1", "mtu", "1279"))(s)
		assert.ErrorContains(s, err, "IPv6 on bond0: mtu is 1279, but IPv6 needs at least 1280")
		return nil
	}, state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},

	{name: "a bond whose links take its MAC and MTU", do: all(
		create("pod", "bond0", with(balance, "mtu", "1450")), enslave("pod", "bond0", "net1", "net2")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac a0 mtu 1450
pod net1 up mac a0 mtu 1450 in bond0
pod net2 up mac a0 perm b0 mtu 1450 in bond0
`},
	{name: "its MAC changes with all links", do: change("pod", "bond0", mac("02:00:00:00:cc:02")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac 02:00:00:00:cc:02 mtu 1450
pod net1 up mac 02:00:00:00:cc:02 perm a0 mtu 1450 in bond0
pod net2 up mac 02:00:00:00:cc:02 perm b0 mtu 1450 in bond0
`},
	{name: "deleting it gives MAC and MTU back", do: del("pod", "bond0"), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},
	{name: "a bond with a MAC of its own", do: all(
		create("pod", "bond0", with(balance, "mac", "02:00:00:00:cc:03")), enslave("pod", "bond0", "net1", "net2")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac 02:00:00:00:cc:03
pod net1 up mac 02:00:00:00:cc:03 perm a0 in bond0
pod net2 up mac 02:00:00:00:cc:03 perm b0 in bond0
`},
	{name: "moving a link takes it out of the bond", do: move("pod", "net1", "pod2", bond.Change{}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac 02:00:00:00:cc:03
pod net2 up mac 02:00:00:00:cc:03 perm b0 in bond0
pod2 net1 mac a0
`},
	{name: "and back", do: all(del("pod", "bond0"), move("pod2", "net1", "pod", bond.Change{})), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},

	{name: "primary reads back as a name", do: all(
		create("pod", "bond0", with(active, "primary", "net2")), enslave("pod", "bond0", "net1", "net2"), change("pod", "bond0", state(true))), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 up mac b0 primary net2
pod net1 up mac a0 in bond0
pod net2 up mac b0 in bond0
`},
	{name: "ARP monitoring replaces miimon in a bond with links", do: on("pod", "bond0", func(n bond.Namespace, l bond.Link) error {
		return n.Change(l.Index, bond.Change{Options: bond.Options{"arpInterval": "1000", "arpIpTarget": "10.0.0.9"}})
	})},
	{name: "and is replaced by it", do: on("pod", "bond0", func(n bond.Namespace, l bond.Link) error {
		if o := l.Options; o["miimon"] != "0" || o["arpInterval"] != "1000" || o["arpIpTarget"] != "10.0.0.9" {
			return fmt.Errorf("miimon %s, arpInterval %s, arpIpTarget %s", o["miimon"], o["arpInterval"], o["arpIpTarget"])
		}
		return n.Change(l.Index, bond.Change{Options: bond.Options{"miimon": "100"}})
	})},
	{name: "of one link too", do: on("pod", "bond0", func(_ bond.Namespace, l bond.Link) error {
		if l.Options[bond.Primary] != "net2" {
			return fmt.Errorf("primary is %q", l.Options[bond.Primary])
		}
		return nil
	})},
	{name: "what a bond says of its links", do: observes("pod", "bond0", "over net2: net1 waits, net2 carries")},
	{name: "when its active link fails", do: all(change("pod", "net2", state(false)), observes("pod", "bond0", "over net1: net1 carries, net2 has failed 1 times"))},
	{name: "when none is left", do: all(change("pod", "net1", state(false)), observes("pod", "bond0", "over none, no carrier: net1 has failed 1 times, net2 has failed 1 times"))},
	{name: "when all work again", do: all(change("pod", "net1", state(true)), change("pod", "net2", state(true)),
		observes("pod", "bond0", "over net2: net1 waits after 1, net2 carries after 1"))},
	{name: "a link that is enslaved again has not failed yet", do: all(change("pod", "net1", bond.Change{Master: new(0)}), change("pod", "net1", state(false)),
		enslave("pod", "bond0", "net1"), observes("pod", "bond0", "over net2: net1 waits, net2 carries after 1"))},
	{name: "delete it", do: del("pod", "bond0")},
	{name: "in modes without an active link all carry", do: all(create("pod", "bond0", balance), enslave("pod", "bond0", "net1", "net2"), change("pod", "bond0", state(true)),
		observes("pod", "bond0", "over none: net1 carries, net2 carries"))},
	{name: "delete that", do: del("pod", "bond0")},

	{name: "an untrusted VF keeps its MAC", do: all(
		setVF("enp2s0", 0, func(v *bond.VF) { v.MAC = "02:00:00:00:cc:05" }),
		create("pod", "bond0", with(active, "failOverMac", "none")),
		enslave("pod", "bond0", "net1", "net2")), err: unix.EADDRNOTAVAIL, state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac a0
pod net1 up mac a0 in bond0
pod net2 mac b0
`},
	{name: "and its name says so", do: change("pod", "net2", mac("02:00:00:00:cc:06")), err: unix.EADDRNOTAVAIL},
	{name: "a trusted one takes another", do: all(
		setVF("enp2s0", 0, trust(true)), enslave("pod", "bond0", "net2")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac a0
pod net1 up mac a0 in bond0
pod net2 up mac a0 perm b0 in bond0
`},
	{name: "and gives it back", do: del("pod", "bond0"), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},
	{name: "an untrusted VF in an active-backup bond with failOverMac active", do: all(
		setVF("enp2s0", 0, func(v *bond.VF) { v.MAC = "02:00:00:00:cc:05"; v.Trust = new(false) }),
		create("pod", "bond0", active),
		enslave("pod", "bond0", "net1", "net2")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac of its active link
pod net1 up mac a0 in bond0
pod net2 up mac b0 in bond0
`},
	{name: "closed, it takes the MAC of its PF for good", do: del("pod", "bond0"), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac 02:00:00:00:cc:05
`},
	{name: "given its own again", do: all(
		setVF("enp2s0", 0, func(v *bond.VF) { v.MAC = bond.NoMAC }), ownMAC("pod", "net2", "b0")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0 perm 02:00:00:00:cc:05
`},
	{name: "an MTU makes it its permanent one", do: all(change("pod", "net2", mtu(1400)), change("pod", "net2", mtu(1500))), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},

	{name: "with failOverMac follow", do: all( // which link gets which MAC depends on whose carrier is first
		create("pod", "bond0", with(active, "failOverMac", "follow")), enslave("pod", "bond0", "net1", "net2"))},
	{name: "delete it too", do: del("pod", "bond0"), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},
	{name: "balance-alb", do: all( // the same
		create("pod", "bond0", bond.Options{"mode": "balance-alb"}), enslave("pod", "bond0", "net1", "net2"))},
	{name: "delete balance-alb", do: del("pod", "bond0"), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},
	{name: "balance-tlb", do: all( // the same
		create("pod", "bond0", bond.Options{"mode": "balance-tlb"}), enslave("pod", "bond0", "net1", "net2"))},
	{name: "802.3ad wants one", do: all(del("pod", "bond0"),
		create("pod", "bond0", bond.Options{"mode": "802.3ad"}), enslave("pod", "bond0", "net1", "net2")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac a0
pod net1 up mac a0 in bond0
pod net2 up mac a0 perm b0 in bond0
`},
	{name: "delete 802.3ad", do: del("pod", "bond0"), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0
pod net2 mac b0
`},

	{name: "rename", do: change("pod", "net1", name("eth7")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod eth7 mac a0
pod net2 mac b0
`},
	{name: "rename to one that is there", do: change("pod", "eth7", name("net2")), err: unix.EEXIST},
	{name: "down and enslaved in one request", do: all(create("pod", "bond0", active),
		change("pod", "eth7", state(true)),
		on("pod", "bond0", func(n bond.Namespace, b bond.Link) error {
			l, err := n.Link("eth7")
			if err != nil {
				return err
			}
			return n.Change(l.Index, bond.Change{Up: new(false), Master: &b.Index})
		})), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac of its active link
pod eth7 up mac a0 in bond0
pod net2 mac b0
`},
	{name: "up and enslaved in one request", do: on("pod", "bond0", func(n bond.Namespace, b bond.Link) error {
		l, err := n.Link("net2")
		if err != nil {
			return err
		}
		return n.Change(l.Index, bond.Change{Up: new(true), Master: &b.Index})
	}), err: unix.EPERM, state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod bond0 mac of its active link
pod eth7 up mac a0 in bond0
pod net2 up mac b0
`},
	{name: "down again", do: change("pod", "net2", state(false))},
	{name: "delete that", do: all(del("pod", "bond0"), change("pod", "eth7", name("net1")))},

	{name: "addresses and routes", do: all(
		change("pod", "net1", state(true)),
		configure("pod", "net1", bond.Addresses{
			IPs: addrs("10.1.2.3/24", "10.1.2.4/24", "10.9.9.0/31", "10.9.9.9/32", "fd00:1::3/64", "fd00:2::1/128"),
			Routes: []bond.Route{
				route("0.0.0.0/0", "10.1.2.1"), route("10.7.0.0/16", ""), route("::/0", "fd00:1::1"),
				{Dst: netip.MustParsePrefix("10.8.0.0/16"), Gateway: netip.MustParseAddr("10.1.2.1"), MTU: 1300, AdvMSS: 1200, Priority: 50, Table: 1000},
				{Dst: netip.MustParsePrefix("fd00:8::/32"), Gateway: netip.MustParseAddr("fd00:1::1"), MTU: 1300, Priority: 50, Table: 1000},
			},
		})), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.3/24 10.1.2.4/24 10.9.9.0/31 10.9.9.9/32 fd00:1::3/64 fd00:2::1/128 [0.0.0.0/0 via 10.1.2.1 metric 0 table 254 mtu 0 advmss 0 scope 0] [10.7.0.0/16 metric 0 table 254 mtu 0 advmss 0 scope 253] [10.8.0.0/16 via 10.1.2.1 metric 50 table 1000 mtu 1300 advmss 1200 scope 0] [::/0 via fd00:1::1 metric 1024 table 254 mtu 0 advmss 0 scope -] [fd00:8::/32 via fd00:1::1 metric 50 table 1000 mtu 1300 advmss 0 scope -]
pod net2 mac b0
`},
	{name: "the same again", do: on("pod", "net1", func(n bond.Namespace, l bond.Link) error {
		a, err := n.Addresses(l.Index)
		return errors.Join(err, n.Configure(l.Index, a))
	}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.3/24 10.1.2.4/24 10.9.9.0/31 10.9.9.9/32 fd00:1::3/64 fd00:2::1/128 [0.0.0.0/0 via 10.1.2.1 metric 0 table 254 mtu 0 advmss 0 scope 0] [10.7.0.0/16 metric 0 table 254 mtu 0 advmss 0 scope 253] [10.8.0.0/16 via 10.1.2.1 metric 50 table 1000 mtu 1300 advmss 1200 scope 0] [::/0 via fd00:1::1 metric 1024 table 254 mtu 0 advmss 0 scope -] [fd00:8::/32 via fd00:1::1 metric 50 table 1000 mtu 1300 advmss 0 scope -]
pod net2 mac b0
`},
	{name: "flush, and back from what was read", do: on("pod", "net1", func(n bond.Namespace, l bond.Link) error {
		a, err := n.Addresses(l.Index)
		if err := errors.Join(err, n.Flush(l.Index)); err != nil {
			return err
		}
		empty, err := n.Addresses(l.Index)
		if err != nil || len(empty.IPs)+len(empty.Routes) > 0 {
			return fmt.Errorf("left: %v %w", empty, err)
		}
		return n.Configure(l.Index, a)
	}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.3/24 10.1.2.4/24 10.9.9.0/31 10.9.9.9/32 fd00:1::3/64 fd00:2::1/128 [0.0.0.0/0 via 10.1.2.1 metric 0 table 254 mtu 0 advmss 0 scope 0] [10.7.0.0/16 metric 0 table 254 mtu 0 advmss 0 scope 253] [10.8.0.0/16 via 10.1.2.1 metric 50 table 1000 mtu 1300 advmss 1200 scope 0] [::/0 via fd00:1::1 metric 1024 table 254 mtu 0 advmss 0 scope -] [fd00:8::/32 via fd00:1::1 metric 50 table 1000 mtu 1300 advmss 0 scope -]
pod net2 mac b0
`},
	{name: "a route removed, twice", do: on("pod", "net1", func(n bond.Namespace, l bond.Link) error {
		gone := route("0.0.0.0/0", "10.1.2.1")
		return errors.Join(n.RemoveRoute(l.Index, gone), n.RemoveRoute(l.Index, gone))
	}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.3/24 10.1.2.4/24 10.9.9.0/31 10.9.9.9/32 fd00:1::3/64 fd00:2::1/128 [10.7.0.0/16 metric 0 table 254 mtu 0 advmss 0 scope 253] [10.8.0.0/16 via 10.1.2.1 metric 50 table 1000 mtu 1300 advmss 1200 scope 0] [::/0 via fd00:1::1 metric 1024 table 254 mtu 0 advmss 0 scope -] [fd00:8::/32 via fd00:1::1 metric 50 table 1000 mtu 1300 advmss 0 scope -]
pod net2 mac b0
`},
	{name: "a read route removed", do: on("pod", "net1", func(n bond.Namespace, l bond.Link) error {
		a, err := n.Addresses(l.Index)
		for _, r := range a.Routes {
			err = errors.Join(err, n.RemoveRoute(l.Index, r))
		}
		return err
	}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.3/24 10.1.2.4/24 10.9.9.0/31 10.9.9.9/32 fd00:1::3/64 fd00:2::1/128
pod net2 mac b0
`},
	{name: "peers, and routes in any order", do: all(flush("pod", "net1"), configure("pod", "net1", bond.Addresses{
		IPs: addrs("10.1.2.3/24", "10.9.9.1/32", "fd00:1::3/64", "fd00:9::1/128"),
		Peers: map[netip.Prefix]netip.Addr{
			netip.MustParsePrefix("10.9.9.1/32"): netip.MustParseAddr("10.9.9.2"), netip.MustParsePrefix("fd00:9::1/128"): netip.MustParseAddr("fd00:9::2")},
		Routes: []bond.Route{
			route("0.0.0.0/0", "10.9.9.2"), route("10.5.0.0/16", "169.254.1.1"), route("169.254.1.1/32", ""),
			{Dst: netip.MustParsePrefix("10.3.0.0/16"), Gateway: netip.MustParseAddr("192.0.2.1"), OnLink: true, Protocol: unix.RTPROT_BOOT},
			{Dst: netip.MustParsePrefix("10.4.0.0/16"), Gateway: netip.MustParseAddr("10.1.2.1"), Source: netip.MustParseAddr("10.1.2.3"), Protocol: unix.RTPROT_STATIC},
		}})), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.3/24 10.9.9.1/32 peer 10.9.9.2 fd00:1::3/64 fd00:9::1/128 peer fd00:9::2 [0.0.0.0/0 via 10.9.9.2 metric 0 table 254 mtu 0 advmss 0 scope 0] [10.3.0.0/16 via 192.0.2.1 metric 0 table 254 mtu 0 advmss 0 scope 0 onlink] [10.4.0.0/16 via 10.1.2.1 metric 0 table 254 mtu 0 advmss 0 scope 0 src 10.1.2.3 proto 4] [10.5.0.0/16 via 169.254.1.1 metric 0 table 254 mtu 0 advmss 0 scope 0] [169.254.1.1/32 metric 0 table 254 mtu 0 advmss 0 scope 253]
pod net2 mac b0
`},
	{name: "back from what was read of these", do: on("pod", "net1", func(n bond.Namespace, l bond.Link) error {
		a, err := n.Addresses(l.Index)
		return errors.Join(err, n.Flush(l.Index), n.Configure(l.Index, a))
	}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.3/24 10.9.9.1/32 peer 10.9.9.2 fd00:1::3/64 fd00:9::1/128 peer fd00:9::2 [0.0.0.0/0 via 10.9.9.2 metric 0 table 254 mtu 0 advmss 0 scope 0] [10.3.0.0/16 via 192.0.2.1 metric 0 table 254 mtu 0 advmss 0 scope 0 onlink] [10.4.0.0/16 via 10.1.2.1 metric 0 table 254 mtu 0 advmss 0 scope 0 src 10.1.2.3 proto 4] [10.5.0.0/16 via 169.254.1.1 metric 0 table 254 mtu 0 advmss 0 scope 0] [169.254.1.1/32 metric 0 table 254 mtu 0 advmss 0 scope 253]
pod net2 mac b0
`},
	{name: "a source that is none of its addresses", do: configure("pod", "net1", bond.Addresses{Routes: []bond.Route{
		{Dst: netip.MustParsePrefix("10.6.0.0/16"), Source: netip.MustParseAddr("10.1.2.99")}}}), err: unix.EINVAL},
	{name: "going down loses IPv6 and routes", do: change("pod", "net1", state(false)), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 mac a0 10.1.2.3/24 10.9.9.1/32 peer 10.9.9.2
pod net2 mac b0
`},
	{name: "no route over a link that is down", do: configure("pod", "net1", bond.Addresses{Routes: []bond.Route{route("10.7.0.0/16", "")}}), err: unix.ENETDOWN},
	{name: "no IPv6 route either", do: configure("pod", "net1", bond.Addresses{Routes: []bond.Route{route("fd00:7::/64", "")}}), err: unix.ENETDOWN},
	{name: "no way to the gateway", do: all(flush("pod", "net1"), change("pod", "net1", state(true)),
		configure("pod", "net1", bond.Addresses{IPs: addrs("10.1.2.3/24"), Routes: []bond.Route{route("0.0.0.0/0", "10.1.3.1")}})), err: unix.ENETUNREACH},
	{name: "no way to the IPv6 gateway", do: configure("pod", "net1",
		bond.Addresses{IPs: addrs("fd00:1::3/64"), Routes: []bond.Route{route("::/0", "fd00:3::1")}}), err: unix.EHOSTUNREACH},
	{name: "a way to the gateway by a route", do: configure("pod", "net1", bond.Addresses{Routes: []bond.Route{
		route("169.254.1.1/32", ""), route("0.0.0.0/0", "169.254.1.1"), route("::/0", "fe80::1")}}), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.3/24 fd00:1::3/64 [0.0.0.0/0 via 169.254.1.1 metric 0 table 254 mtu 0 advmss 0 scope 0] [169.254.1.1/32 metric 0 table 254 mtu 0 advmss 0 scope 253] [::/0 via fe80::1 metric 1024 table 254 mtu 0 advmss 0 scope -]
pod net2 mac b0
`},
	{name: "the same route over another link", do: all(change("pod", "net2", state(true)),
		configure("pod", "net2", bond.Addresses{IPs: addrs("10.2.0.1/24"), Routes: []bond.Route{route("0.0.0.0/0", "10.2.0.254")}})), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod net1 up mac a0 10.1.2.3/24 fd00:1::3/64 [0.0.0.0/0 via 169.254.1.1 metric 0 table 254 mtu 0 advmss 0 scope 0] [169.254.1.1/32 metric 0 table 254 mtu 0 advmss 0 scope 253] [::/0 via fe80::1 metric 1024 table 254 mtu 0 advmss 0 scope -]
pod net2 up mac b0 10.2.0.1/24 [0.0.0.0/0 via 10.2.0.254 metric 0 table 254 mtu 0 advmss 0 scope 0]
`},
	{name: "moving loses addresses and the state", do: all(
		move("pod", "net1", "pod2", bond.Change{}), move("pod", "net2", "pod2", bond.Change{})), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod2 net1 mac a0
pod2 net2 mac b0
`},

	{name: "move to a name that is taken", do: move("host", a1, "pod2", name("net1")), err: unix.EEXIST, state: `
host enp2s0v1 mac b1
pod2 enp1s0v1 mac a1
pod2 net1 mac a0
pod2 net2 mac b0
`},
	{name: "move with a name that is taken there", do: all(change("host", b1, name("net1")),
		move("host", "net1", "pod2", bond.Change{})), err: unix.EEXIST, state: `
host net1 mac b1
pod2 enp1s0v1 mac a1
pod2 net1 mac a0
pod2 net2 mac b0
`},
	{name: "move with a new name", do: move("host", "net1", "pod2", name("net3")), state: `
pod2 enp1s0v1 mac a1
pod2 net1 mac a0
pod2 net2 mac b0
pod2 net3 mac b1
`},
	{name: "move with a bad MTU is half done", do: move("pod2", "net3", "pod", mtu(9999)), err: unix.EINVAL, state: `
pod net3 mac b1
pod2 enp1s0v1 mac a1
pod2 net1 mac a0
pod2 net2 mac b0
`},
	{name: "move to where it is", do: move("pod", "net3", "pod", name("net4")), state: `
pod net4 mac b1
pod2 enp1s0v1 mac a1
pod2 net1 mac a0
pod2 net2 mac b0
`},
	{name: "back to the host", do: all(move("pod", "net4", "host", name(b1)), move("pod2", a1, "host", bond.Change{})), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod2 net1 mac a0
pod2 net2 mac b0
`},

	{name: "VFs of a PF that is not there", do: func(s *stage) error {
		return s.in("host", func(n bond.Namespace) error { _, err := n.VFs("nope"); return err })
	}, err: fs.ErrNotExist},
	{name: "changing a VF of a PF that is not there", do: func(s *stage) error {
		return s.in("host", func(n bond.Namespace) error { return n.ChangeVF("nope", 0, bond.VF{}, bond.VF{VLAN: 5}) })
	}, err: fs.ErrNotExist},
	{name: "changing a VF that is not there", do: func(s *stage) error {
		return s.in("host", func(n bond.Namespace) error { return n.ChangeVF("enp1s0", 77, bond.VF{}, bond.VF{VLAN: 5}) })
	}, err: unix.EINVAL},
	{name: "vlan and qos", do: setVF("enp1s0", 1, func(v *bond.VF) { v.VLAN, v.QoS = 100, 3 })},
	{name: "only 802.1Q", do: setVF("enp1s0", 1, func(v *bond.VF) { v.Proto = 0x88a8 }), err: unix.EPROTONOSUPPORT},
	{name: "no VLAN again", do: setVF("enp1s0", 1, func(v *bond.VF) { v.VLAN, v.QoS = 0, 0 })},
	{name: "too large a VLAN", do: setVF("enp1s0", 1, func(v *bond.VF) { v.VLAN = 4096 }), err: unix.EINVAL},
	{name: "spoofchk off", do: setVF("enp1s0", 1, func(v *bond.VF) { v.SpoofChk = false })},
	{name: "spoofchk on", do: setVF("enp1s0", 1, func(v *bond.VF) { v.SpoofChk = true })},
	{name: "trust on", do: setVF("enp1s0", 1, trust(true))},
	{name: "trust off", do: setVF("enp1s0", 1, trust(false))},
	{name: "max rate", do: setVF("enp1s0", 1, func(v *bond.VF) { v.MaxRate = 100 })},
	{name: "no max rate", do: setVF("enp1s0", 1, func(v *bond.VF) { v.MaxRate = 0 })},
	{name: "no min rate on igb", do: setVF("enp1s0", 1, func(v *bond.VF) { v.MinRate = 10 }), err: unix.EINVAL},
	{name: "no link state on igb", do: setVF("enp1s0", 1, func(v *bond.VF) { v.LinkState = 2 }), err: unix.EOPNOTSUPP},
	{name: "what can be is done beside what cannot", do: func(s *stage) error {
		return s.in("host", func(n bond.Namespace) error {
			vfs, err := n.VFs("enp1s0")
			if err != nil {
				return err
			}
			want := vfs[1]
			want.LinkState, want.SpoofChk, want.VLAN = 1, false, 7
			if err := n.ChangeVF("enp1s0", 1, vfs[1], want); !errors.Is(err, unix.EOPNOTSUPP) {
				return fmt.Errorf("error %v", err)
			}
			now, err := n.VFs("enp1s0")
			if err != nil {
				return err
			}
			want.LinkState = 0
			if d := now[1].Differences(want); len(d) > 0 {
				return fmt.Errorf("%v", d)
			}
			return n.ChangeVF("enp1s0", 1, now[1], vfs[1])
		})
	}},
	{name: "the PF sets a MAC and takes it back", do: all(
		setVF("enp1s0", 1, func(v *bond.VF) { v.MAC = "02:00:00:00:cc:07" }),
		change("host", a1, mac("02:00:00:00:cc:08"))), err: unix.EADDRNOTAVAIL},
	{name: "a VF without a MAC of the PF is free", do: all(
		setVF("enp1s0", 1, func(v *bond.VF) { v.MAC = bond.NoMAC }),
		change("host", a1, mac("02:00:00:00:cc:08")),
		reports("enp1s0", 1, "02:00:00:00:cc:08"),
		ownMAC("host", a1, "a1")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
pod2 net1 mac a0
pod2 net2 mac b0
`},

	{name: "the end of a namespace with a bond in it", do: all(
		create("pod2", "bond0", with(balance, "mtu", "1400")), enslave("pod2", "bond0", "net1", "net2"),
		change("pod2", "bond0", state(true)), remove("pod2")), state: `
host enp1s0v1 mac a1
host enp2s0v1 mac b1
host net1 mac a0
host net2 mac b0
`},
	{name: "their names again", do: all(change("host", "net1", name(a0)), change("host", "net2", name(b0)))},
	{name: "the end of a namespace with a name that is taken on the host", do: all(
		move("host", a0, "pod", bond.Change{}), change("host", a1, name(a0)), func(s *stage) error {
			var index int
			err := s.in("pod", func(n bond.Namespace) error { index = s.link(n, a0).Index; return nil })
			s.labels["dev"] = fmt.Sprintf("dev%d", index)
			return err
		}, remove("pod"))},
	{name: "it has a name of its own", do: func(s *stage) error {
		back := s.labels["dev"]
		err := s.in("host", func(n bond.Namespace) error {
			_, err := n.Link(back)
			for end := time.Now().Add(s.patience); err != nil && time.Now().Before(end); _, err = n.Link(back) {
				time.Sleep(100 * time.Millisecond)
			}
			return err
		})
		return errors.Join(err, all(change("host", a0, name(a1)), change("host", back, name(a0)))(s))
	}, state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1
host enp2s0v0 mac b0
host enp2s0v1 mac b1
`},

	{name: "a PF that is down does not hear its VF", do: all(
		change("host", "enp1s0", state(false)), change("host", a1, mac("02:00:00:00:cc:09")), reports("enp1s0", 1, "a1"))},
	{name: "a VF that is reset then tells it", do: all(
		change("host", "enp1s0", state(true)), change("host", a1, state(true)), change("host", a1, state(false)),
		reports("enp1s0", 1, "02:00:00:00:cc:09"))},
	{name: "the other is reset, too", do: all(
		ownMAC("host", a1, "a1"), change("host", a1, state(true)), change("host", a1, state(false)),
		change("host", a0, state(true)), change("host", a0, state(false)), reports("enp1s0", 0, "a0"), reports("enp1s0", 1, "a1")), state: `
host enp1s0v0 mac a0
host enp1s0v1 mac a1
host enp2s0v0 mac b0
host enp2s0v1 mac b1
`},
}
