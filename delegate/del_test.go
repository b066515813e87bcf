package delegate

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// TestDel: whatever has happened to the pod meanwhile, DEL succeeds and the
// node is as before.
func TestDel(t *testing.T) {
	for _, test := range []struct {
		name, config string
		meanwhile    func(m *machine)
		warning      string
	}{
		{"nothing", standard, func(*machine) {}, ""},
		{"the application has deleted the bond", standard, func(m *machine) {
			require.NoError(m.t, m.namespace(pod1).Delete(m.link(pod1, "bond0").Index))
		}, ""},
		{"the application has renamed the bond and a link", standard, func(m *machine) {
			mine, theirs, down := "mine", "theirs", false
			m.change(pod1, "bond0", bond.Change{Up: &down})
			m.change(pod1, "bond0", bond.Change{Name: &mine})
			m.change(pod1, "bond0-1", bond.Change{Up: &down})
			m.change(pod1, "bond0-1", bond.Change{Name: &theirs})
		}, ""},
		{"the application has given a VF another MAC and MTU", standard, func(m *machine) {
			none, mac, mtu := 0, "02:00:00:00:00:ee", 4000
			m.change(pod1, "bond0-1", bond.Change{Master: &none})
			m.change(pod1, "bond0-1", bond.Change{MAC: &mac})
			m.change(pod1, "bond0-1", bond.Change{MTU: &mtu})
		}, ""},
		{"somebody has changed what the PF keeps", standard, func(m *machine) {
			m.changeVF("enp1s0", func(vf *bond.VF) { vf.SpoofChk, vf.MaxRate = false, 10 })
		}, ""},
		{"the plugin of the links is gone", standard, func(m *machine) { m.plugins.missing["sriov"] = true },
			"multibond: link bond0-2: sriov DEL: it was not executed: CNI plugin sriov is not in [/opt/cni/bin]: file does not exist; VF 0000:5e:02.0 was restored nevertheless\n"},
		{"the plugin of the links has forgotten them", standard, func(m *machine) { clear(m.plugins.vfs) }, ""},
		{"an old one has, and fails", standard, func(m *machine) { clear(m.plugins.vfs); m.plugins.release = "old" },
			"multibond: link bond0-1: sriov DEL: cannot find the cache of c1/bond0-1; VF 0000:3b:02.0 was restored nevertheless\n"},
		{"the plugin of the links refuses", standard, func(m *machine) { m.plugins.refuse["sriov DEL bond0-1"] = "no" },
			"multibond: link bond0-1: sriov DEL: no; VF 0000:3b:02.0 was restored nevertheless\n"},
		{"a link of the host was renamed", scenarioConfig("links of the host"), func(m *machine) {
			mine, down := "mine", false
			m.change(pod1, "enp1s0v0", bond.Change{Up: &down})
			m.change(pod1, "enp1s0v0", bond.Change{Name: &mine})
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			m.mustAdd(request(t, test.config))
			test.meanwhile(m)
			m.mustDel(c1)
			m.wantState(before)
			assert.Contains(t, m.log.String(), test.warning)
			assert.Equal(t, test.warning == "", m.log.Len() == 0, m.log)
			m.mustDel(c1)
			m.wantState(before)
		})
	}
}

// TestDelNameTaken: an interface of the application that has a link's name is not mistaken
// for the link.
func TestDelNameTaken(t *testing.T) {
	for _, name := range []string{"the VF renamed", "the VF on the host"} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			m.mustAdd(request(t, standard))
			if name == "the VF renamed" {
				mine, down := "mine", false
				m.change(pod1, "bond0-1", bond.Change{Up: &down})
				m.change(pod1, "bond0-1", bond.Change{Name: &mine})
			} else {
				back := "enp1s0v0"
				m.change(pod1, "bond0-1", bond.Change{Namespace: m.namespace(""), Name: &back})
			}
			m.AddVirtual(pod1, "dummy", "bond0-1")
			m.mustDel(c1)
			dummy := m.link(pod1, "bond0-1")
			assert.Equal(t, "dummy", dummy.Kind)
			require.NoError(t, m.namespace(pod1).Delete(dummy.Index))
			m.wantState(before)
		})
	}
}

// TestDelNamespaceGone: the VFs are on the host under the pod's names, or under others if
// these are taken.
func TestDelNamespaceGone(t *testing.T) {
	for _, name := range []string{"gone", "gone, and the name taken", "another under its path", "gone, CNI_NETNS never was"} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			r := request(t, standard)
			m.mustAdd(r)
			if name == "gone, and the name taken" {
				m.AddVirtual("", "dummy", "bond0-1")
			}
			m.RemoveNamespace(pod1)
			if name == "another under its path" {
				m.AddNamespace(pod1)
				m.AddVirtual(pod1, "dummy", "bond0-1")
				_, err := m.namespace(pod1).CreateBond("bond0", bond.Options{bond.Mode: bond.BalanceRR})
				require.NoError(t, err)
			}
			m.mustDel(c1)
			switch name {
			case "another under its path":
				for _, left := range []string{"bond0-1", "bond0"} {
					require.NoError(t, m.namespace(pod1).Delete(m.link(pod1, left).Index))
				}
			case "gone, and the name taken":
				require.NoError(t, m.namespace("").Delete(m.link("", "bond0-1").Index))
				fallthrough
			default:
				m.AddNamespace(pod1)
			}
			m.wantState(before)
			for _, c := range m.plugins.calls {
				if c.Command == "DEL" {
					assert.Equal(t, map[bool]string{true: netnsNowhere, false: pod1}[name == "another under its path"], c.Netns, c.Type)
				}
			}
		})
	}
}

// TestDelHostNameTaken: the VF's own name on the host has been taken. The VF comes back
// under another name, and gets its own as soon as that is free.
func TestDelHostNameTaken(t *testing.T) {
	m := newMachine(t)
	m.Limbo.GiveUp = time.Hour
	before := m.state()
	m.mustAdd(request(t, standard))
	m.AddVirtual("", "dummy", "enp1s0v0")
	err := m.Del(t.Context(), c1)
	assert.EqualValues(t, cnierror.Restore, cnierror.Code(err))
	assert.ErrorContains(t, err, "network net1: link bond0-1 (0000:3b:02.0): restoring the name of ")
	assert.Empty(t, m.linesOf(pod1))
	require.NoError(t, m.namespace("").Delete(m.link("", "enp1s0v0").Index))
	m.mustDel(c1)
	m.wantState(before)
}

// TestDelPFRenamed: a PF is identified by its address, whatever its name is now.
func TestDelPFRenamed(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, standard))
	rename := func(from, to string) {
		down, up := false, true
		m.change("", from, bond.Change{Up: &down})
		m.change("", from, bond.Change{Name: &to, Up: &up})
	}
	rename("enp1s0", "uplink")
	m.mustDel(c1)
	rename("uplink", "enp1s0")
	m.wantState(before)
}

// TestDelPFGone: the PF leaves the host at any edge of DEL, of the plugin's part or, if that
// refuses, of Multibond's. DEL fails or has what it needs; when the PF is back it finishes.
func TestDelPFGone(t *testing.T) {
	pass := func(edge int, refused string) []string {
		m := newMachine(t)
		before := m.state()
		m.mustAdd(request(t, standard))
		m.plugins.refuse["sriov DEL bond0-1"] = refused
		host := m.namespace("")
		m.edges.reset(edge, func() error {
			m.change("", "enp1s0", bond.Change{Namespace: m.namespace(pod2)})
			return nil
		})
		err := m.Del(t.Context(), c1)
		passed := m.edges.passed
		m.edges.reset(0, nil)
		if edge > 0 {
			m.change(pod2, "enp1s0", bond.Change{Namespace: host})
			up := true
			m.change("", "enp1s0", bond.Change{Up: &up})
		}
		if err != nil {
			m.mustDel(c1)
		}
		m.wantState(before)
		return passed
	}
	for _, refused := range []string{"", "no"} {
		for i := range pass(0, refused) {
			pass(i+1, refused)
		}
	}
}

// TestDelNewOwner: if another container has a VF by now, a late DEL leaves it alone, and its
// plugin, which would remove the VLAN, only frees what it keeps.
func TestDelNewOwner(t *testing.T) {
	for _, config := range []string{standard, scenarioConfig("links of the host")} {
		m := newMachine(t)
		r := request(t, config)
		m.mustAdd(r)
		old, err := os.ReadFile(m.Store.File(c1))
		require.NoError(t, err)
		m.mustDel(c1)
		m.mustAdd(other(r))
		attached, calls := m.state(), len(m.plugins.calls)
		writeFile(t, m.Store.File(c1), string(old), 0o600)
		m.mustDel(c1)
		m.wantState(attached)
		for _, c := range m.plugins.calls[calls:] {
			assert.True(t, c.Netns == "" || c.Type != sriov, "it may touch the VF")
		}
		assert.Contains(t, m.log.String(), "multibond: VF 0000:5e:02.0 now belongs to container c2 and is left alone\n")
	}
}

// remake gives the PFs new VFs under the old addresses.
func (m *machine) remake() {
	for pf, vfs := range map[string][]string{pfA: {vfA, vfA2}, pfB: {vfB, vfB2}} {
		for _, vf := range vfs {
			m.SetDriver(vf, "")
		}
		m.SetDriver(pf, "")
	}
	m.AddPF(pfA, "enp1s0", vfA, vfA2)
	m.AddPF(pfB, "enp2s0", vfB, vfB2)
}

// TestDelMadeAnew: the VFs were made anew while the pod was running. They are other VFs,
// and do not get the state of the old ones.
func TestDelMadeAnew(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	m.remake()
	mtu := 4000
	m.change("", "enp1s0v0", bond.Change{MTU: &mtu})
	m.changeVF("enp1s0", func(vf *bond.VF) { vf.VLAN = 9 })
	want := strings.Join(m.linesOf(""), "\n")
	m.mustDel(c1)
	assert.Equal(t, want, strings.Join(m.linesOf(""), "\n"))
	assert.Contains(t, m.log.String(), "multibond: 0000:3b:02.0 was recreated after the ADD (its own MAC is ")
	assert.False(t, hasRecord(m), "the Record or the address is still there")
	assert.Empty(t, m.plugins.pool)
}

// TestDelDriverAnew: a VF was bound to its driver again while the pod was running. Its
// interface is another one, but the PF still has the VLAN that the ADD set.
func TestDelDriverAnew(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	m.remake()
	m.changeVF("enp1s0", func(vf *bond.VF) { vf.VLAN, vf.MaxRate = 100, 10 })
	m.changeVF("enp2s0", func(vf *bond.VF) { vf.VLAN = 9 })
	m.mustDel(c1)
	for pf, want := range map[string]bond.VF{"enp1s0": {MaxRate: 10}, "enp2s0": {VLAN: 9}} {
		vfs, err := m.namespace("").VFs(pf)
		require.NoError(t, err)
		got := vfs[0]
		assert.Equal(t, want.VLAN, got.VLAN, pf)
		assert.Equal(t, want.MaxRate, got.MaxRate, pf)
	}
}

// TestDelOtherBoot: after a reboot the VFs are not touched. The address is released, even
// if the Record does not know that IPAM was asked for one.
func TestDelOtherBoot(t *testing.T) {
	for _, asked := range []bool{true, false} {
		m := newMachine(t)
		m.mustAdd(request(t, standard))
		rec := m.readRecord(c1)
		rec.IPAMAsked = asked
		require.NoError(t, m.Store.Update(rec))
		want, calls := strings.Join(m.linesOf(""), "\n"), m.plugins.count("sriov", "DEL")
		m.BootID = "boot2"
		m.mustDel(c1)
		assert.Equal(t, want, strings.Join(m.linesOf(""), "\n"))
		assert.False(t, hasRecord(m), "the Record or the address is still there, or sriov was called")
		assert.Empty(t, m.plugins.pool)
		assert.Equal(t, calls, m.plugins.count("sriov", "DEL"))
	}
}

// TestDelNoDriver: the application, or somebody else, has unbound a VF from its driver. What
// the ADD has set at its PF goes, whatever the plugin does; what somebody has
// set since stays.
func TestDelNoDriver(t *testing.T) {
	for _, refuses := range []bool{true, false} {
		m := newMachine(t)
		m.mustAdd(request(t, standard))
		m.changeVF("enp1s0", func(vf *bond.VF) { vf.MaxRate = 10 })
		m.SetDriver(vfA, "")
		if refuses {
			m.plugins.refuse["sriov DEL bond0-1"] = "no"
		}
		m.mustDel(c1)
		vfs, err := m.namespace("").VFs("enp1s0")
		require.NoError(t, err)
		assert.Equal(t, 0, vfs[0].VLAN)
		if refuses {
			assert.EqualValues(t, 10, vfs[0].MaxRate)
			assert.Contains(t, m.log.String(), "sriov DEL: no; its PF's settings were restored nevertheless\n")
		}
		assert.Contains(t, m.log.String(), "multibond: 0000:3b:02.0 has no interface on the host; its driver is now none; its PF's settings are as before\n")
		assert.NotContains(t, m.log.String(), "VF 0000:3b:02.0 was restored")
		assert.False(t, hasRecord(m), "the rest was not restored")
		assert.Empty(t, m.aside())
		assert.False(t, m.link("", "enp2s0v0").Up, "the rest was not restored")
	}
}

// TestDelProgram: a VF that was handed to a program is left alone, because the program may
// be another pod's. DEL does not wait for it. The next ADD of that VF takes back what the
// first one has set.
func TestDelProgram(t *testing.T) {
	n := newNode(t, vlan("net2", vfA))
	n.mustAdd(request(t, standard))
	calls := len(n.plugins.calls)
	n.SetDriver(vfA, "vfio-pci")
	n.mustDel(c1)
	for _, c := range n.plugins.calls[calls:] {
		assert.True(t, c.Netns == "" || c.IfName != "bond0-1", "%s may touch the VF", c.Type)
	}
	assert.Equal(t, 100, n.vlanOf(0))
	assert.Contains(t, n.log.String(), "multibond: network net1: link bond0-1 (0000:3b:02.0): its driver is now vfio-pci, so a program may have it, and its PF keeps its settings: vlan is 100, was 0: set aside (multibond plan -container c1)\n")
	require.Len(t, n.aside(), 1)
	require.NoError(t, n.GC(t.Context(), "net1", []netconf.GCAttachment{}))
	require.Len(t, n.aside(), 1)
	assert.Equal(t, 100, n.vlanOf(0))

	r := n.nextPod()
	_, err := n.AddPod(t.Context(), n.config, r)
	require.NoError(t, err)
	assert.Empty(t, n.aside())
	assert.Equal(t, 7, n.vlanOf(0))
	require.NoError(t, n.DelPod(t.Context(), n.config, r))
	assert.Equal(t, 0, n.vlanOf(0))
}

// TestDelLimbo: if a VF is nowhere, several DELs wait for it before it is given up.
func TestDelLimbo(t *testing.T) {
	lose := func(m *machine) {
		m.AddNamespace("/elsewhere")
		m.change(pod1, "bond0-1", bond.Change{Namespace: m.namespace("/elsewhere")})
	}
	t.Run("comes back", func(t *testing.T) {
		m := newMachine(t)
		before := m.state()
		m.mustAdd(request(t, standard))
		lose(m)
		m.Limbo = Limbo{GiveUp: time.Hour}
		for range 2 {
			err := m.Del(t.Context(), c1)
			wantError(t, err, cnierror.Restore, "network net1: link bond0-1 (0000:3b:02.0): it is neither on the host nor in the pod; if its network namespace has just ended, it will come back")
		}
		assert.Equal(t, []string{"bond0-2"}, m.readRecord(c1).Restored)
		assert.Empty(t, m.plugins.pool)
		m.RemoveNamespace("/elsewhere")
		m.mustDel(c1)
		m.wantState(before)
	})
	t.Run("comes back at once", func(t *testing.T) {
		m := newMachine(t)
		before := m.state()
		m.mustAdd(request(t, standard))
		lose(m)
		m.Limbo = Limbo{Wait: time.Minute, GiveUp: time.Hour}
		time.AfterFunc(20*time.Millisecond, func() { m.RemoveNamespace("/elsewhere") })
		m.mustDel(c1)
		m.wantState(before)
	})
	t.Run("does not", func(t *testing.T) {
		m := newMachine(t)
		m.mustAdd(request(t, standard))
		lose(m)
		m.Limbo = Limbo{GiveUp: time.Hour}
		elsewhere := strings.Join(m.linesOf("/elsewhere"), "\n")
		wantError(t, m.Del(t.Context(), c1), cnierror.Restore, "network net1: link bond0-1 (0000:3b:02.0): it is neither on the host nor in the pod; if its network namespace has just ended, it will come back")
		m.Limbo.GiveUp = 0
		m.mustDel(c1)
		assert.False(t, hasRecord(m), "the Record is still there, or the VF was touched")
		assert.Equal(t, strings.Join(m.linesOf("/elsewhere"), "\n"), elsewhere)
		assert.Contains(t, m.log.String(), "multibond: network net1: link bond0-1 (0000:3b:02.0): it is neither on the host nor in the pod; ")
	})
	t.Run("has no device any more", func(t *testing.T) {
		m := newMachine(t)
		m.mustAdd(request(t, standard))
		rec := m.readRecord(c1)
		rec.Plan.Links[0].Device = "0000:3b:0f.0"
		require.NoError(t, m.Store.Update(rec))
		m.mustDel(c1)
		assert.Contains(t, m.log.String(), "multibond: 0000:3b:0f.0 no longer exists; there is nothing to restore\n")
		assert.Empty(t, m.plugins.vfs)
	})
}

// TestDelIPAM: DEL fails until IPAM has released an address that it gave. If it never gave
// one, its refusal changes nothing.
func TestDelIPAM(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, standard))
	m.plugins.refuse["host-local DEL bond0"] = "on fire"
	for range 2 {
		wantError(t, m.Del(t.Context(), c1), cnierror.Restore, "network net1: ipam: host-local DEL: on fire")
	}
	assert.Nil(t, m.recordOf(c1).Result)
	calls := m.plugins.count("sriov", "DEL")
	clear(m.plugins.refuse)
	m.mustDel(c1)
	m.wantState(before)
	assert.Equal(t, calls, m.plugins.count("sriov", "DEL"))
}

// TestDelMade: DEL fails until a plugin has deleted what it made.
func TestDelMade(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, scenarioConfig("links that plugins make")))
	m.plugins.refuse["macvlan DEL bond0-1"] = "no"
	wantError(t, m.Del(t.Context(), c1), cnierror.Restore, "network net1: link bond0-1 (config): macvlan DEL: no\nit is still in the pod")
	clear(m.plugins.refuse)
	m.mustDel(c1)
	m.wantState(before)
}

// TestDelMadeNamespaceGone: what a plugin has made goes with the namespace. If the plugin
// fails without a namespace, DEL succeeds.
func TestDelMadeNamespaceGone(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, scenarioConfig("links that plugins make")))
	m.RemoveNamespace(pod1)
	m.plugins.refuse["macvlan DEL bond0-1"] = "failed to open netns"
	m.mustDel(c1)
	assert.False(t, hasRecord(m), "the Record is still there")
	assert.Equal(t, "multibond: link bond0-1: macvlan DEL: failed to open netns\n", m.log.String())
}

// TestDelHostNICNotHome: a NIC without a PCI address has a driver too, and comes back some
// time after its namespace has ended.
func TestDelHostNICNotHome(t *testing.T) {
	m := newMachine(t)
	m.AddVirtual("", "", "usb0")
	m.AddVirtual("", "", "usb1")
	before := m.state()
	m.mustAdd(request(t, `{"cniVersion": "1.0.0", "name": "net1", "links": [{"name": "usb0"}, {"name": "usb1"}]}`))
	m.AddNamespace("/ends")
	for _, name := range []string{"usb0", "usb1"} {
		m.change(pod1, name, bond.Change{Namespace: m.namespace("/ends")})
	}
	const nowhere = "it is neither on the host nor in the pod; if its network namespace has just ended, it will come back"
	wantError(t, m.Del(t.Context(), c1), cnierror.Restore, "network net1: link usb1 (host): "+nowhere+"\nlink usb0 (host): "+nowhere)
	m.RemoveNamespace("/ends")
	m.mustDel(c1)
	m.wantState(before)
}

// TestDelNewPath: DEL also looks for plugins in the CNI_PATH that it gets itself.
func TestDelNewPath(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, standard))
	m.Path = []string{"/opt/cni/bin", "/opt/cni/new"}
	m.mustDel(c1)
	m.wantState(before)
	calls := m.plugins.calls
	assert.Equal(t, []string{"/opt/cni/bin", "/opt/cni/new"}, calls[len(calls)-1].Path)
}

// TestDelRecords: if a Record cannot be read, DEL uses what Begin wrote. It does not touch
// a Record of a newer version.
func TestDelRecords(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "garbage": "{", "null": "null", "of nobody": `{"version": 1}`} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			m.mustAdd(request(t, standard))
			writeFile(t, m.Store.File(c1), content, 0o600)
			m.mustDel(c1)
			assert.NoError(t, os.Remove(m.Store.File(c1)+".damaged"), "it was not kept")
			m.wantState(before)
		})
	}
	t.Run("damaged, and the application has renamed the bond", func(t *testing.T) {
		m := newMachine(t)
		before := m.state()
		m.mustAdd(request(t, standard))
		mine, down := "mine", false
		m.change(pod1, "bond0", bond.Change{Up: &down})
		m.change(pod1, "bond0", bond.Change{Name: &mine})
		writeFile(t, m.Store.File(c1), "{", 0o600)
		m.mustDel(c1)
		assert.NoError(t, os.Remove(m.Store.File(c1)+".damaged"), "it was not kept")
		m.wantState(before)
	})
	t.Run("damaged, and nothing else", func(t *testing.T) {
		m := newMachine(t)
		writeFile(t, m.Store.File(c1), "{", 0o600)
		m.mustDel(c1)
		assert.Equal(t, "multibond: record of c1:bond0: it is damaged; it is kept as "+m.Store.File(c1)+".damaged\n", m.log.String())
	})
	t.Run("a newer version", func(t *testing.T) {
		m := newMachine(t)
		m.mustAdd(request(t, standard))
		rec := m.readRecord(c1)
		rec.Version = 3
		require.NoError(t, m.Store.Update(rec))
		attached := m.state()
		wantError(t, m.Del(t.Context(), c1), types.ErrIOFailure, "record of c1:bond0 has version 3, but this program knows only 2: use the version that wrote it (v0.3.0) or a newer one")
		m.wantState(attached)
	})
	t.Run("what a killed process has left", func(t *testing.T) {
		m := newMachine(t)
		before := m.state()
		writeFile(t, m.Store.File(c1)+".begun", "{", 0o600)
		writeFile(t, m.Store.File(c1)+atomicfile.Unfinished, "{", 0o600)
		m.mustDel(c1)
		m.wantState(before)
	})
}

func TestGC(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	r := request(t, standard)
	m.mustAdd(r)
	second := other(r)
	second.Network = request(t, strings.NewReplacer(vfA, vfA2, vfB, vfB2).Replace(standard)).Network
	m.mustAdd(second)
	both := m.state()
	gc := func(config string) error {
		n, err := netconf.ParseNetwork([]byte(strings.Replace(standard, `"delegate"`, config+`, "delegate"`, 1)), "")
		require.NoError(t, err)
		return m.GC(t.Context(), n.Name, n.Valid)
	}
	wantError(t, gc(`"x": 1`), types.ErrInvalidNetworkConfig, "network net1: cni.dev/valid-attachments: is missing; without it every attachment would count as stale")
	for _, config := range []string{
		`"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "bond0"}, {"containerID": "c2", "ifname": "bond0"}, {"containerID": "c3", "ifname": "bond0"}]`,
		`"cni.dev/valid-attachments": [], "name": "net2"`,
	} {
		require.NoError(t, gc(config))
		m.wantState(both)
	}
	m.plugins.refuse["host-local DEL bond0"] = "on fire"
	for range 2 {
		wantError(t, gc(`"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "bond0"}]`), cnierror.Restore, "network net1: ipam: host-local DEL: on fire")
	}
	clear(m.plugins.refuse)
	require.NoError(t, gc(`"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "bond0"}]`))
	keys, _ := m.Store.List()
	assert.Equal(t, []plan.Key{c2}, keys)
	require.NoError(t, gc(`"cni.dev/valid-attachments": null`))
	m.wantState(before)
}

// TestDelRenamedLink: a link that the application has renamed is found by its plugin, under
// the name that the plugin knows. Nothing is left for Multibond to do.
func TestDelRenamedLink(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, standard))
	m.change(pod1, "bond0-1", bond.Change{Up: new(false)})
	m.change(pod1, "bond0-1", bond.Change{Name: new("mine")})
	m.mustDel(c1)
	m.wantState(before)
	assert.Empty(t, m.log.String())
	once := slices.DeleteFunc(m.plugins.calls, func(c invoke.Call) bool { return c.Command != "DEL" || c.IfName != "bond0-1" })
	assert.Len(t, once, 1, "it is asked again if it fails")
}

// TestAddWithoutBonding: on a node whose kernel has no bonding nothing is attached.
func TestAddWithoutBonding(t *testing.T) {
	m := newMachine(t)
	m.SetBonding(false)
	before := m.state()
	_, err := m.Add(t.Context(), request(t, standard))
	require.ErrorContains(t, err, "this kernel has no bonding")
	assert.Len(t, m.plugins.calls, 0)
	m.wantState(before)
}
