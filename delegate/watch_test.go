package delegate

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// watches returns what the agent was given to watch.
func (n *node) watches() (out []agentapi.Watch) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for _, r := range n.asked {
		if r.Watch != nil {
			out = append(out, *r.Watch)
		}
	}
	return out
}

// TestAgentHearsOfBonds: an ADD tells the agent which bond it has made, and where events
// about it come from.
func TestAgentHearsOfBonds(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	bonds := n.published()[0].Bonds
	require.Len(t, bonds, 1)
	pod, err := n.Host.Kernel.Open(pod1)
	require.NoError(t, err)
	b, err := pod.Link("bond0")
	require.NoError(t, err)
	first, err := pod.Link("bond0-1")
	require.NoError(t, err)
	assert.Equal(t, b.Index, bonds[0].Index)
	assert.Equal(t, "demo/bond0", bonds[0].Network)
	assert.Equal(t, 2, bonds[0].Wanted)
	assert.Equal(t, agentapi.BondLink{Name: "bond0-1", Index: first.Index, Device: vfA, PF: "enp1s0"}, bonds[0].Links[0])
	assert.Empty(t, n.watches(), "the agent does not need another socket")
}

// TestBlindAgent: an agent that hears nothing gets a socket and the state of all bonds,
// with the next ADD and by STATUS.
func TestBlindAgent(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	n.blind = true
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	n.OpenEyes(t.Context(), n.config.Agent)
	given := n.watches()
	require.Len(t, given, 2)
	for _, w := range given {
		assert.Equal(t, n.published()[0].Bonds, w.Bonds)
		var members, devices int
		for _, e := range w.Now {
			if e.Member != nil {
				members++
				assert.Equal(t, bond.MIIUp, e.Member.MII)
			}
			if e.NSID == bond.OwnNamespace {
				devices++
			}
		}
		assert.Equal(t, 2, members)
		assert.GreaterOrEqual(t, devices, 2, "the PFs")
	}
	n.blind = false
	n.OpenEyes(t.Context(), n.config.Agent)
	assert.Len(t, n.watches(), 2)
	n.RemoveNamespace(pod1)
	n.blind = true
	n.OpenEyes(t.Context(), n.config.Agent)
	assert.Empty(t, n.watches()[2].Bonds, "the pod is gone")
}

// TestBondWithoutNumber: a namespace that gets no number is no reason to fail.
func TestBondWithoutNumber(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	n.Fail = func(verb string) error {
		if verb == "Number "+n.idOf(pod1) {
			return errFault
		}
		return nil
	}
	_, warnings, err := n.Host.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	assert.Contains(t, warnings, "the bond cannot be watched: "+errFault.Error())
	assert.Empty(t, n.published()[0].Bonds)
}

func (n *node) idOf(path string) string {
	ns, err := n.Host.Kernel.Open(path)
	require.NoError(n.t, err)
	return ns.ID()
}
