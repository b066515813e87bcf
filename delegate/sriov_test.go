package delegate

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// The newest releases of sriov-cni keep a note of each VF, lock it, and have the PF set
// the MAC that it has reported.

// newestSRIOV makes the machine's sriov-cni one of the newest releases.
func (m *machine) newestSRIOV() {
	m.plugins.notes = filepath.Join(m.SRIOV, "pci")
	require.NoError(m.t, os.MkdirAll(filepath.Join(m.plugins.notes, "vf_lock"), 0o700))
}

// isNoted reports whether a VF is in a namespace that exists.
func (p *plugins) isNoted(device string) bool {
	netns, err := os.ReadFile(filepath.Join(p.notes, device))
	if p.notes == "" || err != nil {
		return false
	}
	_, err = p.kernel.Open(string(netns))
	return err == nil
}

func (p *plugins) note(c sriovCache) error {
	if p.notes == "" {
		return nil
	}
	lock := filepath.Join(p.notes, "vf_lock", c.device+".lock")
	return errors.Join(os.WriteFile(lock, nil, 0o600), os.WriteFile(filepath.Join(p.notes, c.device), []byte(c.netns), 0o600))
}

// noted lists the VFs of which there is a note.
func (m *machine) noted() (devices []string) {
	files, err := filepath.Glob(filepath.Join(m.SRIOV, "pci", "0000:*"))
	require.NoError(m.t, err)
	for _, file := range files {
		devices = append(devices, filepath.Base(file))
	}
	return devices
}

// TestNewestSRIOV: whatever has become of the pod, the VFs are as before, as free to
// change their MACs as before, and can be attached again.
func TestNewestSRIOV(t *testing.T) {
	configs := map[string]string{
		"a VLAN":      standard,
		"one MAC":     sharing + `}`,
		"balance-rr":  strings.Replace(standard, `"links"`, `"mode": "balance-rr", "links"`, 1),
		"given by it": strings.Replace(standard, `"vlan"`, `"mac": "02:00:00:00:00:bb", "vlan"`, 1),
	}
	worlds := map[string]func(m *machine){
		"nothing":               func(m *machine) {},
		"the namespace is gone": func(m *machine) { m.RemoveNamespace(pod1) },
		"another namespace is there": func(m *machine) {
			m.RemoveNamespace(pod1)
			m.AddNamespace(pod1)
		},
		"DEL is refused": func(m *machine) { m.plugins.refuse["sriov DEL bond0-1"] = "no" },
		"DEL is refused once": func(m *machine) {
			m.plugins.seen = func(invoke.Call) { delete(m.plugins.refuse, "sriov DEL bond0-1") }
			m.plugins.refuse["sriov DEL bond0-1"] = "no"
		},
		"it has forgotten the VFs": func(m *machine) { clear(m.plugins.vfs) },
		"the bond is deleted":      func(m *machine) { m.mustDelete(pod1, "bond0") },
	}
	for name, config := range configs {
		for what, happens := range worlds {
			for _, pinned := range []bool{false, true} {
				if pinned && name == "balance-rr" {
					continue // the VFs refuse it
				}
				t.Run(name+", "+what, func(t *testing.T) {
					m := newMachine(t)
					m.newestSRIOV()
					if pinned {
						m.pin()
					}
					before := m.state()
					for range 2 {
						m.mustAdd(request(t, config))
						assert.Equal(t, []string{vfA, vfB}, m.noted())
						happens(m)
						m.mustDel(c1)
						if _, err := m.Kernel.Open(pod1); err != nil {
							m.AddNamespace(pod1)
						}
						m.wantState(before)
						clear(m.plugins.refuse)
					}
				})
			}
		}
	}
}

// TestNoteOfAnother: a note stays if it is of another namespace, or if somebody else can
// have the VF.
func TestNoteOfAnother(t *testing.T) {
	for name, happens := range map[string]func(m *machine){
		"another namespace": func(m *machine) { writeFile(m.t, m.noteOf(vfA), pod2, 0o600) },
		"a program":         func(m *machine) { m.mustDelete(pod1, "bond0"); m.SetDriver(vfA, "vfio-pci") },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.newestSRIOV()
			m.mustAdd(request(t, standard))
			happens(m)
			m.mustDel(c1)
			assert.Equal(t, []string{vfA}, m.noted())
		})
	}
}

// TestNoteOfGivenUp: the note goes once the VF is on the host, also if something else of
// it cannot be restored. Otherwise the next pod could not have the VF after it was given
// up.
func TestNoteOfGivenUp(t *testing.T) {
	m := newMachine(t)
	m.newestSRIOV()
	m.mustAdd(request(t, standard))
	m.AddVirtual("", "dummy", "enp1s0v0")
	m.Limbo.GiveUp = time.Hour
	require.Error(t, m.Del(t.Context(), c1))
	assert.Empty(t, m.noted())
}

// TestNoteLocked: sriov-cni is at work on the VF of another container. DEL waits for it,
// and succeeds once its lock is free.
func TestNoteLocked(t *testing.T) {
	m := newMachine(t)
	m.newestSRIOV()
	before := m.state()
	m.mustAdd(request(t, standard))
	file, err := os.Open(filepath.Join(m.SRIOV, "pci", "vf_lock", vfB+".lock"))
	require.NoError(t, err)
	require.NoError(t, unix.Flock(int(file.Fd()), unix.LOCK_EX))
	wantError(t, m.Del(t.Context(), c1), cnierror.Restore, "network net1: link bond0-2 ("+vfB+"): "+file.Name()+
		" is still locked by another process, and the VF cannot be attached again until "+m.noteOf(vfB)+" is removed: resource temporarily unavailable")
	assert.Equal(t, []string{vfB}, m.noted())
	require.NoError(t, file.Close())
	m.mustDel(c1)
	m.wantState(before)
	assert.Empty(t, m.noted())
}

// TestNoteWithoutLock: releases before 2.10 keep notes and lock nothing.
func TestNoteWithoutLock(t *testing.T) {
	m := newMachine(t)
	m.newestSRIOV()
	m.mustAdd(request(t, standard))
	require.NoError(t, os.RemoveAll(filepath.Join(m.SRIOV, "pci", "vf_lock")))
	m.mustDel(c1)
	assert.Empty(t, m.noted())
}

// TestNoteWithoutRecord: the Records are lost, and sriov-cni has forgotten the VFs.
func TestNoteWithoutRecord(t *testing.T) {
	m := newMachine(t)
	m.newestSRIOV()
	r := request(t, sharing+`}`)
	m.mustAdd(r)
	require.NoError(t, os.RemoveAll(m.Store.Dir))
	clear(m.plugins.vfs)
	var out outcome
	require.NoError(t, m.reclaim(t.Context(), r, "", &out))
	assert.Empty(t, m.noted())
	m.mustAdd(r)
}

// TestNetnsOfDel: a sriov-cni that keeps notes is told of no namespace if Multibond restores
// the VF.
func TestNetnsOfDel(t *testing.T) {
	known := plan.Link{Device: vfA, Before: &bond.Link{}, VFBefore: &bond.VF{}}
	for _, test := range []struct {
		name, plugin string
		link         plan.Link
		older        bool
		want         string
	}{
		{name: "restored", link: known},
		{name: "an older release", link: known, older: true, want: pod1},
		{name: "another plugin", plugin: "tuning", link: known, want: pod1},
		{name: "its settings are not known", link: plan.Link{Device: vfA, Before: &bond.Link{}}, want: pod1},
		{name: "no interface at ADD", link: plan.Link{VFBefore: &bond.VF{}}},
	} {
		m := newMachine(t)
		if !test.older {
			m.newestSRIOV()
		}
		w := wayBack{restoration: &restoration{Host: m.Host}, rec: &record.Record{BootID: m.BootID}}
		assert.Equal(t, test.want, w.netnsOfDel(netconf.Plugin{Type: cmp.Or(test.plugin, sriov)}, test.link, pod1), test.name)
	}
}

// TestNewestSRIOVHeld: the VF of a program is as before, and can be attached again.
func TestNewestSRIOVHeld(t *testing.T) {
	n := newNode(t, vlan("net2", vfA2))
	n.newestSRIOV()
	n.SetDriver(vfA2, "vfio-pci")
	before := n.state()
	for range 2 {
		_, err := n.AddPod(t.Context(), n.config, n.request())
		require.NoError(t, err)
		assert.Equal(t, []string{vfA2}, n.noted())
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		n.wantState(before)
	}
}

// meanwhile is a namespace in which something happens whenever it is looked at.
type meanwhile struct {
	bond.Namespace
	happens func()
}

func (n meanwhile) Link(name string) (bond.Link, error) {
	n.happens()
	return n.Namespace.Link(name)
}

// TestNoteChangesMeanwhile: a note that sriov-cni has written for the next pod, after the
// first look at it, stays.
func TestNoteChangesMeanwhile(t *testing.T) {
	for netns, stays := range map[string]bool{pod1: false, pod2: true} {
		m := newMachine(t)
		m.newestSRIOV()
		writeFile(t, m.noteOf(vfA), pod1, 0o600)
		looked := false
		host := meanwhile{m.namespace(""), func() {
			looked = true
			writeFile(t, m.noteOf(vfA), netns, 0o600)
		}}
		require.NoError(t, m.removeNote(t.Context(), host, plan.Link{Device: vfA}, pod1))
		require.True(t, looked)
		assert.Equal(t, stays, len(m.noted()) == 1, netns)
	}
}

// TestSRIOVHangs: nothing of a sriov-cni is left that was ended because its DEL took too long,
// or that refuses, whatever its release.
func TestSRIOVHangs(t *testing.T) {
	for name, fails := range map[string]func(*machine){
		"hangs":   func(m *machine) { m.plugins.hang["sriov DEL bond0-2"] = true },
		"refuses": func(m *machine) { m.plugins.refuse["sriov DEL bond0-2"] = "no" },
	} {
		for _, newest := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, newest %t", name, newest), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, _ := addedPod(t)
					if newest {
						m.newestSRIOV()
					}
					writeFile(t, filepath.Join(m.SRIOV, "c1-bond0-2"), "{}", 0o600)
					fails(m)
					require.NoError(t, m.Del(t.Context(), podKey))
					assert.NoFileExists(t, filepath.Join(m.SRIOV, "c1-bond0-2"))
				})
			})
		}
	}
}
