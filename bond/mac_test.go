package bond_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

const sharedMAC = "02:00:00:00:00:cc"

// TestGiveMAC: a VF whose MAC its PF has not set is asked itself, and stays its
// own master; one whose PF has set it gets it from there, without trust.
func TestGiveMAC(t *testing.T) {
	for _, c := range []struct {
		name   string
		pinned bool
		asked  []string // of the kernel, beside what was looked at
	}{
		{"its own", false, []string{"Change net2", "Change net2"}},
		{"its PF's", true, []string{"Change net2", "Change net2", "VFs enp2s0", "ChangeVF enp2s0", "Change net2", "Change net2", "Link net2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			host, net2 := must(k.Host()), must(n.Link("net2"))
			before := must(host.VFs("enp2s0"))[0]
			if c.pinned {
				other := before
				other.MAC = "02:00:00:00:00:bb"
				must(0, host.ChangeVF("enp2s0", 0, before, other))
				must(0, host.ChangeVF("enp2s0", 0, other, before))
			}
			asked := verbs(k)
			if err := bond.GiveMAC(bond.VFLink{Link: net2, Pod: n, Host: host, PF: "enp2s0"}, sharedMAC); err != nil {
				t.Fatal(err)
			}
			equal(t, "asked", c.asked, *asked)
			now := must(n.Link("net2"))
			equal(t, "MAC", sharedMAC, now.MAC)
			equal(t, "up", false, now.Up)
			want := before
			want.MAC = sharedMAC
			equal(t, "the PF", want, must(host.VFs("enp2s0"))[0])

			// Whether it may change its MAC is as it was.
			err := n.Change(net2.Index, bond.Change{MAC: &net2.MAC})
			equal(t, "it may change it", !c.pinned, err == nil)
		})
	}
}

// TestGiveMACRefused: whatever fails, the PF says what it said before.
func TestGiveMACRefused(t *testing.T) {
	for _, c := range []struct {
		name, verb string // which fails
		err        error
		text       string
	}{
		{"the link cannot be set down", "Change net2", unix.EBUSY, "setting net2 down: device or resource busy"},
		{"the PF does not answer", "VFs enp2s0", unix.EIO, "input/output error"},
		{"the PF refuses", "ChangeVF enp2s0", unix.EPERM, "net2: MAC 02:00:00:00:00:cc: cannot assign requested address\noperation not permitted"},
		{"the VF never takes it", "", unix.EADDRNOTAVAIL, "net2 does not take the MAC 02:00:00:00:00:cc that its PF has set: cannot assign requested address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			host, net2 := must(k.Host()), must(n.Link("net2"))
			before := must(host.VFs("enp2s0"))[0]
			pinned := before
			pinned.MAC = "02:00:00:00:00:bb"
			must(0, host.ChangeVF("enp2s0", 0, before, pinned))
			k.Fail = func(verb string) error {
				if c.verb == verb {
					return c.err
				}
				return nil
			}
			var err error
			if c.verb == "" {
				n = deaf{n}
			}
			synctest.Test(t, func(t *testing.T) {
				err = bond.GiveMAC(bond.VFLink{Link: net2, Pod: n, Host: host, PF: "enp2s0"}, sharedMAC)
			})
			equal(t, "class", true, errors.Is(err, c.err))
			equal(t, "text", c.text, fmt.Sprint(err))
			k.Fail = nil
			equal(t, "the PF", pinned, must(host.VFs("enp2s0"))[0])
		})
	}
}

// deaf is a namespace whose VFs never hear what their PF has set.
type deaf struct{ bond.Namespace }

func (deaf) Change(_ int, c bond.Change) error {
	if c.MAC != nil {
		return unix.EADDRNOTAVAIL
	}
	return nil
}
