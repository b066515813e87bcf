package delegate

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/plan"
)

// TestDelEnded: when everything is released, a further DEL asks nobody anything, until the
// sandbox is attached again.
func TestDelEnded(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	before := n.state()
	for range 2 {
		_, err := n.AddPod(t.Context(), n.config, n.request())
		require.NoError(t, err)
		assert.False(t, n.Store.Tombstones(n.BootID).Has(n.request().Key()), "an attached sandbox is taken for one that has ended")
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		n.wantState(before)
		calls := len(n.plugins.calls)
		err = n.DelPod(t.Context(), n.config, n.request())
		assert.NoError(t, err)
		assert.Len(t, n.plugins.calls, calls)
	}
}

// TestDelUnknownRefused: each DEL executes the plugins of a container without a Record,
// until they do not refuse.
func TestDelUnknownRefused(t *testing.T) {
	n := newNode(t)
	n.plugins.missing["bridge"] = true
	for i := range 2 {
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		assert.False(t, n.Store.Tombstones(n.BootID).Has(n.request().Key()), "DEL %d: a plugin could not be called, and the sandbox has ended", i)
	}
	n.plugins.missing["bridge"] = false
	for range 2 {
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	}
	assert.Equal(t, 1, n.plugins.count("bridge", "DEL"))
}

// TestDelDoubt: if a DEL may have left something, the next one looks again.
func TestDelDoubt(t *testing.T) {
	for name, spoil := range map[string]func(n *node){
		"a Record is missing": func(n *node) {
			require.NoError(t, n.Store.Forget(c1))
		},
		"of another boot": func(n *node) { n.BootID = "boot2" },
		"no Record, no namespace": func(n *node) {
			for _, name := range []string{"eth0", "bond0"} {
				require.NoError(t, n.Store.Forget(plan.Key{ContainerID: "c1", IfName: name}))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, bondOf("bond0", vfA, vfB))
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			spoil(n)
			r := n.request()
			if name == "no Record, no namespace" {
				r.Netns = ""
			}
			require.NoError(t, n.DelPod(t.Context(), n.config, r))
			assert.False(t, n.Store.Tombstones(n.BootID).Has(r.Key()), "the sandbox is taken for one that has ended")
			for range 2 { // the first takes home what is left, and warns of what nobody knows
				require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			}
			assert.True(t, n.Store.Tombstones(n.BootID).Has(r.Key()), "the sandbox is not taken for one that has ended")
		})
	}
}
