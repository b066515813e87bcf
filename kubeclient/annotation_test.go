package kubeclient

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
)

func named(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

func parse(t *testing.T, annotation string) []Element {
	t.Helper()
	elements, err := ParseNetworks(annotation, "demo", []string{"eth0"})
	require.NoError(t, err, annotation)
	return elements
}

// refuse fails the test unless the annotation has a problem that begins with problem.
func refuse(t *testing.T, annotation, problem string) {
	t.Helper()
	elements, err := ParseNetworks(annotation, "demo", []string{"eth0"})
	assert.Nil(t, elements, annotation)
	assertPrefix(t, "annotation "+NetworksAnnotation+": ", fmt.Sprint(err), annotation)
	var problems bond.Problems
	require.ErrorAs(t, err, &problems, annotation)
	begins := func(p bond.Problem) bool { return strings.HasPrefix(p.Error(), problem) }
	assert.True(t, slices.ContainsFunc(problems, begins), "%s: %v, want %q", annotation, err, problem)
}

// doubt fails the test unless the annotation is accepted with a doubt that begins with
// problem.
func doubt(t *testing.T, annotation, problem string) {
	t.Helper()
	doubts := parse(t, annotation)[0].Doubts
	begins := func(p bond.Problem) bool { return strings.HasPrefix(p.Error(), problem) }
	assert.True(t, slices.ContainsFunc(doubts, begins), "%s: %v, want %q", annotation, doubts, problem)
}

func TestStandard2CommaForm(t *testing.T) {
	for annotation, want := range map[string][]Element{
		"":                        nil,
		" \n\t":                   nil,
		"net-a":                   {{Network: named("demo", "net-a"), Interface: "net1"}},
		"other/net-a@bond0":       {{Network: named("other", "net-a"), Interface: "bond0"}},
		"net.v1@bond0.100":        {{Network: named("demo", "net.v1"), Interface: "bond0.100"}},
		"a, x/b ,\n c@eth1":       {{Network: named("demo", "a"), Interface: "net1"}, {Network: named("x", "b"), Interface: "net2"}, {Network: named("demo", "c"), Interface: "eth1"}},
		"a@net7,b":                {{Network: named("demo", "a"), Interface: "net7"}, {Network: named("demo", "b"), Interface: "net2"}},
		"demo/null":               {{Network: named("demo", "null"), Interface: "net1"}},
		"bond-net1@averyveryvery": {{Network: named("demo", "bond-net1"), Interface: "averyveryvery"}},
	} {
		compareElements(t, annotation, want)
	}
}

// compareElements compares elements without the fields that are the same in each test.
func compareElements(t *testing.T, annotation string, want []Element) {
	t.Helper()
	got := parse(t, annotation)
	for i := range got {
		assert.Equal(t, []string{"demo"}, got[i].Namespaces, annotation)
		assert.Equal(t, fmt.Sprintf("networks[%d]", i), got[i].Path, annotation)
		got[i].Namespaces, got[i].Path = nil, ""
	}
	assert.Equal(t, want, got, annotation)
}

func TestStandard2JSONForm(t *testing.T) {
	compareElements(t, `[]`, nil)
	compareElements(t, ` [{"name": "a"}, {"name": "b", "namespace": "x", "interface": "bond0"}] `, []Element{
		{Network: named("demo", "a"), Interface: "net1"},
		{Network: named("x", "b"), Interface: "bond0"},
	})
	compareElements(t, `[{"name":"a","namespace":"","interface":"","ips":null,"mac":null,"default-route":null,"bandwidth":null,"cni-args":null}]`, []Element{
		{Network: named("demo", "a"), Interface: "net1"},
	})
	compareElements(t, `[{"NAME":"a","Interface":"if1","name":"b"}]`, []Element{{Network: named("demo", "b"), Interface: "if1"}})
}

func TestStandard2NameIsRequired(t *testing.T) {
	refuse(t, `[{"namespace":"x"}]`, "networks[0].name: is missing")
	refuse(t, `[{"name":""}]`, "networks[0].name: is missing")
	refuse(t, "a,,b", "networks[1].name: is missing")
	refuse(t, "a,", "networks[1].name: is missing")
	refuse(t, "@eth1", "networks[0].name: is missing")
	refuse(t, "x/", "networks[0].name: is missing")
}

func TestStandard2UnknownKeysAreTolerated(t *testing.T) {
	parse(t, `[{"name":"a","vendor.example/x":{"y":[1]},"infiniband":7}]`)
}

func TestStandard2SameNetworkTwice(t *testing.T) {
	got := parse(t, "a,a")
	require.Len(t, got, 2)
	assert.Equal(t, got[0].Network, got[1].Network)
	assert.NotEqual(t, got[0].Interface, got[1].Interface)
}

func TestAnnotationThatIsNone(t *testing.T) {
	refuse(t, "null", "networks: is null, want a JSON list, or names")
	refuse(t, `""`, `networks: is "", want a JSON list, or names`)
	refuse(t, `{"name":"a"}`, "networks: is an object, want a JSON list")
	refuse(t, `[null]`, "networks[0]: is null, want a JSON object")
	refuse(t, `["`+strings.Repeat("a", 99)+`"]`, "networks[0]: is a value of 101 bytes, want a JSON object")
	refuse(t, `["a"]`, `networks[0]: is "a", want a JSON object`)
	refuse(t, `[{"name":"a"}`, "networks: is not valid JSON: ")
	refuse(t, `[{"name":"a"}] x`, "networks: is not valid JSON: ")
	refuse(t, `[`, "networks: is not valid JSON: ")
}

func TestNames(t *testing.T) {
	refuse(t, "Net_A", `networks[0].name: is "Net_A", which is not a valid name`)
	refuse(t, "x/y/z", `networks[0].name: is "y/z", which is not a valid name`)
	refuse(t, "X/y", `networks[0].namespace: is "X", which is not a valid name of a namespace`)
	refuse(t, "/y", `networks[0].namespace: is ""`)
	refuse(t, `[{"name":7}]`, "networks[0].name: is 7, want a string")
	refuse(t, `[{"name":"a","namespace":"../b"}]`, "networks[0].namespace: ")
}

func TestStandard4Interface(t *testing.T) {
	refuse(t, "a@", "networks[0].interface: is empty")
	refuse(t, "a@b@c/d", `networks[0].interface: is "b@c/d", but an interface name has no slash`)
	refuse(t, "a,b@sixteen.letters1", `networks[1].interface: is "sixteen.letters1", which has 16 bytes`)
	refuse(t, `[{"name":"a","interface":"x y"}]`, "networks[0].interface: ")
	refuse(t, `[{"name":"a","interface":7}]`, "networks[0].interface: is 7, want a string")
}

func TestStandard4InterfaceInUse(t *testing.T) {
	refuse(t, "a@eth0", "networks[0].interface: is eth0, which is also the name of another network of the pod")
	refuse(t, "a@lo", "networks[0].interface: is lo, which is also the name of the loopback interface")
	refuse(t, "a@bond0,b@bond0", "networks[1].interface: is bond0, which is also the name of networks[0]")
	refuse(t, "a@net2,b", "networks[1].interface: is net2 by position, which is also the name of networks[0]")
}

func TestInterfacesAreNamedByPosition(t *testing.T) {
	got, err := ParseNetworks("a,b", "demo", []string{"eth0", "net1", "cluster"})
	require.NoError(t, err)
	assert.Equal(t, "net3", got[0].Interface)
	assert.Equal(t, "net4", got[1].Interface)
}

func TestStandard3Addresses(t *testing.T) {
	got := parse(t, `[{"name":"a","ips":["10.1.2.3","10.1.2.3/24","2001:db8::3/64","2001:db8::3"],"mac":"02-AA-00-00-00-01","infiniband-guid":"C2:11:22:33:44:55:66:77"}]`)[0]
	assert.Equal(t, []string{"10.1.2.3", "10.1.2.3/24", "2001:db8::3/64", "2001:db8::3"}, got.IPs)
	assert.Equal(t, "02:aa:00:00:00:01", got.MAC)
	assert.Equal(t, "c2:11:22:33:44:55:66:77", got.InfinibandGUID)
	for value, problem := range map[string]string{
		`"ips":"10.1.2.3"`:                            `networks[0].ips: is "10.1.2.3", want a list of addresses`,
		`"ips":["10.1.2.3","x"]`:                      `networks[0].ips[1]: is "x", want an address`,
		`"ips":["10.1.2.3/33"]`:                       "networks[0].ips[0]: ",
		`"ips":["fe80::1%eth0"]`:                      "networks[0].ips[0]: ",
		`"ips":[null]`:                                "networks[0].ips[0]: ",
		`"mac":"02:00:00:00:00"`:                      "networks[0].mac: is ",
		`"mac":5`:                                     "networks[0].mac: is 5, want a string",
		`"mac":"00:00:00:00:00:0`:                     "networks: is not valid JSON",
		`"mac":"01:00:5e:00:00:1"`:                    "networks[0].mac: ",
		`"mac":"c2:11:22:33:44:55:66:77"`:             "networks[0].mac: ",
		`"infiniband-guid":"02:00:00:00:00:01"`:       "networks[0].infiniband-guid: is \"02:00:00:00:00:01\", want eight bytes",
		`"infiniband-guid":"c2:11:22:33:44:55:66:7g"`: "networks[0].infiniband-guid: ",
		`"deviceID":"a b"`:                            "networks[0].deviceID: ",
		`"deviceID":"../x"`:                           "networks[0].deviceID: ",
		`"cni-args":["x"]`:                            "networks[0].cni-args: is a list, want a JSON object",
	} {
		refuse(t, `[{"name":"a",`+value+`}]`, problem)
	}
	for value, problem := range map[string]string{
		`"ips":["0.0.0.0"]`:         "networks[0].ips[0]: is 0.0.0.0, which no interface can have",
		`"ips":["ff02::1/64"]`:      "networks[0].ips[0]: is ff02::1/64, which no interface can have",
		`"mac":"01:00:5e:00:00:01"`: "networks[0].mac: is 01:00:5e:00:00:01, which no interface can have",
		`"mac":"00:00:00:00:00:00"`: "networks[0].mac: is 00:00:00:00:00:00, which no interface can have",
	} {
		doubt(t, `[{"name":"a",`+value+`}]`, problem)
	}
}

func TestDeviceIDIsInTheKubeletsSpelling(t *testing.T) {
	assert.Equal(t, "0000:3b:02.1", parse(t, `[{"name":"a","deviceID":"0000:3B:02.1"}]`)[0].DeviceID)
	assert.Equal(t, "mlx5_core.sf.4", parse(t, `[{"name":"a","deviceID":"mlx5_core.sf.4"}]`)[0].DeviceID)
}

// TestBlanks checks that blanks around the parts of a name are no part of it.
func TestBlanks(t *testing.T) {
	got := parse(t, " a @ one , demo / b@two,\n\tc")
	for i, want := range []string{"demo/a one", "demo/b two", "demo/c net3"} {
		assert.Equal(t, want, got[i].Network.String()+" "+got[i].Interface)
	}
	refuse(t, "a b", "networks[0].name: ")
	refuse(t, "a@", "networks[0].interface: ")
}

// TestOldInterfaceKey checks that Multus's old key names the interface if no other does.
func TestOldInterfaceKey(t *testing.T) {
	assert.Equal(t, "old", parse(t, `[{"name":"a","interfaceRequest":"old"}]`)[0].Interface)
	assert.Equal(t, "new", parse(t, `[{"name":"a","interfaceRequest":"old","interface":"new"}]`)[0].Interface)
}

func TestStandard3PortMappings(t *testing.T) {
	got := parse(t, `[{"name":"a","portMappings":[{"hostPort":1,"containerPort":65535},{"hostPort":80,"containerPort":80,"protocol":"SCTP","hostIP":"::1"}]}]`)[0]
	want := []nettypes.PortMapEntry{{HostPort: 1, ContainerPort: 65535, Protocol: "tcp"}, {HostPort: 80, ContainerPort: 80, Protocol: "sctp", HostIP: "::1"}}
	assert.Equal(t, want, got.PortMappings)
	for value, problem := range map[string]string{
		`7`:                                      "networks[0].portMappings: is 7, want a list",
		`[null]`:                                 "networks[0].portMappings[0]: is null",
		`[{"hostPort":"80","containerPort":80}]`: `networks[0].portMappings[0].hostPort: is "80", want a port`,
	} {
		refuse(t, `[{"name":"a","portMappings":`+value+`}]`, problem)
	}
	for value, problem := range map[string]string{
		`[{"containerPort":80}]`:                                      "networks[0].portMappings[0].hostPort: is missing",
		`[{"hostPort":80}]`:                                           "networks[0].portMappings[0].containerPort: is missing",
		`[{"hostPort":0,"containerPort":80}]`:                         "networks[0].portMappings[0].hostPort: is 0, want a port from 1 to 65535",
		`[{"hostPort":80,"containerPort":65536}]`:                     "networks[0].portMappings[0].containerPort: is 65536",
		`[{"hostPort":80,"containerPort":80,"protocol":"icmp"}]`:      `networks[0].portMappings[0].protocol: is "icmp", want tcp, udp or sctp`,
		`[{"hostPort":80,"containerPort":80,"hostIP":"192.0.2.0/8"}]`: `networks[0].portMappings[0].hostIP: `,
	} {
		doubt(t, `[{"name":"a","portMappings":`+value+`}]`, problem)
	}
}

func TestStandard3Bandwidth(t *testing.T) {
	got := parse(t, `[{"name":"a","bandwidth":{"ingressRate":1000,"egressRate":2,"egressBurst":3}}]`)[0]
	assert.Equal(t, &nettypes.BandwidthEntry{IngressRate: 1000, EgressRate: 2, EgressBurst: 3}, got.Bandwidth)
	for value, problem := range map[string]string{
		`7`:                  "networks[0].bandwidth: is 7, want a JSON object",
		`{"egressRate":1.5}`: "networks[0].bandwidth.egressRate: is 1.5, want a whole number",
	} {
		refuse(t, `[{"name":"a","bandwidth":`+value+`}]`, problem)
	}
	for value, problem := range map[string]string{
		`{}`:                                 "networks[0].bandwidth: limits nothing",
		`{"ingressRate":0}`:                  "networks[0].bandwidth.ingressRate: is 0, want more than 0",
		`{"egressRate":-1}`:                  "networks[0].bandwidth.egressRate: is -1",
		`{"egressRate":1,"ingressBurst":10}`: "networks[0].bandwidth.ingressBurst: is set without ingressRate",
	} {
		doubt(t, `[{"name":"a","bandwidth":`+value+`}]`, problem)
	}
}

func TestStandard5CNIArgs(t *testing.T) {
	got := parse(t, `[{"name":"a","cni-args":{"x":{"y":1}}}]`)[0]
	assert.Equal(t, `{"y":1}`, string(got.CNIArgs["x"]))
}

func TestStandard6DefaultRouteOnOneElement(t *testing.T) {
	refuse(t, `[{"name":"a","default-route":["10.0.0.1"]},{"name":"b"},{"name":"c","default-route":["10.0.1.1"]}]`,
		"networks[2].default-route: is also requested by networks[0]")
	// An empty list gives way. Multus ignores it.
	for annotation, gets := range map[string]int{
		`[{"name":"a","default-route":[]},{"name":"b","default-route":["10.0.1.1"]}]`: 1,
		`[{"name":"a","default-route":["10.0.1.1"]},{"name":"b","default-route":[]}]`: 0,
		`[{"name":"a","default-route":[]},{"name":"b","default-route":[]}]`:           0,
	} {
		elements := parse(t, annotation)
		assert.NotNil(t, elements[gets].DefaultRoute, annotation)
		assert.Empty(t, elements[gets].Doubts, annotation)
		other := elements[1-gets]
		assert.Nil(t, other.DefaultRoute, annotation)
		require.Error(t, other.Doubts.Err(), annotation)
		assertPrefix(t, fmt.Sprintf("networks[%d].default-route: is also requested by networks[%d], and has no effect", 1-gets, gets), other.Doubts.Err().Error(), annotation)
	}
}

func TestStandard6DefaultRoutePerFamily(t *testing.T) {
	route := func(list string) []netip.Addr {
		return parse(t, `[{"name":"a","default-route":`+list+`}]`)[0].DefaultRoute
	}
	assert.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")}, route(`["10.0.0.1","fe80::1"]`))
	assert.Equal(t, []netip.Addr{}, route(`[]`))
	assert.Nil(t, route(`null`))
	for value, problem := range map[string]string{
		`"10.0.0.1"`:              `networks[0].default-route: is "10.0.0.1", want a list of gateways`,
		`["10.0.0.1","10.0.0.2"]`: "networks[0].default-route[1]: is 10.0.0.2, but 10.0.0.1 has the same address family",
		`["10.0.0.0/8"]`:          "networks[0].default-route[0]: ",
		`["::"]`:                  "networks[0].default-route[0]: ",
		`[null]`:                  "networks[0].default-route[0]: ",
	} {
		refuse(t, `[{"name":"a","default-route":`+value+`}]`, problem)
	}
}

func TestStandard7IPAMClaimWithIPs(t *testing.T) {
	parse(t, `[{"name":"a","ipam-claim-reference":"claim-1"}]`)
	refuse(t, `[{"name":"a","ipam-claim-reference":"claim-1","ips":["10.0.0.1"]}]`,
		"networks[0].ipam-claim-reference: is claim-1, but ips requests addresses too")
	refuse(t, `[{"name":"a","ipam-claim-reference":"Claim 1"}]`, "networks[0].ipam-claim-reference: ")
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := ParseNetworks(`[{"name":"A","mac":"x","ips":["y"]},null,{"name":"c","interface":"eth0"}]`, "demo", []string{"eth0"})
	var problems bond.Problems
	require.ErrorAs(t, err, &problems)
	var paths []string
	for _, p := range problems {
		paths = append(paths, p.Path)
	}
	want := []string{"networks[0].name", "networks[0].ips[0]", "networks[0].mac", "networks[1]", "networks[2].interface"}
	assert.Equal(t, want, paths)
}

func TestDefaultNetworkAnnotation(t *testing.T) {
	parse := func(annotation string) (Element, error) {
		return ParseDefaultNetwork(annotation, "demo", "kube-system", "eth0")
	}
	for annotation, want := range map[string]types.NamespacedName{
		"flat":                                named("kube-system", "flat"),
		"demo/flat":                           named("demo", "flat"),
		"demo/flat@eth0":                      named("demo", "flat"),
		`[{"name":"flat","namespace":"x"}]`:   named("x", "flat"),
		`[{"name":"flat","mac":"02:0:0:0:0]`:  {},
		"":                                    {},
		"[]":                                  {},
		"a,b":                                 {},
		"flat@net1":                           {},
		`[{"name":"a","mac":"x"}]`:            {},
		`[null]`:                              {},
		`[{"name":"a","interface":"a/b"}]`:    {},
		`[{"name":"a","default-route":["x"]}`: {},
	} {
		e, err := parse(annotation)
		assert.Equal(t, want, e.Network, annotation)
		if want.Name == "" {
			assertPrefix(t, "annotation v1.multus-cni.io/default-network: default-network", fmt.Sprint(err), annotation)
			continue
		}
		assert.NoError(t, err, annotation)
		assert.Equal(t, "eth0", e.Interface, annotation)
		assert.Equal(t, []string{"demo", "kube-system"}, e.mayName(), annotation)
	}
	_, err := parse("a,b")
	assert.ErrorContains(t, err, "default-network: has 2 networks, want one")
	_, err = parse("a@net1")
	assert.ErrorContains(t, err, "default-network[0].interface: is net1, but the runtime names the default network's interface eth0")
}
