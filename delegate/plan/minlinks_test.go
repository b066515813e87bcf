package plan

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestStartsDegraded checks that links that cannot be attached are left out and named, as
// long as there are enough others, and that messages about the others have the right path.
func TestStartsDegraded(t *testing.T) {
	const links = `"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}, {"name": "eth1"}]`
	const (
		driver = "links[0].deviceID: VF 0000:3b:02.0 has no driver (bind it to the VF's network driver)"
		gone   = "links[1].deviceID: there is no PCI device 0000:5e:02.0 (list them with: lspci -D | grep 'Virtual Function')"
		rest   = " of 3 are available, and the bond starts with them (keep, if it runs, adds a VF that comes later; a new pod gets all of them)"
		down   = "links[1].deviceID: the PF enp2s0 of VF 0000:5e:02.0 is down (ip link set enp2s0 up)"
	)
	noDriver := func(f *Facts) { d := f.Devices[vfA]; d.Driver, d.Link = "", nil; f.Devices[vfA] = d }
	missing := func(f *Facts) { f.Devices[vfB] = bond.DeviceFacts{Missing: true} }
	for _, test := range []struct {
		name, keys string
		change     func(*Facts)
		plan       string
		warnings   []string
		text       string
	}{
		{name: "the first, which is the primary one, and a PF that is down", keys: `"minLinks": 2, `, change: func(f *Facts) {
			noDriver(f)
			f.Devices[vfB].PFLink.Up = false
		}, plan: `bond0-2: VF 0 of enp2s0 (0000:5e:02.0) by sriov
eth1: from the host
bond0: create active-backup mtu 1500 miimon 100 fail_over_mac active primary bond0-2 num_grat_arp 5
bond0: flush bond0-2, set it down, enslave it
bond0: flush eth1, set it down, enslave it
bond0: set it up`, warnings: []string{driver, "links: 2" + rest, down}},
		{name: "two of three", keys: `"minLinks": 1, "primary": "eth1", `, change: func(f *Facts) { noDriver(f); missing(f) }, plan: `eth1: from the host
bond0: create active-backup mtu 9000 miimon 100 fail_over_mac active primary eth1 num_grat_arp 5
bond0: flush eth1, set it down, enslave it
bond0: set it up`, warnings: []string{driver, gone, "links: 1" + rest}},
		{name: "the one that is to be used first", keys: `"minLinks": 1, "activeSlave": "bond0-2", `, change: missing, plan: `bond0-1: VF 0 of enp1s0 (0000:3b:02.0) by sriov
eth1: from the host
bond0: create active-backup mtu 1500 miimon 100 fail_over_mac active num_grat_arp 5
bond0: flush bond0-1, set it down, enslave it
bond0: flush eth1, set it down, enslave it
bond0: set it up`, warnings: []string{gone, "links: 2" + rest}},
		{name: "too few left", keys: `"minLinks": 2, `, change: func(f *Facts) { noDriver(f); missing(f) }, text: driver + "; " + gone},
		{name: "none left", keys: `"minLinks": 1, "mode": "balance-rr", `, change: func(f *Facts) { noDriver(f); missing(f); delete(f.Host, "eth1") },
			text: driver + "; " + gone + `; links[2].name: the host has no interface eth1 (if it is an interface of the pod, set "linksInContainer": true)`},
		{name: "not asked for", change: missing, text: gone},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := nodeFacts()
			test.change(&f)
			plan, warnings, err := compileTexts(request(t, `{"name": "n", `+test.keys+links+`}`), f)
			if test.text != "" {
				require.EqualError(t, err, "network n: "+test.text)
				require.EqualValues(t, cnierror.Node, cnierror.Code(err))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.plan, plan.String())
			for i := range test.warnings {
				test.warnings[i] = "network n: " + test.warnings[i]
			}
			assert.Equal(t, test.warnings, warnings)
		})
	}
}
