package netconf

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
)

// eachLinks are two links, as the beginning of a network.
const eachLinks = `"cniVersion": "1.0.0", "name": "n", "type": "multibond", "attach": "each", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0", "name": "rail"}]`

// TestAttachEach: each link has a name, and the IPAM configuration of the network or its own.
func TestAttachEach(t *testing.T) {
	const one = `{` + eachLinks + `, "mtu": 9000, "vlan": 100, "minLinks": 1, "ipam": {"type": "host-local", "subnet": "10.0.0.0/16"}}`
	n, err := ParseNetwork([]byte(one), "net1")
	require.NoError(t, err)
	assert.Equal(t, AttachEach, n.Attach)
	assert.Equal(t, bond.Options{bond.MTU: "9000", bond.VLAN: "100", bond.MinLinks: "1", bond.AcceptRA: "0"}, n.Options)
	assert.Equal(t, 1, n.MinLinks)
	assert.Empty(t, n.IPAM)
	assert.Equal(t, []string{"host-local", "sriov"}, n.PluginTypes())
	for i, name := range []string{"net1-1", "rail"} {
		assert.Equal(t, name, n.Links[i].Name)
		assert.Equal(t, &Plugin{Type: "host-local", Config: NewConfig([]byte(one))}, n.Links[i].IPAM)
		assert.Contains(t, string(n.Links[i].Plugins[0].Config.Raw), `"vlan":100`)
	}

	const own = `"cniVersion": "1.0.0", "name": "n", "attach": "each", "links": [{"deviceID": "0000:3b:02.0", "ipam": {"type": "static", "addresses": [{"address": "10.0.0.1/24"}]}}, {"deviceID": "0000:5e:02.0"}]`
	n, err = ParseNetwork([]byte(`{`+own+`, "ipam": {"type": "dhcp"}}`), "net1")
	require.NoError(t, err)
	assert.Equal(t, "static", n.Links[0].IPAM.Type)
	assert.JSONEq(t, `{`+own+`, "ipam": {"type": "static", "addresses": [{"address": "10.0.0.1/24"}]}}`, string(n.Links[0].IPAM.Config.Raw))
	assert.Equal(t, &Plugin{Type: "dhcp", Config: n.Config}, n.Links[1].IPAM)
	n, err = ParseNetwork([]byte(`{`+own+`}`), "net1")
	require.NoError(t, err)
	assert.Equal(t, "0", n.Options[bond.AcceptRA])
	assert.Nil(t, n.Links[1].IPAM)

	n, err = ParseNetwork([]byte(`{`+eachLinks+`}`), "net1")
	require.NoError(t, err)
	assert.Nil(t, n.Links[0].IPAM)

	// A link can have the name that the runtime asks for, and there can be one.
	n, err = ParseNetwork([]byte(`{"cniVersion": "1.0.0", "name": "n", "attach": "each", "links": [{"deviceID": "0000:3b:02.0", "name": "net1"}]}`), "net1")
	require.NoError(t, err)
	assert.Equal(t, "net1", n.Links[0].Name)

	n, err = ParseNetwork([]byte(`{"cniVersion": "1.0.0", "name": "n", "attach": "bond", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`), "net1")
	require.NoError(t, err)
	assert.Empty(t, n.Attach)
	assert.Equal(t, bond.ActiveBackup, n.Options[bond.Mode])
}

// TestAttachEachCounts: the ipam of an element of links is that of each of its links, before
// and after the devices are known.
func TestAttachEachCounts(t *testing.T) {
	const network = `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "delegate": {"type": "macvlan"}, "links": [
		{"resourceName": "a", "count": 2, "ipam": {"type": "one"}}, {"pool": {}, "count": 2, "ipam": {"type": "two"}}, {"resourceName": "b"}], "ipam": {"type": "three"}}`
	types := func(raw []byte) (types []string) {
		n, err := ParseNetwork(raw, "net1")
		require.NoError(t, err)
		for i, l := range n.Links {
			assert.Equal(t, fmt.Sprintf("net1-%d", i+1), l.Name)
			types = append(types, l.IPAM.Type)
		}
		return types
	}
	assert.Equal(t, []string{"one", "two", "two", "three"}, types([]byte(network)))
	filled, err := WithDevices([]byte(network), []string{"0000:3b:02.0", "0000:3b:02.1", "0000:5e:02.0"})
	require.NoError(t, err)
	assert.Equal(t, []string{"one", "one", "two", "two", "three"}, types(filled))
}

func TestAttachEachProblems(t *testing.T) {
	const notBonded = `is about a bond, but with "attach": "each" there is none (leave it out, or set "attach": "bond")`
	for _, test := range []struct{ name, config, want string }{
		{"another word", `{"name": "n", "attach": "all", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`, `attach: is "all", want bond or each`},
		{"options of a bond", `{` + eachLinks + `, "mode": "802.3ad", "miimon": 100, "allowLACP": true}`, "mode: " + notBonded + "; miimon: " + notBonded + "; allowLACP: " + notBonded},
		{"links in the pod", `{"name": "n", "attach": "each", "linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]}`, "linksInContainer: " + notBonded},
		{"an option of a link", `{"name": "n", "attach": "each", "links": [{"deviceID": "0000:3b:02.0", "prio": 7}]}`, "links[0].prio: " + notBonded},
		{"an MTU that is none", `{` + eachLinks + `, "mtu": 7}`, "mtu: is 7, want 68 to 65535 bytes"},
		{"no link", `{"name": "n", "attach": "each", "links": []}`, `links: has no link (for two interfaces: "links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}])`},
		{"more than there are", `{` + eachLinks + `, "minLinks": 3}`, "minLinks: is 3, but there are 2 links"},
		{"a list", `{` + eachLinks + `, "ipam": [{"type": "dhcp"}]}`, "ipam: is a list, want a JSON object"},
		{"no plugin", `{"name": "n", "attach": "each", "links": [{"deviceID": "0000:3b:02.0", "ipam": {"subnet": "10.0.0.0/16"}}]}`, "links[0].ipam.type: is missing, want the name of a CNI plugin"},
		{"one address for two", `{` + eachLinks + `, "ipam": {"type": "static"}}`, `ipam: is static, which would give the same addresses to each of 2 links (give each element of links its own: "links": [{"ipam": {"type": "static", ...}, ...}, ...])`},
		{"one address for a count", `{"name": "n", "attach": "each", "links": [{"resourceName": "a", "count": 3, "ipam": {"type": "static"}}]}`,
			`links[0].ipam: is static, which would give the same addresses to each of 3 links (give each element of links its own: "links": [{"ipam": {"type": "static", ...}, ...}, ...])`},
		{"addresses in config", `{"name": "n", "attach": "each", "links": [{"config": {"type": "macvlan", "ipam": {"type": "dhcp"}}}]}`,
			"links[0].config.ipam: is set for what attaches a link, but the interface gets its addresses afterwards (set ipam beside links, or beside config in an element of links)"},
		{"what a pod asks for", `{` + eachLinks + `, "runtimeConfig": {"mac": "02:00:00:00:00:01", "ips": ["10.0.0.1/24"]}}`,
			`runtimeConfig.mac: is for one interface, but with "attach": "each" the pod gets one for each link (set "mac" in the configuration that attaches each link); ` +
				`runtimeConfig.ips: is for one interface, but with "attach": "each" the pod gets one for each link (write them into the network, for each link: "links": [{"ipam": {"type": "static", ...}, ...}, ...])`},
		{"plugins after it", `{"cniVersion": "1.0.0", "name": "n", "plugins": [{` + eachLinks[len(`"cniVersion": "1.0.0", "name": "n", `):] + `}, {"type": "tuning"}, {"type": "sbr"}]}`,
			`plugins[1]: tuning, sbr would work on one interface, but with "attach": "each" the pod gets one for each link (give each link its own, after what attaches it: "delegate": {"plugins": [{"type": "sriov"}, ...]})`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseNetwork([]byte(test.config), "net1")
			require.EqualError(t, err, "network n: "+test.want)
		})
	}
}
