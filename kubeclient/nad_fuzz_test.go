package kubeclient

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
)

// nadInputs are the inputs that FuzzNADConfig starts from.
var nadInputs = []struct{ name, text string }{
	{"a plugin", `{"type":"macvlan"}`},
	{"a list with capabilities", `{"name":"x","cniVersion":"1.0.0","plugins":[{"type":"sriov","capabilities":{"ips":true,"mac":true,"deviceID":true}},{"type":"tuning"}]}`},
	{"a bond with links of every source", `{"type":"multibond","links":[{"resourceName":"a/b","count":2},{"network":"x/y"},{"request":"r"},{"deviceID":"0000:3B:02.1"}],"ipam":{"type":"static"}}`},
	{"args and runtimeConfig", `{"type":"sriov","args":{"cni":{"a":1}},"runtimeConfig":{"mac":"x"}}`},
	{"a plugin that is null", `{"plugins":[null]}`},
	{"a list with null", "[null]"},
	{"null", "null"},
	{"nothing", ""},
	{"an empty string in JSON", `""`},
	{"a number", "10000"},
	{"a number with a leading zero", "00"},
	{"three zeros", "000"},
	{"a number after a tab", "\t0"},
	{"a number and NUL", "0\x00"},
	{"a capital", "A"},
	{"a letter that is not ASCII", "ɱ0"},
	{"a backslash", `\`},
	{"a delete character", "\x7f"},
	{"a character cut off after one byte", "\xf4000"},
	{"a character cut off after two bytes", "\xf0\xb500"},
	{"a character with a wrong second byte", "\xf4\xfe00"},
	{"the beginning of true", "t"},
	{"the beginning of false and a digit", "f0"},
	{"half a string", `"0`},
	{"a list cut off after zeros", "[00000"},
	{"a key without a colon", "{\"\"\t\t"},
	{"a value without a comma after it", `{"":""0`},
}

func FuzzNADConfig(f *testing.F) {
	for _, input := range nadInputs {
		f.Add(input.text)
	}
	link := Network{Name: named("x", "y"), Resource: "a/c", Config: decoded(`{"type":"sriov"}`)}
	e := Element{Path: "networks[0]", IPs: []string{"10.0.0.1"}, MAC: "02:00:00:00:00:01", CNIArgs: map[string]json.RawMessage{"a": []byte("2")}}
	f.Fuzz(func(t *testing.T, text string) {
		config, err := ParseConfig([]byte(text), "net-a")
		if err != nil {
			return
		}
		again, err := ParseConfig(config.text, "other")
		require.NoError(t, err, "%q became %q", text, config.text)
		require.Equal(t, string(config.text), string(again.text), "of %q", text)
		n := Network{Name: named("demo", "net-a"), Config: config}
		if n.IsBond() {
			b, err := ReadBond(n, func(types.NamespacedName) (Network, error) { return link, nil })
			if err != nil {
				return
			}
			n = b.Network(slices.Repeat([]string{"0000:3b:02.0"}, len(b.Need().Wants)))
		}
		out, _, err := n.Configure(e, "0000:3b:02.1", "/x")
		require.True(t, json.Valid(out), "%q became %q, %v", text, out, err)
	})
}
