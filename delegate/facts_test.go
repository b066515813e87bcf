package delegate

import (
	"testing"
	"testing/fstest"

	"github.com/multibond/multibond/bond"
)

// TestGivenTo: where a VF is that is not on the host, sriov-cni's note says.
func TestGivenTo(t *testing.T) {
	m := newMachine(t)
	m.change("", "enp2s0v0", bond.Change{Namespace: m.namespace(pod2)})
	const text = "network net1: links[1].deviceID: VF 0000:5e:02.0 has no interface on the host"
	for _, test := range []struct {
		state fstest.MapFS
		hint  string
	}{
		{nil, "another pod or program has it"},
		{fstest.MapFS{"pci/0000:5e:02.1": {Data: []byte(pod2)}}, "another pod or program has it"},
		{fstest.MapFS{"pci/0000:5e:02.0": {Data: make([]byte, maxPath+1)}}, "another pod or program has it"},
		{fstest.MapFS{"pci/0000:5e:02.0": {Data: []byte(pod2 + "\n")}}, `sriov-cni has given it to the pod at "/run/netns/p2"`},
	} {
		if test.state != nil {
			m.SRIOV = test.state
		}
		_, err := m.Add(t.Context(), request(t, standard))
		wantError(t, err, CodeNode, text+" ("+test.hint+")")
	}
}
