package delegate

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// replyInputs are the inputs that FuzzAgentReply starts from.
var replyInputs = []struct{ name, text string }{
	{"a plugin with a device", `{"version":1,"lookup":{"attachments":[{"name":"demo/a","ifName":"net1","devices":["0000:3b:02.0"],"config":{"type":"macvlan","name":"a"}}]}}`},
	{"a bond and a list of plugins", `{"lookup":{"attachments":[{"ifName":"bond0","bond":true,"config":{"name":"b","links":[{"deviceID":"0000:3b:02.0"},{"config":{"type":"macvlan"}}],"delegate":{"type":"sriov","vlan":7}}},{"ifName":"net2","config":{"name":"c","plugins":[{"type":"x"},{"type":"y"}]}}]}}`},
	{"a default network with a device-info file outside", `{"lookup":{"attachments":[{"default":true,"ifName":"eth0","config":{"name":"c","type":"x"},"deviceInfoFile":"/a/../b","deviceInfo":{},"defaultRoute":[]}]}}`},
	{"its own device-info file", `{"lookup":{"attachments":[{"default":true,"ifName":"eth0","config":{"name":"c","type":"x"},"deviceInfoFile":"/info/cni/demo-c-c1_eth0"}]}}`},
	{"null for attachments, and an error", `{"lookup":{"attachments":null},"error":{"code":7}}`},
	{"the first byte of a character", "\xc6"},
	{"the first byte of another character", "\xc7"},
	{"a control character in a string", "\"\x01"},
	{"a number and half a string", `0"0`},
	{"a list cut off after a comma", "[{},"},
	{"a digit for a key", "{0"},
	{"a control character after an empty key", "{\"\"\x1a"},
	{"a control character after a key", "{\"00000\"\x10"},
	{"a control character after an inner key", "{\"\":1,\"00000\":{\"00000000000\"\x1a"},
	{"a digit for a colon", `{"000":1,"00000"0`},
	{"a digit for a colon within an attachment", `{"00":{"00000000000":[{"0000000":true,"000000":"0000","00"0`},
	{"a byte that is not UTF-8 for a comma", "{\"\":{\"\":null},\"\":{\"\":0}\x9f"},
	{"a letter for a value", `{"00000":{"00000000000":A`},
	{"NUL in a key after an object", "{\"\":{\"\":\"\",\"\":\"\"},\"\x00"},
	{"a control character in a key of an attachment", "{\"\":{\"\":[{\"\":true,\"\":\"00\",\"000000\":{\"0000\":\"0\",\"0000\":\"0\"},\"00000000000000\":\"0000000\",\"0000000000\":{},\"0\x05"},
	{"a control character in a key after a bond", "{\"\":{\"\":[{\"\":\"\",\"\":true,\"\":{\"\":\"\",\"\":[{\"\":\"0000000\"},{\"000000\":{\"0000\":\"0000000\"}}],\"00000000\":{\"0000\":\"00000\",\"0000\":1}}},\"\x01"},
}

// FuzzAgentReply: whatever an agent answers, what is planned of it has names that
// are names, and a size that its answer bounds.
func FuzzAgentReply(f *testing.F) {
	for _, input := range replyInputs {
		f.Add([]byte(input.text))
	}
	h := &Host{DeviceInfo: "/info/cni"}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var reply agentapi.Reply
		if agentapi.Read(bytes.NewReader(raw), &reply) != nil || reply.Lookup == nil {
			return
		}
		c := netconf.Cluster{Name: "multibond", Inline: json.RawMessage(`{"name": "cbr0", "type": "bridge"}`), RuntimeConfig: map[string]json.RawMessage{"bandwidth": json.RawMessage(`{}`)}}
		rs, err := h.requestsOf(c, plan.Request{ContainerID: "c1", IfName: "eth0", Netns: pod1}, *reply.Lookup)
		boundedError(t, raw, err)
		if err != nil {
			assert.Contains(t, []uint{types.ErrDecodingFailure, types.ErrInvalidNetworkConfig}, cnierror.Code(err), err)
			return
		}
		planned := 0
		for _, r := range rs {
			assert.NoError(t, bond.CheckName(r.IfName))
			if r.Network.Device != "" {
				assert.NoError(t, bond.CheckPCI(r.Network.Device))
			}
			if r.DeviceInfoFile != "" {
				assert.Equal(t, h.DeviceInfo, filepath.Dir(r.DeviceInfoFile))
			}
			for _, plugin := range r.Network.PluginTypes() {
				assert.Equal(t, plugin, filepath.Base(plugin), plugin)
				assert.False(t, strings.HasPrefix(plugin, "-"), "plugin %q", plugin)
			}
			if plan, _, err := plan.Compile(r, arbitraryFacts(r.Network, 255)); err == nil {
				planned += len(strictjson.Encode(plan))
			}
		}
		// Each plugin of a list has its name and version; < is six bytes in JSON.
		assert.LessOrEqual(t, planned, (len(rs)+1)<<12+10*netconf.MaxPlugins*len(raw))
	})
}
