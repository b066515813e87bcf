package delegate

import (
	"fmt"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// networkSeeds are configurations of networks, each with the bond's name and what
// arbitraryFacts makes of the node.
var networkSeeds = []struct {
	name, config, ifName string
	node                 uint8
}{
	{"two VFs, and a node without anything", standard, "bond0", 0},
	{"links of the host", hostBond, "eth0", 255},
	{"divided subnets", `{"name": "n", "attach": "each", "links": [{"name": "eth0"}, {"name": "eth1", "ipam": {"type": "multibond", "subnet": ["10.0.0.0/8", "fd00::/64"], "hostBlock": 8, "exclude": ["10.1.2.3", "10.0.0.0/30"]}}],
		"ipam": {"type": "multibond", "subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6, "routes": [{"dst": "0.0.0.0/0"}]}}`, "net1", 255},
	{"bond-cni's, with keys in another case and a null link", `{"type": "bond", "name": "n", "MODE": 0, "ifname": "x", "mac": 7, "mtu": "0", "runtimeConfig": {"mac": ""}, "links": [null, {"name": "a", "b": 1}]}`, "bond0", 255},
	{"two VFs, some facts missing", `{"name":"0","links":[{"deviceID":"0000:00:00.0"},{"deviceID":"0000:00:01.0"}]}`, "0", 0xb9},
	{"two interfaces of the host, named by digits", `{"name":"0","links":[{"name":"0"},{"name":"1"}]}`, "2", 0xb7},
	{"an address that is none, and an unknown key", `{"name":"00","links":[{"0000000000000":"000000000"},{"deviceID":"000000000000"}]}`, "0", 0xd1},
	{"links without anything, and a name that is not UTF-8", `{"links":[{},{}]}`, "\xe1\x90 ", 0x92},
	{"links without anything, and a longer one", `{"links":[{},{}]}`, "\xe1\x90\xe1\x90 ", 0x92},
	{"one link with an unknown key", `{"links":[{"_":""}]}`, "0", 0xe8},
	{"an empty key", `{"":{}}`, "0", 0xce},
	{"an unknown object", `{"00AA00":{}}`, "0", 0xce},
	{"unknown keys that are like one another", `{"0000000000":"","0000":"","0001":{}}`, "0", 0xcb},
	{"one key twice, and no end", `{"0000000000":"00000","0000":"0000","0000":"000000000","00000": {"00000000":"00000000000000`, "0", 0},
	{"no end after a comma", `{"":"",`, "0", 255},
	{"a list without an end", "[\t", "0", 0x7f},
	{"a text without an end", "\"\t", "0", 0xdd},
	{"a text", `"0"`, "0", 0xa0},
	{"a number and a tab", "0\t", "0", 255},
	{"lines and a number", "\n\n\n0", "0", 0xae},
	{"a number without its exponent", `10e`, "0", 'g'},
	{"half of false", `f`, "0", 'f'},
	{"a control character", "\a", "0", 'c'},
	{"not UTF-8", "0000000\xab00000", "0", 0},
}

// FuzzParseNetwork checks that no text crashes the parser, or the compiler after it, and
// that the same text is always the same network.
func FuzzParseNetwork(f *testing.F) {
	for _, s := range networkSeeds {
		f.Add([]byte(s.config), s.ifName, s.node)
	}
	for _, s := range scenarios {
		f.Add([]byte(s.config), "bond0", uint8(255))
	}
	f.Fuzz(func(t *testing.T, raw []byte, name string, node uint8) {
		n, err := netconf.ParseNetwork(raw, name)
		again, err2 := netconf.ParseNetwork(raw, name)
		require.Equal(t, fmt.Sprint(err), fmt.Sprint(err2))
		require.Equal(t, n, again)
		boundedError(t, raw, err)
		if err != nil {
			assert.Contains(t, []uint{types.ErrDecodingFailure, types.ErrInvalidNetworkConfig}, cnierror.Code(err), err)
			return
		}
		plan, _, err := plan.Compile(plan.Request{IfName: name, Network: n, HostIndex: new(int(node))}, arbitraryFacts(n, node))
		if err == nil {
			assert.NotEmpty(t, plan.String())
		}
	})
}
