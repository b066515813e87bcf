package netconf

import (
	"encoding/json"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

func TestParseCluster(t *testing.T) {
	for _, test := range []struct {
		name, config string
		want         Cluster
	}{
		{"ours", `{"cniVersion": "1.1.0", "name": "m", "type": "multibond", "agent": "/a.sock", "defaultNetwork": {"confDir": "/d", "name": "cbr0"}, "runtimeConfig": {"mac": "x"}}`,
			Cluster{CNIVersion: "1.1.0", Name: "m", Agent: "/a.sock", ConfDir: "/d", DefaultName: "cbr0", RuntimeConfig: map[string]json.RawMessage{"mac": []byte(`"x"`)}}},
		{"the least", `{"name": "m", "defaultNetwork": {}}`, Cluster{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir}},
		{"Multus's", `{"name": "m", "clusterNetwork": "main", "defaultNetworks": ["a", "b"], "systemNamespaces": ["s"], "multusNamespace": "n", "namespaceIsolation": true, "strict": true,
			"globalNamespaces": "default, other", "confDir": "/c", "binDir": "/b", "readinessindicatorfile": "/r", "logLevel": "debug", "kubeconfig": "/k"}`,
			Cluster{Name: "m", Agent: DefaultAgent, ConfDir: "/c", BinDir: "/b", ReadyFile: "/r", Warnings: ignoring("kubeconfig, logLevel"), Cluster: agentapi.Cluster{
				Isolated: true, Strict: true, ConfDir: "/c", Global: []string{"default", "other"}, System: []string{"s"}, Namespace: "n", Network: "main", Defaults: []string{"a", "b"}}}},
		{"Multus's own keys", `{"name": "m", "clusterNetwork": "main", "cniDir": "/var/lib/cni/multus", "logFile": "/x", "defaultNetwork": []}`,
			Cluster{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir, Warnings: ignoring("cniDir, logFile, defaultNetwork"), Cluster: agentapi.Cluster{Network: "main"}}},
		{"empty lists", `{"name": "m", "clusterNetwork": "main", "globalNamespaces": [], "systemNamespaces": []}`,
			Cluster{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir, Cluster: agentapi.Cluster{Global: []string{}, System: []string{}, Network: "main"}}},
		{"empty words", `{"name": "m", "clusterNetwork": "main", "globalNamespaces": ""}`,
			Cluster{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir, Cluster: agentapi.Cluster{Network: "main"}}},
		{"a path", `{"name": "m", "clusterNetwork": "/etc/cni/x.conf"}`, Cluster{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir, File: "/etc/cni/x.conf"}},
		{"inline", `{"name": "m", "delegates": [{"type": "bridge"}]}`, Cluster{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir, Inline: []byte(`{"type":"bridge"}`)}},
		{"GC", `{"name": "m", "defaultNetwork": {}, "cni.dev/valid-attachments": null}`,
			Cluster{Name: "m", Agent: DefaultAgent, ConfDir: DefaultConfDir, Valid: []GCAttachment{}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseCluster([]byte(test.config))
			require.NoError(t, err)
			if got.Valid == nil && test.want.Valid != nil {
				got.Valid = []GCAttachment{} // null and an empty list are the same
			}
			assert.Empty(t, cmp.Diff(test.want, got))
			parsed, err := Parse([]byte(test.config), "eth0")
			require.NoError(t, err)
			require.Nil(t, parsed.Network)
			require.Equal(t, &got, parsed.Cluster)
		})
	}
}

func TestParseClusterProblems(t *testing.T) {
	for _, test := range []struct {
		config string
		code   uint
		text   string
	}{
		{`[]`, types.ErrDecodingFailure, `the configuration is a list, want a JSON object`},
		{`{"defaultNetwork": {}}`, 7, `network : name: is missing`},
		{`{"name": "m", "defaultNetwork": {}, "clusterNetwork": "x"}`, 7, `network m: has 2 default networks, want one: defaultNetwork, clusterNetwork (leave out all but one)`},
		{`{"name": "m", "defaultNetwork": {"confdir": "/x"}}`, 7, `network m: defaultNetwork.confdir: is not a known key (did you mean confDir?)`},
		{`{"name": "m", "defaultNetwork": {}, "agnet": "/x"}`, 7, `network m: agnet: is not a known key (did you mean agent?)`},
		{`{"name": "m", "defaultNetwork": {}, "agent": "x", "binDir": "y"}`, 7, `network m: agent: is "x", want an absolute path; binDir: is "y", want an absolute path`},
		{`{"name": "m", "delegates": [{}, {}]}`, 7, `network m: delegates: has 2 networks, want only the default network (use defaultNetworks for additional networks of every pod)`},
		{`{"name": "m", "delegates": {}}`, 7, `network m: delegates: is an object, want a list of objects; delegates: has 0 networks, want only the default network (use defaultNetworks for additional networks of every pod)`},
		{`{"name": "m", "defaultNetwork": {}, "defaultNetworks": ["/x"], "systemNamespaces": 1}`, 7,
			`network m: systemNamespaces: is 1, want a list of namespaces; defaultNetworks[0]: is "/x", want the name of a NAD, or of a configuration in confDir (make it a NAD, or use the name that its file has)`},
	} {
		_, err := ParseCluster([]byte(test.config))
		require.EqualError(t, err, test.text)
		require.EqualValues(t, test.code, cnierror.Code(err))
	}
}
