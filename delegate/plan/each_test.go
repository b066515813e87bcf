package plan

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// eachOfTwo has an interface of each of two VFs.
const eachOfTwo = `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "mtu": 1400, "vlan": 7, "ipam": {"type": "host-local"}, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0", "name": "rail"}]}`

// TestEach: the plan needs no bonding module and no free interface name of its own, and
// prints itself.
func TestEach(t *testing.T) {
	f := nodeFacts()
	f.Plugins["host-local"] = true
	f.Bonding = nil
	f.Tables = []int{100, 1000, 1002}
	f.Pod = append(f.Pod, bond.Link{Index: 77, Name: "bond0"})
	p, warnings, err := compileTexts(request(t, eachOfTwo), f)
	require.NoError(t, err)
	assert.Empty(t, warnings)
	assert.True(t, p.IsEach())
	assert.False(t, p.IsBond() || p.IsChain())
	assert.Equal(t, []int{1001, 1003}, p.Tables())
	assert.Equal(t, []string{vfA, vfB}, p.Devices())
	assert.Equal(t, `bond0-1: VF 0 of enp1s0 (0000:3b:02.0) by sriov, vlan 7
rail: VF 0 of enp2s0 (0000:5e:02.0) by sriov, vlan 7
bond0-1: set it up, answer ARP only for its own addresses, accept_ra 0, mtu 1400
rail: set it up, answer ARP only for its own addresses, accept_ra 0, mtu 1400
bond0-1: get addresses from host-local, use table 1001 for what leaves from them, announce them
rail: get addresses from host-local, use table 1003 for what leaves from them, announce them`, p.String())
	again, _, err := Compile(request(t, eachOfTwo), f)
	require.NoError(t, err)
	assert.Equal(t, p, again)
}

// TestEachPreflight: what is wrong with one link is an error, or the link is left out. What
// only links in a bond should be like is not required.
func TestEachPreflight(t *testing.T) {
	compile := func(keys string, change func(*Facts)) ([]string, error) {
		f := nodeFacts()
		change(&f)
		_, warnings, err := compileTexts(request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "each", `+keys+`"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`), f)
		return warnings, err
	}
	gone := func(f *Facts) { f.Devices[vfB] = bond.DeviceFacts{Device: bond.Device{Address: vfB}, Missing: true} }
	_, err := compile("", gone)
	require.EqualError(t, err, "network n: links[1].deviceID: there is no PCI device 0000:5e:02.0 (list them with: lspci -D | grep 'Virtual Function')")
	assert.EqualValues(t, cnierror.Node, cnierror.Code(err))
	warnings, err := compile(`"minLinks": 1, `, gone)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"network n: links[1].deviceID: there is no PCI device 0000:5e:02.0 (list them with: lspci -D | grep 'Virtual Function')",
		"network n: links: 1 of 2 are available, and the pod starts with them (the others are not added while the pod runs)"}, warnings)
	warnings, err = compile(`"minLinks": 1, `, func(*Facts) {})
	require.NoError(t, err)
	assert.Empty(t, warnings)

	onePF := func(f *Facts) {
		d := f.Devices[vfB]
		d.PF, d.PFNetdev, d.Number = f.Devices[vfA].PF, f.Devices[vfA].PFNetdev, 1
		d.Admin = &bond.VF{VLAN: 7}
		f.Devices[vfB] = d
	}
	warnings, err = compile("", onePF)
	require.NoError(t, err)
	assert.Empty(t, warnings)
	_, err = compile(`"require": {"distinctPF": "error"}, `, onePF)
	require.ErrorContains(t, err, "is on the same PF as links[0]")
	_, err = compile(`"require": {"trust": "error", "spoofchk": "error"}, `, func(*Facts) {})
	require.NoError(t, err)
	_, err = compile(`"mtu": 9000, `, func(f *Facts) {
		d := f.Devices[vfB]
		d.PFLink = &bond.Link{MTU: 1500}
		f.Devices[vfB] = d
	})
	require.ErrorContains(t, err, "mtu: is 9000, but the PF enp2s0 of links[1].deviceID allows at most 1500")
}
