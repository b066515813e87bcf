//go:build lab

package bond

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLabBuild makes a bond of real VFs, verifies it, waits for its carrier, and
// deletes it.
func TestLabBuild(t *testing.T) {
	n := space(t, "build")
	first, second := borrow(t, n, "enp1s0v0"), borrow(t, n, "enp2s0v0")
	require.NoError(t, n.Change(first.Index, Change{Up: new(true)}))
	require.NoError(t, n.Configure(first.Index, Addresses{IPs: []netip.Prefix{prefix("10.0.0.1/24")}}))
	o, problems := ParseOptions(rawOptions(t, `{"primary":"enp2s0v0","mtu":1400}`), []string{"enp1s0v0", "enp2s0v0"}, nil)
	require.NoError(t, problems.Err())
	s := Spec{Name: "bond0", Options: o, Links: []string{"enp1s0v0", "enp2s0v0"}}
	b, err := Build(n, s, []Link{first, second})
	require.NoError(t, err)
	assert.Equal(t, "enp2s0v0", b.Options[Primary])
	devices := map[string]string{"enp1s0v0": "0000:01:10.0", "enp2s0v0": "0000:02:10.0"}
	problems, err = Verify(n, s, b.Index, devices, nil)
	require.NoError(t, err)
	assert.Empty(t, lines(problems))
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, VerifyHealth(n, b.Index)) }, 2*time.Minute, 100*time.Millisecond)
	require.NoError(t, Announce(n, s, Addresses{IPs: []netip.Prefix{prefix("10.0.0.7/24")}}))
	assert.Equal(t, Addresses{}, addressesOf(t, n, first))
	require.NoError(t, n.Delete(b.Index))
	assert.Equal(t, []string{"up is false, was true"}, find(t, n, "enp1s0v0").Differences(Link{Name: first.Name, MAC: first.MAC, MTU: first.MTU, Up: true}))
	assert.Empty(t, find(t, n, "enp2s0v0").Differences(second))
}

// TestLabSurvey reads the real sysfs.
func TestLabSurvey(t *testing.T) {
	home, n := host(t), space(t, "survey")
	sys := os.DirFS("/sys")
	require.NoError(t, System{}.EnableBonding(t.Context()))
	d, err := SurveyDevice(sys, home, "0000:02:10.2", "")
	require.NoError(t, err)
	assert.Equal(t, Device{Address: "0000:02:10.2", PF: "0000:02:00.0", Number: 1, Driver: "igbvf", Netdev: "enp2s0v1", PFNetdev: "enp2s0"}, d.Device)
	require.EventuallyWithT(t, func(c *assert.CollectT) { // igb reports it, once it has heard the VF
		if d, err = SurveyDevice(sys, home, "0000:02:10.2", ""); d.Admin.MAC != d.Link.MAC {
			err = errors.Join(err, Bounce(home, *d.Link))
		}
		assert.NoError(c, err)
		assert.Equal(c, d.Link.MAC, d.Admin.MAC)
	}, 2*time.Minute, 100*time.Millisecond)
	assert.Equal(t, "0000:02:10.2", d.Link.Device)
	if d.Link.PermMAC != d.Link.MAC { // udev has given it another one
		assert.Contains(t, ip(t, "-d link show enp2s0v1"), "permaddr "+d.Link.PermMAC)
	}
	pf, err := SurveyDevice(sys, home, "0000:02:00.0", "")
	require.NoError(t, err)
	assert.Equal(t, Device{Address: "0000:02:00.0", Driver: "igb", Netdev: "enp2s0"}, pf.Device)

	borrow(t, n, "enp2s0v1")
	d, err = SurveyDevice(sys, home, "0000:02:10.2", "")
	require.NoError(t, err)
	assert.Equal(t, Device{Address: "0000:02:10.2", PF: "0000:02:00.0", Number: 1, Driver: "igbvf", PFNetdev: "enp2s0"}, d.Device)
	assert.Nil(t, d.Link)
	assert.NotNil(t, d.Admin)
	d, err = SurveyDevice(sys, home, "0000:0f:10.2", "")
	require.NoError(t, err)
	assert.True(t, d.Missing)
}
