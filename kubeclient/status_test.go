package kubeclient

import (
	"encoding/json"
	"net"
	"net/netip"
	"testing"

	cni "github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/strictjson"
)

// address returns an address of a result, without an interface if index is negative.
func address(cidr, gateway string, index int) *current.IPConfig {
	ip, n, err := net.ParseCIDR(cidr)
	if err != nil {
		panic(err)
	}
	n.IP = ip
	c := &current.IPConfig{Address: *n, Gateway: net.ParseIP(gateway)}
	if index >= 0 {
		c.Interface = &index
	}
	return c
}

// bridged returns the result of a default network: two interfaces of the host, then
// two of the pod.
func bridged() *current.Result {
	return &current.Result{
		Interfaces: []*current.Interface{
			{Name: "cni0", Mac: "aa:aa:aa:aa:aa:aa"}, {Name: "veth1", Mac: "bb:bb:bb:bb:bb:bb"},
			{Name: "eth0", Mac: "02:00:00:00:00:01", Mtu: 1450, Sandbox: "/run/netns/x"},
			{Name: "eth0.5", Mac: "02:00:00:00:00:02", Mtu: 1400, Sandbox: "/run/netns/x"},
		},
		IPs: []*current.IPConfig{
			address("10.244.1.5/24", "10.244.1.1", 2), address("2001:db8::5/64", "2001:db8::1", 2),
			address("192.0.2.5/24", "192.0.2.1", 3), address("198.51.100.1/24", "", 0), address("10.244.1.6/24", "10.244.1.1", -1),
		},
		DNS: cni.DNS{Nameservers: []string{"10.96.0.10"}, Domain: "x", Search: []string{"y"}, Options: []string{"ndots:5"}},
	}
}

// bonded returns the result of a bond.
func bonded() *current.Result {
	return &current.Result{
		Interfaces: []*current.Interface{
			{Name: "bond0", Mac: "02:00:00:00:00:0b", Mtu: 1500, Sandbox: "/run/netns/x"},
			{Name: "bond0-1", Mac: "02:00:00:00:00:0c", Mtu: 1500, Sandbox: "/run/netns/x", PciID: "0000:3b:02.1"},
			{Name: "bond0-2", Mac: "02:00:00:00:00:0d", Mtu: 1500, Sandbox: "/run/netns/x"},
		},
		IPs: []*current.IPConfig{address("10.56.217.66/24", "10.56.217.1", 0), address("10.56.218.66/24", "10.56.217.1", 0)},
	}
}

func status(a Attached) NetworkStatus { return Statuses([]Attached{{}, a})[1] }

func TestStandard9ExactlyOneDefault(t *testing.T) {
	got := Statuses([]Attached{{Name: "cbr0", Result: bridged()}, {Name: "demo/a", Bond: true, Result: bonded()}, {Name: "demo/a", Bond: true, Result: bonded()}})
	var names []string
	for i, s := range got {
		names = append(names, s.Name)
		assert.Equal(t, i == 0, s.Default, i)
	}
	assert.Equal(t, []string{"cbr0", "cbr0", "demo/a", "demo/a"}, names)
	assert.Empty(t, Statuses(nil))
}

func TestAnEntryForEachInterfaceOfThePod(t *testing.T) {
	got := Statuses([]Attached{{Name: "cbr0", IfName: "eth9", Result: bridged()}})
	dns := nettypes.DNS{Nameservers: []string{"10.96.0.10"}, Domain: "x", Search: []string{"y"}, Options: []string{"ndots:5"}}
	want := []NetworkStatus{
		{NetworkStatus: nettypes.NetworkStatus{
			Name: "cbr0", Interface: "eth0", Mac: "02:00:00:00:00:01", Mtu: 1450, Default: true, DNS: dns,
			IPs: []string{"10.244.1.5", "2001:db8::5", "198.51.100.1", "10.244.1.6"},
		}},
		{NetworkStatus: nettypes.NetworkStatus{Name: "cbr0", Interface: "eth0.5", Mac: "02:00:00:00:00:02", Mtu: 1400, IPs: []string{"192.0.2.5"}, DNS: dns}},
	}
	assert.Equal(t, want, got)
}

// TestDefaultIsWhereTheGatewayIs checks that the entry with the gateway is the default one, as
// of a pod whose primary network is its second interface.
func TestDefaultIsWhereTheGatewayIs(t *testing.T) {
	result := &current.Result{
		Interfaces: []*current.Interface{{Name: "eth0", Sandbox: "/n"}, {Name: "udn1", Sandbox: "/n"}},
		IPs:        []*current.IPConfig{address("10.244.1.5/24", "", 0), address("10.100.0.5/16", "10.100.0.1", 1)},
		Routes:     []*cni.Route{{Dst: net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, GW: net.ParseIP("10.100.0.1")}},
	}
	got := Statuses([]Attached{{Name: "ovn", IfName: "eth0", Result: result}})
	require.Len(t, got, 2)
	assert.False(t, got[0].Default)
	assert.True(t, got[1].Default)
	assert.Equal(t, []string{"10.100.0.1"}, got[0].Gateway)
	assert.Equal(t, []string{"10.100.0.1"}, got[1].Gateway)
}

func TestStatusWithoutInterfaces(t *testing.T) {
	got := status(Attached{Name: "demo/old", IfName: "net1", Result: &current.Result{IPs: []*current.IPConfig{address("10.0.0.1/8", "", -1)}}})
	assert.Equal(t, "net1", got.Interface)
	assert.Empty(t, got.Mac)
	assert.Len(t, got.IPs, 1)
	got = status(Attached{Name: "demo/none", IfName: "net1"})
	assert.Equal(t, "net1", got.Interface)
	assert.Nil(t, got.IPs)
	hostOnly := &current.Result{Interfaces: []*current.Interface{nil, {Name: "veth1"}}, IPs: []*current.IPConfig{address("10.0.0.1/8", "", 1)}}
	got = status(Attached{IfName: "net1", Result: hostOnly})
	assert.Equal(t, "net1", got.Interface)
	assert.Equal(t, []string{"10.0.0.1"}, got.IPs)
	assert.Nil(t, got.Links)
}

func TestStandard9Gateway(t *testing.T) {
	gateways := func(route []netip.Addr) []string {
		return status(Attached{Result: bridged(), DefaultRoute: route}).Gateway
	}
	assert.Nil(t, gateways(nil))
	assert.Equal(t, []string{"10.0.0.9", "fe80::9"}, gateways([]netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fe80::9")}))
	assert.Equal(t, []string{"10.244.1.1", "2001:db8::1", "192.0.2.1"}, gateways([]netip.Addr{}))
}

func TestStandard9BondsEntry(t *testing.T) {
	got := Statuses([]Attached{{Name: "cbr0", IfName: "eth0"}, {Name: "demo/bond-net1", IfName: "bond0", Bond: true, Result: bonded(), DefaultRoute: []netip.Addr{}}})
	assert.JSONEq(t, `[
		{"name":"cbr0","interface":"eth0","default":true,"dns":{}},
		{"name":"demo/bond-net1","interface":"bond0","mac":"02:00:00:00:00:0b","mtu":1500,"ips":["10.56.217.66","10.56.218.66"],"gateway":["10.56.217.1"],"dns":{},
		 "multibond.io/links":[
			{"name":"bond0-1","mac":"02:00:00:00:00:0c","device-info":{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:3b:02.1"}}},
			{"name":"bond0-2","mac":"02:00:00:00:00:0d"}]}]`, string(strictjson.Encode(got)))
}

// TestStatusOfEach: links that are not bonded have an entry each, with their devices.
func TestStatusOfEach(t *testing.T) {
	result := bonded()
	result.Interfaces = result.Interfaces[1:]
	result.IPs[1].Interface = new(1)
	got := Statuses([]Attached{{Name: "cbr0", IfName: "eth0"}, {Name: "demo/rails", IfName: "net1", Each: true, Result: result}})
	assert.JSONEq(t, `[
		{"name":"cbr0","interface":"eth0","default":true,"dns":{}},
		{"name":"demo/rails","interface":"bond0-1","mac":"02:00:00:00:00:0c","mtu":1500,"ips":["10.56.217.66"],"dns":{},
		 "device-info":{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:3b:02.1"}}},
		{"name":"demo/rails","interface":"bond0-2","mac":"02:00:00:00:00:0d","mtu":1500,"ips":["10.56.218.66"],"dns":{}}]`, string(strictjson.Encode(got)))
}

func TestStandard9DeviceInfo(t *testing.T) {
	got := status(Attached{Name: "demo/a", DeviceInfo: PCIInfo("0000:3b:02.1", "0000:3b:00.0")})
	assert.JSONEq(t, `{"name":"demo/a","dns":{},"device-info":{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:3b:02.1","pf-pci-address":"0000:3b:00.0"}}}`, string(strictjson.Encode(got)))
}

func TestConsumersReadTheStatus(t *testing.T) {
	patch := StatusPatch("u1", Statuses([]Attached{{Name: "cbr0", IfName: "eth0"}, {Name: "demo/b", Bond: true, Result: bonded()}}), nil)
	var body struct {
		Metadata struct {
			UID         string
			Annotations map[string]string
		}
	}
	require.NoError(t, json.Unmarshal(patch, &body))
	var read []nettypes.NetworkStatus
	require.NoError(t, json.Unmarshal([]byte(body.Metadata.Annotations["k8s.v1.cni.cncf.io/network-status"]), &read))
	require.Len(t, read, 2)
	assert.True(t, read[0].Default)
	assert.False(t, read[1].Default)
	assert.Equal(t, "bond0", read[1].Interface)
	assert.Equal(t, "10.56.217.66", read[1].IPs[0])
}

func TestPatchHasTheUIDAndNothingElse(t *testing.T) {
	patch := StatusPatch("u1", Statuses(nil), nil)
	assert.JSONEq(t, `{"metadata":{"uid":"u1","annotations":{"k8s.v1.cni.cncf.io/network-status":"[]"}}}`, string(patch))
}
