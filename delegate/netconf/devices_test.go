package netconf

import (
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

func TestWithDevices(t *testing.T) {
	for _, test := range []struct {
		name, config string
		devices      []string
		want, text   string
	}{
		{"each in its link's place", `{"name": "n", "mtu": 1500, "links": [{"resourceName": "a/b", "name": "left"}, {"name": "eth0"}, {"request": "r"}]}`, []string{deviceA, deviceB},
			`{"name": "n", "mtu": 1500, "links": [{"deviceID":"0000:3b:02.0", "name": "left"}, {"name": "eth0"}, {"deviceID":"0000:5e:02.0"}]}`, ""},
		{"counted", `{"name": "n", "links": [{"resourceName": "a/b", "count": 2}]}`, []string{deviceA, deviceB},
			`{"name": "n", "links": [{"deviceID":"0000:3b:02.0"}, {"deviceID":"0000:5e:02.0"}]}`, ""},
		{"one that stays open", `{"name": "n", "links": [{"resourceName": "a/b", "name": "left"}, {"request": "r"}]}`, []string{"", deviceB},
			`{"name": "n", "links": [{"resourceName":"a/b", "name": "left"}, {"deviceID":"0000:5e:02.0"}]}`, ""},
		{"too few", `{"name": "n", "links": [{"resourceName": "a/b", "count": 2}, {"resourceName": "a/c"}]}`, []string{deviceA}, "",
			"network n: links[0]: no device is left for it (add one to -devices); links[1]: no device is left for it (add one to -devices)"},
		{"too many", `{"links": [{"resourceName": "a/b"}]}`, []string{deviceA, deviceB, "0000:5e:02.1"}, "", "network without a name: no link asks for 0000:5e:02.0, 0000:5e:02.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := WithDevices([]byte(test.config), test.devices)
			if test.text != "" {
				require.EqualError(t, err, test.text)
				require.EqualValues(t, types.ErrInvalidNetworkConfig, cnierror.Code(err))
			} else {
				require.NoError(t, err)
				require.Equal(t, test.want, string(got))
			}
		})
	}
}
