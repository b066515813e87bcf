package delegate

import (
	"bytes"
	"encoding/json"
	"errors"
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

// FuzzAgentReply: whatever an agent answers, what is planned of it has names that
// are names, and a size that its answer bounds.
func FuzzAgentReply(f *testing.F) {
	for _, input := range replyInputs {
		f.Add([]byte(input.text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var reply agentapi.Reply
		if agentapi.Read(bytes.NewReader(raw), &reply) != nil || reply.Lookup == nil {
			return
		}
		c := netconf.Cluster{Name: "multibond", Inline: json.RawMessage(`{"name": "cbr0", "type": "bridge"}`), RuntimeConfig: map[string]json.RawMessage{"bandwidth": json.RawMessage(`{}`)}}
		rs, err := requestsOf(c, plan.Request{ContainerID: "c1", IfName: "eth0", Netns: pod1}, *reply.Lookup)
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
			assert.NotContains(t, r.DeviceInfoFile, "..")
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

// boundedError wants of what is said about an input that it is not much longer,
// and that each problem says where it is.
func boundedError(t *testing.T, input []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	assert.LessOrEqual(t, len(err.Error()), 40_000+20*len(input))
	var problem bond.Problem
	if errors.As(err, &problem) {
		assert.NotEmpty(t, problem.Text, err)
	}
}

// arbitraryFacts has what each bit of node stands for.
func arbitraryFacts(n netconf.Network, node uint8) plan.Facts {
	has := func(bit int) bool { return node&(1<<bit) != 0 }
	f := plan.Facts{Plugins: map[string]bool{}, Holders: map[string]plan.Key{}}
	f.Devices, f.Host, f.PodAddr = map[string]bond.DeviceFacts{}, map[string]bond.HostLink{}, map[int]bond.Addresses{}
	for _, plugin := range n.PluginTypes() {
		f.Plugins[plugin] = has(1)
	}
	for i, l := range n.Links {
		link := bond.Link{Index: i + 2, Name: l.Name, MTU: 1500, Device: l.Device}
		d := bond.DeviceFacts{Device: bond.Device{Address: l.Device, Driver: "igbvf"}, Missing: !has(2)}
		if has(3) {
			d.PF, d.Link, d.PFLink = pfA, &link, &bond.Link{Name: "enp1s0", MTU: 1500}
		}
		if has(4) {
			f.Devices[l.Device] = d
			f.Host[l.Name] = bond.HostLink{Link: link}
		}
		if has(5) {
			f.Pod = append(f.Pod, link)
		}
	}
	return f
}
