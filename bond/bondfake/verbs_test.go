package bondfake_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond"
)

// These functions make the verbs of the script.

func add(name string) func(*stage) error {
	return func(s *stage) error { s.addNamespace(s.T, name); return nil }
}

func remove(name string) func(*stage) error {
	return func(s *stage) error { s.removeNamespace(s.T, name); return nil }
}

func create(space, name string, o bond.Options) func(*stage) error {
	return func(s *stage) error {
		return s.in(space, func(n bond.Namespace) error {
			b, err := n.CreateBond(name, o)
			if err == nil && (b.Name != name || b.Kind != "bond" || b.Up) {
				return fmt.Errorf("made %+v", b)
			}
			return err
		})
	}
}

func change(space, name string, c bond.Change) func(*stage) error {
	return func(s *stage) error {
		return s.in(space, func(n bond.Namespace) error {
			return n.Change(s.link(n, name).Index, c)
		})
	}
}

func enslave(space, master string, names ...string) func(*stage) error {
	return func(s *stage) error {
		return s.in(space, func(n bond.Namespace) error {
			index := s.link(n, master).Index
			for _, name := range names {
				if err := n.Change(s.link(n, name).Index, bond.Change{Master: &index}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// move moves a link to another namespace, with further changes in the request.
func move(from, name, to string, c bond.Change) func(*stage) error {
	return func(s *stage) error {
		return s.in(to, func(target bond.Namespace) error {
			c := c
			c.Namespace = target
			return change(from, name, c)(s)
		})
	}
}

func del(space, name string) func(*stage) error {
	return func(s *stage) error {
		return s.in(space, func(n bond.Namespace) error { return n.Delete(s.link(n, name).Index) })
	}
}

func on(space, name string, f func(n bond.Namespace, l bond.Link) error) func(*stage) error {
	return func(s *stage) error {
		return s.in(space, func(n bond.Namespace) error { return f(n, s.link(n, name)) })
	}
}

func acceptsRA(space, name, want string) func(*stage) error {
	return func(s *stage) error {
		assert.Equal(s, want, s.acceptRA(space, name))
		return nil
	}
}

func configure(space, name string, a bond.Addresses) func(*stage) error {
	return on(space, name, func(n bond.Namespace, l bond.Link) error { return n.Configure(l.Index, a) })
}

func flush(space, name string) func(*stage) error {
	return on(space, name, func(n bond.Namespace, l bond.Link) error { return n.Flush(l.Index) })
}

// number returns the number that a namespace has on the host.
func (s *stage) number(space string) (number int, err error) {
	return number, s.in("host", func(host bond.Namespace) error {
		return s.in(space, func(n bond.Namespace) error {
			number, err = host.Number(n)
			return err
		})
	})
}

// within waits until what read returns is as expected, or patience is over.
func (s *stage) within(want string, read func() (string, error)) error {
	for end := time.Now().Add(s.patience); ; time.Sleep(100 * time.Millisecond) {
		got, err := read()
		if err != nil || got == want {
			return err
		}
		if !time.Now().Before(end) {
			return fmt.Errorf("is %q, want %q", got, want)
		}
	}
}

// observes checks what a bond says of itself and its links.
func observes(space, name, want string) func(*stage) error {
	return func(s *stage) error {
		return s.within(want, func() (got string, err error) {
			return got, s.in(space, func(n bond.Namespace) error {
				const number = 4711
				events, err := n.Observe(number)
				got = observed(events, name)
				for _, e := range events {
					assert.Equal(s, number, e.NSID, e.Link.Name)
				}
				return err
			})
		})
	}
}

// observed puts into words what events say of a bond.
func observed(events []bond.Event, name string) string {
	i := slices.IndexFunc(events, func(e bond.Event) bool { return e.Link.Name == name })
	if i < 0 {
		return "no such bond"
	}
	b, over, members := events[i], "none", []string{}
	for _, e := range events {
		if e.Link.Index == b.ActiveLink {
			over = e.Link.Name
		}
		if m, there := e.MemberOf(b.Link.Index); there {
			members = append(members, e.Link.Name+" "+describe(b.Link, m))
		}
	}
	if !b.Link.Carrier {
		over += ", no carrier"
	}
	slices.Sort(members)
	return "over " + over + ": " + strings.Join(members, ", ")
}

func describe(b bond.Link, m bond.Member) string {
	switch {
	case !m.Works(b):
		return fmt.Sprintf("has failed %d times", m.Failures)
	case m.Failures > 0 && m.Active:
		return fmt.Sprint("carries after ", m.Failures)
	case m.Failures > 0:
		return fmt.Sprint("waits after ", m.Failures)
	case m.Active:
		return "carries"
	}
	return "waits"
}

// setVF changes the administrative state of VF 0 or 1 of a PF and checks that it
// reads back.
func setVF(pf string, number int, set func(*bond.VF)) func(*stage) error {
	return func(s *stage) error {
		return s.in("host", func(n bond.Namespace) error {
			vfs, err := n.VFs(pf)
			if err != nil {
				return err
			}
			have, want := vfs[number], vfs[number]
			set(&want)
			if err := n.ChangeVF(pf, number, have, want); err != nil {
				return err
			}
			if vfs, err = n.VFs(pf); err != nil {
				return err
			}
			if d := vfs[number].Differences(want); len(d) > 0 {
				return fmt.Errorf("VF %d of %s: %v", number, pf, d)
			}
			return nil
		})
	}
}

// reports checks the MAC that a PF reports for a VF, by its label. On a busy machine a
// VF's message can be lost. It is sent again when the VF is set up and down.
func reports(pf string, number int, label string) func(*stage) error {
	return func(s *stage) error {
		return s.in("host", func(n bond.Namespace) error {
			for end := time.Now().Add(s.patience); ; {
				vfs, err := n.VFs(pf)
				if err != nil || s.label(vfs[number].MAC) == label {
					return err
				}
				if !time.Now().Before(end) {
					return fmt.Errorf("%s reports %s for VF %d", pf, vfs[number].MAC, number)
				}
				if err := bond.Bounce(n, s.link(n, fmt.Sprintf("%sv%d", pf, number))); err != nil {
					return err
				}
			}
		})
	}
}

// ownMAC restores the MAC that a link had at the beginning.
func ownMAC(space, name, label string) func(*stage) error {
	return func(s *stage) error {
		for own, is := range s.labels {
			if is == label {
				return change(space, name, mac(own))(s)
			}
		}
		return fmt.Errorf("no MAC is %s", label)
	}
}

func all(dos ...func(*stage) error) func(*stage) error {
	return func(s *stage) error {
		for _, do := range dos {
			if err := do(s); err != nil {
				return err
			}
		}
		return nil
	}
}

func addrs(ips ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, ip := range ips {
		out = append(out, netip.MustParsePrefix(ip))
	}
	return out
}

func route(dst, gateway string) bond.Route {
	r := bond.Route{Dst: netip.MustParsePrefix(dst)}
	if gateway != "" {
		r.Gateway = netip.MustParseAddr(gateway)
	}
	return r
}

func trust(on bool) func(*bond.VF) { return func(v *bond.VF) { v.Trust = &on } }

var (
	active  = bond.Options{"mode": "active-backup", "miimon": "100", "failOverMac": "active"}
	balance = bond.Options{"mode": "balance-xor", "miimon": "100"}
)

func with(o bond.Options, more ...string) bond.Options {
	out := maps.Clone(o)
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

func mac(s string) bond.Change  { return bond.Change{MAC: &s} }
func mtu(v int) bond.Change     { return bond.Change{MTU: &v} }
func name(s string) bond.Change { return bond.Change{Name: &s} }
func state(v bool) bond.Change  { return bond.Change{Up: &v} }

// moveByNumber moves a link of the host by the number of a namespace, into a bond there.
func moveByNumber(link, to string, master int, c bond.Change) func(*stage) error {
	return func(s *stage) error {
		return s.in("host", func(n bond.Namespace) error {
			c.Number, c.Master = new(s.numberOf(to)), &master
			return n.Change(s.link(n, link).Index, c)
		})
	}
}

// numberOf returns the number of a namespace in the host's.
func (s *stage) numberOf(space string) (number int) {
	err := s.in("host", func(host bond.Namespace) error {
		return s.in(space, func(n bond.Namespace) (err error) {
			number, err = host.Number(n)
			return err
		})
	})
	assert.NoError(s, err)
	return number
}

// indexIn returns the index of a link in a namespace.
func (s *stage) indexIn(space, name string) (index int) {
	err := s.in(space, func(n bond.Namespace) error {
		index = s.link(n, name).Index
		return nil
	})
	assert.NoError(s, err)
	return index
}
