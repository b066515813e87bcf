package confdir

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// TestFirstConfig checks that meta plugins are skipped, and that an incomplete file is not.
func TestFirstConfig(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	dir := fstest.MapFS{
		"00-multibond.conflist": file(`{"name": "m", "plugins": [{"type": "multibond"}]}`),
		"00-multus.conf":        file(`{"name": "m", "type": "multus"}`),
		"05-notes.txt":          file(`x`),
		"20-b.conf":             file(`{"name": "b", "type": "bridge"}`),
	}
	raw, err := first(dir)
	require.NoError(t, err)
	require.Equal(t, `{"name": "b", "type": "bridge"}`, string(raw))
	dir["10-a.conflist"] = file(`{"name": "a", "plug`)
	_, err = first(dir)
	require.EqualError(t, err, "10-a.conflist: unexpected end of JSON input")
	_, err = first(fstest.MapFS{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestDefaultNetworkFile finds the default network by a file, a directory and a name.
func TestDefaultNetworkFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "10-a.conf"), []byte(`{"name": "a", "type": "x"}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "20-b.conf"), []byte(`{"name": "b", "type": "x"}`), 0o600))
	for _, test := range []struct {
		config netconf.Cluster
		want   string
	}{
		{netconf.Cluster{ConfDir: dir}, "a"},
		{netconf.Cluster{ConfDir: dir, DefaultName: "b"}, "b"},
		{netconf.Cluster{File: dir}, "a"},
		{netconf.Cluster{File: filepath.Join(dir, "20-b.conf")}, "b"},
	} {
		raw, err := DefaultNetwork(test.config)
		require.NoError(t, err)
		n, err := netconf.ParseChain(raw)
		require.NoError(t, err)
		require.Equal(t, test.want, n.Name)
	}
	_, err := DefaultNetwork(netconf.Cluster{ConfDir: dir, DefaultName: "c"})
	require.EqualError(t, err, "the default network in "+dir+": no file in the configuration directory has the name c: file does not exist (the cluster's network plugin writes it when it is installed)")
	require.EqualValues(t, types.ErrTryAgainLater, cnierror.Code(err))
}
