package delegate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/delegate/plan"
)

// degraded is a bond that starts with one link.
const degraded = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", "minLinks": 1,
	"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}],
	"delegate": {"type": "sriov", "vlan": 100, "vlanQoS": 3, "trust": "on", "spoofchk": "off", "max_tx_rate": 500},
	"ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`

// appear binds the driver of a VF that had none.
func (m *machine) appear(vf, name string) {
	m.SetDriver(vf, "igbvf")
	m.Remake(vf, name)
}

// newDegraded is a machine with a bond whose second VF has no driver.
func newDegraded(t *testing.T, config string) *machine {
	m := newMachine(t)
	m.SetDriver(vfB, "")
	m.mustAdd(watchedRequest(t, config))
	m.log.Reset()
	return m
}

// TestLate: a bond that started with one link gets the other one when its device is there, as
// an ADD would have made it, and DEL leaves both as before.
func TestLate(t *testing.T) {
	for _, shared := range []bool{false, true} {
		for _, missing := range []string{vfA, vfB} {
			t.Run(fmt.Sprintf("%s, shared %t", missing, shared), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					config := degraded
					if shared {
						config = strings.Replace(degraded, `"minLinks"`, `"macPolicy": "shared", "minLinks"`, 1)
					}
					name, host := "bond0-2", "enp2s0v0"
					if missing == vfA {
						name, host = "bond0-1", "enp1s0v0"
					}
					m := newMachine(t)
					m.SetDriver(missing, "")
					m.mustAdd(watchedRequest(t, config))
					m.log.Reset()
					k := m.keeper()
					k.looksUntil(t)
					assert.Empty(t, m.log.String())
					m.appear(missing, host)
					alone := m.link("", host)
					vfs, err := m.namespace("").VFs(host[:6])
					require.NoError(t, err)
					k.looksUntil(t)

					got := m.link(pod1, name)
					assert.Equal(t, m.link(pod1, "bond0").Index, got.Master)
					assert.True(t, got.Up)
					if shared {
						assert.Equal(t, m.link(pod1, "bond0").MAC, got.MAC)
					} else {
						assert.Equal(t, alone.MAC, got.MAC)
					}
					now, err := m.namespace("").VFs(host[:6])
					require.NoError(t, err)
					set := now[0]
					set.MAC, set.Trust = "", nil
					assert.Equal(t, bond.VF{VLAN: 100, QoS: 3, Proto: 0x8100, MaxRate: 500}, set)
					assert.True(t, *now[0].Trust)
					require.NoError(t, m.Check(t.Context(), c1))
					rec := m.readRecord(c1)
					assert.Len(t, rec.Plan.Links, 2)
					assert.Empty(t, rec.Returning)
					assert.Contains(t, m.log.String(), name+" ("+missing+") was missing when bond0 was made, and is there now")
					holder, err := m.Store.Holder(missing)
					require.NoError(t, err)
					assert.Equal(t, c1, holder)

					m.mustDel(c1)
					after := m.link("", host)
					assert.Equal(t, []string{alone.Name, alone.MAC}, []string{after.Name, after.MAC})
					now, err = m.namespace("").VFs(host[:6])
					require.NoError(t, err)
					assert.Empty(t, now[0].Differences(vfs[0]))
					assert.NotContains(t, m.state(), "file ")
				})
			})
		}
	}
}

// TestLateWhileRelayed: a bond whose only link keep has taken out of use gets the other one.
func TestLateWhileRelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachineOf(t, bondfake.MLX5)
		m.SetDriver(vfB, "")
		m.mustAdd(watchedRequest(t, degraded))
		k := m.keeper()
		m.Plug("enp1s0", false)
		k.looksUntil(t)
		require.Equal(t, uint32(bond.LinkDisabled), m.linkState("enp1s0"))
		m.appear(vfB, "enp2s0v0")
		k.looksUntil(t)
		assert.Equal(t, m.link(pod1, "bond0").Index, m.link(pod1, "bond0-2").Master, m.log.String())
	})
}

// TestNotLate: what keep cannot do for a link, and what is another's, stays as it is.
func TestNotLate(t *testing.T) {
	for what, test := range map[string]struct {
		config string
		before func(m *machine)
		says   string
	}{
		"another plugin attaches it": {strings.Replace(degraded, `"type": "sriov"`, `"type": "host-device"`, 1), nil, ""},
		"its PF has to set its MAC":  {strings.Replace(degraded, `"vlan": 100`, `"mac": "02:11:11:11:11:11"`, 1), nil, ""},
		"another Record holds it": {degraded, func(m *machine) {
			rec := m.readRecord(c1)
			rec.Plan.ContainerID, rec.Plan.Links = "c2", []plan.Link{{Name: "bond0-1", Source: "deviceID", Device: vfB}}
			require.NoError(m.t, m.Store.Begin(rec))
		}, ""},
		"sriov-cni has noted it": {degraded, func(m *machine) { m.newestSRIOV(); writeFile(m.t, m.noteOf(vfB), pod2, 0o600) }, ""},
		"its PF has a smaller MTU": {strings.Replace(degraded, `"minLinks"`, `"mtu": 1400, "minLinks"`, 1), func(m *machine) { m.change("", "enp2s0", bond.Change{MTU: new(1300)}) },
			"c1:bond0: a link that bond0 was made without cannot be added: network net1: mtu: is 1400, but the PF enp2s0 of links[1].deviceID allows at most 1300 (raise the PF's MTU or lower the bond's, or set \"require\": {\"pfMTU\": \"warn\"}); it is tried again\n"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newDegraded(t, test.config)
				m.appear(vfB, "enp2s0v0")
				if test.before != nil {
					test.before(m)
				}
				left := m.state()
				k := m.keeper()
				for range 3 {
					k.doDutiesNow(t)
					time.Sleep(lateTime)
				}
				m.wantState(left)
				assert.Equal(t, test.says, m.log.String())
			})
		})
	}
}

// TestLateIsHeard: keep looks at a bond when the device appears that it was made without.
func TestLateIsHeard(t *testing.T) {
	m := newDegraded(t, degraded)
	k := m.keeper()
	clear(k.due)
	k.hear(bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Index: 99, Name: "eth9", Device: vfB}})
	assert.True(t, k.isDue(c1))
}

// TestKilledInLate: keep is killed at any point. Another keep goes on, and DEL leaves the VF
// as it was when it appeared.
func TestKilledInLate(t *testing.T) {
	for _, end := range []string{"keep and DEL", "DEL", "the end of the namespace, and DEL"} {
		try := func(t *testing.T, edge int) (passed []string) {
			synctest.Test(t, func(t *testing.T) {
				m := newDegraded(t, degraded)
				m.appear(vfB, "enp2s0v0")
				before := slices.DeleteFunc(linesAbout(m.state()), func(l string) bool { return strings.HasPrefix(l, "file ") })
				k := m.keeper()
				k.doDutiesNow(t)
				time.Sleep(lateTime)
				m.edges.reset(edge, kill)
				require.Equal(t, edge > 0, untilKilled(func() { k.doDutiesNow(t) }))
				passed = m.edges.passed
				m.edges.reset(0, nil)
				switch end {
				case "keep and DEL":
					m.keeper().looksUntil(t)
					assert.Equal(t, m.link(pod1, "bond0").Index, m.link(pod1, "bond0-2").Master)
					require.NoError(t, m.Check(t.Context(), c1))
				case "the end of the namespace, and DEL":
					m.RemoveNamespace(pod1)
					m.AddNamespace(pod1)
				}
				m.mustDel(c1)
				assert.Equal(t, before, linesAbout(m.state()))
			})
			return passed
		}
		t.Run(end, func(t *testing.T) {
			passed := try(t, 0)
			require.GreaterOrEqual(t, len(passed), 10)
			for n, edge := range passed {
				t.Run(fmt.Sprintf("%d %s", n+1, edge), func(t *testing.T) { try(t, n+1) })
			}
		})
	}
}

// linesAbout are the lines of a machine's state about the second PF, its VFs and the files.
func linesAbout(state string) []string {
	return slices.DeleteFunc(comparable(state), func(l string) bool { return !strings.HasPrefix(l, "host enp2") && !strings.HasPrefix(l, "file ") })
}
