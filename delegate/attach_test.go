package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
)

// TestIdentify: a link is the one with the PCI address, whatever its plugin
// has called it, and its plugin finds it again under the name that it knows.
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

// TestIdentifyNone: a plugin that says that it has attached a link and has not.
func TestIdentifyNone(t *testing.T) {
	for config, text := range map[string]string{
		standard: "network net1: links[0]: 0000:3b:02.0 was attached, and no interface of the pod is it",
		scenarioConfig("links that plugins make"): "network net1: links[0]: bond0-1 was attached, and no interface of the pod is it",
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

func TestCode(t *testing.T) {
	said := &types.Error{Code: 11, Msg: "later"}
	for _, test := range []struct {
		err  error
		want uint
	}{
		{errors.New("x"), types.ErrInternal},
		{said, 11},
		{fmt.Errorf("sriov ADD: %w", said), 11},
		{cnierror.With(cnierror.Delegate, said), cnierror.Delegate},
		{cnierror.With(cnierror.Restore, cnierror.With(cnierror.Kernel, said)), cnierror.Restore},
		{fmt.Errorf("more: %w", cnierror.Errorf(cnierror.Node, "x")), cnierror.Node},
	} {
		assert.Equal(t, test.want, cnierror.Code(test.err))
	}
	assert.Nil(t, cnierror.With(cnierror.Node, nil))
}
