package netconf

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPluginJSON checks that a Plugin is written as its type and its text, and that
// its fields are known again when it is read.
func TestPluginJSON(t *testing.T) {
	const text = `{"type":"sriov","config":{"cniVersion":"1.0.0","name":"n","vlan":7,"trust":"on","link_state":"auto","dns":{"domain":"d"},"runtimeConfig":{"mac":"02:00:00:00:00:01"}}}`
	var p Plugin
	require.NoError(t, json.Unmarshal([]byte(text), &p))
	again, err := json.Marshal(p)
	require.NoError(t, err)
	require.Equal(t, text, string(again))
	vlan, want := 7, Config{Raw: p.Config.Raw, Name: "n", CNIVersion: "1.0.0", VFSettings: VFSettings{Trust: "on", LinkState: "auto"}}
	want.DNS.Domain, want.RuntimeConfig.MAC, want.VLAN = "d", "02:00:00:00:00:01", &vlan
	require.Equal(t, want, p.Config)
	require.Equal(t, p.Config, NewConfig(p.Config.Raw))
}

// TestNewConfigKeepsWhatItCannotRead checks that a field of the wrong type does not
// hide the others, and that no text is an error.
func TestNewConfigKeepsWhatItCannotRead(t *testing.T) {
	c := NewConfig(json.RawMessage(`{"vlan":"7","mac":[],"cniVersion":"1.1.0","dns":{},"trust":"off"}`))
	require.Equal(t, []string{"1.1.0", "off", ""}, []string{c.CNIVersion, c.Trust, c.MAC})
	for _, text := range []string{`null`, `1`, `[{"name":"n"}]`, `{`, ``} {
		require.Equal(t, Config{Raw: json.RawMessage(text)}, NewConfig(json.RawMessage(text)))
	}
}

func TestConfigHasVersion(t *testing.T) {
	for version, has := range map[string]bool{"0.4.0": true, "1.1.0": true, "0.3.1": false, "": false, "x": false} {
		require.Equal(t, has, Config{CNIVersion: version}.HasVersion("0.4.0"), version)
	}
}
