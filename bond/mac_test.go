package bond_test

import (
	"cmp"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
)

const sharedMAC = "02:00:00:00:00:cc"

// TestGiveMAC: a VF whose MAC was not set by its PF changes it itself and can
// change it again. A VF whose MAC was set by its PF gets it from there, without
// trust.
func TestGiveMAC(t *testing.T) {
	for _, c := range []struct {
		name   string
		pinned bool
		asked  []string // of the kernel
	}{
		{"its own", false, []string{"Change net2", "Change net2"}},
		{"its PF's", true, []string{
			"Change net2", "Change net2", // down; refused
			"VFs enp2s0", "Change net2", "Change net2", "Change net2", "VFs enp2s0", // reset, and refused again
			"VFs enp2s0", "VFs enp2s0", "ChangeVF enp2s0", "Change net2", "Change net2", "Link net2",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			host, net2 := must(k.Host()), must(n.Link("net2"))
			before := must(host.VFs("enp2s0"))[0]
			if c.pinned {
				other := before
				other.MAC = "02:00:00:00:00:bb"
				require.NoError(t, host.ChangeVF("enp2s0", 0, before, other))
				require.NoError(t, host.ChangeVF("enp2s0", 0, other, before))
			}
			asked := verbs(k)
			require.NoError(t, bond.GiveMAC(bond.VFLink{Link: net2, Pod: n, Host: host, PF: "enp2s0"}, sharedMAC))
			assert.Equal(t, c.asked, *asked)
			now := must(n.Link("net2"))
			assert.Equal(t, sharedMAC, now.MAC)
			assert.False(t, now.Up)
			want := before
			want.MAC = sharedMAC
			assert.Equal(t, want, must(host.VFs("enp2s0"))[0])

			// Whether the VF may change its MAC is as it was.
			err := n.Change(net2.Index, bond.Change{MAC: &net2.MAC})
			assert.Equal(t, !c.pinned, err == nil, "it may change it")
		})
	}
}

// TestGiveMACRefused: whatever fails, the PF reports what it reported before.
func TestGiveMACRefused(t *testing.T) {
	for _, c := range []struct {
		name, verb string // which fails
		err        error
		text       string
	}{
		{"the link cannot be set down", "Change net2", unix.EBUSY, "setting net2 down: device or resource busy"},
		{"the PF does not answer", "VFs enp2s0", unix.EIO, "input/output error"},
		{"the PF refuses", "ChangeVF enp2s0", unix.EPERM, "net2: setting MAC 02:00:00:00:00:cc: cannot assign requested address\noperation not permitted"},
		{"the VF never takes it", "", unix.EADDRNOTAVAIL, "net2 does not accept the MAC 02:00:00:00:00:cc that its PF has set: cannot assign requested address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			host, net2 := must(k.Host()), must(n.Link("net2"))
			before := must(host.VFs("enp2s0"))[0]
			pinned := before
			pinned.MAC = "02:00:00:00:00:bb"
			require.NoError(t, host.ChangeVF("enp2s0", 0, before, pinned))
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
			assert.ErrorIs(t, err, c.err)
			assert.EqualError(t, err, c.text)
			k.Fail = nil
			assert.Equal(t, pinned, must(host.VFs("enp2s0"))[0])
		})
	}
}

// deaf is a namespace whose VFs never take the MAC that their PF has set.
type deaf struct{ bond.Namespace }

func (deaf) Change(_ int, c bond.Change) error {
	if c.MAC != nil {
		return unix.EADDRNOTAVAIL
	}
	return nil
}

// TestRestoreMAC: the PF is made to set the VF's own MAC only if it had set one.
func TestRestoreMAC(t *testing.T) {
	const other = "02:00:00:00:00:bb"
	for _, c := range []struct {
		name     string
		pinned   string // what the PF has set; "": nothing
		byPlugin bool
		lost     int    // messages of the VF
		down     bool   // the PF is
		reported string // in the end; "": the VF's own
		free     bool   // the VF may change it
	}{
		{name: "nobody has set it", free: true},
		{name: "the PF has", pinned: other},
		{name: "a plugin has", pinned: other, byPlugin: true, free: true},
		{name: "lost once", lost: 1, free: true},
		{name: "lost often", lost: 7, free: true},
		{name: "always lost", lost: 1 << 20, reported: bond.NoMAC, free: true},
		{name: "the PF is down", down: true, reported: bond.NoMAC, free: true},
		{name: "the PF has, and it is lost", pinned: other, lost: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			host, net2 := must(k.Host()), must(n.Link("net2"))
			own := net2.MAC
			require.NoError(t, n.Change(net2.Index, bond.Change{MAC: new(sharedMAC)}))
			if c.pinned != "" {
				have := must(host.VFs("enp2s0"))[0]
				want := have
				want.MAC = c.pinned
				require.NoError(t, host.ChangeVF("enp2s0", 0, have, want))
			}
			if c.down {
				require.NoError(t, host.Change(must(host.Link("enp2s0")).Index, bond.Change{Up: new(false)}))
			}
			k.Lose = func(string) bool { c.lost--; return c.lost >= 0 }
			synctest.Test(t, func(t *testing.T) {
				vf := bond.VFLink{Link: net2, Pod: n, Host: host, PF: "enp2s0", Reported: own}
				require.NoError(t, bond.RestoreMAC(vf, own, c.byPlugin))
			})
			assert.Equal(t, own, must(n.Link("net2")).MAC)
			assert.Equal(t, cmp.Or(c.reported, own), must(host.VFs("enp2s0"))[0].MAC)
			assert.Equal(t, c.free, !k.SetByPF(net2.Device))
		})
	}
}
