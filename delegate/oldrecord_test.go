package delegate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// oldRecords is the directory of Records that earlier versions have written, by their
// commits: an archive for each kind of network, with the Records of each phase. A version was
// killed at the first edge at which a Record had the phase, or its DEL failed there, by the
// test below as that version had it.
const oldRecords = "record/testdata"

// first is the earliest version. It wrote into the Plan what is known only later: the MTU of a
// bond over links that plugins make, the index that a VF was given, what a plugin wrote about
// its device, and the CNI_PATH of a DEL. It knew no plugins after a bond, and no links without
// one. before is the version before this one: its Records are of the kinds that differ.
const first, before = "f8aa222", "86a964a"

// oldCase is one kind of network on a fresh machine.
type oldCase struct {
	*machine
	before  string
	network string
	key     plan.Key // that the runtime knows
	begin   func()
	add     func()
	expand  func(string) string // replaces what differs each time
}

// newOldCase makes a case. Operations on files are no edges of it, as they were none of
// the version that wrote the Records.
func newOldCase(t *testing.T, name string) oldCase {
	if name == "the networks of a pod" {
		dir := t.TempDir()
		one := vlan("net2", vfA2)
		one.DeviceInfo = json.RawMessage(`{"type":"pci"}`)
		n := newNode(t, bondOf("bond0", vfA, vfB), one)
		n.reply.Lookup.Attachments[1].DeviceInfoFile = n.infoFile("net2")
		n.plugins.write = map[string]string{"sriov ADD net2": n.infoFile("net2")}
		n.Store.Files = atomicfile.Files{}
		return oldCase{
			machine: n.machine, before: n.state(), network: n.config.Name, key: n.request().Key(),
			add:    func() { n.AddPod(t.Context(), n.config, n.request()) },
			expand: strings.NewReplacer("AGENT", n.config.Agent, "DIR", dir).Replace,
		}
	}
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
	require.GreaterOrEqual(t, i, 0, "there is no scenario %s", name)
	m, r, before := stage(t, i)
	m.Store.Files = atomicfile.Files{}
	return oldCase{
		machine: m, before: before, network: "net1", key: c1,
		begin: func() {
			s, err := m.enter(pod1)
			require.NoError(t, err)
			all := together{[]plan.Request{r}, make([]*record.Record, 1), nil}
			require.NoError(t, m.prepareAll(t.Context(), all, s, &outcome{}))
			require.NoError(t, m.Store.Begin(all.recs...))
		},
		add:    func() { m.Add(t.Context(), r) },
		expand: func(s string) string { return s },
	}
}

// phases returns the phases of all Records on disk, in the order of their names.
func (m *machine) phases() string {
	keys, err := m.Store.List()
	require.NoError(m.t, err)
	slices.SortFunc(keys, func(a, b plan.Key) int { return strings.Compare(a.String(), b.String()) })
	var out []string
	for _, k := range keys {
		out = append(out, string(m.lifeOf(k)))
	}
	return strings.Join(out, ",")
}

func areComplete(phases string) bool {
	return strings.Trim(strings.ReplaceAll(phases, string(record.Complete), ""), ",") == ""
}

// reach makes a machine whose Records have come to phases, stopped at an edge.
func reach(t *testing.T, name, phases string, edge int) (c oldCase, there, all bool) {
	t.Helper()
	c = newOldCase(t, name)
	switch {
	case phases == string(record.Begun):
		c.begin()
	case strings.Contains(phases, string(record.Restoring)):
		c.add()
		head := c.readRecord(c.key)
		c.edges.reset(edge, fail)
		c.Del(t.Context(), c.key)
		passed := c.edges.passed
		c.leftInPlace(head)
		c.edges.passed = passed
	default:
		c.edges.reset(edge, kill)
		untilKilled(c.add)
	}
	all = edge > len(c.edges.passed)
	c.edges.reset(0, nil)
	return c, c.phases() == phases, all
}

// leftInPlace is what earlier versions did with Records that could not be restored, and with
// the first one of a sandbox that has such a Record.
func (c oldCase) leftInPlace(head *record.Record) {
	c.edges.reset(0, nil)
	aside := c.aside()
	for _, rec := range aside {
		require.NoError(c.t, os.Rename(rec.Aside, c.Store.File(rec.Plan.Key())))
	}
	if len(aside) > 0 && !c.Store.Has(c.key) {
		head.Restored, head.Result = head.Started, nil
		require.NoError(c.t, c.Store.Begin(head))
	}
}

// TestOldRecords: what an earlier version has attached, or was killed at, is
// checked, kept or collected by GC, and restored.
func TestOldRecords(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join(oldRecords, first, "*.txtar"))
	require.NoError(t, err)
	// The networks of a pod are in addition. By the newest sriov-cni, VFs have the same Records.
	require.Len(t, archives, len(scenarios)+1-4)
	later, err := filepath.Glob(filepath.Join(oldRecords, before, "*.txtar"))
	require.NoError(t, err)
	require.Len(t, later, 5)
	for _, file := range append(archives, later...) {
		archive, err := txtar.ParseFile(file)
		require.NoError(t, err)
		version, name := filepath.Base(filepath.Dir(file)), ""
		_, name, _ = strings.Cut(string(archive.Comment), `"`)
		name, _, _ = strings.Cut(name, `"`)
		var all []string
		for _, f := range archive.Files {
			all = append(all, filepath.Dir(f.Name))
		}
		for _, phases := range slices.Compact(all) {
			t.Run(version+"/"+name+"/"+phases, func(t *testing.T) {
				t.Parallel()
				testOldRecords(t, version, name, phases, archive.Files)
			})
		}
	}
}

func testOldRecords(t *testing.T, version, name, phases string, files []txtar.File) {
	edge := 1
	for {
		_, there, all := reach(t, name, phases, edge)
		if there {
			break
		}
		require.False(t, all, "the Records never come to these phases")
		edge++
	}
	old := func() oldCase {
		c, _, _ := reach(t, name, phases, edge)
		for _, f := range files {
			if dir, file := filepath.Split(f.Name); dir == phases+"/" {
				writeFile(t, filepath.Join(c.Store.Dir, file), c.expand(string(f.Data)), 0o600)
			}
		}
		require.Equal(t, phases, c.phases())
		return c
	}

	c := old()
	err := c.CheckPod(t.Context(), c.key)
	if areComplete(phases) {
		assert.NoError(t, err)
	} else {
		assert.ErrorContains(t, err, "its ADD or DEL was interrupted; the next DEL finishes it")
		assert.EqualValues(t, cnierror.Check, cnierror.Code(err))
	}
	attached := c.state()
	require.NoError(t, c.GC(t.Context(), c.network, []netconf.GCAttachment{netconf.GCAttachment(c.key)}))
	c.wantState(attached)
	require.NoError(t, c.GC(t.Context(), c.network, []netconf.GCAttachment{}))
	c.wantState(c.before)

	c = old()
	calls := len(c.plugins.calls)
	require.NoError(t, c.Del(t.Context(), c.key))
	c.wantState(c.before)
	for _, call := range c.plugins.calls[calls:] {
		assert.Equal(t, version == first && strings.Contains(phases, string(record.Restoring)), slices.Contains(call.Path, "/opt/cni/new"), "the CNI_PATH of the DEL that failed")
	}

	c = old()
	c.BootID = "boot2"
	require.NoError(t, c.Del(t.Context(), c.key))
	assert.Empty(t, c.phases())

	c = old() // an ADD of this version restores what the old one's has left
	c.add()
	assert.True(t, areComplete(c.phases()), c.phases())
	require.NoError(t, c.Del(t.Context(), c.key))
	c.wantState(c.before)
}
