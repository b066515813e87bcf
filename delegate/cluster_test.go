package delegate

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/multibond/multibond/delegate/agentapi"
)

func TestParseCluster(t *testing.T) {
	for _, test := range []struct {
		name, config string
		want         ClusterConfig
	}{
		{"ours", `{"cniVersion": "1.1.0", "name": "m", "type": "multibond", "agent": "/a.sock", "defaultNetwork": {"confDir": "/d", "name": "cbr0"}, "runtimeConfig": {"mac": "x"}}`,
			ClusterConfig{CNIVersion: "1.1.0", Name: "m", Agent: "/a.sock", ConfDir: "/d", DefaultName: "cbr0", RuntimeConfig: []byte(`{"mac":"x"}`)}},
		{"the least", `{"name": "m", "defaultNetwork": {}}`, ClusterConfig{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir}},
		{"Multus's", `{"name": "m", "clusterNetwork": "main", "defaultNetworks": ["a", "b"], "systemNamespaces": ["s"], "multusNamespace": "n", "namespaceIsolation": true,
			"globalNamespaces": "default, other", "confDir": "/c", "binDir": "/b", "readinessindicatorfile": "/r", "logLevel": "debug", "kubeconfig": "/k"}`,
			ClusterConfig{Name: "m", Agent: DefaultAgent, ConfDir: "/c", BinDir: "/b", ReadyFile: "/r", Warnings: []string{"network m: ignored: kubeconfig, logLevel"}, Cluster: agentapi.Cluster{
				Isolated: true, Global: []string{"default", "other"}, System: []string{"s"}, Namespace: "n", Network: "main", Defaults: []string{"a", "b"}}}},
		{"a path", `{"name": "m", "clusterNetwork": "/etc/cni/x.conf"}`, ClusterConfig{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir, File: "/etc/cni/x.conf"}},
		{"inline", `{"name": "m", "delegates": [{"type": "bridge"}]}`, ClusterConfig{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir, Inline: []byte(`{"type":"bridge"}`)}},
		{"GC", `{"name": "m", "defaultNetwork": {}, "cni.dev/valid-attachments": null}`,
			ClusterConfig{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir, Valid: []GCAttachment{}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseCluster([]byte(test.config))
			if err != nil {
				t.Fatal(err)
			}
			if got.Valid == nil && test.want.Valid != nil {
				got.Valid = []GCAttachment{} // null and an empty list are the same
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if is, err := IsCluster([]byte(test.config)); !is || err != nil {
				t.Errorf("it counts as a network's: %v", err)
			}
		})
	}
}

func TestParseClusterProblems(t *testing.T) {
	for _, test := range []struct {
		config string
		code   uint
		text   string
	}{
		{`[]`, types.ErrDecodingFailure, `the configuration is a list, wanted is a JSON object`},
		{`{"defaultNetwork": {}}`, 7, `network : name: is missing`},
		{`{"name": "m", "defaultNetwork": {}, "clusterNetwork": "x"}`, 7, `network m: has 2 default networks: defaultNetwork, clusterNetwork (leave all but one out)`},
		{`{"name": "m", "defaultNetwork": {"confdir": "/x"}}`, 7, `network m: defaultNetwork.confdir: is not known (did you mean confDir?)`},
		{`{"name": "m", "defaultNetwork": {}, "agnet": "/x"}`, 7, `network m: agnet: is not known (did you mean agent?)`},
		{`{"name": "m", "defaultNetwork": {}, "agent": "x", "binDir": "y"}`, 7, `network m: agent: is "x", wanted is an absolute path; binDir: is "y", wanted is an absolute path`},
		{`{"name": "m", "delegates": [{}, {}]}`, 7, `network m: delegates: has 2 networks, wanted is the one default network (what every pod gets besides belongs into defaultNetworks)`},
		{`{"name": "m", "delegates": {}}`, 7, `network m: delegates: is an object, wanted is a list of objects; delegates: has 0 networks, wanted is the one default network (what every pod gets besides belongs into defaultNetworks)`},
		{`{"name": "m", "defaultNetwork": {}, "defaultNetworks": ["/x"], "systemNamespaces": 1}`, 7,
			`network m: systemNamespaces: is 1, wanted is a list of namespaces; defaultNetworks[0]: is "/x", wanted is the name of a NAD, or of a configuration in confDir (make a NAD of it, or name it as its file does)`},
	} {
		_, err := ParseCluster([]byte(test.config))
		wantError(t, err, test.code, test.text)
	}
}

func TestIsCluster(t *testing.T) {
	if is, err := IsCluster([]byte(`{"links": [], "defaultNetwork": {}}`)); is || err != nil {
		t.Errorf("a bond network counts as the cluster's: %v", err)
	}
	_, err := IsCluster([]byte(`{"name": "x"}`))
	wantError(t, err, 7, `the configuration has neither links, which a bond network has, nor defaultNetwork (or Multus's clusterNetwork or delegates), which the cluster's configuration has`)
}

func TestParsePlain(t *testing.T) {
	n, err := ParsePlain([]byte(`{"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "bridge", "name": "other"}, {"type": "tuning"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, `{"cniVersion":"1.0.0","name":"n","type":"tuning"}`} {
		sameJSON(t, want, n.Plain[i].Config)
	}
	if n, err = ParsePlain([]byte(`{"name": "n", "type": "macvlan"}`)); err != nil || n.Plain[0].Type != "macvlan" {
		t.Errorf("%+v, %v", n.Plain, err)
	}
	for config, text := range map[string]string{
		`{"type": "bridge"}`:                          `name: is missing`,
		`{"name": "n"}`:                               `network n: type: is missing, wanted is the name of a CNI plugin`,
		`{"name": "n", "plugins": []}`:                `network n: plugins: has no plugin's configuration`,
		`{"name": "n", "plugins": [{"type": "a/b"}]}`: `network n: plugins[0].type: is "a/b", which is no name of a CNI plugin`,
	} {
		_, err := ParsePlain([]byte(config))
		wantError(t, err, 7, text)
	}
}

// TestFirstConfig: what a runtime would take without a meta plugin; a file that
// is not whole is not passed over.
func TestFirstConfig(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	dir := fstest.MapFS{
		"00-multibond.conflist": file(`{"name": "m", "plugins": [{"type": "multibond"}]}`),
		"00-multus.conf":        file(`{"name": "m", "type": "multus"}`),
		"05-notes.txt":          file(`x`),
		"20-b.conf":             file(`{"name": "b", "type": "bridge"}`),
	}
	if raw, err := firstConfig(dir); err != nil || string(raw) != `{"name": "b", "type": "bridge"}` {
		t.Errorf("%s, %v", raw, err)
	}
	dir["10-a.conflist"] = file(`{"name": "a", "plug`)
	if _, err := firstConfig(dir); err == nil || err.Error() != "10-a.conflist: unexpected end of JSON input" {
		t.Errorf("half a file: %v", err)
	}
	_, err := firstConfig(fstest.MapFS{})
	if err == nil || !strings.Contains(err.Error(), fs.ErrNotExist.Error()) {
		t.Errorf("an empty directory: %v", err)
	}
}

// TestDefaultNetworkFile: a file, a directory, or a name.
func TestDefaultNetworkFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "10-a.conf"), `{"name": "a", "type": "x"}`, 0o600)
	writeFile(t, filepath.Join(dir, "20-b.conf"), `{"name": "b", "type": "x"}`, 0o600)
	for _, test := range []struct {
		config ClusterConfig
		want   string
	}{
		{ClusterConfig{ConfDir: dir}, "a"},
		{ClusterConfig{ConfDir: dir, DefaultName: "b"}, "b"},
		{ClusterConfig{File: dir}, "a"},
		{ClusterConfig{File: filepath.Join(dir, "20-b.conf")}, "b"},
	} {
		raw, err := test.config.DefaultNetwork()
		if n, parse := ParsePlain(raw); err != nil || parse != nil || n.Name != test.want {
			t.Errorf("%+v: %s, %v, %v", test.config, raw, err, parse)
		}
	}
	_, err := ClusterConfig{ConfDir: dir, DefaultName: "c"}.DefaultNetwork()
	wantError(t, err, types.ErrTryAgainLater, "the default network in "+dir+": no file of the configuration directory has the name c: file does not exist (the cluster's network plugin puts it there when it is installed)")
}

// FuzzParseCluster: of the cluster's configuration, of a default network's, and
// of what the kubelet asks for, nothing brings it down.
func FuzzParseCluster(f *testing.F) {
	f.Add([]byte(`{"name": "m", "clusterNetwork": "main", "globalNamespaces": "default, other"}`), []byte(`{"portMappings": []}`))
	f.Add([]byte(`{"name": "m", "delegates": [{"type": "x", "capabilities": {"a": true}}]}`), []byte(`{"a": 1}`))
	f.Fuzz(func(t *testing.T, config, runtime []byte) {
		c, err := ParseCluster(config)
		boundedError(t, config, err)
		if err == nil && c.Inline != nil {
			_, _ = ParsePlain(withRuntimeConfig(c.Inline, runtime))
		}
		_, err = ParsePlain(withRuntimeConfig(config, runtime))
		boundedError(t, slices.Concat(config, runtime), err)
	})
}
