package delegate

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestDelTrustIsResetLast: a VF whose PF has set its MAC takes its own back only while it
// is trusted. Observed of sriov-cni (S10): it takes the trust away first.
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

// TestDelPinnedMAC: the PF has set a VF's MAC, and the VF still had its own, as until it is
// set up for the first time. It gets its own back, although it is not trusted.
func TestDelPinnedMAC(t *testing.T) {
	m := newMachine(t)
	m.changeVF("enp1s0", func(vf *bond.VF) { vf.MAC = "02:00:00:00:00:aa" })
	before := m.state()
	m.mustAdd(request(t, standard))
	require.Equal(t, "02:00:00:00:00:aa", m.link(pod1, "bond0-1").MAC)
	m.mustDel(c1)
	m.wantState(before)
}

// TestDelRefusedOnce: if a plugin fails once, or is killed, it is executed again, so that
// it does not keep what it remembers of the VF. Found by the campaign of faults:
// sriov-cni's file of the attachment stayed.
func TestDelRefusedOnce(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, standard))
	m.edges.reset(0, nil)
	m.mustDel(c1)
	at := slices.Index(m.edges.passed, "sriov DEL bond0-2") + 1
	require.NotZero(t, at)
	m.mustAdd(request(t, standard))
	m.edges.reset(at, fail)
	m.mustDel(c1)
	m.wantState(before)
	assert.Empty(t, m.plugins.vfs)
	assert.Empty(t, m.log.String())
}

// TestDelTornCache: sriov-cni was killed while it wrote its file. It refuses every DEL, or
// does nothing, and the file would stay for ever. Found by the campaign of faults.
func TestDelTornCache(t *testing.T) {
	type torn struct{ text, refusal string }
	const refusal = "unexpected end of JSON input"
	for c, stays := range map[torn]bool{{"", refusal}: false, {`{"Master": "enp`, refusal}: false, {`{"Master": "enp1s0"}`, refusal}: false, {"", ""}: false, {`{"Master": "enp1s0"}`, ""}: true} {
		t.Run(c.text+c.refusal, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			m.mustAdd(request(t, standard))
			torn, other := filepath.Join(m.SRIOV, "c1-bond0-1"), filepath.Join(m.SRIOV, "c2-bond0-1")
			writeFile(t, torn, c.text, 0o600)
			writeFile(t, other, "", 0o600)
			m.plugins.refuse["sriov DEL bond0-1"] = c.refusal
			m.mustDel(c1)
			_, err := os.Stat(torn)
			assert.Equal(t, stays, err == nil)
			_, err = os.Stat(other)
			assert.NoError(t, err)
			clear(m.plugins.vfs) // what it has refused to give back
			m.wantState(before)
		})
	}
}

// TestAddEqualMACs: links with the same MAC keep it, and the bond gets it. Observed of
// bond-cni: the second link gets a MAC that is made from the letters of the first one's.
func TestAddEqualMACs(t *testing.T) {
	m := newMachine(t)
	mac := m.link("", "enp1s0v0").MAC
	m.change("", "enp2s0v0", bond.Change{MAC: &mac})
	before := m.state()
	m.mustAdd(request(t, standard))
	for _, name := range []string{"bond0", "bond0-1", "bond0-2"} {
		assert.Equal(t, mac, m.link(pod1, name).MAC, name)
	}
	m.mustDel(c1)
	m.wantState(before)
}

// TestFileExists: if IPAM fails, an ADD of type bond leaves nothing, and the next ADD
// succeeds. Observed of bond-cni: the bond stays, and each further ADD fails with "file
// exists".
func TestFileExists(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.plugins.refuse["host-local ADD bond0"] = "no"
	_, err := m.Add(t.Context(), request(t, hostBond))
	wantError(t, err, cnierror.Delegate, "network mynet: ipam: host-local ADD: no")
	m.wantState(before)
	delete(m.plugins.refuse, "host-local ADD bond0")
	m.mustAdd(request(t, hostBond))
	m.mustDel(c1)
	m.wantState(before)
}

// TestOneHostLinkMissing: the other link stays on the host. Observed of
// bond-cni: it is stranded in the pod.
func TestOneHostLinkMissing(t *testing.T) {
	m := newMachine(t)
	gone := "elsewhere"
	m.change("", "enp2s0v0", bond.Change{Name: &gone})
	before := m.state()
	_, err := m.Add(t.Context(), request(t, hostBond))
	wantError(t, err, cnierror.Node, `network mynet: links[1].name: the host has no interface enp2s0v0 (if it is an interface of the pod, set "linksInContainer": true)`)
	m.wantState(before)
}

// TestApplicationDeletedTheBond: the links go back to the host even so. Observed of
// bond-cni: DEL succeeds, and both links stay in the pod.
func TestApplicationDeletedTheBond(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, hostBond))
	require.NoError(t, m.namespace(pod1).Delete(m.link(pod1, "bond0").Index))
	m.mustDel(c1)
	m.wantState(before)
}

// TestIPAMKeepsNoLink: if IPAM refuses to release the address, the links still go back to
// the host, and the next DEL releases the address. Observed of bond-cni: the links stay in
// the pod.
func TestIPAMKeepsNoLink(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, hostBond))
	m.plugins.refuse["host-local DEL bond0"] = "no"
	wantError(t, m.Del(t.Context(), c1), cnierror.Restore, "network mynet: ipam: host-local DEL: no")
	for name, device := range map[string]string{"enp1s0v0": vfA, "enp2s0v0": vfB} {
		assert.Equal(t, device, m.link("", name).Device, name)
	}
	delete(m.plugins.refuse, "host-local DEL bond0")
	m.mustDel(c1)
	m.wantState(before)
}

// TestNoJumboFrameIsCut: if the configuration of type bond has no MTU, VFs with MTU 9000
// make a bond with MTU 9000. Observed of bond-cni: they are lowered to 1500.
func TestNoJumboFrameIsCut(t *testing.T) {
	m := newMachine(t)
	jumbo := 9000
	for _, name := range []string{"enp1s0", "enp2s0", "enp1s0v0", "enp2s0v0"} {
		m.change("", name, bond.Change{MTU: &jumbo})
	}
	before := m.state()
	m.mustAdd(request(t, hostBond))
	for _, name := range []string{"bond0", "enp1s0v0", "enp2s0v0"} {
		assert.Equal(t, jumbo, m.link(pod1, name).MTU, name)
	}
	m.mustDel(c1)
	m.wantState(before)
}
