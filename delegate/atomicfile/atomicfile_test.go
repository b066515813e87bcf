package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLimit: the error of a file that is too large names the file.
func TestLimit(t *testing.T) {
	_, err := ReadAll(strings.NewReader("four"), 3)
	require.ErrorIs(t, err, ErrTooLarge)
	require.EqualError(t, err, "it is too large: more than 3 bytes")
	all, err := ReadAll(strings.NewReader("four"), 4)
	require.NoError(t, err)
	require.Equal(t, "four", string(all))

	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte("four"), 0o600))
	_, err = Read(name, 3)
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, name)
	all, err = Read(name, 4)
	require.NoError(t, err)
	require.Equal(t, "four", string(all))
	_, err = Read(name+"2", 4)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestReplace: a file has the old content or the new, and nothing else stays.
func TestReplace(t *testing.T) {
	writers := map[string]func(name, text string) error{
		"Replace":       func(name, text string) error { return Files{}.Replace(name, []byte(text)) },
		"ReplaceSynced": func(name, text string) error { return Files{}.ReplaceSynced(name, "*.new", []byte(text), 0o600) },
	}
	for what, write := range writers {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, "file")
			for _, text := range []string{"first", "2nd", ""} {
				require.NoError(t, write(name, text))
				found, err := os.ReadFile(name)
				require.NoError(t, err)
				require.Equal(t, text, string(found))
			}
			require.Error(t, write(filepath.Join(dir, "nowhere", "file"), "x"))
		})
	}
}

// TestCreate: a file that is there already stays as it is.
func TestCreate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, Files{}.Create(name, []byte("first")))
	require.ErrorIs(t, Files{}.Create(name, []byte("second")), fs.ErrExist)
	found, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "first", string(found))
	require.NoError(t, Files{}.SyncDir(filepath.Dir(name)))
	require.NoError(t, Files{}.Remove(name, name))
}

// TestReplaceFails: whatever fails, the old file stays, and nothing else.
func TestReplaceFails(t *testing.T) {
	for verb, replace := range map[Verb]func(f Files, name string) error{
		Write:  func(f Files, name string) error { return f.Replace(name, []byte("new")) },
		Close:  func(f Files, name string) error { return f.Replace(name, []byte("new")) },
		Sync:   func(f Files, name string) error { return f.ReplaceSynced(name, "*.new", []byte("new"), 0o600) },
		Rename: func(f Files, name string) error { return f.ReplaceSynced(name, "*.new", []byte("new"), 0o600) },
	} {
		t.Run(string(verb), func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, "file")
			require.NoError(t, os.WriteFile(name, []byte("old"), 0o600))
			f := Files{Around: func(o Operation, do func() error) error {
				if o.Verb == verb {
					return fs.ErrInvalid
				}
				return do()
			}}
			require.ErrorIs(t, replace(f, name), fs.ErrInvalid)
			found, err := os.ReadFile(name)
			require.NoError(t, err)
			require.Equal(t, "old", string(found))
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 1)
		})
	}
}

// TestReplaceOrder: a file that must survive a crash of the machine is on disk before it
// gets its name. A file system without exchange has it renamed.
func TestReplaceOrder(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	var done []Verb
	f := Files{Around: func(o Operation, do func() error) error {
		done = append(done, o.Verb)
		if o.Verb == Exchange {
			return fs.ErrInvalid
		}
		return do()
	}}
	require.NoError(t, f.ReplaceSynced(name, "*.new", nil, 0o644))
	require.Equal(t, []Verb{Write, Sync, Close, Rename}, done)
	st, err := os.Stat(name)
	require.NoError(t, err)
	require.EqualValues(t, 0o644, st.Mode().Perm())

	done = nil
	require.NoError(t, f.Replace(name, []byte("new")))
	require.Equal(t, []Verb{Write, Close, Exchange, Rename, Remove}, done)
	found, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "new", string(found))
}
