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

// isRelayed reports whether the Record has the first link's carrier as taken.
func (m *machine) isRelayed() bool {
	rec := m.readRecord(c1)
	return rec.IsRelayed(rec.Plan.Links[0])
}

// taken names what Keep has not given back.
func (m *machine) taken() []string {
	links, err := m.Taken()
	require.NoError(m.t, err)
	return links
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

// relaying are the cards whose PFs can disable a VF's link, and igb, whose cannot: there Keep
// has to enter the pod.
var relaying = []string{"i40e", "ice", "mlx5", "mlx5 in switchdev mode", "igb"}

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
					k := m.keeperInside()
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
					assert.Equal(t, card == "mlx5 in switchdev mode" || card == "igb", m.linkState(pf) == bond.LinkAuto)
					assert.Equal(t, card == "igb", !m.link(pod1, "bond0-1").Up)
					assert.False(t, m.link(pod1, "bond0-1").Carrier)
					assert.True(t, m.link(pod1, "bond0-2").Carrier)
					assert.True(t, m.isRelayed())
					assert.Contains(t, m.log.String(), "PF "+pf+" has no carrier, and bond0-1 ("+vfA+") loses its carrier, so that bond0 stops using it")
					require.NoError(t, m.Check(t.Context(), c1))
					time.Sleep(settled)
					if during == "DEL" {
						m.Plug(pf, true)
						m.mustDel(c1)
						m.wantState(before)
						return
					}
					if during == "another keep" {
						k = m.keeperInside()
					}
					m.Plug(pf, true)
					k.looksUntil(t)
					assert.EqualValues(t, bond.LinkAuto, m.linkState(pf))
					assert.True(t, m.link(pod1, "bond0-1").Carrier)
					assert.False(t, m.isRelayed())
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
		"the VF does not exist at present": func(m *machine) {
			m.SetDriver(vfA, "")
			rec := m.readRecord(c1)
			rec.Plan.Links[0].Device = "0000:3b:0f.0"
			require.NoError(m.t, m.Store.Update(rec))
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
	assert.Equal(t, "c1:bond0: PF enp1s0 has no carrier, and bond0-1 ("+vfA+") loses its carrier, so that bond0 stops using it: "+
		"the driver of enp1s0 cannot do that: setting link state: operation not supported (let the bond probe its router, arpIpTarget, or keep enter the pod, -netns); it is tried again\n", m.log.String())
	assert.Empty(t, m.readRecord(c1).Relayed)
	require.NoError(t, m.Check(t.Context(), c1))
}

// TestRelayHoldsOff: a carrier that comes and goes is given back when it has stayed.
func TestRelayHoldsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachineOf(t, bondfake.MLX5)
		m.mustAdd(watchedRequest(t, standard))
		k := m.keeper()
		k.HoldOff = 10 * time.Second
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
	for _, card := range []bondfake.Character{bondfake.MLX5, bondfake.IGB} {
		testKilledInRelay(t, card)
	}
}

func testKilledInRelay(t *testing.T, card bondfake.Character) {
	for _, giving := range []bool{false, true} {
		for _, end := range []string{"keep", "DEL"} {
			try := func(t *testing.T, edge int) []string {
				m := newMachineOf(t, card)
				before := m.state()
				m.mustAdd(watchedRequest(t, standard))
				m.Plug("enp1s0", false)
				if giving {
					m.keeperInside().doDutiesNow(t)
					m.Plug("enp1s0", true)
				}
				m.edges.reset(edge, kill)
				require.Equal(t, edge > 0, untilKilled(func() { m.keeperInside().doDutiesNow(t) }))
				passed := m.edges.passed
				m.edges.reset(0, nil)
				if end == "keep" {
					m.keeperInside().doDutiesNow(t)
					assert.Equal(t, giving, m.link(pod1, "bond0-1").Carrier)
					assert.Equal(t, !giving, m.isRelayed())
				}
				m.Plug("enp1s0", true)
				m.mustDel(c1)
				m.wantLike(before)
				return passed
			}
			t.Run(fmt.Sprintf("%s, giving %t, %s", card.PF, giving, end), func(t *testing.T) {
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

// TestRelayInside: Keep changes nothing in a namespace that is not the pod's, and a link that
// the user has set down in the pod stays down.
func TestRelayInside(t *testing.T) {
	for what, test := range map[string]struct {
		prepare func(m *machine, k *keeper)
		want    string
	}{
		"the user has set it down": {func(m *machine, _ *keeper) { m.change(pod1, "bond0-1", bond.Change{Up: new(false)}) }, ""},
		"its namespace is not there": {
			func(_ *machine, k *keeper) { k.Netns = "/var/run/netns" },
			"/var/run/netns/p1 is not the network namespace of the pod, which was /run/netns/p1 at ADD (-netns)",
		},
		"another pod's is there": {
			func(m *machine, _ *keeper) {
				rec := m.readRecord(c1)
				rec.Plan.Netns = pod2
				require.NoError(m.t, m.Store.Update(rec))
			},
			"/run/netns/p2 is not the network namespace of the pod",
		},
		"the host's is there": {
			func(m *machine, _ *keeper) { m.Host.Kernel = leads{m.Kernel} },
			"/run/netns/p1 is not the network namespace of the pod",
		},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachineOf(t, bondfake.IGB)
			m.mustAdd(watchedRequest(t, standard))
			k := m.keeperInside()
			test.prepare(m, k)
			was := m.state()
			for _, in := range []bool{false, true} {
				m.Plug("enp1s0", in)
				k.doDutiesNow(t)
			}
			m.wantState(was)
			assert.Contains(t, m.log.String(), test.want)
			assert.Equal(t, test.want == "", m.log.Len() == 0)
			assert.False(t, m.isRelayed())
		})
	}
}

// TestRelayInsideNoMore: a link that Keep has set down in the pod is not forgotten by a Keep
// that may not enter the pod.
func TestRelayInsideNoMore(t *testing.T) {
	m := newMachineOf(t, bondfake.IGB)
	m.mustAdd(watchedRequest(t, standard))
	m.Plug("enp1s0", false)
	m.keeperInside().doDutiesNow(t)
	require.NoError(t, m.Check(t.Context(), c1), "CHECK has nothing to say")
	m.Plug("enp1s0", true)
	m.keeper().doDutiesNow(t)
	assert.Contains(t, m.log.String(), "it would have to enter the pod, and may not (-netns); it is tried again")
	m.keeperInside().doDutiesNow(t)
	assert.True(t, m.link(pod1, "bond0-1").Up)
	assert.False(t, m.isRelayed())
}

// TestRelayEnds: what Keep has taken stays so when it ends, because the next Keep goes on with
// it, as in an update. One that is to take none gives it back, before Keep is removed.
func TestRelayEnds(t *testing.T) {
	for _, card := range relaying {
		t.Run(card, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachineOf(t, characters[card])
				before := m.state()
				m.mustAdd(watchedRequest(t, strings.Replace(standard, `, "vlan": 100`, "", 1)))
				time.Sleep(settled)
				attached := m.state()
				m.Plug("enp1s0", false)
				m.keeperInside().looksUntil(t)
				require.True(t, m.isRelayed())
				assert.Equal(t, []string{"bond0-1 (0000:3b:02.0) of c1:bond0"}, m.taken())
				relayed := m.state()
				m.keeperInside().looksUntil(t)
				m.wantState(relayed)
				k := m.keeperInside()
				k.Yield = true
				time.Sleep(settled)
				for range 2 {
					k.looksUntil(t)
					assert.False(t, m.isRelayed())
					assert.Empty(t, m.taken())
					assert.True(t, m.link(pod1, "bond0-1").Carrier)
				}
				m.Plug("enp1s0", true)
				m.wantLike(attached)
				time.Sleep(settled)
				m.mustDel(c1)
				m.wantState(before)
			})
		})
	}
}

// hostBond puts a PF into a bond of the host in 802.3ad, of which it is the only link.
func (m *machine) hostBond(pf string) {
	b, err := m.namespace("").CreateBond("lacp0", bond.Options{bond.Mode: bond.LACP})
	require.NoError(m.t, err)
	m.change("", pf, bond.Change{Up: new(false)})
	m.change("", pf, bond.Change{Master: &b.Index})
	m.change("", pf, bond.Change{Up: new(true)})
}

// TestPFStatusRelay: a PF that is in a bond of the host in 802.3ad, as OpenShift's PF Status
// Relay wants it. Each case is a defect of that program.
func TestPFStatusRelay(t *testing.T) {
	relay := func(t *testing.T, f func(m *machine, k *keeper)) {
		synctest.Test(t, func(t *testing.T) {
			m := newMachineOf(t, bondfake.MLX5)
			before := m.state()
			m.hostBond("enp1s0")
			m.mustAdd(watchedRequest(t, standard))
			k := m.keeper()
			k.doDutiesNow(t)
			require.Empty(t, m.log.String(), "all is well")
			f(m, k)
			m.mustDel(c1)
			m.change("", "enp1s0", bond.Change{Master: new(0)})
			require.NoError(t, m.namespace("").Delete(m.link("", "lacp0").Index))
			m.change("", "enp1s0", bond.Change{Up: new(true)})
			m.wantState(before)
		})
	}
	const disabled, auto = uint32(bond.LinkDisabled), uint32(bond.LinkAuto)

	t.Run("a PF without a carrier is not looked at", func(t *testing.T) {
		relay(t, func(m *machine, k *keeper) {
			m.Plug("enp1s0", false)
			k.doDutiesNow(t)
			assert.Equal(t, disabled, m.linkState("enp1s0"))
			m.SetPartner("enp1s0", false)
			m.Plug("enp1s0", true)
			k.doDutiesNow(t)
			assert.Equal(t, disabled, m.linkState("enp1s0"), "it has its carrier, and no partner yet")
			m.SetPartner("enp1s0", true)
			k.looksUntil(t)
			assert.Equal(t, auto, m.linkState("enp1s0"))
		})
	})
	t.Run("a VF that somebody has disabled is enabled when LACP is up", func(t *testing.T) {
		relay(t, func(m *machine, k *keeper) {
			m.changeVF("enp1s0", func(vf *bond.VF) { vf.LinkState = bond.LinkDisabled })
			for _, there := range []bool{false, true} {
				m.SetPartner("enp1s0", there)
				k.doDutiesNow(t)
				assert.Equal(t, disabled, m.linkState("enp1s0"))
			}
			m.changeVF("enp1s0", func(vf *bond.VF) { vf.LinkState = bond.LinkAuto })
		})
	})
	t.Run("PFs are looked up once", func(t *testing.T) {
		relay(t, func(m *machine, k *keeper) {
			m.change("", "enp1s0", bond.Change{Up: new(false)})
			m.change("", "enp1s0", bond.Change{Name: new("ens9")})
			m.change("", "ens9", bond.Change{Up: new(true)})
			m.SetPartner("ens9", false)
			k.doDutiesNow(t)
			assert.Equal(t, disabled, m.linkState("ens9"))
			m.SetPartner("ens9", true)
			k.looksUntil(t)
			assert.Equal(t, auto, m.linkState("ens9"))
			m.change("", "ens9", bond.Change{Up: new(false)})
			m.change("", "ens9", bond.Change{Name: new("enp1s0")})
		})
	})
	t.Run("what did not work is said to have worked", func(t *testing.T) {
		relay(t, func(m *machine, k *keeper) {
			m.Fail = func(verb string) error {
				if strings.HasPrefix(verb, "ChangeVF") {
					return unix.EPERM
				}
				return nil
			}
			m.SetPartner("enp1s0", false)
			k.doDutiesNow(t)
			m.Fail = nil
			assert.Equal(t, "c1:bond0: PF enp1s0 has lost its LACP partner, and bond0-1 ("+vfA+") loses its carrier, so that bond0 stops using it: "+
				"operation not permitted; it is tried again\n", m.log.String())
		})
	})
	t.Run("a partner that never was is no loss", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newMachineOf(t, bondfake.MLX5)
			m.hostBond("enp1s0")
			m.SetPartner("enp1s0", false)
			m.mustAdd(watchedRequest(t, standard))
			k := m.keeper()
			k.doDutiesNow(t)
			assert.Equal(t, auto, m.linkState("enp1s0"))
			m.SetPartner("enp1s0", true)
			k.doDutiesNow(t)
			m.SetPartner("enp1s0", false)
			k.doDutiesNow(t)
			assert.Equal(t, disabled, m.linkState("enp1s0"))
		})
	})
	t.Run("if it ends while LACP is lost, VFs stay disabled", func(t *testing.T) {
		relay(t, func(m *machine, k *keeper) {
			m.SetPartner("enp1s0", false)
			k.doDutiesNow(t)
			require.Equal(t, disabled, m.linkState("enp1s0"))
			k = m.keeper()
			k.Yield = true
			k.doDutiesNow(t)
			assert.Equal(t, auto, m.linkState("enp1s0"))
			k.Yield = false
			m.SetPartner("enp1s0", true)
			k.doDutiesNow(t)
			m.SetPartner("enp1s0", false)
			k.doDutiesNow(t)
			require.Equal(t, disabled, m.linkState("enp1s0"), "and the DEL gives it back, too")
		})
	})
	t.Run("it looks in place of listening", func(t *testing.T) {
		relay(t, func(m *machine, k *keeper) {
			assert.Empty(t, k.due)
			k.hear(bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Name: "enp1s0", Device: pfA}})
			assert.True(t, k.isDue(c1))
			k.doDuties(t.Context())
			assert.Empty(t, k.due)
			m.SetPartner("enp1s0", false)
			k.doDutiesNow(t)
			assert.NotEmpty(t, k.due, "the kernel does not tell of the last step of an agreement")
			k.HoldOff = 10 * time.Second
			m.SetPartner("enp1s0", true)
			k.doDutiesNow(t)
			assert.Equal(t, disabled, m.linkState("enp1s0"), "it has to stay")
			k.looksUntil(t)
			assert.Equal(t, auto, m.linkState("enp1s0"))
		})
	})
}

// TestNoRelayInHostBonds: bonds of the host in other modes, and of several links, go on by
// themselves.
func TestNoRelayInHostBonds(t *testing.T) {
	for what, prepare := range map[string]func(m *machine){
		"another mode": func(m *machine) {
			m.change("", "enp1s0", bond.Change{Master: new(0)})
			require.NoError(m.t, m.namespace("").Delete(m.link("", "lacp0").Index))
			b, err := m.namespace("").CreateBond("other0", bond.Options{bond.Mode: bond.ActiveBackup})
			require.NoError(m.t, err)
			m.change("", "enp1s0", bond.Change{Master: &b.Index})
		},
		"another link": func(m *machine) {
			m.change("", "enp2s0v1", bond.Change{Master: new(m.link("", "lacp0").Index)})
		},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachineOf(t, bondfake.MLX5)
			m.hostBond("enp1s0")
			m.mustAdd(watchedRequest(t, standard))
			prepare(m)
			m.SetPartner("enp1s0", false)
			m.keeper().doDutiesNow(t)
			assert.Empty(t, m.log.String())
			assert.False(t, m.isRelayed())
		})
	}
}
