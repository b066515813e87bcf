package bond

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestWithGateways: a bond is monitored by the gateways that have answered, and by miimon
// if there is no target.
func TestWithGateways(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	both := Options{Mode: ActiveBackup, Miimon: "100", arpInterval: "1000", arpIPTarget: gateway, nsIP6Target: gateway, arpValidate: "all"}
	mixed := Options{Mode: ActiveBackup, Miimon: "100", arpInterval: "500", arpIPTarget: "10.0.0.9", nsIP6Target: gateway, "arpMissedMax": "3"}
	fixed := Options{Mode: ActiveBackup, arpInterval: "500", arpIPTarget: "10.0.0.9"}
	for _, test := range []struct {
		name     string
		o        Options
		answered []netip.Addr
		want     Options
	}{
		{"none has answered", both, nil, Options{Mode: ActiveBackup, Miimon: "100"}},
		{"one has", both, []netip.Addr{six}, Options{Mode: ActiveBackup, arpInterval: "1000", nsIP6Target: "fd00::1", arpValidate: "all"}},
		{"both have", both, []netip.Addr{four, six}, Options{Mode: ActiveBackup, arpInterval: "1000", arpIPTarget: "10.0.0.1", nsIP6Target: "fd00::1", arpValidate: "all"}},
		{"another target", mixed, nil, Options{Mode: ActiveBackup, arpInterval: "500", arpIPTarget: "10.0.0.9", "arpMissedMax": "3"}},
		{"another target and a gateway", mixed, []netip.Addr{six}, Options{Mode: ActiveBackup, arpInterval: "500", arpIPTarget: "10.0.0.9", nsIP6Target: "fd00::1", "arpMissedMax": "3"}},
		{"no gateway was asked for", fixed, []netip.Addr{four}, fixed},
	} {
		assert.Equal(t, test.want, test.o.WithGateways(test.answered), test.name)
	}
	assert.Equal(t, gateway, both[arpIPTarget], "the options themselves stay")
}
