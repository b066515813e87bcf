package delegate

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
)

// TestIdentify: a link is identified by its PCI address, whatever name its plugin has
// given it, and DEL of its plugin finds it under the name that the plugin knows.
func TestIdentify(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.Runner = runnerFunc{m.plugins, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
		out, err := m.plugins.run(ctx, c)
		if c.Type == "sriov" && c.Command == "ADD" {
			odd, down, up := "odd"+c.IfName[len(c.IfName)-1:], false, true
			m.change(pod1, c.IfName, bond.Change{Up: &down})
			m.change(pod1, c.IfName, bond.Change{Name: &odd})
			m.change(pod1, odd, bond.Change{Up: &up})
		}
		return out, err
	}}
	m.mustAdd(request(t, standard))
	l := m.link(pod1, "bond0-1")
	assert.Equal(t, vfA, l.Device)
	assert.NotZero(t, l.Master)
	m.mustDel(c1)
	m.wantState(before)
}

// TestIdentifyNone: a plugin succeeds but has attached no link.
func TestIdentifyNone(t *testing.T) {
	for config, text := range map[string]string{
		standard: "network net1: links[0]: 0000:3b:02.0 was attached, but no interface of the pod is this link",
		scenarioConfig("links that plugins make"): "network net1: links[0]: bond0-1 was attached, but no interface of the pod is this link",
	} {
		m := newMachine(t)
		before := m.state()
		m.Runner = runnerFunc{m.plugins, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
			return json.RawMessage(`{}`), nil
		}}
		_, err := m.Add(t.Context(), request(t, config))
		wantError(t, err, cnierror.Delegate, text)
		m.wantState(before)
	}
}

// TestOlderResult: a plugin prints a result of an older version than its list's. The next
// one gets it in the version of the list, without which it could not read it.
func TestOlderResult(t *testing.T) {
	n := newNode(t)
	var got json.RawMessage
	n.Runner = runnerFunc{n.plugins, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
		out, err := n.plugins.run(ctx, c)
		switch c.Type + " " + c.Command {
		case "bridge ADD":
			out = json.RawMessage(`{"cniVersion": "0.4.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/p1"}], "ips": [{"version": "4", "address": "10.0.0.2/24"}]}`)
		case "portmap ADD":
			got = netconf.NewConfig(c.Config).PrevResult
		}
		return out, err
	}}
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	sameJSON(t, `{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/p1"}], "ips": [{"address": "10.0.0.2/24"}]}`, got)
}
