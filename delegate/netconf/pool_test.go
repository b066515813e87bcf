package netconf

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestPool reads what a pool asks for, and how its links are made on a NIC.
func TestPool(t *testing.T) {
	n := mustParse(t, `{"cniVersion": "1.0.0", "name": "n", "delegate": {"type": "host-device"}, "links": [
		{"pool": {"vendor": "0x15B3", "device": "1017", "driver": "mlx5_core", "minSpeed": 25000, "names": ["ens*f0", "eth7"],
			"networks": ["192.168.1.0/24", "fd00::/64"], "linkType": "ether", "numa": 0}, "count": 2, "config": {"plugins": [{"type": "macvlan"}, {"type": "tuning"}]}},
		{"pool": {}, "name": "own"}]}`)
	first := &Pool{
		Path: "links[0].pool", Count: 2, Vendor: "15b3", Model: "1017", Driver: "mlx5_core", MinSpeed: 25000, Names: []string{"ens*f0", "eth7"},
		Networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("fd00::/64")}, LinkType: bond.Ethernet, NUMA: new(0),
	}
	macvlan := []Plugin{plugin("macvlan", `{"cniVersion":"1.0.0","name":"n","type":"macvlan"}`), plugin("tuning", `{"cniVersion":"1.0.0","name":"n","type":"tuning"}`)}
	require.Equal(t, []Link{
		{Name: "bond0-1", Source: FromPool, Pool: first, Plugins: macvlan},
		{Name: "bond0-2", Source: FromPool, Pool: first, Plugins: macvlan},
		{Name: "own", Source: FromPool, Pool: &Pool{Path: "links[1].pool", Count: 1}, Plugins: []Plugin{plugin("host-device", `{"cniVersion":"1.0.0","name":"n","type":"host-device"}`)}},
	}, n.Links)
	assert.True(t, n.HasPool())

	nic := bond.NIC{Link: bond.Link{Name: "ens1f0", Device: "0000:3b:00.0"}}
	made, moved := n.Links[1].On(nic), n.Links[2].On(nic)
	assert.Equal(t, FromConfig, made.Source)
	assert.JSONEq(t, `{"cniVersion":"1.0.0","master":"ens1f0","name":"n","type":"macvlan"}`, string(made.Plugins[0].Config.Raw))
	assert.Equal(t, macvlan[1], made.Plugins[1])
	assert.Equal(t, macvlan, n.Links[1].Plugins, "it changes nothing")
	assert.Equal(t, FromDevice, moved.Source)
	assert.Equal(t, "0000:3b:00.0", moved.Device)
	assert.JSONEq(t, `{"cniVersion":"1.0.0","deviceID":"0000:3b:00.0","name":"n","pciBusID":"0000:3b:00.0","type":"host-device"}`, string(moved.Plugins[0].Config.Raw))
}

// TestPoolProblems: what is wrong with a pool is reported with its path.
func TestPoolProblems(t *testing.T) {
	const macvlan = `"config": {"type": "macvlan"}`
	pool := func(keys string) string { return `{"pool": {` + keys + `}, "count": 2, ` + macvlan + `}` }
	for _, test := range []struct{ name, links, text string }{
		{"no object", `{"pool": "all", "count": 2, ` + macvlan + `}`, `links[0].pool: is "all", want a JSON object`},
		{"unknown keys", pool(`"vendors": ["15b3"], "rack": 1`), `links[0].pool.rack: is not a known key; links[0].pool.vendors: is not a known key (did you mean vendor?)`},
		{"PCI IDs", pool(`"vendor": "mellanox", "device": 1017`),
			`links[0].pool.vendor: is "mellanox", want the four hexadecimal digits of a PCI ID, such as 15b3 (lspci -nn shows them); links[0].pool.device: is 1017, want a string`},
		{"numbers", pool(`"minSpeed": -1, "numa": -1`), `links[0].pool.minSpeed: is -1, want a number of Mbit/s; links[0].pool.numa: is -1, want the number of a NUMA node`},
		{"words for numbers", pool(`"minSpeed": "25G", "numa": "0"`), `links[0].pool.minSpeed: is "25G", want a number of Mbit/s; links[0].pool.numa: is "0", want the number of a NUMA node`},
		{"names", pool(`"names": ["eth[", ""]`),
			`links[0].pool.names[0]: is "eth[", want a name or a pattern such as ens*f0 (*, ?, [abc]); links[0].pool.names[1]: is "", want a name or a pattern such as ens*f0 (*, ?, [abc])`},
		{"no list of names", pool(`"names": "eth0"`), `links[0].pool.names: is "eth0", want a list of names or patterns`},
		{"networks", pool(`"networks": ["192.168.1.7/24", "lan"]`),
			`links[0].pool.networks[0]: is "192.168.1.7/24", which is an address and not a network (use 192.168.1.0/24); links[0].pool.networks[1]: is "lan", want a CIDR such as 192.168.1.0/24`},
		{"link type", pool(`"linkType": "ethernet"`), `links[0].pool.linkType: is "ethernet", want ether or infiniband`},
		{"count", `{"pool": {}, "count": 33, ` + macvlan + `}, {"name": "eth1"}`, `links[0].count: is 33, want 1 to 32`},
		{"a name for two", `{"pool": {}, "count": 2, "name": "left", ` + macvlan + `}`,
			`links[0].name: names one link, but count is 2 (leave it out; the links are <bond>-1, <bond>-2, ...); links[1].name: is left, which links[0] already has`},
		{"too many", `{"pool": {}, "count": 32, ` + macvlan + `}, {"pool": {}, ` + macvlan + `}`, `links: has 33 links with those of pools, want at most 32`},
		{"two sources", `{"pool": {}, "deviceID": "0000:3b:02.0", "count": 2, ` + macvlan + `}`, `links[0]: has pool and deviceID, but a link has one source (leave one of the two out)`},
		{"nothing makes it", `{"pool": {}, "count": 2}`,
			`links[0].config: is missing, want how a link is made on a NIC of the pool, by macvlan, ipvlan, vlan, ipoib or host-device (for instance "config": {"type": "macvlan"})`},
		{"a plugin that makes none", `{"pool": {}, "count": 2, "config": {"plugins": [{"type": "bridge"}]}}`,
			`links[0].config.plugins[0].type: is "bridge", which makes no link on a NIC of the host; want macvlan, ipvlan, vlan, ipoib or host-device`},
		{"a NIC is named", `{"pool": {}, "count": 2, "config": {"type": "vlan", "master": "eth0", "linkInContainer": true}}`,
			`links[0].config.master: is set, but the NIC is chosen from links[0].pool (leave it out); links[0].config.linkInContainer: is set, but the NIC is chosen from links[0].pool (leave it out)`},
		{"an address of its own", `{"pool": {}, "count": 2, "config": {"type": "macvlan", "ipam": {"type": "static"}}}`,
			`links[0].config.ipam: is set for a link, but links of a bond have no addresses (set ipam once, beside links)`},
		{"one link", `{"pool": {}, ` + macvlan + `}`,
			`links: has one link, but a bond needs at least two (for a bond over two VFs: "links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]; to allow one link: "minLinks": 1)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseNetwork([]byte(`{"name": "n", "links": [`+test.links+`]}`), "bond0")
			require.EqualError(t, err, "network n: "+test.text)
			assert.EqualValues(t, 7, cnierror.Code(err))
		})
	}
}

// TestNear reads what links should be near. Only the agent knows where that is.
func TestNear(t *testing.T) {
	for near, want := range map[string]Network{
		`"devices"`:                       {Near: "devices", AnyPrimary: true},
		`"cpus"`:                          {Near: "cpus", AnyPrimary: true},
		`"none"`:                          {},
		`null`:                            {},
		`"devices", "primary": "bond0-2"`: {Near: "devices"},
	} {
		n := mustParse(t, `{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "near": `+near+`}`)
		assert.Equal(t, want, Network{Near: n.Near, AnyPrimary: n.AnyPrimary}, near)
		assert.Equal(t, want.Near != "", n.NeedsAgent(), near)
		assert.NoError(t, n.CheckAgent(), near)
	}
	_, err := ParseNetwork([]byte(`{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "near": "gpus"}`), "bond0")
	require.EqualError(t, err, `network n: near: is "gpus", want devices, cpus or none`)
}
