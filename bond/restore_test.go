package bond_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/multibond/multibond/bond"
)

// TestRestore changes one thing, or all, and has it put back: by which
// requests, in which order.
func TestRestore(t *testing.T) {
	up, down := true, false
	name, mac, mtu := "other", "02:00:00:00:cc:01", 9000
	state := bond.Change{Up: &up}
	for _, c := range []struct {
		name    string
		before  bool // up
		changes []bond.Change
		had     bond.Addresses
		want    []string
	}{
		{"nothing", true, nil, bond.Addresses{}, nil},
		{"name", true, []bond.Change{{Up: &down}, {Name: &name}}, bond.Addresses{}, []string{"Change other", "Change net1"}},
		{"name of one that is up", true, []bond.Change{{Up: &down}, {Name: &name}, state}, bond.Addresses{}, []string{"Change other", "Change other", "Change net1"}},
		{"MAC", false, []bond.Change{{MAC: &mac}}, bond.Addresses{}, []string{"Change net1"}},
		{"MAC of one that is up", true, []bond.Change{{MAC: &mac}}, bond.Addresses{}, []string{"Change net1", "Change net1", "Change net1"}},
		{"MTU", false, []bond.Change{{MTU: &mtu}}, bond.Addresses{}, []string{"Change net1"}},
		{"down again", false, []bond.Change{state}, bond.Addresses{}, []string{"Change net1"}},
		{"up again", true, []bond.Change{{Up: &down}}, bond.Addresses{}, []string{"Change net1"}},
		{"addresses", true, nil, left, []string{"Configure net1"}},
		{"all", true, []bond.Change{{Up: &down}, {Name: &name, MAC: &mac, MTU: &mtu}, state}, left,
			[]string{"Change other", "Change other", "Change net1", "Change net1", "Change net1", "Configure net1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			index := must(n.Link("net1")).Index
			must(0, n.Flush(index))
			must(0, n.Change(index, bond.Change{Up: &c.before}))
			before := must(n.Links())[0]
			for _, change := range c.changes {
				must(0, n.Change(index, change))
			}
			now := must(n.Links())[0]
			asked := verbs(k)
			if err := bond.Restore(n, now, before, c.had); err != nil {
				t.Fatal(err)
			}
			equal(t, "requests", c.want, *asked)
			after := must(n.Links())[0]
			after.PermMAC = before.PermMAC // igbvf's own business
			equal(t, "link", before, after)
			equal(t, "addresses", c.had, must(n.Addresses(index)))
		})
	}
}

// TestRestoreGoesOn: each request fails; all are tried and all errors told.
func TestRestoreGoesOn(t *testing.T) {
	k, n := pod(t)
	now := must(n.Link("net1"))
	before := now
	before.Name, before.MAC, before.MTU = "eth9", "02:00:00:00:cc:09", 1300
	broken := errors.New("broken")
	k.Fail = func(verb string) error { return fmt.Errorf("%s: %w", verb, broken) }
	err := bond.Restore(n, now, before, left)
	equal(t, "class", true, errors.Is(err, broken))
	equal(t, "text", "state of net1: Change net1: broken\n"+
		"name of net1: Change net1: broken\n"+
		"MAC of net1: Change net1: broken\n"+
		"MTU of net1: Change net1: broken\n"+
		"state of net1: Change net1: broken\n"+
		"Configure net1: broken", err.Error())

	// One that fails leaves the others done.
	k.Fail = func(verb string) error {
		if verb == "Configure eth9" {
			return broken
		}
		return nil
	}
	err = bond.Restore(n, now, before, left)
	equal(t, "text", "broken", fmt.Sprint(err))
	equal(t, "differences", nil, must(n.Link("eth9")).Differences(before))
}
