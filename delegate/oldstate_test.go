package delegate

import (
	"os"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// TestOldState: whatever has become of a Record, nothing panics. DEL restores what is still
// known, or refuses and changes nothing.
func TestOldState(t *testing.T) {
	replaceIn := func(old, new string) func(string) string {
		return func(r string) string { return strings.Replace(r, old, new, 1) }
	}
	set := func(content string) func(string) string { return func(string) string { return content } }
	for _, test := range []struct {
		name    string
		spoil   func(record string) string
		aside   bool   // a copy is kept
		refused string // what DEL says, "" where everything is as before
	}{
		{"as it was", replaceIn("", ""), false, ""},
		{"with what a later release has added", replaceIn(`{`, `{"added":{"a":1},`), false, ""},
		{"truncated", func(r string) string { return r[:len(r)/2] }, true, ""},
		{"empty", set(""), true, ""},
		{"null", set("null"), true, ""},
		{"another form", set(`["version", 1]`), true, ""},
		{"zeros, as a file system leaves them", func(r string) string { return strings.Repeat("\x00", len(r)) }, true, ""},
		{"of no version", replaceIn(`"version":1,`, ""), true, ""},
		{"of another container", replaceIn(`"c1"`, `"c9"`), true, ""},
		{"of a newer version", replaceIn(`"version":1,`, `"version":3,`), false,
			"record of c1:bond0 has version 3, but this program knows only 2: use the version that wrote it (v0.3.0) or a newer one"},
		{"of a newer version with a name and another form", set(`{"version": 3, "release": "v0.9.0", "plan": ["another form"]}`), false,
			"record of c1:bond0 has version 3, but this program knows only 2: use the version that wrote it (v0.9.0) or a newer one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			m.mustAdd(request(t, standard))
			file := m.Store.File(c1)
			good, err := os.ReadFile(file)
			require.NoError(t, err)
			bad := test.spoil(string(good))
			require.Equal(t, test.name == "as it was", bad == string(good), "nothing is spoilt")
			writeFile(t, file, bad, 0o600)
			attached := m.state()
			switch err := m.Check(t.Context(), c1); {
			case test.refused != "":
				wantError(t, err, types.ErrIOFailure, test.refused)
			case test.aside:
				wantError(t, err, cnierror.Check, "network net1: its ADD or DEL was interrupted; the next DEL finishes it")
			default:
				assert.NoError(t, err)
			}
			if test.refused != "" {
				wantError(t, m.Del(t.Context(), c1), types.ErrIOFailure, test.refused)
				m.wantState(attached)
				return
			}
			m.mustDel(c1)
			if test.aside {
				kept, err := os.ReadFile(file + ".damaged")
				assert.NoError(t, err)
				assert.Equal(t, bad, string(kept))
				require.NoError(t, os.Remove(file+".damaged"))
			}
			m.wantState(before)
		})
	}
}

// TestOldStateGC: if one Record cannot be read, GC reports it and restores the others.
func TestOldStateGC(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	writeFile(t, m.Store.Dir+"/c0:bond0.json", `{"version":3}`, 0o600)
	require.NoError(t, os.Mkdir(m.Store.Dir+"/c3:bond0.json", 0o700))
	err := m.GC(t.Context(), "net1", []netconf.GCAttachment{})
	assert.ErrorContains(t, err, "record of c0:bond0 has version 3")
	assert.ErrorContains(t, err, "record of c3:bond0: read ")
	assert.False(t, hasRecord(m), "the other Record was not restored")
	assert.Equal(t, vfA, m.link("", "enp1s0v0").Device)
}
