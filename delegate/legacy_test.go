package delegate

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// Files of bond-cni, with links of the host and with links in the pod.
const (
	hostBond = `{"cniVersion": "0.3.1", "name": "mynet", "type": "bond", "mode": "active-backup", "miimon": "100", "failOverMac": 1,
		"links": [{"name": "enp1s0v0"}, {"name": "enp2s0v0"}], "ipam": {"type": "host-local"}}`
	podBond = `{"cniVersion": "0.3.1", "name": "mynet", "type": "bond", "mode": "active-backup", "miimon": "100", "failOverMac": 1, "linksInContainer": true,
		"links": [{"name": "net1"}, {"name": "net2"}], "ipam": {"type": "host-local"}}`
)

// bondCNI does what bond-cni does for container c1. There is no Record of it.
func (m *machine) bondCNI(links ...string) {
	m.t.Helper()
	pod := m.namespace(pod1)
	var attached []bond.Link
	for _, name := range links {
		if _, err := pod.Link(name); err != nil {
			m.change("", name, bond.Change{Namespace: pod})
		}
		attached = append(attached, m.link(pod1, name))
	}
	spec := bond.Spec{Name: "bond0", Options: bond.Options{"mode": "active-backup", "miimon": "100", "failOverMac": "active", "mtu": "1500"}}
	_, err := bond.Build(pod, spec, attached)
	require.NoError(m.t, err)
	m.plugins.pool["c1/bond0"] = "10.56.217.9"
}

// TestLegacy: a container that bond-cni attached is released with bond-cni's
// configuration.
func TestLegacy(t *testing.T) {
	for name, test := range map[string]struct {
		config string
		links  []string
	}{
		"links of the host":  {hostBond, []string{"enp1s0v0", "enp2s0v0"}},
		"links that stay in": {podBond, []string{"net1", "net2"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			for _, link := range test.links {
				if strings.HasPrefix(link, "net") {
					m.AddVirtual(pod1, "veth", link)
				}
			}
			before := m.state()
			m.bondCNI(test.links...)
			r := request(t, test.config)
			assert.NoError(t, m.CheckBondCNI(r), "CHECK")
			require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, r))
			m.wantState(before)
			assert.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, r), "a second DEL")
			wantError(t, m.CheckBondCNI(r), cnierror.Check, "network mynet: bond0: the bond is gone")
		})
	}
}

// TestLegacyCheck: CHECK finds what is no longer as bond-cni made it.
func TestLegacyCheck(t *testing.T) {
	down, none := false, 0
	for want, spoil := range map[string]func(*machine){
		"network mynet: bond0: the bond is down":                                                   func(m *machine) { m.change(pod1, "bond0", bond.Change{Up: &down}) },
		"network mynet: enp2s0v0: the link is no longer part of bond0; enp2s0v0: the link is down": func(m *machine) { m.change(pod1, "enp2s0v0", bond.Change{Master: &none}) },
	} {
		m := newMachine(t)
		m.bondCNI("enp1s0v0", "enp2s0v0")
		spoil(m)
		wantError(t, m.CheckBondCNI(request(t, hostBond)), cnierror.Check, want)
	}
	gone := request(t, hostBond)
	gone.Netns = "/run/netns/gone"
	wantError(t, newMachine(t).CheckBondCNI(gone), cnierror.Check, "network mynet: the network namespace /run/netns/gone is gone")
}

// TestLegacyNamespaceGone: bond-cni's own DEL then fails for ever.
func TestLegacyNamespaceGone(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.bondCNI("enp1s0v0", "enp2s0v0")
	m.RemoveNamespace(pod1)
	require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, request(t, hostBond)))
	m.AddNamespace(pod1)
	m.wantState(before)
}

// TestLegacyIPAM: IPAM refuses. With bond-cni the links then stay in the pod. The next
// DEL, which finds no bond, succeeds even if IPAM still refuses.
func TestLegacyIPAM(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.bondCNI("enp1s0v0", "enp2s0v0")
	m.plugins.refuse["host-local DEL bond0"] = "no"
	r := request(t, hostBond)
	wantError(t, m.DelPod(t.Context(), netconf.Cluster{}, r), cnierror.Restore, "network mynet: ipam: host-local DEL: no")
	delete(m.plugins.pool, "c1/bond0")
	m.wantState(before)
	require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, r))
	assert.True(t, strings.HasSuffix(m.log.String(), "multibond: network mynet: ipam: host-local DEL: no\n"), m.log)
}

// TestLegacyOthers: only those of the bond's links go to the host that came from there. If
// one cannot, the error names it, and the others go.
func TestLegacyOthers(t *testing.T) {
	m := newMachine(t)
	m.AddVirtual(pod1, "veth", "left")
	m.bondCNI("enp1s0v0", "enp2s0v0", "left")
	m.AddVirtual("", "veth", "enp1s0v0")
	err := m.DelPod(t.Context(), netconf.Cluster{}, request(t, hostBond))
	require.Error(t, err)
	assert.EqualValues(t, cnierror.Restore, cnierror.Code(err))
	assert.True(t, strings.HasPrefix(err.Error(), "network mynet: moving enp1s0v0 back to the host: "), err)
	assert.Equal(t, vfB, m.link("", "enp2s0v0").Device)
	assert.Equal(t, vfA, m.link(pod1, "enp1s0v0").Device)
	assert.Equal(t, "veth", m.link(pod1, "left").Kind)
	_, is := m.plugins.pool["c1/bond0"]
	assert.False(t, is, "the address was kept")
}

// TestLegacyNot: without a Record, DEL of a network that is not bond-cni's touches
// nothing.
func TestLegacyNot(t *testing.T) {
	m := newMachine(t)
	m.bondCNI("enp1s0v0", "enp2s0v0")
	before := m.state()
	require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, request(t, strings.Replace(hostBond, `"bond"`, `"multibond"`, 1))))
	m.wantState(before)
	assert.EqualValues(t, types.ErrUnknownContainer, cnierror.Code(m.CheckPod(t.Context(), c1)))
}
