package delegate

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond"
)

// byGateway are bonds that probe the gateways that IPAM names: 10.56.217.1, as the fake
// host-local does.
const (
	byGateway  = `{"cniVersion": "1.0.0", "name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "arpIpTarget": "gateway", "ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`
	byGateway6 = `{"cniVersion": "1.0.0", "name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], "nsIp6Target": "gateway", "ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`
)

// TestGateway: a bond probes the gateway if it has answered, and has miimon otherwise,
// with a warning. CHECK finds it as it was made.
func TestGateway(t *testing.T) {
	const seesCarrier = "; the bond sees only the carrier of its links (miimon 100)"
	for _, test := range []struct {
		name, config, answers string
		monitor               bond.Options // what the bond has of these
		warning               string
	}{
		{"it answers", byGateway, "10.56.217.1", bond.Options{"miimon": "0", "arpInterval": "1000", "arpIpTarget": "10.56.217.1"}, ""},
		{"it does not", byGateway, "10.56.217.9", bond.Options{"miimon": "100", "arpInterval": "", "arpIpTarget": ""},
			"network n: arpIpTarget: is gateway, but 10.56.217.1 did not answer within 5s (check cable, switch and VLAN)" + seesCarrier},
		{"IPAM names none of the version", byGateway6, "10.56.217.1", bond.Options{"miimon": "100", "arpInterval": "", "nsIp6Target": ""},
			"network n: nsIp6Target: is gateway, but IPAM has named none (name one in the configuration of ipam, or set miimon)" + seesCarrier},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t)
				m.AddNeighbour(netip.MustParseAddr(test.answers))
				before := m.state()
				m.mustAdd(request(t, test.config))
				made := m.link(pod1, "bond0").Options
				for key, want := range test.monitor {
					assert.Equal(t, want, made[key], key)
				}
				var warnings []string
				if test.warning != "" {
					warnings = append(warnings, test.warning)
				}
				assert.Equal(t, warnings, m.readRecord(c1).Warnings)
				assert.NoError(t, m.Check(t.Context(), c1))
				m.mustDel(c1)
				m.wantState(before)
			})
		})
	}
}
