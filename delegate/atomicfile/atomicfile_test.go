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
		"Replace":       func(name, text string) error { return Replace(name, []byte(text)) },
		"ReplaceSynced": func(name, text string) error { return ReplaceSynced(name, "*.new", []byte(text), 0o600) },
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
	require.NoError(t, Create(name, []byte("first")))
	require.ErrorIs(t, Create(name, []byte("second")), fs.ErrExist)
	found, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "first", string(found))
	require.NoError(t, SyncDir(filepath.Dir(name)))
	require.NoError(t, Remove(name, name))
}
