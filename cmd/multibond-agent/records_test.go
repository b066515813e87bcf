package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/kubeclient"
)

// TestReadRecords: the agent tells of the Records of its node, those of plugins within
// plugins and those that were set aside too. One that cannot be read is an error, and takes
// no other with it.
func TestReadRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	_, err := readRecords(dir)
	require.ErrorIs(t, err, fs.ErrNotExist, "the directory is not mounted")
	store := record.Store{Dir: dir}
	begin := func(s record.Store, container string) *record.Record {
		rec := record.New(plan.Plan{
			ContainerID: container, Group: plan.Group{Pod: agentapi.Pod{Namespace: "demo", Name: container, UID: "u"}}, IfName: "bond0",
			Links: []plan.Link{{Name: "bond0-1", Device: "0000:01:10.0"}},
		})
		rec.Warnings, rec.Attached["bond0-1"] = []string{"w"}, record.Attached{}
		require.NoError(t, os.MkdirAll(s.Dir, 0o700))
		require.NoError(t, s.Begin(rec))
		return rec
	}
	begin(store, "c1")
	begin(store.Within(), "c2")
	aside := begin(store, "c3")
	aside.Left = "a VLAN"
	require.NoError(t, store.SetAside(aside))
	got, err := readRecords(dir)
	require.NoError(t, err)
	links := []kubeclient.PlannedLink{{Name: "bond0-1", Device: "0000:01:10.0", Attached: true}}
	for i, container := range []string{"c1", "c2", "c3"} {
		require.Greater(t, len(got), i)
		assert.Equal(t, container, got[i].Container)
		assert.Equal(t, container, got[i].Pod.Name)
		assert.Equal(t, "bond0", got[i].Interface)
		assert.Equal(t, links, got[i].Links)
		assert.Equal(t, container == "c3", got[i].Aside)
	}
	assert.Equal(t, "a VLAN", got[2].Left)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "c4:bond0.json"), []byte("{"), 0o600))
	got, err = readRecords(dir)
	assert.ErrorIs(t, err, record.ErrDamaged)
	assert.Len(t, got, 3)
}
