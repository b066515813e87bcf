package delegate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// noMemory is a bond that only its Record and sriov-cni know.
const noMemory = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
	"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`

// TestDelOfWhatNoRecordKnows: if the Records are lost, DEL of a pod that is still there
// moves its VFs to the host, by what its namespace shows and what sriov-cni keeps.
func TestDelOfWhatNoRecordKnows(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(m *machine)
	}{
		{"the state directory is gone", func(m *machine) { os.RemoveAll(m.Store.Dir) }},
		{"sriov-cni's memory too", func(m *machine) { os.RemoveAll(m.Store.Dir); clear(m.plugins.vfs) }},
		{"sriov-cni refuses", func(m *machine) { os.RemoveAll(m.Store.Dir); m.plugins.refuse["sriov DEL bond0-2"] = "no" }},
		{"the Record and its beginning are damaged", func(m *machine) {
			writeFile(m.t, m.Store.File(c1), "{", 0o600)
			writeFile(m.t, m.Store.File(c1)+".begun", "{", 0o600)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			r := request(t, noMemory)
			m.mustAdd(r)
			test.lose(m)
			for range 2 {
				require.NoError(t, m.DelPod(t.Context(), netconf.Cluster{}, r))
			}
			assert.Contains(t, m.log.String(), "there is no Record of bond0 in "+pod1)
			asked := func(c invoke.Call) bool { return c.Command == "DEL" && c.Type == "sriov" && c.IfName == "bond0-1" }
			assert.True(t, slices.ContainsFunc(m.plugins.calls, asked), "sriov-cni goes on keeping the VF")
			clear(m.plugins.vfs) // what sriov-cni keeps where it has refused
			os.RemoveAll(m.Store.Dir)
			require.NoError(t, os.Mkdir(m.Store.Dir, 0o700))
			m.wantState(before)
		})
	}
}

// TestDelLeavesAnothersBonds: without a Record, DEL touches nothing that is in another
// Record, and nothing that may not be ours.
func TestDelLeavesAnothersBonds(t *testing.T) {
	own := netconf.Cluster{Name: "multibond", ConfDir: "/nonexistent"}
	const named = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
		"links": [{"name": "net1", "deviceID": "0000:3b:02.0"}, {"name": "bond0-x", "deviceID": "0000:5e:02.0"}]}`
	for _, test := range []struct {
		name, config string
		keep         bool // the Records
		del          string
		cluster      netconf.Cluster
	}{
		{"in a Record", noMemory, true, "eth0", own},
		{"with links of other names", named, false, "eth0", own},
		{"another than the one that is deleted", noMemory, false, "bond1", netconf.Cluster{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			r := request(t, test.config)
			m.mustAdd(r)
			if !test.keep {
				os.RemoveAll(m.Store.Dir)
			}
			attached := strings.Join(m.linesOf(pod1), "\n")
			r.IfName = test.del
			require.NoError(t, m.DelPod(t.Context(), test.cluster, r))
			assert.Equal(t, attached, strings.Join(m.linesOf(pod1), "\n"))
		})
	}
}

// TestGCOfWhatNoRecordKnows: if the Records are lost, GC of the cluster's configuration
// reclaims VFs from namespaces that no Record knows. It does nothing if the runtime has a
// container whose namespace is not known.
func TestGCOfWhatNoRecordKnows(t *testing.T) {
	const withVLAN = `{"cniVersion": "1.1.0", "name": "multibond", "type": "multibond", "delegate": {"type": "sriov", "vlan": 100},
		"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`
	const another = `{"cniVersion": "1.1.0", "name": "multibond", "type": "multibond",
		"links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]}`
	for _, test := range []struct {
		name   string
		valid  []netconf.GCAttachment
		keep   bool // the Records of the first pod
		lost   bool // those of the second too
		want1  bool // the first pod is as it was
		want2  bool
		failed string
	}{
		{name: "the second has a Record", valid: []netconf.GCAttachment{{ContainerID: "c2", IfName: "bond0"}}, want2: true},
		{name: "the second has none, and is there", valid: []netconf.GCAttachment{{ContainerID: "c2", IfName: "bond0"}}, lost: true, want1: true, want2: true},
		{name: "nobody is there", valid: []netconf.GCAttachment{}, lost: true},
		{name: "both have Records", valid: []netconf.GCAttachment{{ContainerID: "c1", IfName: "bond0"}, {ContainerID: "c2", IfName: "bond0"}}, keep: true, want1: true, want2: true},
		{name: "a runtime that does not know", lost: true, want1: true, want2: true, failed: "cni.dev/valid-attachments"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.Namespaces = t.TempDir()
			netns := map[string]string{}
			for container, config := range map[string]string{"c1": withVLAN, "c2": another} {
				path := filepath.Join(m.Namespaces, container)
				m.AddNamespace(path)
				writeFile(t, path, "", 0o600)
				netns[container] = path
				r := request(t, config)
				r.ContainerID, r.Netns = container, path
				m.mustAdd(r)
			}
			attached := map[string]string{}
			for container, path := range netns {
				attached[container] = strings.Join(m.linesOf(path), "\n")
			}
			if !test.keep {
				m.lose(c1, vfA, vfB)
			}
			if test.lost {
				m.lose(plan.Key{ContainerID: "c2", IfName: "bond0"}, vfA2, vfB2)
			}
			err := m.GCPod(t.Context(), netconf.Cluster{Name: "multibond", Valid: test.valid})
			if test.failed == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.failed)
			}
			for container, want := range map[string]bool{"c1": test.want1, "c2": test.want2} {
				now := strings.Join(m.linesOf(netns[container]), "\n")
				if want {
					assert.Equal(t, attached[container], now, "%s is touched", container)
				} else {
					assert.NotEqual(t, attached[container], now, container)
					assert.NotContains(t, now, "0000:", container)
				}
			}
			const remains = "multibond: 0000:3b:02.0 may still have the settings of its last pod, which the next pod would get: see ip link show enp1s0; to clear them: ip link set enp1s0 vf 0 vlan 0 trust off\n"
			assert.NotEqual(t, test.want1, strings.Contains(m.log.String(), remains))
			assert.Zero(t, m.edges.open, "namespaces that were not closed")
		})
	}
}

// lose removes a Record with its holds, as a lost disk does.
func (m *machine) lose(k plan.Key, devices ...string) {
	m.t.Helper()
	for _, device := range devices {
		require.NoError(m.t, os.Remove(m.Store.HoldFile(device)))
	}
	require.NoError(m.t, m.Store.Forget(k))
}
