//go:build lab

package bond

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// keptAnyway are the options that the kernel accepts in modes that never use them.
// The table refuses them there.
var keptAnyway = []string{FailOverMac, "xmitHashPolicy", arpIPTarget, nsIP6Target, "arpAllTargets", "numGratArp", notifDelay,
	"lpInterval", "adSelect", "primaryReselect"}

// notInKernel is the text of a problem with an option that this kernel lacks.
func notInKernel(row option, text string) string {
	return fmt.Sprintf("%s: is %s, but this kernel does not have this option; Linux %s and later have it (leave it out, or use a newer kernel)", row.key, text, row.since)
}

// TestLabOptions makes a bond with each value of each option in each mode and
// reads it back. If the mode lacks the option by the table, the kernel refuses it
// in its own words.
func TestLabOptions(t *testing.T) {
	n := space(t, "options")
	partners := map[string]Options{
		updelay:     {Miimon: "1"},
		downdelay:   {Miimon: "1"},
		arpIPTarget: {arpInterval: "100"},
		arpValidate: {arpInterval: "100", arpIPTarget: "10.0.0.1"},
		notifDelay:  {Miimon: "1"},
		nsIP6Target: {arpInterval: "100"},
	}
	for _, row := range table {
		if row.key == Mode || row.key == Primary || row.once || row.perLink || row.ours {
			continue // each bond has a mode; the others need links, or are not the kernel's
		}
		for _, mode := range modeNames {
			for _, text := range samples(t, row) {
				o := Options{Mode: mode, row.key: text}
				refused := !row.hasMode(mode) && !row.always && text != row.unset && !slices.Contains(keptAnyway, row.key)
				if row.hasMode(mode) || row.key == notifDelay {
					for k, v := range partners[row.key] {
						o[k] = v
					}
				}
				b, err := n.CreateBond("bond0", o)
				if errors.Is(err, unix.EOPNOTSUPP) && older(t, row.since) { // an old kernel may still have it: Debian's 6.1 has coupled_control
					assert.EqualError(t, err, "creating bond bond0: operation not supported: "+notInKernel(row, text))
					_, err := n.Link("bond0")
					assert.ErrorIs(t, err, fs.ErrNotExist)
					continue
				}
				if since := row.newer[text]; older(t, since) && err != nil {
					assert.ErrorIs(t, err, unix.EINVAL)
					assert.ErrorContains(t, err, fmt.Sprintf(": %s: is %s, a value that Linux %s and later have (use another value, or a newer kernel)", row.key, text, since))
					_, err := n.Link("bond0")
					assert.ErrorIs(t, err, fs.ErrNotExist)
					continue
				}
				if row.key == "useCarrier" && text == "0" && !older(t, "6.18") {
					assert.EqualError(t, err, fmt.Sprintf("creating bond bond0 (%s): invalid argument: option obsolete, use_carrier cannot be disabled", o))
					continue
				}
				if refused {
					assert.ErrorIs(t, err, unix.EACCES)
					assert.EqualError(t, err, fmt.Sprintf("creating bond bond0 (%s): permission denied: option not supported in mode", o))
					_, err := n.Link("bond0")
					assert.ErrorIs(t, err, fs.ErrNotExist)
					continue
				}
				require.NoError(t, err, o.String())
				assert.Empty(t, o.Differences(b.Options), o.String())
				require.NoError(t, n.Delete(b.Index))
			}
		}
	}
}

// TestLabLinkOptions gives a link in a bond each value of each option in each
// mode and reads it back.
func TestLabLinkOptions(t *testing.T) {
	n := space(t, "linkoptions")
	ip(t, "-n linkoptions link add v0 type veth peer name v1")
	for _, mode := range modeNames {
		for _, row := range table {
			if !row.perLink {
				continue
			}
			b := create(t, n, "bond0", Options{Mode: mode, Miimon: "100"})
			v0 := find(t, n, "v0")
			require.NoError(t, n.Change(v0.Index, Change{Up: new(false)}))
			require.NoError(t, n.Change(v0.Index, Change{Master: &b.Index}))
			if had, reported := find(t, n, "v0").Options[row.key]; reported {
				assert.Equal(t, row.unset, had, row.key)
			}
			for _, text := range samples(t, row) {
				if text == row.unset {
					continue
				}
				what := fmt.Sprintf("%s %s in %s", row.key, text, mode)
				err := n.Change(v0.Index, Change{Options: Options{row.key: text}})
				switch {
				case errors.Is(err, unix.EOPNOTSUPP) && older(t, row.since):
					assert.EqualError(t, err, "operation not supported: "+notInKernel(row, text), what)
				case !row.hasMode(mode):
					assert.EqualError(t, err, "permission denied: option not supported in mode", what)
				default:
					require.NoError(t, err, what)
					assert.Equal(t, text, find(t, n, "v0").Options[row.key], what)
				}
			}
			require.NoError(t, n.Delete(b.Index))
			assert.Empty(t, find(t, n, "v0").Options)
		}
	}
}

// TestLabQueueTwice: the kernel refuses two links with the same queue, and a queue
// that the bond does not have.
func TestLabQueueTwice(t *testing.T) {
	n := space(t, "queues")
	ip(t, "-n queues link add v0 type veth peer name v1")
	b := create(t, n, "bond0", Options{Mode: BalanceRR, Miimon: "100"})
	for i, name := range []string{"v0", "v1"} {
		l := find(t, n, name)
		require.NoError(t, n.Change(l.Index, Change{Master: &b.Index}), name)
		err := n.Change(l.Index, Change{Options: Options{queueID: "1"}})
		assert.Equal(t, i == 1, errors.Is(err, unix.EPERM), "%s: %v", name, err)
		err = n.Change(l.Index, Change{Options: Options{queueID: fmt.Sprint(maxQueue + 1)}})
		assert.ErrorIs(t, err, unix.EPERM, name)
	}
}

// TestLabModuleParameters: a bond has what was asked for, whatever the parameters of
// the bonding module make of the kernel's defaults.
func TestLabModuleParameters(t *testing.T) {
	load := func(parameters ...string) {
		for _, args := range [][]string{{"rmmod", "bonding"}, append([]string{"modprobe", "bonding", "max_bonds=0"}, parameters...)} {
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			require.NoError(t, err, "%s: %s", args, out)
		}
	}
	require.NoError(t, System{}.EnableBonding(t.Context()))
	load("mode=802.3ad", "lacp_rate=1", "xmit_hash_policy=1", "fail_over_mac=1", "updelay=100", "resend_igmp=9")
	t.Cleanup(func() { load() })
	n := space(t, "parameters")
	for _, o := range []Options{
		{Mode: LACP, Miimon: "100", "lacpRate": "slow", "xmitHashPolicy": "layer2", updelay: "0"},
		{Mode: ActiveBackup, Miimon: "100", FailOverMac: "none", "resendIgmp": "1"},
	} {
		assert.NotEmpty(t, o.Differences(create(t, n, "other", o).Options), "the parameters count")
		b, err := Build(n, Spec{Name: "bond0", Options: o}, nil)
		require.NoError(t, err)
		assert.Empty(t, o.Differences(b.Options))
		for _, name := range []string{"bond0", "other"} {
			require.NoError(t, n.Delete(find(t, n, name).Index))
		}
	}
}

// TestLabActivate: the requested link becomes the active one, in each mode that
// has one and with either kind of monitoring.
func TestLabActivate(t *testing.T) {
	n := space(t, "activate")
	for _, peer := range []string{"v", "w"} {
		ip(t, fmt.Sprintf("-n activate link add %s0 type veth peer name %s1", peer, peer))
		ip(t, fmt.Sprintf("-n activate link set %s1 up", peer))
	}
	for _, o := range []Options{
		{Mode: ActiveBackup, Miimon: "100", FailOverMac: "active"},
		{Mode: ActiveBackup, Miimon: "100", updelay: "500"},
		{Mode: ActiveBackup, arpInterval: "100", arpIPTarget: "10.0.0.9"},
		{Mode: BalanceTLB, Miimon: "100"},
		{Mode: BalanceALB, Miimon: "100", Primary: "v0", reselect: "failure"},
	} {
		o[activeSlave] = "w0"
		s := Spec{Name: "bond0", Options: o, Links: []string{"v0", "w0"}}
		b, err := Build(n, s, []Link{find(t, n, "v0"), find(t, n, "w0")})
		require.NoError(t, err, o.String())
		// A busy kernel may take longer than Activate waits.
		require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, Activate(n, s)) }, 2*time.Minute, time.Millisecond, o.String())
		active := ip(t, "netns exec activate cat /sys/class/net/bond0/bonding/active_slave")
		assert.Equal(t, "w0\n", active, o.String())
		require.NoError(t, n.Delete(b.Index))
	}
}

// TestLabUnset compares the defaults of the table with those of the kernel.
func TestLabUnset(t *testing.T) {
	n := space(t, "unset")
	for _, mode := range modeNames {
		b := create(t, n, "bond0", Options{Mode: mode})
		for _, row := range table {
			if _, reported := b.Options[row.key]; !reported && older(t, row.since) {
				continue
			}
			if row.unset != "" && row.key != Mode && row.hasMode(mode) && !row.perLink && !row.ours {
				assert.Equal(t, row.unset, b.Options[row.key], mode+" "+row.key)
			}
		}
		// The kernel's documentation says 100 in all modes.
		want := "0"
		if slices.Contains([]string{LACP, BalanceTLB, BalanceALB}, mode) {
			want = "100"
		}
		assert.Equal(t, want, b.Options[Miimon], mode)
		require.NoError(t, n.Delete(b.Index))
	}
}

// TestLabParsed makes bonds of what ParseOptions returns for a mode alone.
func TestLabParsed(t *testing.T) {
	n := space(t, "parsed")
	for _, mode := range modeNames {
		o, problems := ParseOptions(rawOptions(t, `{"mode":"`+mode+`"}`), nil, nil)
		require.NoError(t, problems.Err(), mode)
		b := create(t, n, "bond0", o)
		assert.Empty(t, o.Differences(b.Options), mode)
		require.NoError(t, n.Delete(b.Index))
	}
}
