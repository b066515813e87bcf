package delegate

import (
	"slices"
	"testing"

	"github.com/multibond/multibond/bond"
)

// TestDelTrustIsResetLast: a VF whose PF has set its MAC takes its own back
// only as long as it is trusted. Observed of sriov-cni (S10): it takes the
// trust away first.
func TestDelTrustIsResetLast(t *testing.T) {
	m := newMachine(t)
	mac := m.link("", "enp1s0v0").MAC
	m.changeVF("enp1s0", func(vf *bond.VF) { vf.MAC = "02:00:00:00:00:aa" })
	m.changeVF("enp1s0", func(vf *bond.VF) { vf.MAC = mac })
	before := m.state()
	m.mustAdd(request(t, standard))
	trusted := true
	m.changeVF("enp1s0", func(vf *bond.VF) { vf.Trust = &trusted })
	none, other := 0, "02:00:00:00:00:ee"
	m.change(pod1, "bond0-1", bond.Change{Master: &none})
	m.change(pod1, "bond0-1", bond.Change{MAC: &other})
	m.mustDel(c1)
	m.wantState(before)
}

// TestDelRefusedOnce: a plugin that fails once, or is killed, is asked again,
// so that it does not keep what it remembers of the VF. Found by the campaign
// of faults: sriov-cni's file of the attachment stayed.
func TestDelRefusedOnce(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, standard))
	m.edges.reset(0, nil)
	m.mustDel(c1)
	at := slices.Index(m.edges.passed, "sriov DEL bond0-2") + 1
	if at == 0 {
		t.Fatalf("edges: %v", m.edges.passed)
	}
	m.mustAdd(request(t, standard))
	m.edges.reset(at, fail)
	m.mustDel(c1)
	m.wantState(before)
	if len(m.plugins.vfs) > 0 || m.log.Len() > 0 {
		t.Errorf("sriov remembers %v; warnings: %s", m.plugins.vfs, m.log)
	}
}

// TestAddEqualMACs: links with one MAC keep it, and so has the bond it.
// Observed of bond-cni: the second link gets a MAC that is made from the
// letters of the first's.
func TestAddEqualMACs(t *testing.T) {
	m := newMachine(t)
	mac := m.link("", "enp1s0v0").MAC
	m.change("", "enp2s0v0", bond.Change{MAC: &mac})
	before := m.state()
	m.mustAdd(request(t, standard))
	for _, name := range []string{"bond0", "bond0-1", "bond0-2"} {
		if got := m.link(pod1, name).MAC; got != mac {
			t.Errorf("%s has MAC %s, want %s", name, got, mac)
		}
	}
	m.mustDel(c1)
	m.wantState(before)
}
