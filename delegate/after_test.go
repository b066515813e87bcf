package delegate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// followedBy is a bond in a list, with plugins after it.
func followedBy(cniVersion string, after ...values) agentapi.Attachment {
	one := bondOf("bond0", vfA, vfB)
	plugins := []any{one.Config}
	for _, p := range after {
		plugins = append(plugins, p)
	}
	one.Config = strictjson.Encode(values{"cniVersion": cniVersion, "name": "list", "plugins": plugins})
	return one
}

// onBond lists the calls for bond0 since number from, and their prevResults.
func (m *machine) onBond(from int) (calls []string, prev []*current.Result) {
	m.t.Helper()
	for _, c := range m.plugins.calls[from:] {
		if c.IfName != "bond0" {
			continue
		}
		calls = append(calls, c.Type+" "+c.Command)
		var config struct{ PrevResult json.RawMessage }
		require.NoError(m.t, json.Unmarshal(c.Config, &config))
		var result *current.Result
		if config.PrevResult != nil {
			var err error
			result, err = invoke.ParseResult(config.PrevResult, "")
			require.NoError(m.t, err)
		}
		prev = append(prev, result)
	}
	return calls, prev
}

// TestPluginsAfterTheBond: plugins after the bond are executed in order, each with the result
// of the one before it, and by CHECK and DEL with that of the last one. What is reported is
// the result of the last one.
func TestPluginsAfterTheBond(t *testing.T) {
	n := newNode(t, followedBy("1.0.0", values{"type": "tuning"}, values{"type": "vlanner"}))
	before := n.state()
	n.plugins.answer = map[string]string{"vlanner ADD bond0": `{"cniVersion": "0.4.0", "interfaces": [{"name": "bond0", "mac": "02:00:00:00:00:77", "sandbox": "/run/netns/p1"}, {"name": "extra"}], "ips": [{"version": "4", "address": "10.1.1.1/24", "interface": 0}]}`}
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	calls, prev := n.onBond(0)
	assert.Equal(t, []string{"host-local ADD", "tuning ADD", "vlanner ADD"}, calls)
	for _, got := range prev[1:] {
		assert.Equal(t, "bond0", got.Interfaces[0].Name)
		assert.Len(t, got.Interfaces, 3)
		assert.Len(t, got.IPs, 1)
	}
	result := n.published()[0].Attachments[1].Result
	assert.Equal(t, []string{"bond0", "extra"}, []string{result.Interfaces[0].Name, result.Interfaces[1].Name})
	assert.Equal(t, "10.1.1.1/24", result.IPs[0].Address.String())
	assert.True(t, n.published()[0].Attachments[1].Bond)
	assert.Contains(t, n.readRecord(c1).Plan.String(), "\nbond0: call tuning, vlanner with the result")

	for _, verb := range []struct {
		do   func() error
		want []string
	}{
		{func() error { return n.CheckPod(t.Context(), n.request().Key()) }, []string{"host-local CHECK", "tuning CHECK", "vlanner CHECK"}},
		{func() error { return n.DelPod(t.Context(), n.config, n.request()) }, []string{"vlanner DEL", "tuning DEL", "host-local DEL"}},
	} {
		from := len(n.plugins.calls)
		require.NoError(t, verb.do())
		calls, prev := n.onBond(from)
		assert.Equal(t, verb.want, calls)
		at := slices.Index(calls, "tuning "+strings.Fields(calls[0])[1])
		assert.Equal(t, "02:00:00:00:00:77", prev[at].Interfaces[0].Mac)
	}
	n.wantState(before)
}

// TestResultAfterTheBond: the result has what its version cannot tell: PCI addresses, and
// MTUs as the plugins have left them.
func TestResultAfterTheBond(t *testing.T) {
	for _, version := range []string{"0.4.0", "1.0.0", "1.1.0"} {
		n := newNode(t, followedBy(version, values{"type": "tuning"}))
		n.plugins.seen = func(c invoke.Call) {
			if c.Type+c.Command == "tuningADD" && version != "1.1.0" {
				mtu := 1400
				n.change(pod1, "bond0", bond.Change{MTU: &mtu})
			}
		}
		_, err := n.AddPod(t.Context(), n.config, n.request())
		require.NoError(t, err, version)
		var got []string
		for _, i := range n.published()[0].Attachments[1].Result.Interfaces {
			got = append(got, fmt.Sprint(i.Name, " ", i.PciID, " ", i.Mtu))
		}
		mtu := map[bool]string{true: "1500", false: "1400"}[version == "1.1.0"]
		assert.Equal(t, []string{"bond0  " + mtu, "bond0-1 " + vfA + " " + mtu, "bond0-2 " + vfB + " " + mtu}, got, version)
		require.NoError(t, n.CheckPod(t.Context(), n.request().Key()), version)
	}
}

// TestPluginsAfterTheBondAreRecorded: each call is on disk before it is made, and what ADD
// has not executed DEL does not execute.
func TestPluginsAfterTheBondAreRecorded(t *testing.T) {
	n := newNode(t, followedBy("1.0.0", values{"type": "tuning"}, values{"type": "bandwidth"}, values{"type": "sbr"}))
	before := n.state()
	var recorded [][]int
	n.plugins.seen = func(c invoke.Call) {
		if c.IfName == "bond0" && c.Type != "host-local" {
			recorded = append(recorded, n.readRecord(c1).After)
		}
	}
	n.plugins.refuse["bandwidth ADD bond0"] = "no peer"
	_, err := n.AddPod(t.Context(), n.config, n.request())
	wantError(t, err, cnierror.Delegate, "network demo/bond0: plugins[2]: bandwidth ADD: no peer")
	n.wantState(before)
	calls, _ := n.onBond(0)
	assert.Equal(t, []string{"host-local ADD", "tuning ADD", "bandwidth ADD", "bandwidth DEL", "tuning DEL", "host-local DEL"}, calls)
	assert.Equal(t, [][]int{{0}, {0, 1}, {0, 1}, {0}}, recorded)

	n.plugins.missing["sbr"] = true
	clear(n.plugins.refuse)
	_, err = n.AddPod(t.Context(), n.config, n.request())
	assert.ErrorContains(t, err, "the CNI plugin sbr is not in /opt/cni/bin")
	n.wantState(before)
}

// TestPluginAfterTheBondRefuses: a plugin that refuses DEL does not keep the rest, is
// executed again by each DEL, and is given up like all others. After a reboot it is only a
// warning.
func TestPluginAfterTheBondRefuses(t *testing.T) {
	for _, end := range []string{"heals", "given up", "reboot"} {
		t.Run(end, func(t *testing.T) {
			n := newNode(t, followedBy("1.0.0", values{"type": "tuning"}, values{"type": "portmap"}))
			before := n.state()
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			n.plugins.refuse["portmap DEL bond0"] = "locked"
			for range 2 {
				wantError(t, n.DelPod(t.Context(), n.config, n.request()), cnierror.Restore, "network demo/bond0: plugins[2]: portmap DEL: locked")
				assert.Equal(t, []int{1}, n.recordOf(c1).After)
				assert.Empty(t, n.plugins.pool)
			}
			assert.Equal(t, 1, n.plugins.count("tuning", "DEL"))
			switch end {
			case "heals":
				clear(n.plugins.refuse)
			case "given up":
				n.Limbo.GiveUp = 0
			case "reboot":
				n.BootID = "boot2"
			}
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			assert.Equal(t, end == "given up", len(n.aside()) > 0)
			assert.Equal(t, end != "heals", strings.Contains(n.log.String(), "plugins[2]: portmap DEL: locked"))
			clear(n.plugins.refuse)
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			n.wantState(before)
		})
	}
}

// TestDisabledForAList: the list's disableCheck and disableGC hold for all of its plugins.
func TestDisabledForAList(t *testing.T) {
	one := followedBy("1.1.0", values{"type": "tuning"})
	n := newNode(t, one)
	gc := func() (calls []string) {
		from := len(n.plugins.calls)
		require.NoError(t, n.CheckPod(t.Context(), n.request().Key()))
		require.NoError(t, n.GC(t.Context(), "multibond", []netconf.GCAttachment{{ContainerID: "c1", IfName: "eth0"}}))
		for _, c := range n.plugins.calls[from:] {
			if c.Type == "tuning" || c.Type == "host-local" && c.IfName == "bond0" {
				calls = append(calls, c.Type+" "+c.Command)
			}
		}
		return calls
	}
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	assert.Equal(t, []string{"host-local CHECK", "tuning CHECK", "tuning GC"}, slices.DeleteFunc(gc(), func(c string) bool { return c == "host-local GC" }))
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))

	n.reply.Lookup.Attachments[0].Config = strictjson.SetField(strictjson.SetField(one.Config, "disableCheck", []byte("true")), "disableGC", []byte("true"))
	_, err = n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	assert.Empty(t, gc())
}

// TestChangedAfterTheBond: CHECK takes what the plugins after the bond have left for right,
// and reports what has changed since.
func TestChangedAfterTheBond(t *testing.T) {
	n := newNode(t, followedBy("1.1.0", values{"type": "tuning"}))
	n.plugins.seen = func(c invoke.Call) {
		if c.Type+c.Command == "tuningADD" {
			mtu := 1400
			n.change(pod1, "bond0", bond.Change{MTU: &mtu})
		}
	}
	n.plugins.answer = map[string]string{"tuning ADD bond0": `{"cniVersion": "1.1.0", "interfaces": [{"name": "bond0", "sandbox": "/run/netns/p1", "mtu": 1400}]}`}
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	require.NoError(t, n.CheckPod(t.Context(), n.request().Key()))
	again, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	assert.NotNil(t, again)
	assert.Equal(t, 1, n.plugins.count("tuning", "ADD"), "the second ADD of the same has nothing to do")
	mtu := 1300
	n.change(pod1, "bond0", bond.Change{MTU: &mtu})
	assert.ErrorContains(t, n.CheckPod(t.Context(), n.request().Key()), "bond0: mtu is 1300, was 1400")
}

// TestVLANOverABondOfAList: a network over the bond comes after the plugins of the bond's
// list, wherever it is in the annotation, and is deleted before them.
func TestVLANOverABondOfAList(t *testing.T) {
	n := newNode(t, vlanOver("net1"), followedBy("1.0.0", values{"type": "tuning"}))
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	n.wantState(before)
	var order []string
	for _, c := range n.plugins.calls {
		if c.Type == "tuning" || c.Type == "vlan" {
			order = append(order, c.Type+" "+c.Command)
		}
	}
	assert.Equal(t, []string{"tuning ADD", "vlan ADD", "vlan DEL", "tuning DEL"}, order)
}

// TestSecondaryLeavesThePluginsAfterTheBond: a meta plugin that executes the list itself
// executes the plugins after the bond.
func TestSecondaryLeavesThePluginsAfterTheBond(t *testing.T) {
	n := newNode(t, followedBy("1.0.0", values{"type": "tuning"}))
	r := n.request()
	r.IfName = "bond0"
	var err error
	r.Network, err = netconf.ParseNetwork(strictjson.Encode(values{"cniVersion": "1.0.0", "name": "list", "type": "multibond", "agent": n.config.Agent,
		"links": []values{{"resourceName": "a/b"}, {"resourceName": "a/c"}}}), "bond0")
	require.NoError(t, err)
	_, err = n.AddSecondary(t.Context(), r)
	require.NoError(t, err)
	assert.Zero(t, n.plugins.count("tuning", "ADD"))
	assert.Empty(t, n.readRecord(plan.Key{ContainerID: "c1", IfName: "bond0"}).Plan.After)
}
