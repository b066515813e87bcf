package netconf

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestBondList: the bond is the first plugin of a list. All plugins get the list's name and
// version, and what the kubelet asks for.
func TestBondList(t *testing.T) {
	runtime := map[string]json.RawMessage{"bandwidth": []byte(`{"egressRate": 1}`)}
	n, err := ParseAttachment(agentapi.Attachment{Name: "demo/n", IfName: "bond0", Bond: true, Config: []byte(`{"name": "n", "cniVersions": ["0.4.0", "1.0.0"], "disableCheck": "true", "plugins": [
		{"type": "multibond", "name": "other", "mode": "balance-rr", "links": [{"name": "eth1"}, {"name": "eth2"}]},
		{"type": "tuning", "sysctl": {"x": "1"}},
		{"type": "vlan", "master": "net1", "linkInContainer": true, "capabilities": {"bandwidth": true}}]}`)}, runtime)
	require.NoError(t, err)
	assert.Equal(t, []string{"demo/n", "1.0.0", "balance-rr"}, []string{n.Name, n.CNIVersion, n.Options["mode"]})
	assert.True(t, bool(n.Config.DisableCheck))
	assert.Nil(t, n.Chain)
	assert.Equal(t, []string{"net1"}, n.PodLinks)
	assert.Equal(t, []string{"tuning", "vlan"}, n.PluginTypes())
	assert.JSONEq(t, `{"type": "multibond", "name": "n", "cniVersion": "1.0.0", "disableCheck": "true", "mode": "balance-rr", "links": [{"name": "eth1"}, {"name": "eth2"}]}`, string(n.Config.Raw))
	for i, want := range []string{
		`{"type": "tuning", "sysctl": {"x": "1"}, "name": "n", "cniVersion": "1.0.0"}`,
		`{"type": "vlan", "master": "net1", "linkInContainer": true, "capabilities": {"bandwidth": true}, "runtimeConfig": {"bandwidth": {"egressRate": 1}}, "name": "n", "cniVersion": "1.0.0"}`,
	} {
		assert.JSONEq(t, want, string(n.After[i].Config.Raw))
	}

	ofBondCNI, err := ParseNetwork([]byte(`{"name": "n", "plugins": [{"type": "bond", "mode": "active-backup", "failOverMac": 1, "linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]}, {"type": "tuning"}]}`), "bond0")
	require.NoError(t, err)
	assert.Equal(t, []string{"net1", "net2"}, ofBondCNI.PodLinks)
	assert.Len(t, ofBondCNI.After, 1)
}

// TestBondListProblems: each problem has the path in the list.
func TestBondListProblems(t *testing.T) {
	for config, text := range map[string]string{
		`{"name": "n", "plugins": []}`:  `network n: plugins: has no plugin configuration`,
		`{"name": "n", "plugins": [7]}`: `network n: plugins[0]: is 7, want a JSON object`,
		`{"plugins": [{"type": "multibond", "links": [{"name": "a"}, {"name": "b"}]}]}`:                                              `name: is missing`,
		`{"name": "n", "plugins": [{"type": "multibond", "miimon": "x", "links": [{"name": "a"}, {"name": "b"}]}, {"type": "a/b"}]}`: `network n: plugins[0].miimon: is "x", want at least 0 ms; plugins[1].type: is "a/b", which is not a valid name of a CNI plugin`,
	} {
		_, err := ParseNetwork([]byte(config), "bond0")
		assert.EqualError(t, err, text)
		assert.EqualValues(t, 7, cnierror.Code(err))
	}
}

// TestWithDevicesInAList: devices are filled in where the bond is.
func TestWithDevicesInAList(t *testing.T) {
	const head, tail = `{"name": "n", "plugins": [{"type": "multibond", "links": [`, `]},{"type":"tuning"}]}`
	got, err := WithDevices([]byte(head+`{"resourceName": "a/b", "count": 2}`+tail), []string{deviceA, deviceB})
	require.NoError(t, err)
	assert.JSONEq(t, head+`{"deviceID":"0000:3b:02.0"}, {"deviceID":"0000:5e:02.0"}`+tail, string(got))
}
