package netconf

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAllow: a pod chooses by cni-args what the network allows, also by the words of
// multi-nic-cni.
func TestAllow(t *testing.T) {
	const pool = `{"pool": {"names": ["ens*"]}, "count": 2, "config": {"type": "macvlan"}}`
	type chosen struct {
		count int
		names []string
		near  string
		least int
	}
	for _, test := range []struct {
		name, more string
		want       chosen
	}{
		{"nothing", `"allow": ["count", "near", "names"]`, chosen{2, nil, "", 0}},
		{"all", `"allow": ["count", "near", "names"], "args": {"cni": {"count": 3, "near": "cpus", "names": ["ens1*"]}}`, chosen{3, []string{"ens1*"}, "cpus", 0}},
		{"multi-nic's", `"allow": ["count", "names"], "args": {"cni": {"nics": 4, "masters": ["ens1f0", "ens2f0"], "class": "x"}}`, chosen{4, []string{"ens1f0", "ens2f0"}, "", 0}},
		{"no nearness", `"allow": ["near"], "near": "devices", "args": {"cni": {"near": "none"}}`, chosen{2, nil, "", 0}},
		{"fewer than minLinks has", `"allow": ["count"], "minLinks": 1, "args": {"cni": {"count": 1}}`, chosen{1, nil, "", 1}},
		{"what is no choice", `"args": {"cni": {"ips": ["10.0.0.1/24"]}}`, chosen{2, nil, "", 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := mustParse(t, `{"name": "n", "links": [`+pool+`], `+test.more+`}`)
			assert.Equal(t, test.want, chosen{len(n.Links), n.Links[0].Pool.Chosen, n.Near, n.MinLinks})
			assert.Equal(t, []string{"ens*"}, n.Links[0].Pool.Names, "it only narrows")
			assert.Nil(t, n.Warnings)
		})
	}
	plain := mustParse(t, `{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "args": {"cni": {"count": 3, "names": "x", "near": 1}}}`)
	assert.Len(t, plain.Links, 2, "what an IPAM plugin may know is left to it")
	list, err := ParseNetwork([]byte(`{"name": "n", "plugins": [{"type": "multibond", "allow": ["count"], "args": {"cni": {"nics": 3}}, "links": [`+pool+`]}, {"type": "tuning"}]}`), "bond0")
	require.NoError(t, err)
	assert.Len(t, list.Links, 3)
}

// TestAllowProblems: what a network does not allow, or a pod cannot mean, is an error.
func TestAllowProblems(t *testing.T) {
	const (
		one = `{"pool": {}, "count": 2, "config": {"type": "macvlan"}}`
		two = one + ", " + one
		vfs = `{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}`
		not = `is chosen by the pod, but the network does not allow it (to let pods choose it, the network's configuration needs "allow": `
	)
	for _, test := range []struct{ name, links, more, text string }{
		{"not allowed", one, `"args": {"cni": {"nics": 3, "masters": ["eth0"], "near": "cpus"}}`,
			`args.cni.masters: ` + not + `["names"]); args.cni.near: ` + not + `["near"]); args.cni.nics: ` + not + `["count"])`},
		{"another one is allowed", one, `"allow": ["near"], "args": {"cni": {"count": 3}}`, `args.cni.count: ` + not + `["count"])`},
		{"with attach, without a pool", vfs, `"attach": "each", "args": {"cni": {"count": 3}}`, `args.cni.count: ` + not + `["count"])`},
		{"names without a pool", vfs, `"allow": ["names"], "args": {"cni": {"names": ["ens*"]}}`, `args.cni.names: is chosen by the pod, but the network has no pool`},
		{"allowed, without a pool", vfs, `"allow": ["count"], "args": {"cni": {"count": 3}}`, `args.cni.count: is chosen by the pod, but the network has 0 pools, and it can only be that of one`},
		{"two pools", two, `"allow": ["count"], "args": {"cni": {"count": 3}}`, `args.cni.count: is chosen by the pod, but the network has 2 pools, and it can only be that of one`},
		{"twice", one, `"allow": ["count"], "args": {"cni": {"count": 3, "nics": 3}}`, `args.cni.nics: is the same as args.cni.count (leave one of the two out)`},
		{"kinds", one, `"allow": ["count", "names"], "args": {"cni": {"nics": "3", "masters": "eth0"}}`, `args.cni.masters: is "eth0", want a list of names or patterns; args.cni.nics: is "3", want a whole number`},
		{"too many", one, `"allow": ["count"], "args": {"cni": {"count": 33}}`, `args.cni.count: is 33, want 1 to 32`},
		{"no name", one, `"allow": ["names"], "args": {"cni": {"names": []}}`, `args.cni.names: is an empty list, so no NIC fits (leave it out)`},
		{"a place that is none", one, `"allow": ["near"], "args": {"cni": {"near": "gpus"}}`, `near: is "gpus", want devices, cpus or none`},
		{"allow", one, `"allow": ["counts", "mtu"]`, `allow[0]: is "counts", want count, names, near (did you mean count?); allow[1]: is "mtu", want count, names, near`},
		{"allow is no list", one, `"allow": "count"`, `allow: is "count", want a list of what pods may choose`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseNetwork([]byte(`{"name": "n", "links": [`+test.links+`], `+test.more+`}`), "bond0")
			require.EqualError(t, err, "network n: "+test.text)
		})
	}
}
