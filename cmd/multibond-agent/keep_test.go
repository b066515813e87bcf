package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// keeper returns a keeper of an installed node that does not wait.
func (n *nodeDirs) keeper() *keeper {
	n.install()
	n.log.Reset()
	return &keeper{to: place{n.bin, n.conf}, text: []byte(clusterConfig), log: slog.New(slog.NewTextHandler(&n.log, nil)), most: 3, window: time.Hour}
}

// TestKeep has each way in which a configuration is lost, and what is no reason to write.
func TestKeep(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(n *nodeDirs, config string)
		words  string // empty if nothing is put back
	}{
		{"removed", func(n *nodeDirs, config string) { require.NoError(n.t, os.Remove(config)) }, "state=gone"},
		{"renamed", func(n *nodeDirs, config string) { require.NoError(n.t, os.Rename(config, config+".old")) }, "state=renamed"},
		{"half", func(n *nodeDirs, config string) { n.write(config, clusterConfig[:40]) }, "state=changed"},
		{"another's", func(n *nodeDirs, config string) { n.write(config, defaultConfig) }, "state=changed"},
		{"nothing", func(*nodeDirs, string) {}, ""},
		{"chained", func(n *nodeDirs, _ string) { n.chain("istio-cni") }, ""},
		{"one before ours", func(n *nodeDirs, _ string) { n.write(filepath.Join(n.conf, "00-aaa.conf"), defaultConfig) }, ""},
		{"uninstalled", func(n *nodeDirs, _ string) { n.uninstall(); n.log.Reset() }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNodeDirs(t)
			k := n.keeper()
			config := filepath.Join(n.conf, configName)
			test.change(n, config)
			changed := n.files()
			require.NoError(t, k.look(t.Context()))
			if test.words == "" {
				n.want(changed, "")
				assert.Empty(t, n.log.String())
				return
			}
			text, err := os.ReadFile(config)
			require.NoError(t, err)
			assert.Equal(t, clusterConfig, string(text))
			assert.Contains(t, n.log.String(), test.words)
		})
	}
}

// TestKeepGivesUp fights with a Cilium that renames our configuration each time. It says
// once that it has given up. The file stays away until somebody puts it back, from when on
// it is kept again.
func TestKeepGivesUp(t *testing.T) {
	n := newNodeDirs(t)
	k := n.keeper()
	for range k.most {
		require.NoError(t, exclusive(n.conf, "05-cilium.conflist"))
		require.NoError(t, k.look(t.Context()))
		assert.FileExists(t, k.to.config())
	}
	require.NoError(t, exclusive(n.conf, "05-cilium.conflist"))
	n.log.Reset()
	require.NoError(t, k.look(t.Context()))
	assert.NoFileExists(t, k.to.config())
	assert.Contains(t, n.log.String(), "it was put back 3 times in 1h0m0s, and no more")
	s, err := k.standing()
	require.NoError(t, err)
	assert.Contains(t, s.String(), "cni.exclusive=false")
	assert.Contains(t, s.String(), "it was put back 3 times")
	n.log.Reset()
	require.NoError(t, k.look(t.Context()))
	assert.Empty(t, n.log.String())
	assert.NoFileExists(t, k.to.config())

	n.install() // as at the next start of the agent's pod
	require.NoError(t, k.look(t.Context()))
	assert.NoFileExists(t, filepath.Join(n.conf, confdir.GivenUp))
	require.NoError(t, os.Remove(k.to.config()))
	k.done[0] = time.Now().Add(-2 * k.window) // as if the first time were long ago
	require.NoError(t, k.look(t.Context()))
	assert.FileExists(t, k.to.config())
}

// TestKeepBesideMultus checks that a keeper without a configuration says so.
func TestKeepBesideMultus(t *testing.T) {
	n := newNodeDirs(t)
	assert.Equal(t, 1, n.do(t.Context(), "install", "-config", "", "-keep"))
	n.want(before, "-keep needs a configuration")
}
