package netconf

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

func TestParseChain(t *testing.T) {
	n, err := ParseChain([]byte(`{"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "bridge", "name": "other"}, {"type": "tuning"}]}`))
	require.NoError(t, err)
	for i, want := range []string{`{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, `{"cniVersion":"1.0.0","name":"n","type":"tuning"}`} {
		require.JSONEq(t, want, string(n.Chain[i].Config.Raw))
	}
	n, err = ParseChain([]byte(`{"name": "n", "type": "macvlan"}`))
	require.NoError(t, err)
	require.Equal(t, "macvlan", n.Chain[0].Type)
	for versions, want := range map[string]string{
		`"cniVersion": "0.4.0"`: "0.4.0",
		`"cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.0.0", "0.4.0"]`: "1.0.0",
		`"cniVersion": "1.0.0", "cniVersions": ["0.3.1"]`:                   "1.0.0",
		`"cniVersions": ["0.4.0", "0.3.0"]`:                                 "0.4.0",
		`"cniVersions": ["1.1.0", "9.0.0"]`:                                 "1.1.0",
		`"cniVersions": ["9.0.0"]`:                                          DefaultVersion,
		`"cniVersions": []`:                                                 DefaultVersion,
	} {
		n, err := ParseChain([]byte(`{"name": "n", ` + versions + `, "plugins": [{"type": "bridge"}]}`))
		require.NoError(t, err)
		require.Equal(t, want, n.CNIVersion, versions)
		require.Equal(t, want, n.Chain[0].Config.CNIVersion, versions)
	}
	for config, text := range map[string]string{
		`{"type": "bridge"}`:           `name: is missing`,
		`{"name": "n"}`:                `network n: type: is missing, want the name of a CNI plugin`,
		`{"name": "n", "plugins": []}`: `network n: plugins: has no plugin configuration`,
		`{"name": "n", "cniVersions": ["new"], "plugins": [{"type": "a"}]}`: `network n: cniVersions[0]: is "new", want a CNI version`,
		`{"name": "n", "plugins": [{"type": "a/b"}]}`:                       `network n: plugins[0].type: is "a/b", which is not a valid name of a CNI plugin`,
	} {
		_, err := ParseChain([]byte(config))
		require.EqualError(t, err, text)
		require.EqualValues(t, 7, cnierror.Code(err))
	}
}
