package bond_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
)

func machine() *bondfake.Kernel {
	k := bondfake.New()
	k.AddPF(pf1, "enp1s0", vf1)
	k.AddPF(pf2, "enp2s0", vf2)
	k.AddNamespace("pod")
	return k
}

func TestSurvey(t *testing.T) {
	k := machine()
	host, n := must(k.Host()), must(k.Open("pod"))
	eth0 := k.AddVirtual("pod", "veth", "eth0")
	net9 := k.AddVirtual("pod", "macvlan", "net9")
	dummy := k.AddVirtual("", "dummy", "uplink")
	addrs := func(s string) bond.Addresses { return bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix(s)}} }
	require.NoError(t, n.Configure(net9.Index, addrs("10.9.0.1/24")))
	require.NoError(t, n.Configure(eth0.Index, addrs("10.0.0.1/24")))
	require.NoError(t, host.Configure(dummy.Index, addrs("10.8.0.1/24")))
	asked := verbs(k)

	f := must(bond.Survey(k.Sys(), host, n, bond.Sources{
		Devices: []string{vf1, "0000:09:10.0"}, Host: []string{"uplink", "enp2s0v0", "nope"}, Pod: []string{"net9", "nope"},
	}))
	assert.Equal(t, []string{
		"Link enp1s0v0", "Link enp1s0", "VFs enp1s0", // the device
		"Link uplink", "Addresses uplink",
		"Link enp2s0v0", "Addresses enp2s0v0", "Link enp2s0v0", "Link enp2s0", "VFs enp2s0", // it is a device too
		"Link nope", "Links", "Addresses net9",
	}, *asked)
	k.Fail = nil
	device := func(vf, pf, name, pfName string) bond.DeviceFacts {
		l, p, admin := must(host.Link(name)), must(host.Link(pfName)), must(host.VFs(pfName))[0]
		return bond.DeviceFacts{Device: bond.Device{Address: vf, PF: pf, Driver: "igbvf", Netdev: name, PFNetdev: pfName}, Link: &l, PFLink: &p, Admin: &admin}
	}
	want := bond.Facts{
		Devices: map[string]bond.DeviceFacts{
			vf1: device(vf1, pf1, "enp1s0v0", "enp1s0"), vf2: device(vf2, pf2, "enp2s0v0", "enp2s0"), "0000:09:10.0": {Missing: true},
		},
		Host: map[string]bond.HostLink{
			"uplink":   {Link: must(host.Link("uplink")), Addresses: addrs("10.8.0.1/24")},
			"enp2s0v0": {Link: must(host.Link("enp2s0v0")), DevPort: "0"},
		},
		Pod:     []bond.Link{must(n.Link("eth0")), must(n.Link("net9"))},
		PodAddr: map[int]bond.Addresses{net9.Index: addrs("10.9.0.1/24")},
	}
	assert.Empty(t, cmp.Diff(want, f, cmpopts.EquateComparable(netip.Prefix{})))
}

func TestSurveyDevice(t *testing.T) {
	k := machine()
	host, n := must(k.Host()), must(k.Open("pod"))
	move := func(name string, from, to bond.Namespace) {
		require.NoError(t, from.Change(must(from.Link(name)).Index, bond.Change{Namespace: to}))
	}
	survey := func() bond.DeviceFacts { return must(bond.SurveyDevice(k.Sys(), host, vf1, "")) }
	vf, pf, admin := must(host.Link("enp1s0v0")), must(host.Link("enp1s0")), must(host.VFs("enp1s0"))[0]
	d := bond.Device{Address: vf1, PF: pf1, Driver: "igbvf", Netdev: "enp1s0v0", PFNetdev: "enp1s0"}
	assert.Equal(t, bond.DeviceFacts{Device: d, Link: &vf, PFLink: &pf, Admin: &admin}, survey(), "on the host")

	assert.Equal(t, bond.DeviceFacts{Device: bond.Device{Address: pf1, Driver: "igb", Netdev: "enp1s0"}, Link: &pf},
		must(bond.SurveyDevice(k.Sys(), host, pf1, "")), "a PF")

	move("enp1s0v0", host, n)
	d.Netdev = ""
	assert.Equal(t, bond.DeviceFacts{Device: d, PFLink: &pf, Admin: &admin}, survey(), "in a pod")

	move("enp1s0v0", n, host)
	move("enp1s0", host, n)
	d.Netdev, d.PFNetdev = "enp1s0v0", ""
	vf = must(host.Link("enp1s0v0"))
	assert.Equal(t, bond.DeviceFacts{Device: d, Link: &vf}, survey(), "the PF in a pod")

	k.SetDriver(vf1, "vfio-pci")
	d.Netdev, d.Driver = "", "vfio-pci"
	assert.Equal(t, bond.DeviceFacts{Device: d}, survey(), "a program's")

	assert.Equal(t, bond.DeviceFacts{Missing: true}, must(bond.SurveyDevice(k.Sys(), host, "0000:09:10.0", "")), "none")
}

// TestSurveyFaults: an error of the kernel is returned, whichever verb fails, and
// never mistaken for "not there".
func TestSurveyFaults(t *testing.T) {
	k := machine()
	k.AddVirtual("pod", "veth", "net9")
	k.AddVirtual("", "dummy", "uplink")
	host, n := must(k.Host()), must(k.Open("pod"))
	survey := func() error {
		_, err := bond.Survey(k.Sys(), host, n, bond.Sources{Devices: []string{vf1}, Host: []string{"uplink", "enp2s0v0"}, Pod: []string{"net9"}})
		return err
	}
	all := verbs(k)
	require.NoError(t, survey())
	for i, verb := range *all {
		failAt(k, i+1, errBroken)
		assert.ErrorIs(t, survey(), errBroken, "%d %s", i, verb)
	}
}
