package delegate

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/delegate/cnierror"
)

// characters are the cards over which the life of a bond is tested.
var characters = map[string]bondfake.Character{
	"igb": bondfake.IGB, "i40e": bondfake.I40E, "ice": bondfake.ICE, "iavf that is slow": bondfake.SlowIAVF,
	"mlx5": bondfake.MLX5, "mlx5 in switchdev mode": bondfake.MLX5Switchdev, "mlx4": bondfake.MLX4, "virtio": bondfake.Virtio,
}

// settled is after how long no card is busy. Until then a PF refuses sriov-cni.
const settled = 5 * time.Second

// newMachineOf is newMachine with other cards.
func newMachineOf(t *testing.T, is bondfake.Character) *machine {
	m := newMachineOn(t, bondfake.New())
	m.AddCard(is, pfA, "enp1s0", vfA, vfA2)
	m.AddCard(is, pfB, "enp2s0", vfB, vfB2)
	return m
}

// onEach tests something on each card. Time is the fake's.
func onEach(t *testing.T, f func(t *testing.T, m *machine, is bondfake.Character)) {
	for name, is := range characters {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, newMachineOf(t, is), is) })
		})
	}
}

// lives are the ways in which a bond can live and end.
var lives = map[string]func(m *machine, config string){
	"ADD, DEL": func(m *machine, config string) {
		m.mustAdd(request(m.t, config))
		require.NoError(m.t, m.Check(m.t.Context(), c1))
		m.mustDel(c1)
	},
	"the namespace ended": func(m *machine, config string) {
		m.mustAdd(request(m.t, config))
		m.endNamespace()
		m.mustDel(c1)
	},
	"the namespace ended, and the index is taken": func(m *machine, config string) {
		m.mustAdd(request(m.t, config))
		for i := range 20 {
			m.AddVirtual("", "dummy", "dummy"+string(rune('a'+i)))
		}
		m.endNamespace()
		m.mustDel(c1)
		for i := range 20 {
			require.NoError(m.t, m.namespace("").Delete(m.link("", "dummy"+string(rune('a'+i))).Index))
		}
	},
	"IPAM fails": func(m *machine, config string) {
		m.plugins.refuse["host-local ADD bond0"] = "no more"
		_, err := m.Add(m.t.Context(), request(m.t, config))
		require.Error(m.t, err)
		delete(m.plugins.refuse, "host-local ADD bond0")
	},
	"the second VF fails": func(m *machine, config string) {
		m.plugins.refuse["sriov ADD bond0-2"], m.plugins.refuse["host-device ADD bond0-2"] = "no", "no"
		_, err := m.Add(m.t.Context(), request(m.t, config))
		require.Error(m.t, err)
		clear(m.plugins.refuse)
	},
	"sriov-cni forgets": func(m *machine, config string) {
		m.mustAdd(request(m.t, config))
		clear(m.plugins.vfs)
		m.mustDel(c1)
	},
	"a second pod": func(m *machine, config string) {
		m.mustAdd(request(m.t, config))
		m.mustDel(c1)
		time.Sleep(settled)
		m.mustAdd(other(request(m.t, config)))
		m.mustDel(c2)
	},
	"the application changes what it can": func(m *machine, config string) {
		m.mustAdd(request(m.t, config))
		m.change(pod1, "bond0-1", bond.Change{Alias: new("mine"), MTU: new(1400), AddAltNames: []string{"x"}})
		m.mustDel(c1)
	},
}

func (m *machine) endNamespace() {
	m.RemoveNamespace(pod1)
	m.AddNamespace(pod1)
}

// configs are bonds whose MACs stay, are shared, and are changed by the kernel.
func configs(is bondfake.Character) map[string]string {
	vlan := `, "vlan": 100`
	if is.Switchdev {
		vlan = ""
	}
	if is.Virtio { // sriov-cni does not find the interface
		vlan = `, "delegate": {"type": "host-device"}`
	}
	of := func(options string) string {
		return `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond"` + options + vlan + `,
			"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`
	}
	all := map[string]string{
		"own MACs": of(""), "one MAC": of(`, "macPolicy": "shared"`),
		"the kernel's MAC": of(`, "mode": "balance-xor", "require": {"spoofchk": "ignore"}`),
	}
	if is.Virtio {
		delete(all, "one MAC") // refused: the PF would have to set it
	}
	return all
}

// TestWholeDevices: devices that are not VFs, as PFs are and what a virtual machine was
// given, are bonded if another plugin than sriov attaches them. Each life of the bond leaves
// all as it was.
func TestWholeDevices(t *testing.T) {
	const config = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", "delegate": {"type": "host-device"},
		"links": [{"deviceID": "0000:3b:00.0"}, {"deviceID": "0000:7a:00.0"}], "ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`
	for life, live := range lives {
		t.Run(life, func(t *testing.T) {
			m := newMachine(t)
			m.AddPF("0000:7a:00.0", "ens7")
			before := m.state()
			live(m, config)
			m.wantState(before)
		})
	}
	m := newMachine(t)
	m.AddPF("0000:7a:00.0", "ens7")
	m.mustAdd(request(t, config))
	for i, l := range m.readRecord(c1).Plan.Links {
		assert.Equal(t, []string{pfA, "0000:7a:00.0"}[i], l.Device)
		assert.Nil(t, l.VFBefore, "what a PF keeps")
	}
}

// TestCharacters: whatever the card, each life of a bond leaves all as it was.
func TestCharacters(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine, is bondfake.Character) {
		for name, config := range configs(is) {
			for life, live := range lives {
				m := newMachineOf(t, is)
				before := m.state()
				live(m, config)
				m.wantState(before)
				if t.Failed() {
					t.Fatalf("%s, %s; warnings: %s", name, life, m.log)
				}
			}
		}
	})
}

// TestKilledCharacters: whatever the card, an ADD and a DEL that are killed anywhere are
// finished by the next DEL.
func TestKilledCharacters(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine, is bondfake.Character) {
		for name, config := range configs(is) {
			m := newMachineOf(t, is)
			before := m.state()
			life := func(m *machine) {
				m.Add(t.Context(), request(t, config))
				time.Sleep(settled)
				m.Del(t.Context(), c1)
			}
			m.edges.reset(0, nil)
			life(m)
			m.wantState(before)
			for at := 1; at <= len(m.edges.passed) && !t.Failed(); at++ {
				m := newMachineOf(t, is)
				m.edges.reset(at, kill)
				untilKilled(func() { life(m) })
				passed := m.edges.passed
				m.edges.reset(0, nil)
				m.mustDel(c1)
				m.wantState(before)
				if t.Failed() {
					t.Logf("%s, killed at %q; warnings: %s", name, passed[len(passed)-1], m.log)
				}
			}
		}
	})
}

// TestPinnedCharacters: the same if the PFs have set the VFs' MACs.
func TestPinnedCharacters(t *testing.T) {
	onEach(t, func(t *testing.T, _ *machine, is bondfake.Character) {
		if is.Virtio {
			t.Skip("the PF sets no MAC")
		}
		for name, config := range configs(is) {
			if strings.Contains(config, "balance-xor") && is.Refusal != nil {
				continue // refused
			}
			for life, live := range lives {
				m := newMachineOf(t, is)
				m.pin()
				time.Sleep(settled)
				before := m.state()
				live(m, config)
				m.wantState(before)
				if t.Failed() {
					t.Fatalf("%s, %s; warnings: %s", name, life, m.log)
				}
			}
		}
	})
}

// TestBusyPF: a PF that stays busy does not hold DEL, and a later one finishes.
func TestBusyPF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := bondfake.I40E
		is.Busy = time.Hour
		m := newMachineOf(t, is)
		before := m.state()
		m.mustAdd(request(t, standard))
		began := time.Now()
		wantError(t, m.Del(t.Context(), c1), cnierror.Restore, "network net1: link bond0-2 (0000:5e:02.0): setting vlan: resource temporarily unavailable\n"+
			"link bond0-1 (0000:3b:02.0): setting vlan: resource temporarily unavailable")
		assert.Less(t, time.Since(began), 10*time.Second)
		time.Sleep(is.Busy)
		m.mustDel(c1)
		m.wantState(before)
	})
}

// TestRemade: the driver makes a VF's interface anew while the pod is running, or while
// DEL looks for it. The new one is left alone, and what the ADD set at the PF is taken
// back.
func TestRemade(t *testing.T) {
	for how, remake := range map[string]func(m *machine, is bondfake.Character, name string){
		"before DEL": func(m *machine, _ bondfake.Character, name string) { m.Remake(vfA, name) },
		"in DEL": func(m *machine, is bondfake.Character, name string) {
			m.SetDriver(vfA, is.VF) // the interface goes
			time.AfterFunc(time.Second, func() { m.Remake(vfA, name) })
		},
	} {
		for _, name := range []string{"eth7", "enp1s0v0"} {
			t.Run(how+", as "+name, func(t *testing.T) {
				onEach(t, func(t *testing.T, m *machine, is bondfake.Character) {
					m.Limbo = Limbo{Wait: 5 * time.Second, GiveUp: time.Hour}
					m.mustAdd(request(t, configs(is)["own MACs"]))
					remake(m, is, name)
					m.mustDel(c1)
					remade := m.link("", name)
					assert.Equal(t, 1500, remade.MTU)
					assert.False(t, remade.Up)
					assert.Equal(t, "enp2s0v0", m.link("", "enp2s0v0").Name)
					vfs, err := m.namespace("").VFs("enp1s0")
					require.NoError(t, err)
					assert.Zero(t, vfs[0].VLAN)
					time.Sleep(settled)
					m.mustAdd(other(request(t, configs(is)["own MACs"])))
					m.mustDel(c2)
					assert.Equal(t, remade.MAC, m.link("", name).MAC)
				})
			})
		}
	}
}

// TestRepresentors: an interface of a PF in switchdev mode is told from the
// representors of its VFs, and each of these from the others.
func TestRepresentors(t *testing.T) {
	for _, names := range [][]string{{"enp1s0", "enp2s0"}, {"enp1s0_1", "enp2s0_0"}, {"enp1s0_0", "enp1s0_1"}} {
		t.Run(strings.Join(names, " "), func(t *testing.T) {
			m := newMachineOf(t, bondfake.MLX5Switchdev)
			before := m.state()
			for _, end := range []func(){func() {}, m.endNamespace} {
				m.mustAdd(request(t, portsConfig(names...)))
				require.NoError(t, m.Check(t.Context(), c1))
				end()
				m.mustDel(c1)
				m.wantState(before)
			}
		})
	}
}

// TestVirtio: NICs on a bus without PCI have no address that tells them, and outlive a
// namespace.
func TestVirtio(t *testing.T) {
	for name, end := range map[string]func(*machine){"DEL": func(*machine) {}, "the namespace ended": (*machine).endNamespace} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.AddVirtual("", "", "eth1")
			m.AddVirtual("", "", "eth2")
			before := m.state()
			m.mustAdd(request(t, portsConfig("eth1", "eth2")))
			end(m)
			m.mustDel(c1)
			m.wantState(before)
		})
	}
}

// TestVFInVM: a VF that was passed into a virtual machine has an address, but no PF.
func TestVFInVM(t *testing.T) {
	for name, end := range map[string]func(*machine){"DEL": func(*machine) {}, "the namespace ended": (*machine).endNamespace} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.AddCard(bondfake.I40E, "0000:00:05.0", "ens5")
			m.AddCard(bondfake.MLX5, "0000:00:06.0", "ens6")
			before := m.state()
			m.mustAdd(request(t, portsConfig("ens5", "ens6")))
			end(m)
			m.mustDel(c1)
			m.wantState(before)
		})
	}
}
