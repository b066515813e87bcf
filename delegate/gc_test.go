package delegate

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/netconf"
)

// gcCalls lists the GC calls of plugins from call number from on: the plugin, its network,
// and the attachments that it keeps.
func (m *machine) gcCalls(from int) (out []string) {
	for _, c := range m.plugins.calls[from:] {
		var config struct {
			Name  string
			Valid []netconf.GCAttachment `json:"cni.dev/valid-attachments"`
			Old   []netconf.GCAttachment `json:"cni.dev/attachments"`
		}
		if c.Command != "GC" || json.Unmarshal(c.Config, &config) != nil {
			continue
		}
		var keep []string
		for _, a := range config.Valid {
			keep = append(keep, a.ContainerID+":"+a.IfName)
		}
		slices.Sort(keep)
		same := ""
		if !cmp.Equal(config.Valid, config.Old) || config.Valid == nil {
			same = " and the lists differ"
		}
		out = append(out, c.Type+" "+config.Name+" keeps "+strings.Join(keep, " ")+same)
	}
	return out
}

// TestGCForwarded: GC of each plugin that knows it is executed once for each network of
// its own, with the attachments that stay, under the names that the plugin knows.
func TestGCForwarded(t *testing.T) {
	newest := strings.NewReplacer(`"cniVersion": "1.0.0"`, `"cniVersion": "1.1.0"`)
	n := newNode(t, bondOf("bond0", vfA, vfB), vlan("net2", vfA2))
	writeFile(t, n.config.ConfDir+"/10-cbr0.conflist", newest.Replace(defaultFile), 0o600)
	for i := range n.reply.Lookup.Attachments {
		a := &n.reply.Lookup.Attachments[i]
		a.Config = json.RawMessage(strings.NewReplacer(`"cniVersion":"1.0.0"`, `"cniVersion":"1.1.0"`, `"cniVersion":"0.3.1"`, `"cniVersion":"1.1.0"`,
			`"type":"sriov"}`, `"type":"sriov","cniVersion":"1.1.0","name":"vfs"}`).Replace(string(a.Config)))
	}
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	gc := func(valid ...netconf.GCAttachment) []string {
		t.Helper()
		from := len(n.plugins.calls)
		require.NoError(t, n.GC(t.Context(), "multibond", append([]netconf.GCAttachment{}, valid...)))
		return n.gcCalls(from)
	}
	older := netconf.GCAttachment{ContainerID: "older", IfName: "eth0"} // without a Record
	want := []string{
		"host-local net-bond0 keeps c1:bond0",
		"sriov vfs keeps c1:bond0-1 c1:bond0-2",
		"bridge cbr0 keeps c1:eth0 older:eth0",
		"portmap cbr0 keeps c1:eth0 older:eth0",
		"sriov vlan keeps c1:net2",
	}
	slices.Sort(want)
	got := gc(netconf.GCAttachment{ContainerID: "c1", IfName: "eth0"}, older)
	slices.Sort(got)
	assert.Equal(t, want, got, "of an attachment that stays")
	want = []string{"bridge cbr0 keeps older:eth0", "host-local net-bond0 keeps ", "portmap cbr0 keeps older:eth0", "sriov vfs keeps ", "sriov vlan keeps "}
	got = gc(older)
	slices.Sort(got)
	assert.Equal(t, want, got, "of one that is gone")
	n.wantState(before)
}

// TestGCBesideAnUnreadableRecord: an IPAM plugin that is told which attachments are left would
// free the address of a pod whose Record cannot be read.
func TestGCBesideAnUnreadableRecord(t *testing.T) {
	for _, text := range []string{`{"version": 3}`, `{"version":1,`} {
		m := newMachine(t)
		m.mustAdd(request(t, standard))
		writeFile(t, m.Store.Dir+"/c9:bond0.json", text, 0o600)
		from := len(m.plugins.calls)
		warnings, _ := m.Host.GC(t.Context(), "net1", []netconf.GCAttachment{{ContainerID: "c1", IfName: "bond0"}, {ContainerID: "c9", IfName: "bond0"}})
		assert.Empty(t, m.gcCalls(from), text)
		assert.Contains(t, strings.Join(warnings, "\n"), "plugins are not told which attachments are left: "+m.Store.Dir+"/c9:bond0.json cannot be read", text)
	}
}

// TestGCIsForwardedToNoneThatDoesNotKnowIt: CNI before 1.1 has no GC.
func TestGCIsForwardedToNoneThatDoesNotKnowIt(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, strings.Replace(standard, `"cniVersion": "1.1.0"`, `"cniVersion": "1.0.0"`, 1)))
	from := len(m.plugins.calls)
	require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{}))
	assert.Nil(t, m.gcCalls(from))
}

// TestGCForgetsWhatWasNeverBegun: a process was killed before its Record was
// there, and so before its first effect.
func TestGCForgetsWhatWasNeverBegun(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	with := m.state()
	for _, name := range []string{"c7:bond0.json.begun", "c7:bond0.json.new"} {
		writeFile(t, m.Store.Dir+"/"+name, "{", 0o600)
	}
	require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{{ContainerID: "c1", IfName: "bond0"}}))
	m.wantState(with)
	_, err := os.Stat(m.Store.Dir + "/c1:bond0.json.begun")
	assert.NoError(t, err, "of a Record that is there")
}
