package delegate

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/invoke"
)

func TestAddressesOf(t *testing.T) {
	scope, table := 253, 100
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for _, test := range []struct {
		name, result string
		want         bond.Addresses
	}{
		{"nothing", `{}`, bond.Addresses{}},
		{"addresses", `{"ips": [{"address": "10.0.0.2/24"}, {"address": "fd00::2/64"}]}`,
			bond.Addresses{IPs: []netip.Prefix{prefix("10.0.0.2/24"), prefix("fd00::2/64")}}},
		{"an IPv4 address in IPv6's clothes", `{"ips": [{"address": "::ffff:10.0.0.2/120", "gateway": "::ffff:10.0.0.1"}], "routes": [{"dst": "::ffff:10.9.0.0/112"}]}`,
			bond.Addresses{IPs: []netip.Prefix{prefix("10.0.0.2/24")}, Routes: []bond.Route{{Dst: prefix("10.9.0.0/16"), Gateway: addr("10.0.0.1")}}}},
		{"the first gateway of its family, unless the route has one", `{
			"ips": [{"address": "10.0.0.2/24"}, {"address": "10.1.0.2/24", "gateway": "10.1.0.1"}, {"address": "10.2.0.2/24", "gateway": "10.2.0.1"}, {"address": "fd00::2/64", "gateway": "fd00::1"}],
			"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}, {"dst": "10.9.0.0/16", "gw": "10.2.0.9"}]}`,
			bond.Addresses{
				IPs: []netip.Prefix{prefix("10.0.0.2/24"), prefix("10.1.0.2/24"), prefix("10.2.0.2/24"), prefix("fd00::2/64")},
				Routes: []bond.Route{
					{Dst: prefix("0.0.0.0/0"), Gateway: addr("10.1.0.1")}, {Dst: prefix("::/0"), Gateway: addr("fd00::1")}, {Dst: prefix("10.9.0.0/16"), Gateway: addr("10.2.0.9")},
				},
			}},
		{"no gateway of its family", `{"ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}, {"address": "fd00::2/64"}], "routes": [{"dst": "fd01::/64"}]}`,
			bond.Addresses{IPs: []netip.Prefix{prefix("10.0.0.2/24"), prefix("fd00::2/64")}, Routes: []bond.Route{{Dst: prefix("fd01::/64")}}}},
		{"what 1.1.0 has of routes", `{"routes": [{"dst": "10.9.0.0/16", "gw": "10.0.0.9", "mtu": 1400, "advmss": 1300, "priority": 7, "table": 100, "scope": 253}]}`,
			bond.Addresses{Routes: []bond.Route{{Dst: prefix("10.9.0.0/16"), Gateway: addr("10.0.0.9"), MTU: 1400, AdvMSS: 1300, Priority: 7, Table: table, Scope: &scope}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var result current.Result
			require.NoError(t, json.Unmarshal([]byte(test.result), &result))
			got, err := addressesOf(&result)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestPrefixOf(t *testing.T) {
	four, six := net.ParseIP("10.0.0.2"), net.ParseIP("fd00::2")
	for _, test := range []struct {
		name string
		net  net.IPNet
		want string
		text string
	}{
		{"IPv4 of 4 bytes", net.IPNet{IP: four.To4(), Mask: net.CIDRMask(24, 32)}, "10.0.0.2/24", ""},
		{"IPv4 of 16 bytes", net.IPNet{IP: four, Mask: net.CIDRMask(24, 32)}, "10.0.0.2/24", ""},
		{"IPv4 and an IPv6 mask", net.IPNet{IP: four, Mask: net.CIDRMask(120, 128)}, "10.0.0.2/24", ""},
		{"IPv6", net.IPNet{IP: six, Mask: net.CIDRMask(64, 128)}, "fd00::2/64", ""},
		{"nothing", net.IPNet{}, "", "<nil> with mask <nil> is not an address with a prefix length"},
		{"no mask", net.IPNet{IP: four}, "", "10.0.0.2 with mask <nil> is not an address with a prefix length"},
		{"a mask with holes", net.IPNet{IP: four.To4(), Mask: net.IPv4Mask(255, 0, 255, 0)}, "", "10.0.0.2 with mask ff00ff00 is not an address with a prefix length"},
		{"IPv4 and a short IPv6 mask", net.IPNet{IP: four, Mask: net.CIDRMask(64, 128)}, "", "10.0.0.2 with mask ffffffffffffffff0000000000000000 is not an address with a prefix length"},
		{"IPv6 and an IPv4 mask", net.IPNet{IP: six, Mask: net.CIDRMask(24, 32)}, "", "fd00::2 with mask ffffff00 is not an address with a prefix length"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := prefixOf(test.net)
			if test.text != "" {
				assert.EqualError(t, err, test.text)
				return
			}
			assert.NoError(t, err)
			assert.Equal(t, test.want, got.String())
		})
	}
}

// TestIPAMBesideTheBond: an IPAM plugin that looks at nothing in the pod runs while the
// bond is made, and while the bond is deleted, which is down by then. Another one runs
// after the bond was made, and its DEL before the bond is deleted; if the namespace is
// gone, before the VFs are expected on the host.
func TestIPAMBesideTheBond(t *testing.T) {
	for _, test := range []struct {
		ipam string
		gone bool
		want []string
	}{
		{"host-local", false, []string{"host-local ADD bond0", "CreateBond", "Configure", "host-local DEL bond0", "Delete", "sriov DEL bond0-2", "sriov DEL bond0-1"}},
		{"dhcp", false, []string{"CreateBond", "host-local ADD bond0", "Configure", "host-local DEL bond0", "Delete", "sriov DEL bond0-2", "sriov DEL bond0-1"}},
		{"host-local", true, []string{"host-local ADD bond0", "CreateBond", "Configure", "sriov DEL bond0-2", "sriov DEL bond0-1", "host-local DEL bond0"}},
		{"dhcp", true, []string{"CreateBond", "host-local ADD bond0", "Configure", "host-local DEL bond0", "sriov DEL bond0-2", "sriov DEL bond0-1"}},
	} {
		t.Run(fmt.Sprintf("%s, gone %t", test.ipam, test.gone), func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			m.Runner = runnerFunc{m.Runner, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
				if c.Type == "dhcp" {
					c.Type = "host-local" // the plugin of this machine that gives addresses
				}
				return m.plugins.run(ctx, c)
			}}
			m.mustAdd(request(t, strings.ReplaceAll(standard, "host-local", test.ipam)))
			if test.gone {
				m.RemoveNamespace(pod1)
			}
			m.mustDel(c1)
			if test.gone {
				m.AddNamespace(pod1)
			}
			m.wantState(before)
			assert.Equal(t, test.want, slices.DeleteFunc(slices.Clone(m.edges.passed), func(edge string) bool { return !slices.Contains(test.want, edge) }))
		})
	}
}

// TestIPAMIsReleasedOnce: IPAM that has released its addresses is not executed again if
// something else has failed.
func TestIPAMIsReleasedOnce(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, standard))
	m.plugins.refuse["sriov DEL bond0-1"] = "no"
	m.edges.refuse = refuses("ChangeVF")
	require.Error(t, m.Del(t.Context(), c1))
	m.edges.refuse = nil
	clear(m.plugins.refuse)
	m.mustDel(c1)
	m.wantState(before)
	assert.Equal(t, 1, m.plugins.count("host-local", "DEL"))
}
