package netconf

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

func TestParseChain(t *testing.T) {
	n, err := ParseChain([]byte(`{"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "bridge", "name": "other"}, {"type": "tuning"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, `{"cniVersion":"1.0.0","name":"n","type":"tuning"}`} {
		require.JSONEq(t, want, string(n.Chain[i].Config.Raw))
	}
	if n, err = ParseChain([]byte(`{"name": "n", "type": "macvlan"}`)); err != nil || n.Chain[0].Type != "macvlan" {
		t.Errorf("%+v, %v", n.Chain, err)
	}
	for config, text := range map[string]string{
		`{"type": "bridge"}`:                          `name: is missing`,
		`{"name": "n"}`:                               `network n: type: is missing, wanted is the name of a CNI plugin`,
		`{"name": "n", "plugins": []}`:                `network n: plugins: has no plugin's configuration`,
		`{"name": "n", "plugins": [{"type": "a/b"}]}`: `network n: plugins[0].type: is "a/b", which is no name of a CNI plugin`,
	} {
		_, err := ParseChain([]byte(config))
		require.EqualError(t, err, text)
		require.EqualValues(t, 7, cnierror.Code(err))
	}
}
