package bond_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

// TestRestore changes one thing, or all, and restores it: by which requests, in
// which order.
func TestRestore(t *testing.T) {
	up, down, name := bond.Change{Up: new(true)}, bond.Change{Up: new(false)}, bond.Change{Name: new("other")}
	mac, mtu := bond.Change{MAC: new("02:00:00:00:cc:01")}, bond.Change{MTU: new(9000)}
	for _, c := range []struct {
		name    string
		before  bool // up
		changes []bond.Change
		had     bond.Addresses
		want    []string
	}{
		{"nothing", true, nil, bond.Addresses{}, nil},
		{"name", true, []bond.Change{down, name}, bond.Addresses{}, []string{"Change other", "Change net1"}},
		{"name of one that is up", true, []bond.Change{down, name, up}, bond.Addresses{}, []string{"Change other", "Change other", "Change net1"}},
		{"MAC", false, []bond.Change{mac}, bond.Addresses{}, []string{"Change net1"}},
		{"MAC of one that is up", true, []bond.Change{mac}, bond.Addresses{}, []string{"Change net1", "Change net1", "Change net1"}},
		{"MTU", false, []bond.Change{mtu}, bond.Addresses{}, []string{"Change net1"}},
		{"down again", false, []bond.Change{up}, bond.Addresses{}, []string{"Change net1"}},
		{"up again", true, []bond.Change{down}, bond.Addresses{}, []string{"Change net1"}},
		{"addresses", true, nil, left, []string{"Configure net1"}},
		{"all", true, []bond.Change{down, name, mac, mtu, up}, left,
			[]string{"Change other", "Change other", "Change net1", "Change net1", "Change net1", "Configure net1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			index := must(n.Link("net1")).Index
			require.NoError(t, n.Flush(index))
			require.NoError(t, n.Change(index, bond.Change{Up: &c.before}))
			before := must(n.Links())[0]
			for _, change := range c.changes {
				require.NoError(t, n.Change(index, change))
			}
			now := must(n.Links())[0]
			asked := verbs(k)
			require.NoError(t, bond.Restore(n, now, before, c.had))
			assert.Equal(t, c.want, *asked)
			after := must(n.Links())[0]
			after.PermMAC = before.PermMAC // igbvf changes it
			assert.Equal(t, before, after)
			assert.Equal(t, c.had, must(n.Addresses(index)))
		})
	}
}

// TestRestoreGoesOn: each request fails. All are tried, and all errors are
// returned.
func TestRestoreGoesOn(t *testing.T) {
	k, n := pod(t)
	now := must(n.Link("net1"))
	before := now
	before.Name, before.MAC, before.MTU = "eth9", "02:00:00:00:cc:09", 1300
	before.AltNames, before.Alias, before.TxQueueLen = []string{"other"}, new("alias"), new(77)
	before.Flags = new(bond.Flags(unix.IFF_PROMISC | unix.IFF_ALLMULTI | unix.IFF_NOARP))
	k.Fail = func(verb string) error { return fmt.Errorf("%s: %w", verb, errBroken) }
	err := bond.Restore(n, now, before, left)
	assert.ErrorIs(t, err, errBroken)
	assert.EqualError(t, err, "restoring the state of net1: Change net1: broken\n"+
		"restoring the name of net1: Change net1: broken\n"+
		"restoring the MAC of net1: Change net1: broken\n"+
		"restoring the MTU of net1: Change net1: broken\n"+
		"restoring the promisc of net1: Change net1: broken\n"+
		"restoring the allmulticast of net1: Change net1: broken\n"+
		"restoring the noarp of net1: Change net1: broken\n"+
		"restoring the multicast of net1: Change net1: broken\n"+
		"restoring the alias of net1: Change net1: broken\n"+
		"restoring the txqueuelen of net1: Change net1: broken\n"+
		"restoring the alternative names of net1: Change net1: broken\n"+
		"restoring the state of net1: Change net1: broken\n"+
		"Configure net1: broken")

	// One that fails leaves the others done.
	k.Fail = func(verb string) error {
		if verb == "Configure eth9" {
			return errBroken
		}
		return nil
	}
	err = bond.Restore(n, now, before, left)
	assert.EqualError(t, err, "broken")
	assert.Empty(t, must(n.Link("eth9")).Differences(before))
}

// TestMoveHomeFails: if it cannot be known what is on the host, or the kernel refuses,
// the link stays where it is.
func TestMoveHomeFails(t *testing.T) {
	k, n := pod(t)
	host := must(k.Host())
	require.NoError(t, n.Change(must(n.Link("net1")).Index, bond.Change{AddAltNames: []string{"x"}}))
	now := must(n.Link("net1"))
	for _, verb := range []string{"Link x", "Change net1"} {
		k.Fail = func(asked string) error {
			if asked == verb {
				return errBroken
			}
			return nil
		}
		require.ErrorIs(t, bond.MoveHome(n, now, host, bond.Link{Name: "enp1s0v0", AltNames: []string{}}), errBroken, verb)
		k.Fail = nil
		assert.Equal(t, now, must(n.Link("net1")), verb)
	}
	require.NoError(t, bond.MoveHome(n, now, host, bond.Link{Name: "enp1s0v0", AltNames: []string{}}))
	assert.Empty(t, must(host.Link("enp1s0v0")).AltNames)
}

// TestRestoreXDP: a program that the link had before stays.
func TestRestoreXDP(t *testing.T) {
	k, n := pod(t)
	k.SetXDP("pod", "net1", unix.XDP_FLAGS_DRV_MODE)
	before := must(n.Link("net1"))
	k.SetXDP("pod", "net1", unix.XDP_FLAGS_SKB_MODE)
	require.NoError(t, bond.Restore(n, must(n.Link("net1")), before, bond.Addresses{}))
	assert.Equal(t, bond.XDP(unix.XDP_FLAGS_DRV_MODE), must(n.Link("net1")).XDP)
}
