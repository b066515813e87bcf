package delegate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestGivenTo: sriov-cni's note says where a VF is that is not on the host.
func TestGivenTo(t *testing.T) {
	m := newMachine(t)
	m.change("", "enp2s0v0", bond.Change{Namespace: m.namespace(pod2)})
	const text = "network net1: links[1].deviceID: VF 0000:5e:02.0 has no interface on the host"
	for _, test := range []struct {
		device, note string
		hint         string
	}{
		{"", "", "another pod or program has it"},
		{"0000:5e:02.1", pod2, "another pod or program has it"},
		{"0000:5e:02.0", strings.Repeat("x", maxPath+1), "another pod or program has it"},
		{"0000:5e:02.0", pod2 + "\n", `sriov-cni gave it to the pod at "/run/netns/p2"`},
	} {
		m.SRIOV = t.TempDir()
		if test.device != "" {
			pci := filepath.Join(m.SRIOV, "pci")
			require.NoError(t, os.Mkdir(pci, 0o700))
			writeFile(t, filepath.Join(pci, test.device), test.note, 0o600)
		}
		_, err := m.Add(t.Context(), request(t, standard))
		wantError(t, err, cnierror.Node, text+" ("+test.hint+")")
	}
}
