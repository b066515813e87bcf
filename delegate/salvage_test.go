package delegate

import (
	"os"
	"strings"
	"testing"
)

// noMemory is a bond of which, apart from its Record, only sriov-cni knows.
const noMemory = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
	"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`

// TestDelOfWhatNoRecordKnows: with the Records lost, DEL of a pod that is still
// there brings its VFs home, by what its namespace shows and what sriov-cni keeps.
func TestDelOfWhatNoRecordKnows(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(m *machine)
	}{
		{"the state directory is gone", func(m *machine) { os.RemoveAll(m.Store.Dir) }},
		{"sriov-cni's memory too", func(m *machine) { os.RemoveAll(m.Store.Dir); clear(m.plugins.vfs) }},
		{"sriov-cni refuses", func(m *machine) { os.RemoveAll(m.Store.Dir); m.plugins.refuse["sriov DEL bond0-2"] = "no" }},
		{"the Record and its beginning are damaged", func(m *machine) {
			writeFile(m.t, m.Store.file(c1), "{", 0o600)
			writeFile(m.t, m.Store.file(c1)+begunEnd, "{", 0o600)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			r := request(t, noMemory)
			m.mustAdd(r)
			test.lose(m)
			for range 2 {
				if err := m.DelPod(t.Context(), ClusterConfig{}, r); err != nil {
					t.Fatal(err)
				}
			}
			if !strings.Contains(m.log.String(), "there is no Record of bond0 in "+pod1) {
				t.Errorf("it is not said: %s", m.log)
			}
			clear(m.plugins.vfs) // what sriov-cni keeps where it has refused
			os.RemoveAll(m.Store.Dir)
			if err := os.Mkdir(m.Store.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			m.wantState(before)
		})
	}
}

// TestDelLeavesAnothersBonds: without a Record nothing is touched that is in
// another's Record, or that nobody can tell to be ours.
func TestDelLeavesAnothersBonds(t *testing.T) {
	own := ClusterConfig{Name: "multibond", ConfDir: "/nonexistent"}
	const named = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
		"links": [{"name": "net1", "deviceID": "0000:3b:02.0"}, {"name": "bond0-x", "deviceID": "0000:5e:02.0"}]}`
	for _, test := range []struct {
		name, config string
		keep         bool // the Records
		del          string
		cluster      ClusterConfig
	}{
		{"in a Record", noMemory, true, "eth0", own},
		{"with links of other names", named, false, "eth0", own},
		{"another than the one that is deleted", noMemory, false, "bond1", ClusterConfig{}},
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
			if err := m.DelPod(t.Context(), test.cluster, r); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(m.linesOf(pod1), "\n"); got != attached {
				t.Errorf("the pod has changed:\n%s\nwas\n%s", got, attached)
			}
		})
	}
}
