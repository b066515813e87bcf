package delegate

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
)

// linkState returns the link state that a PF keeps for its first VF.
func (m *machine) linkState(pf string) uint32 {
	vfs, err := m.namespace("").VFs(pf)
	require.NoError(m.t, err)
	return vfs[0].LinkState
}

// looksUntil has Keep look at all Records until it is content, for a card that is busy.
func (k *keeper) looksUntil(t *testing.T) {
	k.doDutiesNow(t)
	for range 20 {
		if len(k.due) == 0 {
			return
		}
		time.Sleep(k.pause())
		k.doDuties(t.Context())
	}
	t.Errorf("there is still something to do: %v", k.failed)
}

// relaying are the cards whose PFs can disable a VF's link.
var relaying = []string{"i40e", "ice", "mlx5", "mlx5 in switchdev mode"}

// TestRelay: a PF without a carrier takes it from its VF in a bond, whose other link then has
// the traffic, and gives it back. CHECK has nothing to say meanwhile.
func TestRelay(t *testing.T) {
	for _, card := range relaying {
		for _, during := range []string{"", "DEL", "another keep", "another name of the PF"} {
			t.Run(card+" "+during, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMachineOf(t, characters[card])
					before := m.state()
					m.mustAdd(watchedRequest(t, strings.Replace(standard, `, "vlan": 100`, "", 1)))
					time.Sleep(settled)
					attached := m.state()
					k := m.keeper()
					pf := "enp1s0"
					rename := func(to string) {
						m.change("", pf, bond.Change{Up: new(false)})
						m.change("", pf, bond.Change{Name: &to})
						m.change("", to, bond.Change{Up: new(true)})
						pf = to
					}
					if during == "another name of the PF" {
						rename("ens9")
						k.hear(bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Name: pf, Device: pfA}})
						require.True(t, k.isDue(c1))
					}
					m.Plug(pf, false)
					k.looksUntil(t)
					assert.Equal(t, card == "mlx5 in switchdev mode", m.linkState(pf) == bond.LinkAuto)
					assert.False(t, m.link(pod1, "bond0-1").Carrier)
					assert.True(t, m.link(pod1, "bond0-2").Carrier)
					assert.Len(t, m.readRecord(c1).Relayed, 1)
					assert.Contains(t, m.log.String(), "PF "+pf+" has no carrier, and bond0-1 ("+vfA+") loses its own, so that bond0 stops using it")
					require.NoError(t, m.Check(t.Context(), c1))
					time.Sleep(settled)
					if during == "DEL" {
						m.Plug(pf, true)
						m.mustDel(c1)
						m.wantState(before)
						return
					}
					if during == "another keep" {
						k = m.keeper()
					}
					m.Plug(pf, true)
					k.looksUntil(t)
					assert.EqualValues(t, bond.LinkAuto, m.linkState(pf))
					assert.True(t, m.link(pod1, "bond0-1").Carrier)
					assert.Empty(t, m.readRecord(c1).Relayed)
					if pf != "enp1s0" {
						rename("enp1s0")
					}
					m.wantLike(attached)
					time.Sleep(settled)
					m.mustDel(c1)
					m.wantState(before)
				})
			})
		}
	}
}

// TestRelayDelWithoutInterface: a VF that has lost its interface while its link was disabled
// gets its link state back as well.
func TestRelayDelWithoutInterface(t *testing.T) {
	m := newMachineOf(t, bondfake.MLX5)
	m.mustAdd(watchedRequest(t, standard))
	m.Plug("enp1s0", false)
	m.keeper().doDutiesNow(t)
	require.EqualValues(t, bond.LinkDisabled, m.linkState("enp1s0"))
	m.SetDriver(vfA, "")
	m.mustDel(c1)
	assert.EqualValues(t, bond.LinkAuto, m.linkState("enp1s0"))
}

// TestNoRelay: what somebody has set stays, and a link that sees the fault itself needs no
// help.
func TestNoRelay(t *testing.T) {
	for what, prepare := range map[string]func(m *machine){
		"the VF was disabled since": func(m *machine) { m.changeVF("enp1s0", func(vf *bond.VF) { vf.LinkState = bond.LinkDisabled }) },
		"the VF was enabled since":  func(m *machine) { m.changeVF("enp1s0", func(vf *bond.VF) { vf.LinkState = 1 }) },
		"the link has no carrier":   func(m *machine) { m.change(pod1, "bond0-1", bond.Change{Up: new(false)}) },
		"the PF was set down":       func(m *machine) { m.change("", "enp1s0", bond.Change{Up: new(false)}) },
		"the link is not in the bond": func(m *machine) {
			m.change(pod1, "bond0-1", bond.Change{Master: new(0)})
		},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachineOf(t, bondfake.MLX5)
			m.mustAdd(watchedRequest(t, standard))
			prepare(m)
			k := m.keeper()
			state := m.linkState("enp1s0")
			for _, in := range []bool{false, true} {
				m.Plug("enp1s0", in)
				left := m.state()
				k.doDutiesNow(t)
				m.wantState(left)
				assert.Equal(t, state, m.linkState("enp1s0"))
			}
			assert.Empty(t, m.log.String())
		})
	}
}

// TestRelayRefused: a driver that cannot disable a VF's link is named once, and nothing is
// left in the Record. What did not work is not said to have worked.
func TestRelayRefused(t *testing.T) {
	m := newMachineOf(t, bondfake.IGB)
	m.mustAdd(watchedRequest(t, standard))
	k := m.keeper()
	m.Plug("enp1s0", false)
	for range 3 {
		k.doDutiesNow(t)
	}
	assert.Equal(t, "c1:bond0: PF enp1s0 has no carrier, and bond0-1 ("+vfA+") loses its own, so that bond0 stops using it: "+
		"the driver of enp1s0 cannot do that: setting link state: operation not supported (let the bond probe its router: arpIpTarget); it is tried again\n", m.log.String())
	assert.Empty(t, m.readRecord(c1).Relayed)
	require.NoError(t, m.Check(t.Context(), c1))
}

// TestRelayHoldsOff: a carrier that comes and goes is given back when it has stayed.
func TestRelayHoldsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachineOf(t, bondfake.MLX5)
		m.mustAdd(watchedRequest(t, standard))
		k := m.keeper()
		k.holdOff = 10 * time.Second
		m.Plug("enp1s0", false)
		k.doDutiesNow(t)
		for _, step := range []struct {
			in   bool
			wait time.Duration
			want uint32
		}{{true, 9 * time.Second, bond.LinkDisabled}, {false, time.Second, bond.LinkDisabled}, {true, 9 * time.Second, bond.LinkDisabled}, {true, time.Second, bond.LinkAuto}} {
			m.Plug("enp1s0", step.in)
			k.doDutiesNow(t)
			time.Sleep(step.wait)
			k.doDuties(t.Context())
			assert.Equal(t, step.want, m.linkState("enp1s0"), "%+v", step)
		}
		assert.Empty(t, k.due)
	})
}

// TestKilledInRelay: keep is killed at any point, while a carrier is taken or given back.
// Another keep, or DEL, makes all as it has to be.
func TestKilledInRelay(t *testing.T) {
	for _, giving := range []bool{false, true} {
		for _, end := range []string{"keep", "DEL"} {
			try := func(t *testing.T, edge int) []string {
				m := newMachineOf(t, bondfake.MLX5)
				before := m.state()
				m.mustAdd(watchedRequest(t, standard))
				m.Plug("enp1s0", false)
				if giving {
					m.keeper().doDutiesNow(t)
					m.Plug("enp1s0", true)
				}
				m.edges.reset(edge, kill)
				require.Equal(t, edge > 0, untilKilled(func() { m.keeper().doDutiesNow(t) }))
				passed := m.edges.passed
				m.edges.reset(0, nil)
				if end == "keep" {
					m.keeper().doDutiesNow(t)
					want := uint32(bond.LinkDisabled)
					if giving {
						want = bond.LinkAuto
					}
					assert.Equal(t, want, m.linkState("enp1s0"))
					assert.Equal(t, !giving, len(m.readRecord(c1).Relayed) > 0)
				}
				m.Plug("enp1s0", true)
				m.mustDel(c1)
				m.wantLike(before)
				return passed
			}
			t.Run(fmt.Sprintf("giving %t, %s", giving, end), func(t *testing.T) {
				passed := try(t, 0)
				require.GreaterOrEqual(t, len(passed), 4)
				for n, edge := range passed {
					t.Run(fmt.Sprintf("%d %s", n+1, edge), func(t *testing.T) { try(t, n+1) })
				}
			})
		}
	}
}

// TestRelayBusy: a PF that is busy is asked again, and the Record is free meanwhile.
func TestRelayBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachineOf(t, bondfake.I40E)
		m.mustAdd(watchedRequest(t, standard))
		time.Sleep(settled)
		m.Plug("enp1s0", false)
		refused := 0
		m.Fail = func(verb string) error {
			if verb == "ChangeVF enp1s0" && refused < 3 {
				refused++
				return unix.EAGAIN
			}
			return nil
		}
		m.keeper().looksUntil(t)
		assert.Equal(t, 3, refused)
		assert.EqualValues(t, bond.LinkDisabled, m.linkState("enp1s0"))
	})
}
