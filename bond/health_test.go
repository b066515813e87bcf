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
	is := func(carrier bool, links ...bond.Event) bond.Health {
		last := map[int]bond.Event{master: {ActiveLink: first, Link: bond.Link{Index: master, Carrier: carrier}}}
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
