package netconf

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// TestParseAttachment checks what plugins get of what the kubelet asks for.
func TestParseAttachment(t *testing.T) {
	runtime := map[string]json.RawMessage{"mac": []byte(`"02:00:00:00:00:01"`), "ips": []byte(`["10.0.0.1/24"]`)}
	parse := func(a agentapi.Attachment) Network {
		n, err := ParseAttachment(a, runtime)
		require.NoError(t, err)
		return n
	}
	chain := parse(agentapi.Attachment{Name: "demo/n", Devices: []string{deviceA}, Config: []byte(`{"name": "n", "cniVersion": "1.0.0", "plugins": [
		{"type": "a", "capabilities": {"mac": true, "bandwidth": true}},
		{"type": "b", "capabilities": {"mac": true, "ips": true}, "runtimeConfig": {"mac": "own"}},
		{"type": "c"}, {"type": "d", "capabilities": {"mac": 7}}]}`)})
	for i, want := range []string{
		`{"capabilities": {"mac": true, "bandwidth": true}, "cniVersion": "1.0.0", "name": "n", "runtimeConfig": {"mac": "02:00:00:00:00:01"}, "type": "a"}`,
		`{"capabilities": {"mac": true, "ips": true}, "cniVersion": "1.0.0", "name": "n", "runtimeConfig": {"ips": ["10.0.0.1/24"], "mac": "own"}, "type": "b"}`,
		`{"cniVersion": "1.0.0", "name": "n", "type": "c"}`,
		`{"capabilities": {"mac": 7}, "cniVersion": "1.0.0", "name": "n", "type": "d"}`,
	} {
		require.JSONEq(t, want, string(chain.Chain[i].Config.Raw))
	}
	require.Equal(t, []string{"demo/n", deviceA}, []string{chain.Name, chain.Device})

	bonded := parse(agentapi.Attachment{Bond: true, IfName: "bond0", Config: []byte(`{"name": "n", "mode": "balance-rr", "capabilities": {"mac": true}, "links": [{"name": "eth1"}, {"name": "eth2"}]}`)})
	require.Equal(t, []string{"n", "02:00:00:00:00:01"}, []string{bonded.Name, bonded.Options[bond.MAC]})
	require.Equal(t, "02:00:00:00:00:01", bonded.Config.RuntimeConfig.MAC)

	runtime = nil
	plain := agentapi.Attachment{Bond: true, IfName: "bond0", Config: bonded.Config.Raw}
	require.Equal(t, bonded, parse(plain))
	_, err := ParseAttachment(agentapi.Attachment{Config: []byte(`[]`)}, nil)
	require.EqualError(t, err, "the configuration is a list, want a JSON object")
}
