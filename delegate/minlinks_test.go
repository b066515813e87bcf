package delegate

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/strictjson"
)

// TestAddDegraded: a bond that starts with one of its links is one, is checked
// as one, and leaves nothing.
func TestAddDegraded(t *testing.T) {
	m := newMachine(t)
	m.SetDriver(vfB, "vfio-pci")
	before := m.state()
	r := request(t, `{"cniVersion": "1.1.0", "name": "net1", "minLinks": 1, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`)
	result, err := m.Add(t.Context(), r)
	require.NoError(t, err)
	require.Len(t, result.Interfaces, 2)
	assert.Equal(t, m.link(pod1, "bond0").Index, m.link(pod1, "bond0-1").Master)
	assert.NoError(t, m.Check(t.Context(), c1))
	want := []string{
		"network net1: links[1].deviceID: VF 0000:5e:02.0 has the userspace driver vfio-pci, so the kernel has no interface to bond (bind it to the VF's network driver, or leave it to a DPDK program) [MB508]",
		"network net1: links: 1 of 2 are available, and the bond starts with them (keep, if it runs, adds a VF that comes later; a new pod gets all of them) [MB527]",
	}
	assert.Equal(t, want, m.readRecord(c1).Warnings)
	m.mustDel(c1)
	m.wantState(before)
}

// TestAddOneLink: a bond of one link is made where that is asked for, and said.
func TestAddOneLink(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, `{"cniVersion": "1.1.0", "name": "net1", "minLinks": 1, "links": [{"deviceID": "0000:3b:02.0"}]}`))
	assert.Equal(t, []string{"network net1: links: the bond has one link; nothing takes over if it fails [MB528]"}, m.readRecord(c1).Warnings)
	m.mustDel(c1)
	m.wantState(before)
}

// TestAddWithoutADevice: a link for which the pod has no device counts as missing. Without
// minLinks the agent refuses the pod.
func TestAddWithoutADevice(t *testing.T) {
	short := bondOf("bond0", vfA, vfB)
	short.Config = strictjson.Encode(values{"cniVersion": "1.0.0", "name": "net1", "type": "multibond", "minLinks": 1, "links": []values{{"deviceID": vfA}, {"resourceName": "intel.com/b"}}})
	n := newNode(t, short)
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	want := []string{
		"network demo/bond0: links[1].resourceName: the pod has no device left for it (request one more in resources.limits of the pod's containers) [MB504]",
		"network demo/bond0: links: 1 of 2 are available, and the bond starts with them (keep, if it runs, adds a VF that comes later; a new pod gets all of them) [MB527]",
	}
	published := n.published()
	assert.Equal(t, want, published[len(published)-1].Warnings, "published")
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	n.wantState(before)
}
