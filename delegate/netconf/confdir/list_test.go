package confdir

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// TestDirectoryOfPlugins checks that a list gets the plugins in the directory with its
// name, by whichever way it is found.
func TestDirectoryOfPlugins(t *testing.T) {
	const (
		bare   = `{"cniVersion": "1.0.0", "name": "net"}`
		inline = `{"name": "net", "plugins": [{"type": "a"}]}`
		only   = `{"name": "net", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "a"}]}`
		text   = `{"name": "net", "loadOnlyInlinedPlugins": "true"}`
	)
	for _, test := range []struct {
		name  string
		files []string
		want  string // JSON
		err   string
	}{
		{"all from the directory", []string{"10-net.conflist", bare, "net/2.conf", `{"type": "c"}`, "net/1.conf", `{"type": "b"}`},
			`{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "b"}, {"type": "c"}]}`, ""},
		{"after those of the list", []string{"10-net.conflist", inline, "net/1.conf", `{"type": "b", "x": 1}`, "net/2.json", `{"type": "c"}`, "net/sub/3.conf", `{"type": "d"}`},
			`{"name": "net", "plugins": [{"type": "a"}, {"type": "b", "x": 1}]}`, ""},
		{"only those of the list", []string{"10-net.conflist", only, "net/1.conf", `{"type": "b"}`}, only, ""},
		{"no directory", []string{"10-net.conflist", inline}, inline, ""},
		{"a single plugin", []string{"10-net.conf", `{"name": "net", "type": "a"}`, "net/1.conf", `{"type": "b"}`}, `{"name": "net", "type": "a"}`, ""},
		{"no plugins", []string{"10-net.conflist", bare, "20-other.conf", `{"name": "other", "type": "a"}`}, "",
			`10-net.conflist: has neither type nor plugins, nor are there any in a directory with the network's name, "net"`},
		{"no plugins allowed", []string{"10-net.conflist", text, "net/1.conf", `{"type": "b"}`}, "",
			"10-net.conflist: has no plugins, although it has loadOnlyInlinedPlugins"},
		{"half a plugin", []string{"10-net.conflist", inline, "net/1.conf", `{"ty`}, "", "10-net.conflist: net/1.conf: unexpected end of JSON input"},
		{"no type", []string{"10-net.conflist", inline, "net/1.conf", `{}`}, "", "10-net.conflist: net/1.conf: has no type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			raw, err := first(files(test.files...))
			found, notFound := Find(files(test.files...), "net")
			if test.err != "" {
				require.EqualError(t, err, test.err)
				require.ErrorIs(t, notFound, fs.ErrNotExist)
				require.ErrorContains(t, notFound, test.err)
				return
			}
			require.NoError(t, err)
			require.JSONEq(t, test.want, string(raw))
			require.NoError(t, notFound)
			require.JSONEq(t, test.want, string(found))
		})
	}
}

// TestDirectoryElsewhere checks that a name that is a path leads to no directory.
func TestDirectoryElsewhere(t *testing.T) {
	const list = `{"name": "net/sub", "plugins": [{"type": "a"}]}`
	raw, err := first(files("10-net.conflist", list, "net/sub/1.conf", `{"type": "b"}`))
	require.NoError(t, err)
	require.JSONEq(t, list, string(raw))
}

// TestDirectoryOfFile checks that a file that is named gets the plugins of its directory,
// too.
func TestDirectoryOfFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "net.conflist")
	require.NoError(t, os.WriteFile(file, []byte(`{"name": "net"}`), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "net"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "net", "a.conf"), []byte(`{"type": "a"}`), 0o600))
	raw, err := DefaultNetwork(netconf.Cluster{File: file})
	require.NoError(t, err)
	require.JSONEq(t, `{"name": "net", "plugins": [{"type": "a"}]}`, string(raw))
}

// TestNoDefaultNetwork checks what is never the pods' default network: it is not there yet.
func TestNoDefaultNetwork(t *testing.T) {
	for name, text := range map[string]string{
		"200-loopback.conf":     `{"cniVersion": "1.0.0", "name": "lo", "type": "loopback"}`,
		"200-loopback.conflist": `{"cniVersion": "1.0.0", "name": "lo", "plugins": [{"type": "loopback"}]}`,
		"00-empty.conflist":     `{"name": "n", "plugins": []}`,
		"00-nothing.conflist":   `{"name": "n"}`,
		"00-null.conflist":      `null`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
			_, err := DefaultNetwork(netconf.Cluster{ConfDir: dir})
			require.Error(t, err)
			assert.EqualValues(t, types.ErrTryAgainLater, cnierror.Code(err))
		})
	}
	raw, err := first(files("00-loopback.conf", `{"name": "lo", "type": "loopback"}`, "10-a.conf", `{"name": "a", "type": "x"}`))
	require.NoError(t, err)
	assert.JSONEq(t, `{"name": "a", "type": "x"}`, string(raw))
}
