package netconf

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestMinLinks checks that minLinks is read in every mode.
func TestMinLinks(t *testing.T) {
	const two = `"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	for _, test := range []struct {
		name, config string
		want         int
		option, text string
	}{
		{"as a number", `"minLinks": 1, ` + two, 1, "1", ""},
		{"as a string", `"minLinks": "2", ` + two, 2, "2", ""},
		{"not given", two, 0, "", ""},
		{"none", `"minLinks": 0, ` + two, 0, "0", ""},
		{"in 802.3ad", `"mode": 4, "minLinks": 1, ` + two, 1, "1", ""},
		{"one link", `"minLinks": 1, "links": [{"deviceID": "0000:3b:02.0"}]`, 1, "1", ""},
		{"counted links", `"minLinks": 3, "links": [{"resourceName": "a/b", "count": 2}, {"name": "eth0"}]`, 3, "3", ""},
		{"more than there are", `"minLinks": 3, ` + two, 0, "", "network n: minLinks: is 3, but there are 2 links"},
		{"no number", `"minLinks": "one", ` + two, 0, "", `network n: minLinks: is "one", want at least 0 links`},
		{"no link", `"minLinks": 1, "links": []`, 0, "", `network n: links: has no link, but a bond needs at least two (for a bond over two VFs: "links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]; to allow one link: "minLinks": 1)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, err := ParseNetwork([]byte(`{"name": "n", `+test.config+`}`), "bond0")
			if test.text != "" {
				require.EqualError(t, err, test.text)
				require.EqualValues(t, 7, cnierror.Code(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, n.MinLinks)
			require.Equal(t, test.option, n.Options[bond.MinLinks])
		})
	}
}
