package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

func newRecord(id, ifName string, devices ...string) *Record {
	r := &Record{Version: Version, Plan: plan.Plan{ContainerID: id, IfName: ifName, Config: netconf.NewConfig(strictjson.Encode(1))}}
	for _, d := range devices {
		r.Plan.Links = append(r.Plan.Links, plan.Link{Name: "l" + d, Source: netconf.FromDevice, Device: d})
	}
	return r
}

// files lists all files below a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	require.NoError(t, err)
	slices.Sort(out)
	return out
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	assert.Equal(t, want, files(t, dir), "files")
}

func TestStore(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "state")}
	keys, err := s.List()
	assert.Nil(t, keys)
	assert.NoError(t, err)
	k, err := s.Holder(vfA)
	assert.Equal(t, plan.Key{}, k)
	assert.NoError(t, err)
	_, err = s.Load(c1)
	require.Error(t, err)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.True(t, strings.HasPrefix(err.Error(), "record of c1:bond0: open "), err)
	r := newRecord("c1", "bond0", vfB, vfA)
	require.NoError(t, s.Begin(r))
	wantFiles(t, s.Dir, "c1:bond0.json", "c1:bond0.json.begun", "devices/"+vfA, "devices/"+vfB)
	for _, name := range []string{s.File(c1), s.HoldFile(vfA)} {
		st, err := os.Stat(name)
		assert.NoError(t, err, name)
		assert.EqualValues(t, 0o600, st.Mode().Perm(), name)
	}
	assert.ErrorIs(t, s.Begin(r), fs.ErrExist)
	r.Started = []string{"l" + vfA}
	require.NoError(t, s.Update(r))
	got, err := s.Load(c1)
	require.NoError(t, err)
	assert.Equal(t, r, got)
	require.NoError(t, errors.Join(s.Begin(newRecord("c2", "net.1")), s.Begin(newRecord("c1", "net1"))))
	keys, err = s.List()
	assert.Equal(t, []plan.Key{c1, {ContainerID: "c1", IfName: "net1"}, {ContainerID: "c2", IfName: "net.1"}}, keys)
	assert.NoError(t, err)
	require.NoError(t, errors.Join(s.End(r), s.End(r), s.End(newRecord("c2", "net.1")), s.Forget(plan.Key{ContainerID: "c1", IfName: "net1"})))
	wantFiles(t, s.Dir)
}

// TestStoreTogether: Records that are begun together are one file, which is synced once,
// until Update gives each a file of its own.
func TestStoreTogether(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	first, second := newRecord("c1", "bond0", vfA), newRecord("c1", "net1", vfB)
	require.NoError(t, s.Begin(first, second))
	all := []string{"c1:bond0.json", "c1:bond0.json.begun", "c1:net1.json", "c1:net1.json.begun"}
	wantFiles(t, s.Dir, append(all, "devices/"+vfA, "devices/"+vfB)...)
	one, err := os.Stat(filepath.Join(s.Dir, all[0]))
	require.NoError(t, err)
	for _, name := range all[1:] {
		other, err := os.Stat(filepath.Join(s.Dir, name))
		assert.NoError(t, err, name)
		assert.True(t, os.SameFile(one, other), "%s is a file of its own", name)
	}
	want := func(r *Record) {
		t.Helper()
		got, err := s.Load(r.Plan.Key())
		assert.Empty(t, cmp.Diff(r, got))
		assert.NoError(t, err)
	}
	want(first)
	want(second)
	first.Started = []string{"l" + vfA}
	require.NoError(t, s.Update(first))
	want(first)
	want(second)
	require.NoError(t, os.Truncate(s.File(c1), 10))
	got, err := s.Load(c1)
	assert.NoError(t, err)
	assert.True(t, got.IPAMAsked, "in place of a damaged one")
	assert.Equal(t, c1, got.Plan.Key())
	require.NoError(t, s.End(first))
	want(second)
	wantFiles(t, s.Dir, "c1:bond0.json.damaged", "c1:net1.json", "c1:net1.json.begun", "devices/"+vfB)
}

// TestStoreHolds: a hold counts only if its Record exists. End removes only the holds of
// its Record, and holds that were cut short. Found by the campaign of faults: on a full
// disk an empty hold stayed.
func TestStoreHolds(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	first, second := newRecord("c1", "bond0", vfA, vfB), newRecord("c2", "bond0", vfB)
	require.NoError(t, errors.Join(s.Begin(first), s.Begin(second)))
	holders := func() (out []plan.Key) {
		for _, device := range []string{vfA, vfB, vfA2} {
			k, err := s.Holder(device)
			require.NoError(t, err)
			out = append(out, k)
		}
		return out
	}
	assert.Equal(t, []plan.Key{c1, c2, {}}, holders())
	require.NoError(t, s.End(first))
	assert.Equal(t, []plan.Key{{}, c2, {}}, holders())
	require.NoError(t, s.Forget(c2))
	require.NoError(t, os.WriteFile(s.HoldFile(vfA), []byte(""), 0o600)) // cut short
	assert.Equal(t, []plan.Key{{}, {}, {}}, holders())
	require.NoError(t, s.End(first)) // whose hold it was to be; nor has c2 a Record any more
	wantFiles(t, s.Dir)
}

// TestStoreFails: if a Record cannot be written, the old one stays, and nothing else.
func TestStoreFails(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	r := newRecord("c1", "bond0")
	require.NoError(t, s.Begin(r))
	r.Started = []string{"x"}
	for _, verb := range []atomicfile.Verb{atomicfile.Write, atomicfile.Close} {
		s.Files.Around = refuse(verb)
		require.EqualError(t, s.Update(r), "record of c1:bond0: no "+string(verb))
		got, err := s.Load(c1)
		assert.NoError(t, err)
		assert.Nil(t, got.Started)
		wantFiles(t, s.Dir, "c1:bond0.json", "c1:bond0.json.begun")
	}
}

// refuse has each operation of a kind fail.
func refuse(verb atomicfile.Verb) func(atomicfile.Operation, func() error) error {
	return func(o atomicfile.Operation, do func() error) error {
		if o.Verb == verb {
			return fmt.Errorf("no %s", verb)
		}
		return do()
	}
}

// TestBeginFails: if something of a Record or of its hold does not reach the disk, Begin
// fails, so that nothing is done.
func TestBeginFails(t *testing.T) {
	for verb, want := range map[atomicfile.Verb]string{
		atomicfile.Write:   "record of c1:bond0: no write",
		atomicfile.Sync:    "record of c1:bond0: no sync",
		atomicfile.Close:   "record of c1:bond0: no close",
		atomicfile.Link:    "record of c1:bond0: no link",
		atomicfile.SyncDir: "no sync directory",
	} {
		s := Store{t.TempDir(), atomicfile.Files{Around: refuse(verb)}}
		assert.EqualError(t, s.Begin(newRecord("c1", "bond0", vfA)), want)
	}
}

// TestBeginIsOnDisk: a Record is synced before it gets its name, and its names before Begin
// returns.
func TestBeginIsOnDisk(t *testing.T) {
	var done []string
	s := Store{Dir: filepath.Join(t.TempDir(), "state")}
	s.Files.Around = func(o atomicfile.Operation, do func() error) error {
		done = append(done, o.String())
		return do()
	}
	require.NoError(t, s.Begin(newRecord("c1", "bond0", vfA), newRecord("c1", "net1")))
	assert.Equal(t, []string{
		"write c1:bond0.json.begun", "sync c1:bond0.json.begun", "close c1:bond0.json.begun",
		"link c1:bond0.json.begun", "link c1:bond0.json.begun", "link c1:bond0.json.begun", "sync directory state", "write " + vfA,
	}, done)
}

// TestUpdateKilled: an Update that is killed after its exchange leaves what Begin wrote,
// which is that of other Records too. The next Update does not write into it.
func TestUpdateKilled(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	first, second := newRecord("c1", "bond0", vfA), newRecord("c1", "net1", vfB)
	require.NoError(t, s.Begin(first, second))
	require.NoError(t, os.Link(s.File(c1)+begunEnd, s.File(c1)+atomicfile.Unfinished))
	first.Started = []string{"l" + vfA}
	require.NoError(t, s.Update(first))
	for _, want := range []*Record{first, second} {
		got, err := s.Load(want.Plan.Key())
		require.NoError(t, err)
		assert.Empty(t, cmp.Diff(want, got))
	}
	wantFiles(t, s.Dir, "c1:bond0.json", "c1:bond0.json.begun", "c1:net1.json", "c1:net1.json.begun", "devices/"+vfA, "devices/"+vfB)
}

// TestStoreDamaged: if a Record cannot be read, Load returns the one that Begin wrote, with
// every step marked as begun.
func TestStoreDamaged(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	r := newRecord("c1", "bond0", vfA, vfB)
	require.NoError(t, s.Begin(r))
	require.NoError(t, s.Files.Replace(s.File(c1), nil))
	for range 2 {
		got, err := s.Load(c1)
		require.NoError(t, err)
		assert.Equal(t, []string{"l" + vfA, "l" + vfB}, got.Started)
		assert.True(t, got.IPAMAsked)
	}
	wantFiles(t, s.Dir, "c1:bond0.json", "c1:bond0.json.begun", "c1:bond0.json.damaged", "devices/"+vfA, "devices/"+vfB)

	// A copy that cannot be kept does not keep it from being used.
	require.NoError(t, os.Remove(s.File(c1)+damagedEnd))
	full := Store{s.Dir, atomicfile.Files{Around: refuse(atomicfile.Link)}}
	got, err := full.Load(c1)
	require.NoError(t, err)
	assert.True(t, got.IPAMAsked)
	require.NoError(t, s.Files.Replace(s.File(c1)+begunEnd, nil))
	_, err = full.Load(c1)
	assert.EqualError(t, err, "record of c1:bond0: it is damaged and no copy of it can be kept: no link")
	assert.ErrorIs(t, err, ErrDamaged)

	require.NoError(t, s.End(r))
	wantFiles(t, s.Dir)
}

// TestStoreOwner: a Record under another name is damaged.
func TestStoreOwner(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	require.NoError(t, s.Begin(newRecord("c1", "bond0")))
	require.NoError(t, os.Rename(s.File(c1), s.File(c2)))
	_, err := s.Load(c2)
	assert.ErrorIs(t, err, ErrDamaged)
}

// TestStoreTooLarge: a Record that is too large is not read, and one that could not be read
// back is not written.
func TestStoreTooLarge(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	require.NoError(t, s.Begin(newRecord("c1", "bond0", "0000:3b:02.0")))
	require.NoError(t, os.Truncate(s.HoldFile("0000:3b:02.0"), maxHold+1))
	_, err := s.Holder("0000:3b:02.0")
	require.ErrorIs(t, err, atomicfile.ErrTooLarge)
	require.NoError(t, os.Truncate(s.File(c1), maxRecord+1))
	_, err = read(s.File(c1), c1)
	require.ErrorIs(t, err, atomicfile.ErrTooLarge)
	require.ErrorIs(t, err, ErrDamaged)

	large := newRecord("c2", "bond0")
	large.Warnings = []string{strings.Repeat("x", maxRecord)}
	require.ErrorIs(t, s.Begin(large), atomicfile.ErrTooLarge)
	require.ErrorIs(t, s.Update(large), atomicfile.ErrTooLarge)
}
