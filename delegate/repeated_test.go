package delegate

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// TestRepeatedPlugin has a plugin that a neighbour's installer appended to our configuration,
// and that is in the default network's too. The runtime executes it, so Multibond does not,
// wherever the default network comes from.
func TestRepeatedPlugin(t *testing.T) {
	const ours = `{"name": "multibond", "plugins": [{"type": "multibond"}]}`
	const chained = `{"name": "multibond", "plugins": [{"type": "multibond"}, {"type": "portmap"}]}`
	for name, attachments := range map[string][]agentapi.Attachment{
		"a file":           nil,
		"the agent's word": {{IfName: "eth0", Config: []byte(defaultFile), Default: true}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, attachments...)
			writeFile(t, filepath.Join(n.config.ConfDir, confdir.Ours), chained, 0o600)
			writeFile(t, filepath.Join(n.config.ConfDir, confdir.Installed), ours, 0o600)
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			unknown := n.request()
			unknown.ContainerID = "c2"
			require.NoError(t, n.DelPod(t.Context(), n.config, unknown))
			var types []string
			for _, c := range n.plugins.calls {
				types = append(types, c.Type)
			}
			assert.Equal(t, []string{"bridge"}, slices.Compact(types))
			assert.Len(t, types, 3, "ADD, DEL, and DEL without a Record")
		})
	}
}
