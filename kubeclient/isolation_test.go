package kubeclient

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMultusIsolation reads Multus's configuration as it is on nodes.
func TestMultusIsolation(t *testing.T) {
	for _, test := range []struct {
		file, text string
		isolated   bool
		global     []string
	}{
		{"00-multus.conf", `{"name":"m","type":"multus","namespaceIsolation":true}`, true, nil},
		{"00-multus.conf", `{"name":"m","type":"multus-shim","namespaceIsolation":true,"globalNamespaces":"default, shared"}`, true, []string{"default", "shared"}},
		{"00-multus.conf", `{"name":"m","type":"multus","globalNamespaces":"shared"}`, false, []string{"shared"}},
		{"00-multus.conflist", `{"name":"m","plugins":[{"type":"multus","namespaceIsolation":true}]}`, true, nil},
		{"00-other.conf", `{"name":"m","type":"other","namespaceIsolation":true}`, false, nil},
		{"00-half.conf", `{"name":"m","ty`, false, nil},
	} {
		isolated, global, err := multusIsolation(fstest.MapFS{test.file: {Data: []byte(test.text)}})
		require.NoError(t, err, test.text)
		assert.Equal(t, test.isolated, isolated, test.text)
		assert.Equal(t, test.global, global, test.text)
	}
	isolated, _, err := multusIsolation(os.DirFS(filepath.Join(t.TempDir(), "none")))
	require.NoError(t, err)
	assert.False(t, isolated)
	_, _, err = multusIsolation(fstest.MapFS{"00-multus.conf": {Data: []byte(`{"type":"multus","namespaceIsolation":7}`)}})
	assert.ErrorContains(t, err, "namespaceIsolation")
}

// TestIsolationBesideMultus: what Multus lets the pod's annotations name stays named. Links are
// held to Multus's isolation, because it knows nothing of them.
func TestIsolationBesideMultus(t *testing.T) {
	for _, isolated := range []bool{false, true} {
		r := newRig(t)
		text := `{"name":"m","type":"multus"}`
		if isolated {
			text = `{"name":"m","type":"multus","namespaceIsolation":true,"globalNamespaces":"shared"}`
		}
		r.options.Machine.ConfDir = fstest.MapFS{"00-multus.conf": {Data: []byte(text)}}
		over := func(link string) map[string]any {
			return nadObject(`{"type":"multibond","links":[{"network":"` + link + `"},{"network":"` + link + `"}]}`)
		}
		r.api.Put(nadResource, "other", "lan", nadObject(`{"type":"macvlan"}`))
		r.api.Put(nadResource, "shared", "lan", nadObject(`{"type":"macvlan"}`))
		r.api.Put(nadResource, "demo", "over-other", over("other/lan"))
		r.api.Put(nadResource, "demo", "over-shared", over("shared/lan"))
		r.pod("demo", "p", "uid-p", "over-other@bond0")
		r.pod("demo", "q", "uid-q", "other/lan@net1,over-shared@bond0")
		r.start()
		l := pLookup
		l.Secondary, l.IfName = true, "bond0"
		_, err := r.client().Lookup(t.Context(), l)
		if isolated {
			refused(t, err, cnitypes.ErrInvalidNetworkConfig, "networks[0]: network demo/over-other: links[0].network: network other/lan: the pod may only use NADs of demo, shared")
		} else {
			assert.NoError(t, err)
		}
		l.Pod = lookupOf("demo", "q", "uid-q").Pod
		_, err = r.client().Lookup(t.Context(), l)
		assert.NoError(t, err)
	}
}
