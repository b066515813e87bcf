package bond_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/bond/code"
)

const (
	vf1, vf2 = "0000:01:10.0", "0000:02:10.0"
	pf1, pf2 = "0000:01:00.0", "0000:02:00.0"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pod makes a machine with two VFs of two PFs in a pod, as net1 and net2. net1 is
// up and has an address, as a plugin that attaches a VF can leave it.
func pod(t *testing.T) (*bondfake.Kernel, bond.Namespace) {
	t.Helper()
	k := bondfake.New()
	k.AddPF(pf1, "enp1s0", vf1)
	k.AddPF(pf2, "enp2s0", vf2)
	k.AddNamespace("pod")
	host, n := must(k.Host()), must(k.Open("pod"))
	for i, name := range []string{"enp1s0v0", "enp2s0v0"} {
		as := fmt.Sprintf("net%d", i+1)
		require.NoError(t, host.Change(must(host.Link(name)).Index, bond.Change{Namespace: n, Name: &as}))
	}
	first := must(n.Link("net1"))
	require.NoError(t, n.Change(first.Index, bond.Change{Up: new(true)}))
	require.NoError(t, n.Configure(first.Index, left))
	return k, n
}

var left = bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}

var spec = bond.Spec{
	Name:    "bond0",
	Options: bond.Options{bond.Mode: bond.ActiveBackup, bond.Miimon: "100", bond.FailOverMac: "active", bond.MTU: "1400"},
	Links:   []string{"net1", "net2"},
}

func linksOf(n bond.Namespace, names ...string) []bond.Link {
	var out []bond.Link
	for _, name := range names {
		out = append(out, must(n.Link(name)))
	}
	return out
}

// verbs records the verbs that k is asked for, in order.
func verbs(k *bondfake.Kernel) *[]string {
	var out []string
	k.Fail = func(verb string) error { out = append(out, strings.TrimSpace(verb)); return nil }
	return &out
}

var errBroken = errors.New("broken")

// failAt makes the nth verb fail, counted from 1.
func failAt(k *bondfake.Kernel, n int, err error) {
	k.Fail = func(string) error {
		if n--; n == 0 {
			return err
		}
		return nil
	}
}

func TestSteps(t *testing.T) {
	assert.Equal(t, []string{
		"bond0: create active-backup mtu 1400 miimon 100 fail_over_mac active",
		"bond0: flush net1, set it down, enslave it",
		"bond0: flush net2, set it down, enslave it",
		"bond0: set it up",
	}, spec.Steps())
}

func TestBuild(t *testing.T) {
	k, n := pod(t)
	links := linksOf(n, "net1", "net2")
	asked := verbs(k)
	b := must(bond.Build(n, spec, links))
	assert.Equal(t, []string{
		"Change net1", "Flush net1", "Change net2", "Flush net2", "CreateBond bond0", "Change net1", "Change net2", "Change bond0", "Link bond0",
	}, *asked)
	assert.Equal(t, bond.Link{Index: b.Index, Name: "bond0", Kind: "bond", MAC: links[0].MAC, MTU: 1400, MaxMTU: 65535, Up: true, Carrier: true, Type: 1,
		Options:  bond.Options{bond.Mode: bond.ActiveBackup, bond.Miimon: "100", bond.FailOverMac: "active", bond.MTU: "1400", bond.MAC: links[0].MAC},
		AltNames: []string{}, Alias: new(""), TxQueueLen: new(1000), Flags: new(bond.Flags(unix.IFF_MULTICAST)),
		Offload: bond.Offload{GSOMaxSize: 65536, GSOMaxSegs: 65535, GROMaxSize: 65536}}, b)
	for i, l := range linksOf(n, "net1", "net2") {
		want := links[i]
		want.MTU, want.Master, want.Up, want.Carrier = 1400, b.Index, true, true
		want.Options = bond.Options{"queueId": "0", "prio": "0"}
		assert.Equal(t, want, l, l.Name)
	}
	assert.Equal(t, bond.Addresses{}, must(n.Addresses(links[0].Index)))
}

// TestBuildLinkOptions: a link gets its own options in the bond, and Verify finds
// those that have changed.
func TestBuildLinkOptions(t *testing.T) {
	k, n := pod(t)
	s := spec
	s.LinkOptions = map[string]bond.Options{"net1": {"prio": "0"}, "net2": {"prio": "10", "queueId": "3"}}
	assert.Equal(t, []string{
		"bond0: create active-backup mtu 1400 miimon 100 fail_over_mac active",
		"bond0: flush net1, set it down, enslave it",
		"bond0: flush net2, set it down, enslave it",
		"net2: queue_id 3 prio 10",
		"bond0: set it up",
	}, s.Steps())
	asked := verbs(k)
	b := must(bond.Build(n, s, linksOf(n, "net1", "net2")))
	assert.Equal(t, []string{"Link net1", "Link net2", "Change net1", "Flush net1", "Change net2", "Flush net2",
		"CreateBond bond0", "Change net1", "Change net2", "Change net2", "Change bond0", "Link bond0"}, *asked)
	assert.Equal(t, bond.Options{"prio": "10", "queueId": "3"}, must(n.Link("net2")).Options)
	assert.Empty(t, must(bond.Verify(n, s, b.Index, nil, nil)), "as made")
	require.NoError(t, n.Change(must(n.Link("net2")).Index, bond.Change{Options: bond.Options{"prio": "9"}}))
	assert.Equal(t, bond.Problems{{Code: code.LinkDiffers, Path: "net2", Text: "prio is 9, was 10"}}, must(bond.Verify(n, s, b.Index, nil, nil)), "changed")
}

// TestBuildLinkOptionsRefused: the error names the option and the link.
func TestBuildLinkOptionsRefused(t *testing.T) {
	k, n := pod(t)
	s := spec
	s.LinkOptions = map[string]bond.Options{"net1": {"prio": "10"}}
	links := linksOf(n, "net1", "net2")
	failAt(k, 7, unix.EOPNOTSUPP) // after those that set both links down, make the bond and enslave net1
	_, err := bond.Build(n, s, links)
	assert.EqualError(t, err, "setting prio 10 of net1 in bond0: operation not supported")
}

// TestActivate: the link to use first becomes the active one once it has a
// carrier. If it never gets one, another link is active.
func TestActivate(t *testing.T) {
	for _, c := range []struct {
		name, link string
		carrierAt  int    // the link gets its carrier after so many looks; -1: never
		err        string // "" for none
		active     string // by its MAC
	}{
		{"not asked for", "", 0, "", "net1"},
		{"it carries", "net2", 0, "", "net2"},
		{"in a while", "net2", 5, "", "net2"},
		{"never", "net2", -1, "net2 has no carrier in bond0 after 3s; another link is used first", "net1"},
		{"gone", "net3", 0, "link net3: file does not exist", "net1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			s := spec
			s.Options = maps.Clone(s.Options)
			if c.link != "" {
				s.Options["activeSlave"] = c.link
			}
			must(bond.Build(n, s, linksOf(n, "net1", "net2")))
			net2, asked := must(n.Link("net2")), 0
			require.NoError(t, n.Change(net2.Index, bond.Change{Up: new(false)}))
			k.Fail = func(verb string) error {
				if verb == "Link net2" {
					if asked++; asked > c.carrierAt && c.carrierAt >= 0 {
						k.Fail = nil
						return n.Change(net2.Index, bond.Change{Up: new(true)})
					}
				}
				return nil
			}
			synctest.Test(t, func(t *testing.T) {
				err := bond.Activate(n, s)
				if c.err == "" {
					assert.NoError(t, err)
				} else {
					assert.EqualError(t, err, c.err)
				}
			})
			k.Fail = nil
			assert.Equal(t, must(n.Link(c.active)).MAC, must(n.Link("bond0")).MAC)
		})
	}
	s := spec
	s.Options = bond.Options{bond.Mode: bond.ActiveBackup, "activeSlave": "net2"}
	assert.Equal(t, "bond0: use net2 first, once it has a carrier", s.Steps()[4])
	assert.Equal(t, "bond0: create active-backup", s.Steps()[0], "not at creation")
}

// TestBuildOrder: the first link of the spec is the first in the bond, whatever
// its index, and gives the bond its MAC.
func TestBuildOrder(t *testing.T) {
	_, n := pod(t)
	backwards := spec
	backwards.Links = []string{"net2", "net1"}
	b := must(bond.Build(n, backwards, linksOf(n, "net2", "net1")))
	assert.Equal(t, must(n.Link("net2")).MAC, b.MAC)
}

func TestBuildRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*bondfake.Kernel, *bond.Spec)
		class  error
		text   string // with the devices' MACs as they are in this test
	}{
		{"the name is taken", func(k *bondfake.Kernel, _ *bond.Spec) { k.AddVirtual("pod", "veth", "bond0") },
			unix.EEXIST, "creating bond bond0: file exists"},
		{"no bonding", func(k *bondfake.Kernel, _ *bond.Spec) { k.SetBonding(false) },
			bond.ErrNoBonding, "creating bond bond0: this kernel has no bonding: operation not supported"},
		{"a VF that may not change its MAC", func(k *bondfake.Kernel, s *bond.Spec) {
			host := must(k.Host())
			have := must(host.VFs("enp2s0"))[0]
			want := have
			want.MAC = "02:00:00:00:cc:02"
			require.NoError(t, host.ChangeVF("enp2s0", 0, have, want))
			s.Options = bond.Options{bond.Mode: bond.BalanceRR, bond.Miimon: "100"}
		}, unix.EADDRNOTAVAIL, "enslaving net2 (0000:02:10.0, MAC 02:00:00:00:00:05) to bond0 (balance-rr): cannot assign requested address " +
			"(an untrusted VF keeps the MAC that its PF has set: use mode active-backup with failOverMac active, or trust the VF)"},
		{"an MTU that a link cannot have", func(_ *bondfake.Kernel, s *bond.Spec) {
			s.Options = bond.Options{bond.Mode: bond.BalanceRR, bond.Miimon: "100", bond.MTU: "9500"}
		}, unix.EINVAL, "enslaving net1 (0000:01:10.0, MAC 02:00:00:00:00:03) to bond0 (balance-rr): invalid argument"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			s := spec
			c.change(k, &s)
			_, err := bond.Build(n, s, linksOf(n, "net1", "net2"))
			assert.ErrorIs(t, err, c.class)
			assert.EqualError(t, err, c.text)
		})
	}
}

// TestBuildFaults fails each verb of Build in turn. If there is a bond
// afterwards, deleting it gives every link its MAC and MTU back.
func TestBuildFaults(t *testing.T) {
	k, n := pod(t)
	links := linksOf(n, "net1", "net2")
	all := verbs(k)
	must(bond.Build(n, spec, links))
	require.Len(t, *all, 9)
	for _, mode := range []string{bond.ActiveBackup, bond.BalanceXOR} {
		for i, verb := range *all {
			t.Run(fmt.Sprintf("%s %d %s", mode, i, verb), func(t *testing.T) {
				k, n := pod(t)
				before := linksOf(n, "net1", "net2")
				failAt(k, i+1, errBroken)
				s := spec
				s.Options = bond.Options{bond.Mode: mode, bond.Miimon: "100", bond.MTU: "1400"}
				_, err := bond.Build(n, s, before)
				k.Fail = nil
				assert.ErrorIs(t, err, errBroken)
				if b, err := n.Link("bond0"); err == nil {
					require.NoError(t, n.Delete(b.Index))
				}
				for j, l := range linksOf(n, "net1", "net2") {
					before[j].Up = before[j].Up && l.Up // links may stay down
					assert.Empty(t, l.Differences(before[j]), l.Name)
					assert.Zero(t, l.Master, l.Name)
				}
			})
		}
	}
}

func TestVerify(t *testing.T) {
	devices := map[string]string{"net1": vf1, "net2": vf2}
	change := func(name string, changes ...bond.Change) func(*bondfake.Kernel, bond.Namespace) error {
		return func(_ *bondfake.Kernel, n bond.Namespace) error {
			var errs []error
			index := must(n.Link(name)).Index
			for _, c := range changes {
				errs = append(errs, n.Change(index, c))
			}
			return errors.Join(errs...)
		}
	}
	net2ToHost := func(k *bondfake.Kernel, n bond.Namespace) error {
		return n.Change(must(n.Link("net2")).Index, bond.Change{Namespace: must(k.Host())})
	}
	for _, c := range []struct {
		name   string
		change func(*bondfake.Kernel, bond.Namespace) error
		want   []string
	}{
		{"as it was made", change("bond0"), nil},
		{"gone", func(_ *bondfake.Kernel, n bond.Namespace) error { return n.Delete(must(n.Link("bond0")).Index) },
			[]string{"bond0: the bond is gone"}},
		{"another bond", func(_ *bondfake.Kernel, n bond.Namespace) error {
			deleted := n.Delete(must(n.Link("bond0")).Index)
			_, created := n.CreateBond("bond0", spec.Options)
			return errors.Join(deleted, created)
		}, []string{"bond0: another interface has the bond's name: its index is 4, was 2"}},
		{"down", change("bond0", bond.Change{Up: new(false)}), []string{"bond0: the bond is down"}},
		{"another MTU", change("bond0", bond.Change{MTU: new(1300)}), []string{
			"bond0: mtu is 1300, was 1400", "net1: mtu is 1300, was 1400", "net2: mtu is 1300, was 1400"}},
		{"a link's MTU", change("net2", bond.Change{MTU: new(1300)}), []string{"net2: mtu is 1300, was 1400"}},
		{"a link is out", change("net1", bond.Change{Master: new(0)}), []string{
			"net1: the link is no longer part of bond0", "net1: the link is down", "net1: mtu is 1500, was 1400"}},
		{"a link is down", change("net1", bond.Change{Up: new(false)}), []string{"net1: the link is down"}},
		{"a link is gone", net2ToHost, []string{"net2: the link is gone"}},
		{"a link has another name", change("net2", bond.Change{Up: new(false)}, bond.Change{Name: new("other"), Up: new(true)}),
			[]string{"net2: the link is gone"}},
		{"another device", func(k *bondfake.Kernel, n bond.Namespace) error {
			moved := net2ToHost(k, n)
			k.AddVirtual("pod", "veth", "net2")
			return moved
		}, []string{"net2: another device has the link's name: veth, was 0000:02:10.0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			b := must(bond.Build(n, spec, linksOf(n, "net1", "net2")))
			require.NoError(t, c.change(k, n))
			problems := must(bond.Verify(n, spec, b.Index, devices, nil))
			assert.Equal(t, strings.Join(c.want, "; "), problems.Error())
		})
	}
	k, n := pod(t)
	k.Fail = func(string) error { return errBroken }
	_, err := bond.Verify(n, spec, 2, devices, nil)
	assert.ErrorIs(t, err, errBroken)
}

func TestTaken(t *testing.T) {
	links := []bond.Link{{Name: "net1", AltNames: []string{"one", "eins"}}, {Name: "net2"}}
	for name, want := range map[string]string{"net1": "net1", "one": "net1", "eins": "net1", "net2": "net2", "net3": "", "": ""} {
		l, there := bond.Taken(links, name)
		assert.Equal(t, want, l.Name, name)
		assert.Equal(t, want != "", there, name)
	}
}

func TestWithSmallestMTU(t *testing.T) {
	o := bond.Options{bond.Mode: bond.BalanceRR}
	got := o.WithMTU(bond.SmallestMTU([]bond.Link{{MTU: 9000}, {MTU: 1400}, {MTU: 1500}}))
	assert.Equal(t, bond.Options{bond.Mode: bond.BalanceRR, bond.MTU: "1400"}, got)
	assert.Equal(t, bond.Options{bond.Mode: bond.BalanceRR}, o, "untouched")
}

// TestModuleParameters: the bonding module's parameters change what a new bond has.
// What was asked for is set. What was not stays with the module.
func TestModuleParameters(t *testing.T) {
	k, n := pod(t)
	k.SetParameter(bond.FailOverMac, "none", "active")
	k.SetParameter("resendIgmp", "1", "9")
	s := spec
	s.Options = bond.Options{bond.Mode: bond.ActiveBackup, bond.Miimon: "100", bond.FailOverMac: "none", bond.MTU: "1400"}
	b := must(bond.Build(n, s, linksOf(n, "net1", "net2")))
	assert.Equal(t, "none", b.Options[bond.FailOverMac])
	assert.Equal(t, "9", b.Options["resendIgmp"])
	require.NoError(t, n.Delete(b.Index))

	changes := 0
	k.Fail = func(verb string) error {
		if verb == "Change bond0" {
			changes++
			return errBroken
		}
		return nil
	}
	_, err := bond.Build(n, s, linksOf(n, "net1", "net2"))
	assert.EqualError(t, err, "setting [failOverMac] of bond0: broken")
	assert.Equal(t, 1, changes)
}

// TestAnnounce: in active-backup mode Announce does not wait for a carrier. In
// the other modes it does.
func TestAnnounce(t *testing.T) {
	balance := spec
	balance.Options = bond.Options{bond.Mode: bond.BalanceXOR, bond.Miimon: "100"}
	for _, c := range []struct {
		name    string
		spec    bond.Spec
		a       bond.Addresses
		carrier func(asked int) bool // when the link gets it
		want    []string
	}{
		{"no address", spec, bond.Addresses{}, func(int) bool { return true }, nil},
		{"a carrier", spec, left, func(int) bool { return true }, []string{"Link bond0", "Announce bond0"}},
		{"no carrier", spec, left, func(int) bool { return false }, []string{"Link bond0"}},
		{"a carrier in the end", balance, left, func(asked int) bool { return asked == 3 }, []string{"Link bond0", "Link bond0", "Link bond0", "Announce bond0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, n := pod(t)
			must(bond.Build(n, c.spec, linksOf(n, "net1", "net2")))
			for _, l := range linksOf(n, "net1", "net2") {
				require.NoError(t, n.Change(l.Index, bond.Change{Up: new(false)}))
			}
			net1 := must(n.Link("net1"))
			var asked []string
			k.Fail = func(verb string) error {
				if verb == "Change net1" {
					return nil
				}
				if asked = append(asked, verb); c.carrier(len(asked)) {
					return n.Change(net1.Index, bond.Change{Up: new(true)})
				}
				return nil
			}
			require.NoError(t, bond.Announce(n, c.spec, c.a))
			assert.Equal(t, c.want, asked)
		})
	}
}

// TestAnnounceErrors: no bond, and a carrier that never comes.
func TestAnnounceErrors(t *testing.T) { synctest.Test(t, announceErrors) }

func announceErrors(t *testing.T) {
	_, n := pod(t)
	assert.ErrorIs(t, bond.Announce(n, spec, left), fs.ErrNotExist)
	s := spec
	s.Options = bond.Options{bond.Mode: bond.BalanceRR, bond.Miimon: "100"}
	must(n.CreateBond("bond0", s.Options)) // without a link
	assert.EqualError(t, bond.Announce(n, s, left), "bond0 has no carrier after 3s; its addresses were not announced")
}
