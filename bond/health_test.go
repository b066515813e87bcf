package bond_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
)

// TestHealthOf: a bond is what its carrier says, and a link works while its bond uses it.
func TestHealthOf(t *testing.T) {
	const master, first, second = 5, 6, 7
	options := bond.Options{bond.Miimon: "100"}
	is := func(carrier bool, links ...bond.Event) bond.Health {
		last := map[int]bond.Event{master: {ActiveLink: first, Link: bond.Link{Index: master, Carrier: carrier, Options: options}}}
		for _, e := range links {
			last[e.Link.Index] = e
		}
		return bond.HealthOf(master, []int{first, second}, 2, func(index int) bond.Event { return last[index] })
	}
	member := func(index, of int, mii bond.MII) bond.Event {
		return bond.Event{Link: bond.Link{Index: index, Master: of}, Member: &bond.Member{MII: mii}}
	}
	well := member(first, master, bond.MIIUp)
	for name, c := range map[string]struct {
		second bond.Event
		works  bool
	}{
		"works":                   {member(second, master, bond.MIIUp), true},
		"downdelay is not over":   {member(second, master, bond.MIIFail), true},
		"updelay is not over":     {member(second, master, bond.MIIBack), false},
		"has failed":              {member(second, master, bond.MIIDown), false},
		"is in another bond":      {member(second, 99, bond.MIIUp), false},
		"has left the bond":       {bond.Event{Link: bond.Link{Index: second}}, false},
		"nothing is known of it ": {bond.Event{}, false},
	} {
		want := bond.Health{Condition: bond.Healthy, Active: first, Works: []bool{true, c.works}}
		if !c.works {
			want.Condition = bond.Degraded
		}
		assert.Equal(t, want, is(true, well, c.second), name)
	}
	options = bond.Options{bond.Miimon: "0", "arpInterval": "100"}
	silent := is(true, well, member(second, master, bond.MIIFail))
	assert.Equal(t, bond.Health{Condition: bond.Degraded, Active: first, Works: []bool{true, false}}, silent, "nothing is heard of it by ARP")
	assert.Equal(t, bond.Down, is(false, well).Condition, "a carrier is what counts: minLinks, arpInterval")
	assert.Equal(t, 1, is(true, well).Working())
}

func TestVerifyHealth(t *testing.T) {
	k, n := pod(t)
	b := must(bond.Build(n, spec, linksOf(n, "net1", "net2")))
	assert.NoError(t, bond.VerifyHealth(n, b.Index))
	for _, l := range linksOf(n, "net1", "net2") {
		assert.NoError(t, bond.VerifyHealth(n, b.Index), "one link is left")
		require.NoError(t, n.Change(l.Index, bond.Change{Up: new(false)}))
	}
	err := bond.VerifyHealth(n, b.Index)
	assert.EqualError(t, err, "bond0: the bond has no carrier: no link works (check the cables, the PFs and the switch)")
	assert.NoError(t, bond.VerifyHealth(n, 4711))
	k.Fail = func(string) error { return errBroken }
	assert.ErrorIs(t, bond.VerifyHealth(n, b.Index), errBroken)
}

// TestLoneInLACP: whether a bond in 802.3ad has only one link, and whether both ends of that
// pass traffic.
func TestLoneInLACP(t *testing.T) {
	const full = 0x3d
	master := func(mode string) bond.Event {
		return bond.Event{Link: bond.Link{Index: 9, Kind: "bond", Options: bond.Options{bond.Mode: mode}}}
	}
	link := func(index int, ends ...uint8) bond.Event {
		return bond.Event{Link: bond.Link{Index: index, Master: 9}, Member: &bond.Member{Ends: [2]uint8(ends)}}
	}
	for what, c := range map[string]struct {
		events         []bond.Event
		alone, partner bool
	}{
		"agreed":                         {[]bond.Event{master(bond.LACP), link(1, full, full)}, true, true},
		"with short timeouts":            {[]bond.Event{master(bond.LACP), link(1, full|2, full|2)}, true, true},
		"no partner":                     {[]bond.Event{master(bond.LACP), link(1, 0x45, 1)}, true, false},
		"the partner does not collect":   {[]bond.Event{master(bond.LACP), link(1, full, full&^0x10)}, true, false},
		"its own end does not":           {[]bond.Event{master(bond.LACP), link(1, full&^0x20, full)}, true, false},
		"another link":                   {[]bond.Event{master(bond.LACP), link(1, full, full), link(2, full, full)}, false, true},
		"another mode":                   {[]bond.Event{master(bond.ActiveBackup), link(1, 0, 0)}, false, false},
		"nothing is known of its bond":   {[]bond.Event{link(1, full, full)}, false, true},
		"in no bond":                     {[]bond.Event{{Link: bond.Link{Index: 1}}}, false, false},
		"nothing is known of the link":   {[]bond.Event{master(bond.LACP)}, false, false},
		"a bond of others that has both": {[]bond.Event{master(bond.LACP), link(1, full, full), {Link: bond.Link{Index: 3, Master: 8}}}, true, true},
	} {
		m, alone := bond.LoneInLACP(c.events, 1)
		assert.Equal(t, c.alone, alone, what)
		assert.Equal(t, c.partner, m.HasPartner(), what)
	}
}
