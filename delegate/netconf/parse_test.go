package netconf

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

// TestParse tells the two configurations apart. What could be read comes with the error.
func TestParse(t *testing.T) {
	for _, test := range []struct {
		config, network, cluster, text string
		code                           uint
	}{
		{`{"name": "n", "minLinks": 1, "links": [{"name": "eth1"}]}`, "n", "", "", 0},
		{`{"name": "n", "links": [], "defaultNetwork": {}}`, "n", "", "network n: links: has no link", 7},
		{`{"name": "n", "links": null}`, "n", "", "network n: links: has no link", 7},
		{`{"name": "m", "delegates": [{"type": "bridge"}]}`, "", "m", "", 0},
		{`{"name": "m", "clusterNetwork": null}`, "", "m", "network m: has 0 default networks", 7},
		{`{"name": "x"}`, "", "", "the configuration has neither links (for a bond network) nor defaultNetwork, clusterNetwork or delegates (for the cluster's configuration)", 7},
		{`[]`, "", "", "the configuration is a list, want a JSON object", 6},
	} {
		got, err := Parse([]byte(test.config), "bond0")
		if test.text == "" {
			require.NoError(t, err, test.config)
		} else {
			require.ErrorContains(t, err, test.text, test.config)
			require.EqualValues(t, test.code, cnierror.Code(err), test.config)
		}
		network, cluster := "", ""
		if got.Network != nil {
			network = got.Network.Name
		}
		if got.Cluster != nil {
			cluster = got.Cluster.Name
		}
		require.Equal(t, []string{test.network, test.cluster}, []string{network, cluster}, test.config)
	}
}
