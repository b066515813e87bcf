package kubeclient

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWaysTried lists attempts of the owner of the pod demo/p to get a VF, a NAD or a
// file of somebody else. The owner may write the pod's annotations and NADs in its
// own namespace.
func TestWaysTried(t *testing.T) {
	own := has("intel.com/a", "0000:3b:02.1")
	for _, way := range []struct{ name, annotation, refused string }{
		{"a NAD of another namespace", `other/vf`, "networks[0]: network other/vf: the pod may only use NADs of demo, default"},
		{"the same as JSON", `[{"name":"vf","namespace":"other"}]`, "networks[0]: network other/vf: the pod may only use NADs of demo, default"},
		{"another namespace in a name", `[{"name":"other/vf"}]`, "networks[0].name: "},
		{"another namespace by a path", `../other/vf`, "networks[0]"},
		{"the cluster's own NAD", `system/vf`, "networks[0]: network system/vf: the pod may only use NADs of demo, default"},
		{"a bond whose links are another's NADs", `outside`, "networks[0]: network demo/outside: links[0].network: network other/vf: the pod may only use NADs of demo, default"},
		{"the device of another pod", `[{"name":"vf","deviceID":"0000:3b:02.7"}]`, "network demo/vf requests device 0000:3b:02.7 of intel.com/a, pod demo/p has 1 (0000:3b:02.1)"},
		{"a device of a path", `[{"name":"vf","deviceID":"../../0000:3b:02.7"}]`, "networks[0].deviceID: is \"../../0000:3b:02.7\", want a device of the pod"},
		{"a device for a network without devices", `[{"name":"lan","deviceID":"0000:3b:02.7"}]`, "network demo/lan requests device 0000:3b:02.7, pod demo/p has 1 (0000:3b:02.1)"},
		{"the same device twice", `[{"name":"vf","deviceID":"0000:3b:02.1"},{"name":"vf","deviceID":"0000:3b:02.1"}]`, "network demo/vf requests device 0000:3b:02.1, which network demo/vf of the pod already has"},
		{"more devices than its own", `pair`, "network demo/pair needs 2 x intel.com/a, pod demo/p has 1 (0000:3b:02.1)"},
		{"CNI_ARGS by a MAC", `[{"name":"lan","mac":"02:00:00:00:00:01;K8S_POD_NAME=q"}]`, "networks[0].mac: is "},
		{"CNI_ARGS by an address", `[{"name":"lan","ips":["10.0.0.1;K8S_POD_NAME=q"]}]`, "networks[0].ips[0]: is "},
		{"CNI_ARGS by a zone", `[{"name":"lan","ips":["fe80::1%a;K8S_POD_NAME=q"]}]`, "networks[0].ips[0]: is "},
		{"an interface that is a path", `vf@../../etc/x`, "networks[0].interface: is "},
		{"an interface that is another's Record", `[{"name":"lan","interface":"x:y"}]`, "networks[0].interface: is "},
		{"an interface with a line's end", `[{"name":"lan","interface":"a\nb"}]`, "networks[0].interface: is "},
		{"an interface that ends early", `[{"name":"lan","interface":"a\u0000b"}]`, "networks[0].interface: is "},
		{"an interface that is too long", `[{"name":"lan","interface":"` + strings.Repeat("a", 4096) + `"}]`, "networks[0].interface: is "},
		{"the place of the default network", `lan@eth0`, "networks[0].interface: is eth0"},
	} {
		t.Run(way.name, func(t *testing.T) {
			elements, err := ParseNetworks(way.annotation, "demo", []string{"eth0"})
			if err == nil {
				_, err = attachments(t, elements, own)
			}
			assert.ErrorContains(t, err, way.refused)
		})
	}
}

// TestCNIArgsNameNoDevice checks that cni-args end up in args.cni, where plugins do
// not look for their device.
func TestCNIArgsNameNoDevice(t *testing.T) {
	got, err := attachments(t, parse(t, `[{"name":"vf","cni-args":{"deviceID":"0000:3b:02.7","pciBusID":"0000:3b:02.7","type":"x"}}]`), has("intel.com/a", "0000:3b:02.1"))
	require.NoError(t, err)
	assert.JSONEq(t, `{"cniVersion":"0.3.1","name":"vf","type":"sriov","capabilities":{"CNIDeviceInfoFile":true},
		"args":{"cni":{"deviceID":"0000:3b:02.7","pciBusID":"0000:3b:02.7","type":"x"}},
		"deviceID":"0000:3b:02.1","pciBusID":"0000:3b:02.1","runtimeConfig":{"CNIDeviceInfoFile":"/info/net1"}}`, string(got[0].Config))
}

// TestTooMuch lists attempts of the owner of the pod demo/p to make the agent, which
// serves all pods of a node, run out of memory.
func TestTooMuch(t *testing.T) {
	for _, way := range []struct{ name, annotation, refused string }{
		{"many networks", strings.Repeat("vf,", 80_000) + "vf", "networks: has 80001 networks, want at most 32"},
		{"many networks as JSON", "[" + strings.Repeat("null,", 50_000) + "null]", "networks: has 50001 networks, want at most 32"},
		{"many wrong addresses", `[{"name":"lan","ips":[` + strings.Repeat(`"",`, 60_000) + `""]}]`, "; there are more problems"},
	} {
		_, err := ParseNetworks(way.annotation, "demo", []string{"eth0"})
		require.ErrorContains(t, err, way.refused, way.name)
		assert.LessOrEqual(t, len(err.Error()), 20_000, way.name)
	}
	for _, way := range []struct{ name, config, refused string }{
		{"a large configuration", `{"type":"x","a":"` + strings.Repeat("x", 1<<17) + `"}`, "has 131091 bytes, want at most 131072"},
		{"many plugins, each of which gets all that the pod asks for", `{"plugins":[` + strings.Repeat(`{"type":"x","capabilities":{"ips":true}},`, 3000) + `{"type":"x"}]}`,
			"plugins: has 3001 plugins, want at most 32"},
	} {
		_, err := ParseConfig([]byte(way.config), "a")
		assert.EqualError(t, err, way.refused, way.name)
	}
	large := `{"type":"macvlan","a":"` + strings.Repeat("x", 1<<17-100) + `"}`
	links := strings.TrimSuffix(strings.Repeat(`{"network":"large"},`, 32), ",")
	r := Resolver{NAD: nads(map[string]string{"demo/large": large, "demo/bond": `{"type":"multibond","links":[` + links + `]}`})}
	_, err := Attachments(named("demo", "p"), parse(t, "bond,bond"), r, Node{Containers: gives(), PF: noPF})
	assert.EqualError(t, err, "the configurations of all networks of pod demo/p have more than 4194304 bytes")
}
