package delegate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/plan"
)

// TestSteps: Records have the time of each step, and the first Record of a pod also that of
// the lookup, even after a repeated ADD. The agent hears of each step once.
func TestSteps(t *testing.T) {
	n := newNode(t, vlan("net1", vfA2))
	for range 2 {
		_, err := n.AddPod(t.Context(), n.config, n.request())
		require.NoError(t, err)
		for ifName, want := range map[string][]string{
			"eth0": {"lookup", "survey", "compile", "record", "attach eth0"},
			"net1": {"survey", "compile", "attach net1"},
		} {
			var got []string
			for _, step := range n.readRecord(plan.Key{ContainerID: "c1", IfName: ifName}).Steps {
				got = append(got, step.What)
			}
			assert.Empty(t, cmp.Diff(want, got), ifName)
		}
	}
	for _, p := range n.published() {
		var got []string
		for _, step := range p.Steps {
			got = append(got, step.What)
		}
		assert.Equal(t, []string{"lookup", "survey", "compile", "record", "attach eth0", "survey", "compile", "attach net1", "total"}, got, "published")
	}
}
