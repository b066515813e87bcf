package kubeclient

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
)

// annotationInputs are the inputs that FuzzAnnotation starts from.
var annotationInputs = []struct{ name, text string }{
	{"nothing", ""},
	{"null", "null"},
	{"an empty string in JSON", `""`},
	{"a list with null", "[null]"},
	{"two names", "a,demo/b@bond0.100"},
	{"addresses", `[{"name":"a","ips":["10.0.0.1/24"],"mac":"02:00:00:00:00:01"}]`},
	{"a default route, a bandwidth and a port", `[{"name":"a","default-route":[],"bandwidth":{"ingressRate":1},"portMappings":[{"hostPort":1,"containerPort":2}]}]`},
	{"a key in another case, a GUID and a device", `[{"Name":"a","infiniband-guid":"c2:11:22:33:44:55:66:77","cni-args":{"x":1},"deviceID":"0000:3B:02.1"}]`},
	{"a digit", "0"},
	{"a name with a capital", "00A"},
	{"a longer name with a capital", "0000A"},
	{"a namespace with a capital", "00000000000000000000A/A"},
	{"an interface of digits, after an empty name", ",A@000"},
	{"an interface that is NUL", "\xef@\x00,\xef"},
	{"delete characters", "\x7f\x7f"},
	{"form feeds in a name", "0\f\f\f0"},
	{"a carriage return in a name", "0\r0"},
	{"bytes that are not UTF-8, and control characters", "\xeb\xa3\xeb\xa3\x0e\x0e0\x04"},
	{"an empty name, then bytes that are not UTF-8", ",0\xff\xff00000000"},
	{"a name that begins in the middle of a character", "\xa30 "},
	{"a character cut off within a name", "A\xef\x970"},
	{"the same half of a character twice", "A,\xe6,\xe6"},
	{"an object that is not UTF-8", "{\x80"},
	{"a list cut off after blanks", "[      "},
	{"a list cut off in a string", `["0`},
	{"a list cut off after a minus", "[-"},
	{"a value that only begins like false", `[{"000":f"`},
	{"a key without a colon", `[{"":"","0000000000":[],"000000000000"0`},
}

func FuzzAnnotation(f *testing.F) {
	for _, input := range annotationInputs {
		f.Add(input.text)
	}
	f.Fuzz(func(t *testing.T, annotation string) {
		_, _ = ParseDefaultNetwork(annotation, "demo", "kube-system", "eth0")
		elements, err := ParseNetworks(annotation, "demo", []string{"eth0"})
		again, errAgain := ParseNetworks(annotation, "demo", []string{"eth0"})
		require.Equal(t, fmt.Sprint(err), fmt.Sprint(errAgain))
		require.Equal(t, elements, again)
		names := map[string]bool{"eth0": true, "lo": true}
		for _, e := range elements {
			require.NotEmpty(t, e.Network.Name)
			require.NotEmpty(t, e.Network.Namespace)
			require.NoError(t, bond.CheckName(e.Interface))
			require.NotContains(t, names, e.Interface)
			names[e.Interface] = true
		}
	})
}
