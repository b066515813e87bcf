package delegate

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// vlanOver is an attachment by plugins over the pod's bond0, with an address.
func vlanOver(ifName string) agentapi.Attachment {
	return agentapi.Attachment{Name: "demo/vl", IfName: ifName, Config: strictjson.Encode(values{
		"cniVersion": "1.0.0", "name": "vl", "plugins": []values{
			{"type": "vlan", "master": "bond0", "linkInContainer": true, "vlanId": 50, "ipam": values{"type": "host-local"}}, {"type": "portmap"},
		},
	})}
}

// deleteInPod deletes interfaces of the first pod.
func (m *machine) deleteInPod(names ...string) {
	m.t.Helper()
	for _, name := range names {
		m.mustDelete(pod1, name)
	}
}

// TestRefusalOfWhatIsGone: a plugin refuses each DEL, because what it made is gone. The pod
// goes at once, and so does its address.
func TestRefusalOfWhatIsGone(t *testing.T) {
	for _, test := range []struct {
		name, warning string
		happens       func(n *node)
	}{
		{"the namespace is gone", "vlan DEL: failed to open netns: network namespace /run/netns/p1: file does not exist", func(n *node) { n.RemoveNamespace(pod1) }},
		{"the application has deleted the bond", "vlan DEL: Link not found", func(n *node) { n.deleteInPod("bond0", "net1") }},
		{"the node was started anew", "vlan DEL: failed to open netns: network namespace /run/netns/p1: file does not exist", func(n *node) {
			n.RemoveNamespace(pod1)
			n.BootID = "boot2"
			n.plugins.refuse["portmap DEL net1"] = "no tables"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, bondOf("bond0", vfA, vfB), vlanOver("net1"))
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			require.Contains(t, n.plugins.pool, "c1/net1")
			test.happens(n)
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			assert.Contains(t, n.log.String(), "multibond: "+test.warning+"\n")
			assert.Empty(t, n.plugins.pool)
			left, err := n.Store.List()
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

// TestRefusalAfterTheBond: a network over the bond that hung in a DEL comes after the bond
// in the next one, and refuses then. It keeps nothing.
func TestRefusalAfterTheBond(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB), vlanOver("net1"))
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	n.plugins.seen = func(c invoke.Call) {
		if c.Type+c.Command == "vlanDEL" {
			panic(killed{})
		}
	}
	require.True(t, untilKilled(func() { n.DelPod(t.Context(), n.config, n.request()) }))
	n.plugins.seen = func(c invoke.Call) {
		if c.Type+c.Command+c.IfName == "host-localDELbond0" {
			n.deleteInPod("net1") // it goes with its master
		}
	}
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.Contains(t, n.log.String(), "multibond: vlan DEL: Link not found\n")
	n.wantState(before)
}

// TestRefusalOfIPAM: what a plugin made is gone, the plugin refuses, and so does its IPAM.
// The address is not forgotten.
func TestRefusalOfIPAM(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB), vlanOver("net1"))
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	n.RemoveNamespace(pod1)
	n.plugins.refuse["host-local DEL net1"] = "no store"
	for range 2 {
		wantError(t, n.DelPod(t.Context(), n.config, n.request()), cnierror.Restore, "network demo/vl: ipam: host-local DEL: no store")
	}
	clear(n.plugins.refuse)
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.Empty(t, n.plugins.pool)
}

// TestRefusalOfChained: the chained plugins of a network make things on the host, which do
// not go with the pod's namespace. Their refusal is an error.
func TestRefusalOfChained(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB), vlanOver("net1"))
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	n.RemoveNamespace(pod1)
	n.plugins.refuse["portmap DEL net1"] = "locked"
	wantError(t, n.DelPod(t.Context(), n.config, n.request()), cnierror.Restore, "network demo/vl: portmap DEL: locked")
	clear(n.plugins.refuse)
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.Empty(t, n.plugins.pool)
}

// TestRefusalOfVF: the plugin of a network over a VF refuses. Multibond restores the VF and
// has its address released.
func TestRefusalOfVF(t *testing.T) {
	for _, boot := range []string{"boot1", "boot2"} {
		t.Run(boot, func(t *testing.T) {
			one := vlan("net2", vfA2)
			one.Config = []byte(strings.Replace(string(one.Config), `"type"`, `"ipam":{"type":"host-local"},"type"`, 1))
			n := newNode(t, one)
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			n.plugins.pool["c1/net2"] = "10.56.217.99"
			n.plugins.refuse["sriov DEL net2"] = "no"
			n.BootID = boot
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			assert.Empty(t, n.plugins.pool)
		})
	}
}

// TestRefusalOfVFAndIPAM: the plugin of a network over a VF refuses, and so does its IPAM. The
// VF is as before, and the next pod gets it. What is asked of them again does not touch it.
func TestRefusalOfVFAndIPAM(t *testing.T) {
	for _, driver := range []string{"igbvf", "vfio-pci"} {
		t.Run(driver, func(t *testing.T) {
			one := vlan("net2", vfA2)
			one.Config = []byte(strings.Replace(string(one.Config), `"type"`, `"ipam":{"type":"host-local"},"type"`, 1))
			n := newNode(t, one)
			if driver != "igbvf" {
				n.SetDriver(vfA2, driver)
			}
			before := n.state()
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			n.plugins.refuse["sriov DEL net2"], n.plugins.refuse["host-local DEL net2"] = "no", "no store"
			for range 2 {
				require.ErrorContains(t, n.DelPod(t.Context(), n.config, n.request()), "host-local DEL: no store")
				assert.Zero(t, n.vlanOf(1))
			}
			_, err = n.AddPod(t.Context(), n.config, n.nextPod())
			require.NoError(t, err)
			require.Equal(t, 7, n.vlanOf(1))
			attached := n.linesOf(pod2)
			require.ErrorContains(t, n.DelPod(t.Context(), n.config, n.request()), "host-local DEL: no store")
			clear(n.plugins.refuse)
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			assert.Equal(t, 7, n.vlanOf(1))
			assert.Equal(t, attached, n.linesOf(pod2))
			require.NoError(t, n.DelPod(t.Context(), n.config, n.nextPod()))
			n.wantState(before)
		})
	}
}

// TestFreeOfHostDevice: host-device does nothing at DEL without a namespace. Its address is
// released nevertheless.
func TestFreeOfHostDevice(t *testing.T) {
	n := newNode(t, agentapi.Attachment{Name: "demo/one", IfName: "net2", Devices: []string{vfA2}, Config: strictjson.Encode(values{
		"cniVersion": "1.0.0", "name": "one", "type": "host-device", "pciBusID": vfA2, "deviceID": vfA2, "ipam": values{"type": "host-local"}})})
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	n.plugins.pool["c1/net2"] = "10.56.217.99"
	n.BootID = "boot2"
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.Empty(t, n.plugins.pool)
}

// TestRefusedAfterTheFirst: the first plugin of a chain has run, and the second could not be
// executed. The first one may keep something, so it is not forgotten if it refuses.
func TestRefusedAfterTheFirst(t *testing.T) {
	n := newNode(t)
	n.plugins.seen = func(c invoke.Call) { n.plugins.missing["portmap"] = c.Type == "bridge" && c.Command == "ADD" }
	n.plugins.refuse["bridge DEL eth0"] = "no"
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.ErrorIs(t, err, invoke.ErrNotExecuted)
	require.ErrorContains(t, err, "bridge DEL: no")
	n.Limbo.GiveUp = 0
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	require.Len(t, n.aside(), 1)
}

// TestRefusedTwice: a plugin refuses ADD, and DEL too. It may have kept something: the API
// server was away for both. So each DEL executes it again, until it has succeeded or is
// given up.
func TestRefusedTwice(t *testing.T) {
	for _, plugin := range []string{"bridge eth0", "portmap eth0", "host-local bond0", "sriov net2", "tuning bond0"} {
		for _, heals := range []bool{true, false} {
			t.Run(plugin, func(t *testing.T) {
				name, ifName, _ := strings.Cut(plugin, " ")
				n := newNode(t, followedBy("1.0.0", values{"type": "tuning"}), vlan("net2", vfA2))
				before := n.state()
				for _, verb := range []string{"ADD", "DEL"} {
					n.plugins.refuse[name+" "+verb+" "+ifName] = "no API server"
				}
				_, err := n.AddPod(t.Context(), n.config, n.request())
				assert.EqualValues(t, cnierror.Delegate, cnierror.Code(err))
				if name == "sriov" { // Multibond has restored its VF
					n.wantState(before)
					return
				}
				assert.ErrorContains(t, err, "not everything could be undone")
				calls := n.plugins.count(name, "DEL")
				require.ErrorContains(t, n.DelPod(t.Context(), n.config, n.request()), name+" DEL: no API server")
				assert.Equal(t, calls+1, n.plugins.count(name, "DEL"))
				if heals {
					clear(n.plugins.refuse)
				} else {
					n.Limbo.GiveUp = 0
				}
				require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
				assert.Equal(t, !heals && name == "portmap", len(n.aside()) > 0)
				clear(n.plugins.refuse)
				require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
				n.wantState(before)
			})
		}
	}
}

// TestRefusedAndForgotten: the runtime forgets a sandbox whose ADD was refused. Each DEL of
// another sandbox tries one such Record again, the one that was tried longest ago, and does
// not fail with it. It ends when its time is over.
func TestRefusedAndForgotten(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	before := n.state()
	n.plugins.refuse["host-local ADD bond0"], n.plugins.refuse["host-local DEL bond0"] = "no API server", "no API server"
	other := n.request()
	other.ContainerID, other.Netns = "c2", pod2
	for _, r := range []plan.Request{n.request(), other} {
		_, err := n.AddPod(t.Context(), n.config, r)
		require.ErrorContains(t, err, "not everything could be undone")
	}
	left, err := n.Store.List()
	require.NoError(t, err)
	require.Empty(t, left)
	require.Len(t, n.aside(), 2)
	assert.Contains(t, n.aside()[0].Left, "host-local DEL: no API server")
	third := n.request()
	third.ContainerID = "c3"
	for _, next := range []string{"c1", "c2", "c1", "c2"} {
		require.NoError(t, n.DelPod(t.Context(), n.config, third))
		require.Equal(t, "host-local DEL "+next, lastCall(n.machine))
	}
	require.Len(t, n.aside(), 2, "their time is not over")
	n.Limbo.GiveUp = 0
	calls := n.plugins.count("host-local", "DEL")
	require.NoError(t, n.DelPod(t.Context(), n.config, third))
	assert.Equal(t, calls+1, n.plugins.count("host-local", "DEL"))
	require.Len(t, n.aside(), 1)
	assert.Equal(t, "c2", n.aside()[0].Plan.ContainerID)
	assert.Contains(t, n.log.String(), "host-local DEL: no API server: given up, as this has failed since ")
	clear(n.plugins.refuse)
	require.NoError(t, n.DelPod(t.Context(), n.config, third))
	n.wantState(before)
}

// lastCall is the last plugin that was executed, with its container.
func lastCall(m *machine) string {
	c := m.plugins.calls[len(m.plugins.calls)-1]
	return c.Type + " " + c.Command + " " + c.ContainerID
}

// TestNeverExecuted: a plugin that ADD did not execute has kept nothing. Its refusal is only
// a warning.
func TestNeverExecuted(t *testing.T) {
	n := newNode(t)
	before := n.state()
	n.plugins.refuse["bridge ADD eth0"], n.plugins.refuse["portmap DEL eth0"] = "nonsense", "nonsense"
	_, err := n.AddPod(t.Context(), n.config, n.request())
	wantError(t, err, cnierror.Delegate, "network cbr0: bridge ADD: nonsense")
	n.wantState(before)
	n.plugins.seen = func(c invoke.Call) { n.plugins.missing["portmap"] = c.Type == "bridge" && c.Command == "ADD" }
	clear(n.plugins.refuse)
	_, err = n.AddPod(t.Context(), n.config, n.request())
	require.ErrorIs(t, err, invoke.ErrNotExecuted)
	assert.NotContains(t, err.Error(), "undone")
	n.wantState(before)
}

// TestRefusalOfLink: a plugin that makes a link of a bond refuses ADD and DEL.
func TestRefusalOfLink(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.plugins.refuse["macvlan ADD bond0-2"], m.plugins.refuse["macvlan DEL bond0-2"] = "no", "no"
	_, err := m.Add(t.Context(), request(t, scenarioConfig("links that plugins make")))
	require.ErrorContains(t, err, "not everything could be undone")
	require.Equal(t, []string{"bond0-1"}, m.recordOf(c1).Restored)
	clear(m.plugins.refuse)
	m.mustDel(c1)
	m.wantState(before)
}

// TestRestoredIsFree: IPAM refuses. The VFs are as before, and the next pod gets them.
func TestRestoredIsFree(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, standard))
	m.plugins.refuse["host-local DEL bond0"] = "no store"
	require.Error(t, m.Del(t.Context(), c1))
	clear(m.plugins.refuse)
	r := other(request(t, standard))
	m.mustAdd(r)
	attached := m.linesOf(pod2)
	m.mustDel(c1)
	assert.Equal(t, attached, m.linesOf(pod2))
	m.mustDel(c2)
	m.wantState(before)
}

// TestRefusalOfGoneLink: the application has deleted a link of the bond that a plugin made,
// and the plugin refuses DEL because of that.
func TestRefusalOfGoneLink(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, scenarioConfig("links that plugins make")))
	m.deleteInPod("bond0-1")
	m.plugins.refuse["macvlan DEL bond0-1"] = "Link not found"
	m.mustDel(c1)
	m.wantState(before)
	assert.Equal(t, "multibond: link bond0-1: macvlan DEL: Link not found\n", m.log.String())
}

// TestNoTimeIsNoRefusal: a plugin that DEL had no time to execute has not refused. The next
// DEL executes it, even after a reboot.
func TestNoTimeIsNoRefusal(t *testing.T) {
	n := newNode(t)
	writeFile(t, filepath.Join(n.config.ConfDir, "10-cbr0.conflist"), `{"cniVersion": "1.0.0", "name": "cbr0", "plugins": [{"type": "macvlan", "master": "enp1s0"}]}`, 0o600)
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	n.BootID = "boot2"
	over, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	require.ErrorContains(t, n.DelPod(over, n.config, n.request()), "no time is left to execute it; the next DEL does")
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	require.Equal(t, 1, n.plugins.count("macvlan", "DEL"))
}

// TestIPAMNeverExecuted: IPAM that ADD could not execute has given no address. Its refusal
// is only a warning.
func TestIPAMNeverExecuted(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.plugins.seen = func(invoke.Call) { m.plugins.missing["host-local"] = true }
	_, err := m.Add(t.Context(), request(t, standard))
	require.ErrorIs(t, err, invoke.ErrNotExecuted)
	assert.NotContains(t, err.Error(), "not everything could be undone")
	m.wantState(before)
	assert.Contains(t, m.log.String(), "multibond: ipam: host-local DEL: it was not executed: ")
}
