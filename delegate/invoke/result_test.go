package invoke

import (
	"bytes"
	"encoding/json"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/strictjson"
)

// full returns a result with everything that some version has.
func full(t *testing.T) *current.Result {
	t.Helper()
	const text = `{"cniVersion": "1.1.0",
		"interfaces": [
			{"name": "bond0", "mac": "02:00:00:00:00:03", "mtu": 1500, "sandbox": "/run/netns/p1"},
			{"name": "bond0-1", "mac": "02:00:00:00:00:03", "mtu": 1500, "sandbox": "/run/netns/p1", "pciID": "0000:3b:02.0"}],
		"ips": [
			{"interface": 0, "address": "10.56.217.2/24", "gateway": "10.56.217.1"},
			{"interface": 0, "address": "fd00:56::2/64"}],
		"routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.56.217.9", "mtu": 1400, "advmss": 1300, "priority": 7, "table": 100, "scope": 253}],
		"dns": {"nameservers": ["192.0.2.53"], "domain": "example.org", "search": ["a.example.org"], "options": ["ndots:5"]}}`
	r, err := DecodeResult(json.RawMessage(text))
	require.NoError(t, err)
	return r
}

func TestPrintResult(t *testing.T) {
	const dns = `{"nameservers": ["192.0.2.53"], "domain": "example.org", "search": ["a.example.org"], "options": ["ndots:5"]}`
	const interfaces = `[{"name": "bond0", "mac": "02:00:00:00:00:03", "sandbox": "/run/netns/p1"}, {"name": "bond0-1", "mac": "02:00:00:00:00:03", "sandbox": "/run/netns/p1"}]`
	const routes = `[{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.56.217.9"}]`
	const old = `"interfaces": ` + interfaces + `, "routes": ` + routes + `, "dns": ` + dns + `,
		"ips": [{"version": "4", "interface": 0, "address": "10.56.217.2/24", "gateway": "10.56.217.1"}, {"version": "6", "interface": 0, "address": "fd00:56::2/64"}]}`
	const oldest = `"ip4": {"ip": "10.56.217.2/24", "gateway": "10.56.217.1", "routes": ` + routes + `}, "ip6": {"ip": "fd00:56::2/64"}, "dns": ` + dns + `}`
	for version, want := range map[string]string{
		"":      `{"cniVersion": "0.1.0", ` + oldest,
		"0.1.0": `{"cniVersion": "0.1.0", ` + oldest,
		"0.2.0": `{"cniVersion": "0.2.0", ` + oldest,
		"0.3.0": `{"cniVersion": "0.3.0", ` + old,
		"0.3.1": `{"cniVersion": "0.3.1", ` + old,
		"0.4.0": `{"cniVersion": "0.4.0", ` + old,
		"1.0.0": `{"cniVersion": "1.0.0", "interfaces": ` + interfaces + `, "routes": ` + routes + `, "dns": ` + dns + `,
			"ips": [{"interface": 0, "address": "10.56.217.2/24", "gateway": "10.56.217.1"}, {"interface": 0, "address": "fd00:56::2/64"}]}`,
		"1.1.0": `{"cniVersion": "1.1.0",
			"interfaces": [
				{"name": "bond0", "mac": "02:00:00:00:00:03", "mtu": 1500, "sandbox": "/run/netns/p1"},
				{"name": "bond0-1", "mac": "02:00:00:00:00:03", "mtu": 1500, "sandbox": "/run/netns/p1", "pciID": "0000:3b:02.0"}],
			"ips": [{"interface": 0, "address": "10.56.217.2/24", "gateway": "10.56.217.1"}, {"interface": 0, "address": "fd00:56::2/64"}],
			"routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.56.217.9", "mtu": 1400, "advmss": 1300, "priority": 7, "table": 100, "scope": 253}],
			"dns": ` + dns + `}`,
	} {
		t.Run(version, func(t *testing.T) {
			var printed bytes.Buffer
			r := full(t)
			require.NoError(t, PrintResult(&printed, r, version))
			require.JSONEq(t, want, printed.String())
			require.JSONEq(t, string(strictjson.Encode(full(t))), string(strictjson.Encode(r))) // the result itself is as it was
		})
	}
}

// TestPrintResultEmpty: a bond without addresses.
func TestPrintResultEmpty(t *testing.T) {
	r := &current.Result{CNIVersion: "1.1.0", Interfaces: []*current.Interface{{Name: "bond0", Sandbox: "/run/netns/p1"}}}
	for version, want := range map[string]string{
		"0.2.0": `{"cniVersion": "0.2.0", "dns": {}}`,
		"0.3.1": `{"cniVersion": "0.3.1", "interfaces": [{"name": "bond0", "sandbox": "/run/netns/p1"}], "dns": {}}`,
		"1.0.0": `{"cniVersion": "1.0.0", "interfaces": [{"name": "bond0", "sandbox": "/run/netns/p1"}]}`,
	} {
		var printed bytes.Buffer
		require.NoError(t, PrintResult(&printed, r, version))
		require.JSONEq(t, want, printed.String())
	}
}

func TestPrintResultErrors(t *testing.T) {
	for version, want := range map[string]string{
		"9":     "converting the result to CNI 9: no converter for CNI result version 1.1.0 to 9",
		"0.0.7": "converting the result to CNI 0.0.7: no converter for CNI result version 1.1.0 to 0.0.7",
		"x":     `converting the result to CNI x: failed to convert major version part "x": strconv.Atoi: parsing "x": invalid syntax`,
	} {
		assert.EqualError(t, PrintResult(&bytes.Buffer{}, full(t), version), want, version)
	}
}

// TestParseResult reads what IPAM plugins of all ages print.
func TestParseResult(t *testing.T) {
	const config = "1.0.0"
	const want = `{"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}`
	for _, test := range []struct{ name, out, config, want, text string }{
		{"1.1.0", `{"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}], "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}]}`, config,
			`{"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}], "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}]}`, ""},
		{"1.0.0", `{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}`, config, want, ""},
		{"0.4.0", `{"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.2/24", "gateway": "10.0.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}`, config, want, ""},
		{"0.3.1", `{"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.0.0.2/24", "gateway": "10.0.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}`, config, want, ""},
		{"0.2.0", `{"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}]}}`, config, want, ""},
		{"no version: the configuration's", `{"ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}`, config, want, ""},
		{"no version anywhere: 0.1.0", `{"ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}]}}`, "", want, ""},
		{"nothing", ``, config, "", `it printed no result: ""`},
		{"null", `null`, config, "", `it printed no result: "null"`},
		{"a list", `[]`, config, "", `it printed no result: "[]"`},
		{"a version that is none", `{"cniVersion": 1}`, config, "", `decoding version from network config: json: cannot unmarshal number into Go struct field .cniVersion of type string`},
		{"a version of tomorrow", `{"cniVersion": "7.0.0"}`, config, "", `unsupported CNI result version "7.0.0"`},
		{"no address", `{"cniVersion": "1.0.0", "ips": [{"address": "hello"}]}`, config, "", `invalid CIDR address: hello`},
		{"null for an address", `{"cniVersion": "1.0.0", "ips": [null]}`, config, "", "it printed a result in which an element of ips is null"},
		{"null for a route, of old", `{"cniVersion": "0.4.0", "routes": [{"dst": "0.0.0.0/0"}, null]}`, config, "", "it printed a result in which an element of routes is null"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseResult(json.RawMessage(test.out), test.config)
			if test.text != "" {
				assert.EqualError(t, err, test.text)
				return
			}
			require.NoError(t, err)
			require.JSONEq(t, test.want, string(strictjson.Encode(got)))
		})
	}
}

// TestInVersion: a result goes on in the version of its list.
func TestInVersion(t *testing.T) {
	const new, old = `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.0.0.2/24","interface":0}]}`,
		`{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"version":"4","interface":0,"address":"10.0.0.2/24"}],"dns":{}}`
	for _, test := range []struct{ name, out, version, want string }{
		{"the same", `{"cniVersion": "1.0.0", "own": 1}`, "1.0.0", `{"cniVersion": "1.0.0", "own": 1}`},
		{"an older one", old, "1.0.0", new},
		{"a newer one", new, "0.4.0", old},
		{"none", `{"ips": [{"address": "10.0.0.2/24"}]}`, "1.0.0", `{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}`},
		{"no address in the first version", `{"cniVersion": "1.0.0"}`, "0.1.0", `{"cniVersion":"0.1.0","dns":{}}`},
	} {
		got, err := InVersion([]byte(test.out), test.version)
		require.NoError(t, err, test.name)
		assert.JSONEq(t, test.want, string(got), test.name)
	}
	_, err := InVersion([]byte(`[]`), "1.0.0")
	assert.EqualError(t, err, `it printed no result: "[]"`)
	_, err = InVersion([]byte(`{"cniVersion": "7.0.0"}`), "1.0.0")
	assert.Error(t, err)
}
