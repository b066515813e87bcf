package bond_test

import (
	"io/fs"
	"net/netip"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
)

// TestSurveyNICs checks that each interface with a device is a NIC, whether or not it has
// an address, and that two in one subnet are two.
func TestSurveyNICs(t *testing.T) {
	k := machine()
	k.AddCard(bondfake.Character{PF: "mlx4_core", VF: "mlx4_core"}, "0000:0a:00.0", "eth9")
	k.AddPort("0000:0a:00.0", "eth8")
	host := must(k.Host())
	k.AddVirtual("", "dummy", "dummy0")
	for _, name := range []string{"enp1s0", "enp2s0"} {
		same := bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")}}
		require.NoError(t, host.Configure(must(host.Link(name)).Index, same))
	}
	hosts := must(host.CreateBond("bond9", bond.Options{bond.Mode: bond.ActiveBackup}))
	require.NoError(t, host.Change(must(host.Link("eth8")).Index, bond.Change{Master: &hosts.Index}))

	type shown struct {
		identity, name, driver, pf, master string
		vfs, siblings                      bool
		ips                                int
		stays                              string
	}
	var got []shown
	for _, n := range must(bond.SurveyNICs(k.Sys(), host)) {
		got = append(got, shown{n.Identity(), n.Link.Name, n.Driver, n.PF, n.Master, n.VFs, n.Siblings, len(n.IPs), n.Stays()})
	}
	const withVFs, shares = "has VFs, whose settings are lost while it is in a pod", "shares its PCI device with other interfaces"
	assert.Equal(t, []shown{
		{pf1, "enp1s0", "igb", "", "", true, false, 1, withVFs},
		{vf1, "enp1s0v0", "igbvf", pf1, "", false, false, 0, "is a VF"},
		{pf2, "enp2s0", "igb", "", "", true, false, 1, withVFs},
		{vf2, "enp2s0v0", "igbvf", pf2, "", false, false, 0, "is a VF"},
		{"0000:0a:00.0", "eth9", "mlx4_core", "", "", false, true, 0, shares},
		{"0000:0a:00.0#1", "eth8", "mlx4_core", "", "bond9", false, true, 0, shares},
	}, got)
}

// TestSurveyAddressed: pods have interfaces on bonds and VLANs of the host too, by whose
// addresses other hosts reach them. Bridges and the like have addresses of the node alone.
func TestSurveyAddressed(t *testing.T) {
	k := machine()
	host := must(k.Host())
	k.AddVirtual("", "vlan", "enp1s0.100")
	k.AddVirtual("", "bridge", "cni0")
	must(host.CreateBond("bond9", bond.Options{bond.Mode: bond.ActiveBackup}))
	address := bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")}}
	for _, name := range []string{"enp1s0", "enp1s0.100", "cni0", "bond9"} {
		require.NoError(t, host.Configure(must(host.Link(name)).Index, address))
	}
	learnt := netip.MustParsePrefix("2001:db8::1/64")
	require.NoError(t, host.Configure(must(host.Link("bond9")).Index, bond.Addresses{IPs: []netip.Prefix{learnt},
		Attributes: map[netip.Prefix]bond.Attributes{learnt: {ValidUntil: time.Now().Add(time.Hour)}}}))
	var got []string
	for _, n := range must(bond.SurveyAddressed(k.Sys(), host)) {
		if len(n.IPs) > 0 {
			got = append(got, n.Link.Name)
		}
		if n.Link.Name == "bond9" {
			assert.Equal(t, []netip.Prefix{learnt}, n.Learnt)
		}
	}
	assert.ElementsMatch(t, []string{"enp1s0", "enp1s0.100", "bond9"}, got)
}

// TestPCI reads what sysfs has of a NIC's card.
func TestPCI(t *testing.T) {
	k := machine()
	dir := "bus/pci/devices/" + pf1
	sys := fstest.MapFS{
		dir: {Data: []byte("../../../devices/pci0000:3a/0000:3a:00.0/" + pf1), Mode: fs.ModeSymlink},
		"devices/pci0000:3a/0000:3a:00.0/" + pf1 + "/vendor":                      {Data: []byte("0x15b3\n")},
		"devices/pci0000:3a/0000:3a:00.0/" + pf1 + "/device":                      {Data: []byte("0x1017\n")},
		"devices/pci0000:3a/0000:3a:00.0/" + pf1 + "/numa_node":                   {Data: []byte("1\n")},
		"devices/pci0000:3a/0000:3a:00.0/" + pf1 + "/net/enp1s0/upper_enp1s0.100": {Data: []byte("../enp1s0.100"), Mode: fs.ModeSymlink},
		"class/net/enp1s0/speed":                                                  {Data: []byte("25000\n")},
	}
	nics := must(bond.SurveyNICs(sys, must(k.Host())))
	require.Equal(t, "enp1s0", nics[0].Link.Name)
	assert.Equal(t, []string{"15b3", "1017", "pci0000:3a", "1"}, []string{nics[0].Vendor, nics[0].Model, nics[0].Root, nics[0].Port.NUMA})
	assert.Equal(t, 25000, nics[0].Port.Speed)
	assert.Equal(t, "is below the host's enp1s0.100", nics[0].Stays())
	assert.Empty(t, bond.PCIRoot(sys, pf2))
}
