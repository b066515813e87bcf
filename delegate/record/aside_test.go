package record

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/plan"
)

func keysOf(recs []*Record) (out []string) {
	for _, r := range recs {
		out = append(out, r.Plan.Key().String()+" "+r.Left)
	}
	return out
}

// TestSetAside: a Record that is set aside holds no device and is not listed with the
// others. One that is newer, and has the same name, does not replace it.
func TestSetAside(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	recs, err := s.ListAside()
	assert.Empty(t, recs)
	assert.NoError(t, err)

	first, again, other := newRecord("c1", "net.1", vfA, vfB), newRecord("c1", "net.1", vfA), newRecord("c2", "bond0", vfB)
	for i, r := range []*Record{first, again, other} {
		r.Created, r.Left = time.Date(2026, 1, 2, 3, 4, 5, i, time.UTC), string(rune('a'+i))
		require.NoError(t, s.Begin(r))
		require.NoError(t, s.SetAside(r))
	}
	const dir, end = "aside/c1:net.1.20260102T030405.00000000", "Z.json"
	wantFiles(t, s.Dir, dir+"0"+end, dir+"1"+end, "aside/c2:bond0.20260102T030405.000000002Z.json")
	keys, err := s.List()
	assert.Empty(t, keys)
	assert.NoError(t, err)
	recs, err = s.ListAside()
	assert.Equal(t, []string{"c2:bond0 c", "c1:net.1 b", "c1:net.1 a"}, keysOf(recs))
	assert.NoError(t, err)

	// What becomes of one leaves the Record of its name alone.
	live := newRecord("c1", "net.1", vfA)
	require.NoError(t, s.Begin(live))
	recs[1].Restored = []string{"x"}
	require.NoError(t, s.Update(recs[1]))
	require.NoError(t, s.SetAside(recs[2]))
	recs, err = s.ListAside()
	require.NoError(t, err)
	assert.Equal(t, []string{"x"}, recs[1].Restored)
	require.NoError(t, errors.Join(s.End(recs[0]), s.End(recs[1]), s.End(recs[1]), s.End(recs[2])))
	wantFiles(t, s.Dir, "c1:net.1.json", "c1:net.1.json.begun", "devices/"+vfA)
}

// TestSetAsideIsOnDisk: a Record that is set aside is synced, because what Begin wrote does
// not stay beside it.
func TestSetAsideIsOnDisk(t *testing.T) {
	var done []string
	s := Store{Dir: t.TempDir()}
	s.Files.Around = func(o atomicfile.Operation, do func() error) error {
		done = append(done, o.String())
		return do()
	}
	r := newRecord("c1", "bond0", vfA)
	require.NoError(t, s.Begin(r))
	done = nil
	require.NoError(t, s.SetAside(r))
	assert.Equal(t, []string{
		"remove c1:bond0.json.new", "write c1:bond0.json.new", "sync c1:bond0.json.new", "close c1:bond0.json.new", "rename c1:bond0.json.new",
		"remove " + vfA, "rename c1:bond0.json", "sync directory aside",
		"remove c1:bond0.json.new", "remove c1:bond0.json", "remove c1:bond0.json.begun",
	}, done)

	done = nil
	const aside = "c1:bond0.00010101T000000.000000000Z.json"
	require.NoError(t, s.SetAside(r))
	assert.Equal(t, []string{"remove " + aside + ".new", "write " + aside + ".new", "sync " + aside + ".new", "close " + aside + ".new", "rename " + aside + ".new"}, done)
}

// TestFind: what people are shown of a container.
func TestFind(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	_, _, err := s.Find(c1)
	require.ErrorIs(t, err, os.ErrNotExist)

	r, second := newRecord("c1", "bond0"), newRecord("c1", "net1")
	r.Left = "VLAN"
	require.NoError(t, errors.Join(s.Begin(r), s.SetAside(r), s.Begin(second), s.SetAside(second)))
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "c1:eth0.json.damaged"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "aside", "c1:bond0.20260102T030405.000000000Z.json"), nil, 0o600))
	found, notes, err := s.Find(c1)
	require.NoError(t, err)
	assert.Equal(t, c1, found.Plan.Key())
	assert.Equal(t, []string{
		"record of c1:bond0: it is damaged (" + s.Dir + "/aside/c1:bond0.20260102T030405.000000000Z.json)",
		"given up and set aside as " + r.Aside + ": VLAN",
		"given up and set aside as " + second.Aside + ": ",
		"damaged and kept as " + s.Dir + "/c1:eth0.json.damaged",
	}, notes)

	live := newRecord("c1", "bond0", vfA)
	require.NoError(t, s.Begin(live))
	found, notes, err = s.Find(c1)
	require.NoError(t, err)
	assert.Equal(t, live, found)
	assert.Len(t, notes, 4)
	_, notes, err = s.Find(plan.Key{ContainerID: "c2", IfName: "bond0"})
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.Len(t, notes, 1, "what cannot be read may be anybody's")
}

func TestFailsFor(t *testing.T) {
	var r Record
	assert.False(t, r.FailsFor(0), "it has not failed yet")
	r.Failing = time.Now().Add(-time.Minute)
	assert.True(t, r.FailsFor(time.Second))
	assert.False(t, r.FailsFor(time.Hour))
}
