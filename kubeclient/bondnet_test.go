package kubeclient

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/netconf"
)

// vfs are the NADs that the links name.
var vfs = map[string]string{
	"demo/vf-a":     `intel.com/a {"type":"sriov","vlan":100,"ipam":{}}`,
	"infra/vf-b":    `intel.com/b {"plugins":[{"type":"sriov"},{"type":"tuning","mtu":9000}]}`,
	"demo/mac":      `{"type":"macvlan","master":"eth7"}`,
	"demo/with-ip":  `intel.com/a {"type":"sriov","ipam":{"type":"static"}}`,
	"demo/with-ip2": `{"plugins":[{"type":"sriov"},{"type":"x","ipam":{"type":"static"}}]}`,
	"demo/bond2":    `{"type":"multibond","links":[]}`,
	"demo/bond3":    `{"plugins":[{"type":"multibond"}]}`,
	"demo/bond4":    `{"type":"bond","links":[{"name":"net1"},{"name":"net2"}]}`,
}

func readBond(config string) (BondNetwork, error) {
	r := Resolver{NAD: nads(vfs)}
	n := Network{Name: named("demo", "bond-net1"), Config: decoded(config)}
	return ReadBond(n, func(ref types.NamespacedName) (Network, error) { return r.Resolve(ref) })
}

const bondHead = "{\n  \"cniVersion\": \"1.0.0\", \"name\": \"bond-net1\", \"type\": \"multibond\", \"x-comment\": \"<&>\",\n  \"links\": "

func TestBondLinks(t *testing.T) {
	for name, test := range map[string]struct {
		links   string
		wants   []Want
		fixed   []string
		devices []string
		out     string
		parsed  string // each link's name, source, device and plugins
	}{
		"by resource": {
			links:   `[{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b", "name": "right" }]`,
			wants:   []Want{{Resource: "intel.com/a"}, {Resource: "intel.com/b"}},
			devices: []string{"0000:3b:02.1", "0000:5e:02.1"},
			out:     `[{"deviceID":"0000:3b:02.1"}, {"deviceID":"0000:5e:02.1", "name": "right" }]`,
			parsed:  "bond0-1 device 0000:3b:02.1 sriov, right device 0000:5e:02.1 sriov",
		},
		"counted": {
			links:   `[{"resourceName":"intel.com/a","count":3, "config": {"type": "sriov", "vlan": 7}}]`,
			wants:   []Want{{Resource: "intel.com/a"}, {Resource: "intel.com/a"}, {Resource: "intel.com/a"}},
			devices: []string{"0000:3b:02.1", "0000:3b:02.2", "0000:3b:02.3"},
			out: `[{"deviceID":"0000:3b:02.1", "config": {"type": "sriov", "vlan": 7}}, ` +
				`{"deviceID":"0000:3b:02.2", "config": {"type": "sriov", "vlan": 7}}, {"deviceID":"0000:3b:02.3", "config": {"type": "sriov", "vlan": 7}}]`,
			parsed: "bond0-1 device 0000:3b:02.1 sriov, bond0-2 device 0000:3b:02.2 sriov, bond0-3 device 0000:3b:02.3 sriov",
		},
		"pools, whose NICs the plugin chooses": {
			links:   `[{"pool": {"numa": 0}, "count": 2, "config": {"type": "macvlan"}}, {"resourceName": "intel.com/a"}]`,
			wants:   []Want{{Resource: "intel.com/a"}},
			devices: []string{"0000:3b:02.1"},
			out:     `[{"pool": {"numa": 0}, "count": 2, "config": {"type": "macvlan"}}, {"deviceID":"0000:3b:02.1"}]`,
			parsed:  "bond0-1 pool  macvlan, bond0-2 pool  macvlan, bond0-3 device 0000:3b:02.1 sriov",
		},
		"by network": {
			links:   `[{"network":"vf-a","name":"l"},{"network":"infra/vf-b","count":1},{"network":"mac","count":2}]`,
			wants:   []Want{{Resource: "intel.com/a"}, {Resource: "intel.com/b"}},
			devices: []string{"0000:3b:02.1", "0000:5e:02.1"},
			out: `[{"deviceID":"0000:3b:02.1","config":{"name":"vf-a","cniVersion":"0.3.1","type":"sriov","vlan":100,"ipam":{}},"name":"l"}, ` +
				`{"deviceID":"0000:5e:02.1","config":{"name":"vf-b","cniVersion":"0.3.1","plugins":[{"type":"sriov"},{"type":"tuning","mtu":9000}]}}, ` +
				`{"config":{"name":"mac","cniVersion":"0.3.1","type":"macvlan","master":"eth7"}}, {"config":{"name":"mac","cniVersion":"0.3.1","type":"macvlan","master":"eth7"}}]`,
			parsed: "l device 0000:3b:02.1 sriov, bond0-2 device 0000:5e:02.1 sriov tuning, bond0-3 config  macvlan, bond0-4 config  macvlan",
		},
		"by request": {
			links:   `[{"request":"left"},{"request":"right"}]`,
			wants:   []Want{{Request: "left"}, {Request: "right"}},
			devices: []string{"0000:3b:02.1", "0000:5e:02.1"},
			out:     `[{"deviceID":"0000:3b:02.1"}, {"deviceID":"0000:5e:02.1"}]`,
			parsed:  "bond0-1 device 0000:3b:02.1 sriov, bond0-2 device 0000:5e:02.1 sriov",
		},
		"of its own": {
			links:  `[{"deviceID":"0000:3B:02.1"},{"config":{"type":"sriov","deviceID":"0000:5e:02.1"}},{"config":{"type":"sriov","pciBusID":"0000:5e:02.2"}},{"name":"ens3"}]`,
			fixed:  []string{"0000:3b:02.1", "0000:5e:02.1", "0000:5e:02.2"},
			out:    `[{"deviceID":"0000:3B:02.1"}, {"config":{"type":"sriov","deviceID":"0000:5e:02.1"}}, {"config":{"type":"sriov","pciBusID":"0000:5e:02.2"}}, {"name":"ens3"}]`,
			parsed: "bond0-1 device 0000:3b:02.1 sriov, bond0-2 device 0000:5e:02.1 sriov, bond0-3 device 0000:5e:02.2 sriov, ens3 host  ",
		},
		"mixed": {
			links:   `[{"name":"ens3"},{"resourceName":"intel.com/a"},{"deviceID":"0000:5e:02.1"}]`,
			wants:   []Want{{Resource: "intel.com/a"}},
			fixed:   []string{"0000:5e:02.1"},
			devices: []string{"0000:3b:02.1"},
			out:     `[{"name":"ens3"}, {"deviceID":"0000:3b:02.1"}, {"deviceID":"0000:5e:02.1"}]`,
			parsed:  "ens3 host  , bond0-2 device 0000:3b:02.1 sriov, bond0-3 device 0000:5e:02.1 sriov",
		},
	} {
		const tail = ",\n  \"miimon\": \"100\", \"require\": {\"distinctPF\": \"ignore\"}\n}"
		b, err := readBond(bondHead + test.links + tail)
		if !assert.NoError(t, err, name) {
			continue
		}
		assert.Equal(t, Need{Network: "demo/bond-net1", Wants: test.wants, Fixed: test.fixed}, b.Need(), name)
		got := b.Network(test.devices)
		assert.Equal(t, bondHead+test.out+tail, string(got.Config.text), name)
		assert.Equal(t, test.parsed, parsedLinks(t, got.Config.text), name)
	}
}

func parsedLinks(t *testing.T, config json.RawMessage) string {
	t.Helper()
	n, err := netconf.ParseNetwork(config, "bond0")
	assert.NoError(t, err, string(config))
	var words []string
	for _, l := range n.Links {
		var plugins []string
		for _, p := range l.Plugins {
			plugins = append(plugins, p.Type)
		}
		words = append(words, fmt.Sprintf("%s %s %s %s", l.Name, l.Source, l.Device, strings.Join(plugins, " ")))
	}
	return strings.Join(words, ", ")
}

func TestBondLinkProblems(t *testing.T) {
	for link, want := range map[string]string{
		`{"resourceName":"a/b","network":"vf-a"}`:          "links[0]: has resourceName and network, but a link has one source",
		`{"resourceName":"a/b","deviceID":"0000:3b:02.1"}`: "links[0]: has resourceName and deviceID, but a link has one source",
		`{"resourceName":7}`:                               "links[0].resourceName: is 7, want a string",
		`{"request":""}`:                                   "links[0].request: is empty",
		`{"resourceName":"a/b","count":0}`:                 "links[0].count: is 0, want 1 to 32",
		`{"resourceName":"a/b","count":33}`:                "links[0].count: is 33, want 1 to 32",
		`{"resourceName":"a/b","count":"2"}`:               `links[0].count: is "2", want a whole number`,
		`{"resourceName":"a/b","count":2,"name":"x"}`:      "links[0].name: names one link, but count is 2",
		`{"deviceID":"0000:3b:02.1","count":2}`:            "links[0].count: is 2, but only links by resourceName, request, network or pool can have a count",
		`{"name":"ens3","count":2}`:                        "links[0].count: is 2, but only links by",
		`{"network":"vf-a","config":{"type":"sriov"}}`:     "links[0].config: is set, but network demo/vf-a has a configuration too",
		`{"network":"a/b/c"}`:                              `links[0].network.name: is "b/c", which is not a valid name`,
		`{"network":"with-ip"}`:                            "links[0].network: network demo/with-ip has an ipam, but links of a bond have no addresses",
		`{"network":"with-ip2"}`:                           "links[0].network: network demo/with-ip2 has an ipam",
		`{"network":"bond2"}`:                              "links[0].network: network demo/bond2 is a bond",
		`{"network":"bond3"}`:                              "links[0].network: network demo/bond3 is a bond",
		`{"network":"bond4"}`:                              "links[0].network: network demo/bond4 is a bond",
		`{"network":"gone"}`:                               "links[0].network: network demo/gone: not found",
	} {
		_, err := readBond(`{"type":"multibond","links":[` + link + `]}`)
		assertPrefix(t, "network demo/bond-net1: "+want, fmt.Sprint(err), link)
	}
}

// TestEachLinkIPAM: a link that another network attaches gets its addresses afterwards, too.
func TestEachLinkIPAM(t *testing.T) {
	_, err := readBond(`{"type":"multibond","attach":"each","links":[{"network":"with-ip"}]}`)
	assert.ErrorContains(t, err, "links[0].network: network demo/with-ip has an ipam, but the interface gets its addresses afterwards (set ipam beside links, or beside network in an element of links)")
}

// TestHostsOf: for how many hosts a network has room.
func TestHostsOf(t *testing.T) {
	for config, want := range map[string]int{
		`"links": [{"resourceName": "a/b"}], "ipam": {"type": "host-local", "hostBlock": 6}`:                                                                           0,
		`"links": [{"resourceName": "a/b"}], "ipam": {"type": "multibond", "hostBlock": 6}`:                                                                            64,
		`"links": [{"resourceName": "a/b", "ipam": {"type": "multibond", "hostBlock": 8}}, {"ipam": {"type": "multibond", "hostBlock": 4}}], "ipam": {"type": "dhcp"}`: 16,
		`"links": 7, "ipam": {"type": "multibond", "hostBlock": "x"}`:                                                                                                  0,
		`"links": [], "ipam": {"type": "multibond", "hostBlock": -1}`:                                                                                                  0,
	} {
		b, err := readBond(`{"type": "multibond", ` + config + `}`)
		require.NoError(t, err, config)
		assert.Equal(t, want, b.hosts, config)
	}
}

func TestBondProblemsAllAtOnce(t *testing.T) {
	_, err := readBond(`{"type":"multibond","links":[{"network":"gone"},{"resourceName":7},{"network":"bond2"}]}`)
	assert.ErrorIs(t, err, errNoNAD)
	for _, want := range []string{"links[0].network: ", "links[1].resourceName: ", "links[2].network: "} {
		assert.ErrorContains(t, err, want)
	}
}

// TestWhatDelegateChecksIsLeftToIt has links with problems that do not concern
// Kubernetes.
func TestWhatDelegateChecksIsLeftToIt(t *testing.T) {
	for _, config := range []string{
		`{"type":"multibond","links":7}`,
		`{"type":"multibond","links":[]}`,
		`{"type":"multibond","links":[7,null]}`,
		`{"type":"multibond"}`,
	} {
		b, err := readBond(config)
		require.NoError(t, err, config)
		assert.Empty(t, b.Need().Wants, config)
		out := b.Network(nil).Config.text
		assert.JSONEq(t, config, string(out))
		_, err = netconf.ParseNetwork(out, "bond0")
		assert.Error(t, err, config)
	}
}

// TestMinLinks checks how many links a network can do without, and that a link
// without a device still asks for one.
func TestMinLinks(t *testing.T) {
	const links = `"links": [{"resourceName": "intel.com/a", "name": "left"}, {"request": "r", "count": 2}, {"network": "vf-a"}, {"name": "ens3"}]`
	for minLinks, spare := range map[string]int{`1`: 4, `"2"`: 3, `5`: 0, `9`: 0, `0`: 0, `null`: 0, `"x"`: 0, `[]`: 0} {
		b, err := readBond(`{"name": "n", "type": "multibond", "minLinks": ` + minLinks + `, ` + links + `}`)
		require.NoError(t, err, minLinks)
		assert.Equal(t, spare, b.Need().Spare, "minLinks %s", minLinks)
	}
	b, err := readBond(`{"name": "n", "type": "multibond", "minLinks": 1, ` + links + `}`)
	require.NoError(t, err)
	n, err := netconf.ParseNetwork(b.Network([]string{"", "0000:5e:02.1", "", ""}).Config.text, "bond0")
	require.NoError(t, err)
	var got []string
	for _, l := range n.Links {
		got = append(got, strings.Join([]string{l.Name, string(l.Source), l.Device, l.By}, " "))
	}
	want := []string{"left agent  resourceName", "bond0-2 device 0000:5e:02.1 ", "bond0-3 agent  request", "bond0-4 agent  resourceName", "ens3 host  "}
	assert.Equal(t, want, got)
}
