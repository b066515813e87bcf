package kubeclient

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/netconf"
)

func network(config string) Network {
	return Network{Name: named("demo", "net-a"), Config: decoded(config)}
}

// wish returns the only element of an annotation that has these keys.
func wish(t *testing.T, keys string) Element {
	t.Helper()
	if keys != "" {
		keys = "," + keys
	}
	return parse(t, `[{"name":"net-a"`+keys+`}]`)[0]
}

const everything = `"ips":["10.0.0.1/24"],"mac":"02:00:00:00:00:01","infiniband-guid":"c2:11:22:33:44:55:66:77",
	"portMappings":[{"hostPort":1,"containerPort":2,"protocol":"UDP"}],"bandwidth":{"ingressRate":5}`

func TestStandard3CapabilitiesBecomeRuntimeConfig(t *testing.T) {
	n := network(`{"cniVersion":"1.0.0","name":"x","plugins":[
		{"type":"a","capabilities":{"ips":true,"mac":true,"infinibandGUID":true,"deviceID":true,"CNIDeviceInfoFile":true,"bandwidth":false}},
		{"type":"b","capabilities":{"portMappings":true,"bandwidth":true,"mac":true}},
		{"type":"c"}]}`)
	got, _, err := n.Configure(wish(t, everything), "0000:3b:02.1", "/run/info.json")
	require.NoError(t, err)
	assert.JSONEq(t, `{"cniVersion":"1.0.0","name":"x","plugins":[
		{"type":"a","capabilities":{"ips":true,"mac":true,"infinibandGUID":true,"deviceID":true,"CNIDeviceInfoFile":true,"bandwidth":false},
		 "deviceID":"0000:3b:02.1","pciBusID":"0000:3b:02.1",
		 "runtimeConfig":{"ips":["10.0.0.1/24"],"mac":"02:00:00:00:00:01","infinibandGUID":"c2:11:22:33:44:55:66:77","deviceID":"0000:3b:02.1","CNIDeviceInfoFile":"/run/info.json"}},
		{"type":"b","capabilities":{"portMappings":true,"bandwidth":true,"mac":true},
		 "deviceID":"0000:3b:02.1","pciBusID":"0000:3b:02.1",
		 "runtimeConfig":{"mac":"02:00:00:00:00:01","portMappings":[{"hostPort":1,"containerPort":2,"protocol":"udp"}],
		  "bandwidth":{"ingressRate":5,"ingressBurst":0,"egressRate":0,"egressBurst":0}}},
		{"type":"c","deviceID":"0000:3b:02.1","pciBusID":"0000:3b:02.1"}]}`, string(got))
}

// TestMissingCapability checks that what Multus ignores is a doubt, and that what it passes
// on in CNI_ARGS is none.
func TestMissingCapability(t *testing.T) {
	_, doubts, err := network(`{"type":"a","capabilities":{"ips":false,"deviceID":true}}`).Configure(wish(t, everything), "", "")
	require.NoError(t, err)
	for key, capability := range map[string]string{"infiniband-guid": "infinibandGUID", "portMappings": "portMappings", "bandwidth": "bandwidth"} {
		assert.ErrorContains(t, doubts.Err(), `networks[0].`+key+`: is requested, but no plugin of network demo/net-a supports it (its configuration needs "capabilities": {"`+capability+`": true})`)
	}
	assert.Len(t, doubts, 3)
	assert.Equal(t, "MAC=02:00:00:00:00:01;IP=10.0.0.1/24", wish(t, everything).cniArgs())
}

func TestConfigurationStaysWhereNothingIsAsked(t *testing.T) {
	const config = `{ "type":"a", "capabilities": {"ips": true, "CNIDeviceInfoFile": true}, "args": {"cni": {}} }`
	got, _, err := network(config).Configure(wish(t, ""), "", "")
	require.NoError(t, err)
	assert.Equal(t, config, string(got))
}

func TestRuntimeConfigIsMerged(t *testing.T) {
	got, _, err := network(`{"type":"a","capabilities":{"mac":true},"runtimeConfig":{"mac":"x","other":{"y":1}}}`).Configure(wish(t, `"mac":"02:00:00:00:00:01"`), "", "")
	require.NoError(t, err)
	assert.JSONEq(t, `{"type":"a","capabilities":{"mac":true},"runtimeConfig":{"mac":"02:00:00:00:00:01","other":{"y":1}}}`, string(got))
}

func TestStandard5PodsArgsWin(t *testing.T) {
	asked := wish(t, `"cni-args":{"a":{"x":1},"b":2}`)
	for config, want := range map[string]string{
		`{"type":"p"}`: `{"type":"p","args":{"cni":{"a":{"x":1},"b":2}}}`,
		`{"type":"p","args":{"cni":{"a":7,"c":3},"other":{"d":4}}}`: `{"type":"p","args":{"cni":{"a":{"x":1},"b":2,"c":3},"other":{"d":4}}}`,
		`{"type":"p","args":null}`:                                  `{"type":"p","args":{"cni":{"a":{"x":1},"b":2}}}`,
		`{"type":"p","args":{"cni":null}}`:                          `{"type":"p","args":{"cni":{"a":{"x":1},"b":2}}}`,
		`{"plugins":[{"type":"p"},{"type":"q","args":{"cni":{"b":0}}}]}`: `{"plugins":[
			{"type":"p","args":{"cni":{"a":{"x":1},"b":2}}},{"type":"q","args":{"cni":{"a":{"x":1},"b":2}}}]}`,
	} {
		got, _, err := network(config).Configure(asked, "", "")
		require.NoError(t, err, config)
		assert.JSONEq(t, want, string(got))
	}
}

const plainBond = `{"cniVersion":"1.0.0","name":"x","type":"multibond","links":[{"deviceID":"0000:3b:02.1"},{"deviceID":"0000:5e:02.1"}]`

func TestStandard3BondTakesMACAndIPs(t *testing.T) {
	n := network(plainBond + `,"mac":"02:00:00:00:00:99","failOverMac":"none","ipam":{"type":"static"}}`)
	got, _, err := n.Configure(wish(t, `"mac":"02:00:00:00:00:01","ips":["10.0.0.1/24"]`), "", "")
	require.NoError(t, err)
	assert.JSONEq(t, plainBond+`,"mac":"02:00:00:00:00:01","failOverMac":"none","ipam":{"type":"static"},"runtimeConfig":{"ips":["10.0.0.1/24"]}}`, string(got))
	parsed, err := netconf.ParseNetwork(got, "bond0")
	require.NoError(t, err)
	assert.Equal(t, "02:00:00:00:00:01", parsed.Options["mac"])
}

func TestStandard3BondWithoutIPAMTakesNoIPs(t *testing.T) {
	_, _, err := network(plainBond+`,"ipam":{}}`).Configure(wish(t, `"ips":["10.0.0.1/24"]`), "", "")
	assert.EqualError(t, err, "networks[0].ips: is requested, but network demo/net-a has no ipam to assign addresses")
}

// TestBondDeclaresCapability checks that a capability that a bond's configuration declares,
// and nothing implements, is a doubt.
func TestBondDeclaresCapability(t *testing.T) {
	const declared = `,"ipam":{"type":"static"},"capabilities":{"bandwidth":true,"portMappings":true,"ips":true}}`
	_, doubts, err := network(plainBond+declared).Configure(wish(t, `"bandwidth":{"egressRate":1},"ips":["10.0.0.1/24"],"mac":"02:00:00:00:00:01"`), "", "")
	require.NoError(t, err)
	require.Len(t, doubts, 1)
	assert.EqualError(t, doubts.Err(), "networks[0].bandwidth: is requested and has no effect: network demo/net-a declares the capability, but a bond does not implement it")
}

// TestListOfABondDeclaresCapability: what a plugin after the bond takes is no doubt, and
// what nothing in the list takes is one.
func TestListOfABondDeclaresCapability(t *testing.T) {
	n := network(`{"cniVersion":"1.0.0","name":"x","plugins":[` + plainBond + `,"capabilities":{"bandwidth":true,"portMappings":true}},{"type":"bandwidth","capabilities":{"bandwidth":true}}]}`)
	_, doubts, err := n.Configure(wish(t, `"bandwidth":{"egressRate":1},"portMappings":[{"hostPort":1,"containerPort":2}]`), "", "")
	require.NoError(t, err)
	assert.EqualError(t, doubts.Err(), "networks[0].portMappings: is requested and has no effect: network demo/net-a declares the capability, but a bond does not implement it")
	_, _, err = n.Configure(wish(t, `"infiniband-guid":"c2:11:22:33:44:55:66:77"`), "", "")
	assertPrefix(t, "networks[0].infiniband-guid: is requested, but no plugin of network demo/net-a supports it", fmt.Sprint(err))
}

func TestStandard3BondTakesNoOtherCapability(t *testing.T) {
	_, _, err := network(plainBond+`}`).Configure(wish(t, `"bandwidth":{"egressRate":1}`), "", "")
	assertPrefix(t, "networks[0].bandwidth: is requested, but no plugin of network demo/net-a supports it", fmt.Sprint(err))
}
