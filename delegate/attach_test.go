package delegate

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
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
