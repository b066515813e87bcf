package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
)

// attachIt ends the hints about fields that only a VF's own configuration has.
const attachIt = " in the configuration that attaches it (delegate)"

// TestFinders checks that there is a finder for each row of the table of requirements.
func TestFinders(t *testing.T) {
	b := plannedBond{links: []plannedLink{{}}}
	for _, r := range netconf.Requirements {
		require.NotPanics(t, func() { find(r.Key, b) }, r.Key)
	}
	require.Panics(t, func() { find("none", b) })
}

// TestRequire checks that a requirement that is not met is an error, a warning or nothing,
// as the configuration says, and that a requirement that does not apply is nothing.
func TestRequire(t *testing.T) {
	off, on := false, true
	second := func(change func(*bond.DeviceFacts)) func(*Facts) {
		return func(f *Facts) {
			d := f.Devices[vfB]
			change(&d)
			f.Devices[vfB] = d
		}
	}
	both := func(change func(*bond.DeviceFacts)) func(*Facts) {
		return func(f *Facts) {
			for device, d := range f.Devices {
				change(&d)
				f.Devices[device] = d
			}
		}
	}
	untrusted := both(func(d *bond.DeviceFacts) { d.Admin.Trust, d.Admin.SpoofChk = &off, true })
	ports := func(a, b bond.Port) func(*Facts) {
		return func(f *Facts) {
			for device, port := range map[string]bond.Port{vfA: a, vfB: b} {
				d := f.Devices[device]
				d.Port = port
				f.Devices[device] = d
			}
		}
	}
	type meets struct {
		name, keys string
		change     func(*Facts)
	}
	type test struct {
		name, key, keys string
		change          func(*Facts)
		found           []finding // link is not compared
		meets           []meets
	}
	const at0, at1 = "links[0].deviceID", "links[1].deviceID"
	tests := []test{
		{name: "one PF", key: "distinctPF", change: second(func(d *bond.DeviceFacts) { d.PF, d.PFNetdev, d.Number = pfA, "enp1s0", 1 }),
			found: []finding{{path: at1, text: "VF 0000:5e:02.0 is on the same PF as links[0]: 0000:3b:00.0 (enp1s0); one dead cable would take down both", hint: "use a VF of another PF"}}},
		{name: "one port of two PFs", key: "distinctPF", change: ports(bond.Port{ID: "0c42a1"}, bond.Port{ID: "0c42a1"}),
			found: []finding{{path: at1, text: "VF 0000:5e:02.0 is on enp2s0, which has the same port as enp1s0 of links[0] (phys_port_id 0c42a1); one dead cable would take down both", hint: "use a VF of another PF"}},
			meets: []meets{{"two ports", "", ports(bond.Port{ID: "0c42a1"}, bond.Port{ID: "0c42a2"})}}},
		{name: "one card", key: "distinctCard", change: second(func(d *bond.DeviceFacts) { d.PF = "0000:3b:00.1" }),
			found: []finding{{path: at1, text: "VF 0000:5e:02.0 is on the same card as links[0]: 0000:3b:00 (enp1s0 and enp2s0)", hint: "use a VF of another card"}}},
		{name: "two NUMA nodes", key: "sameNUMA", change: ports(bond.Port{NUMA: "0"}, bond.Port{NUMA: "1"}),
			found: []finding{{path: at1, text: "VF 0000:5e:02.0 is on NUMA node 1, but links[0] is on node 0", hint: "use VFs of one NUMA node"}},
			meets: []meets{{"one node", "", ports(bond.Port{NUMA: "1"}, bond.Port{NUMA: "1"})}, {"an unknown one", "", ports(bond.Port{NUMA: "1"}, bond.Port{})}}},
		{name: "two speeds", key: "sameSpeed", change: ports(bond.Port{Speed: 25000}, bond.Port{Speed: 10000}),
			found: []finding{{path: at1, text: "the PF enp2s0 of VF 0000:5e:02.0 has 10000 Mbit/s, but enp1s0 of links[0] has 25000", hint: "use PFs of the same speed"}},
			meets: []meets{{"one speed", "", ports(bond.Port{Speed: 25000}, bond.Port{Speed: 25000})}, {"an unknown one", "", ports(bond.Port{}, bond.Port{Speed: 10000})}}},
		{name: "a PF that is down", key: "pfUp", change: second(func(d *bond.DeviceFacts) { d.PFLink.Up, d.PFLink.Carrier = false, false }),
			found: []finding{{path: at1, text: "the PF enp2s0 of VF 0000:5e:02.0 is down", hint: "ip link set enp2s0 up"}}},
		{name: "no PF with a carrier", key: "pfUp", change: both(func(d *bond.DeviceFacts) { d.PFLink.Carrier = false }),
			found: []finding{
				{path: at0, text: "the PF enp1s0 of VF 0000:3b:02.0 has no carrier", hint: "check its cable and its switch port"},
				{path: at1, text: "the PF enp2s0 of VF 0000:5e:02.0 has no carrier", hint: "check its cable and its switch port"}}},
		{name: "a PF in a bond of the host", key: "noHostBond", change: ports(bond.Port{}, bond.Port{Bond: "bond9", BondMode: "802.3ad"}),
			found: []finding{{path: at1, text: "the PF enp2s0 of VF 0000:5e:02.0 is part of the host's bond9 (802.3ad): the switch may send the VF's frames to any port of that bond", hint: "use PFs that are in no bond of the host"}},
			meets: []meets{
				{"in active-backup", "", ports(bond.Port{}, bond.Port{Bond: "bond9", BondMode: "active-backup"})},
				{"listening on all links too", `"mode": "balance-xor", `, ports(bond.Port{}, bond.Port{Bond: "bond9", BondMode: "802.3ad"})}}},
		{name: "an MTU above the PF's", key: "pfMTU", keys: `"mtu": 9100, `, change: second(func(d *bond.DeviceFacts) { d.PFLink.MTU = 9200 }),
			found: []finding{{path: "mtu", text: "is 9100, but the PF enp1s0 of links[0].deviceID allows at most 9000", hint: "raise the PF's MTU or lower the bond's"}}},
		{name: "VFs above their PFs' MTU", key: "pfMTU", change: both(func(d *bond.DeviceFacts) { d.PFLink.MTU = 1400 }),
			found: []finding{
				{path: "mtu", text: "is 1500, but the PF enp1s0 of links[0].deviceID allows at most 1400", hint: "raise the PF's MTU or lower the bond's"},
				{path: "mtu", text: "is 1500, but the PF enp2s0 of links[1].deviceID allows at most 1400", hint: "raise the PF's MTU or lower the bond's"}}},
		{name: "a MAC changed without trust", key: "trust", keys: `"mode": "balance-xor", `, change: untrusted,
			found: []finding{{path: at1, text: "mode balance-xor changes the MAC of VF 0 of enp2s0 (0000:5e:02.0), which the PF does not trust; if the PF has set that MAC, the VF refuses the change", hint: `set "trust": "on"` + attachIt}},
			meets: []meets{
				{"trusted by its PF", `"mode": "balance-xor", `, both(func(d *bond.DeviceFacts) { d.Admin.Trust = &on })},
				{"trusted by its configuration", `"mode": "balance-xor", "delegate": {"type": "sriov", "trust": "on"}, `, untrusted},
				{"a PF that does not tell", `"mode": "balance-xor", `, nil},
				{"no MAC changed", ``, untrusted},
				{"one MAC that their PFs set", `"mac": "02:00:00:00:00:aa", "macPolicy": "shared", `, untrusted},
				{"one MAC", `"mode": "balance-xor", "delegate": {"type": "sriov", "mac": "02:00:00:00:00:AA"}, `, untrusted},
				{"one MAC for all", `"mode": "balance-alb", "delegate": {"type": "sriov", "mac": "02:00:00:00:00:AA"}, `, untrusted},
				{"the MAC that its PF has set", `"mode": "balance-xor", `, func(f *Facts) { untrusted(f); f.Devices[vfB].Admin.MAC = f.Devices[vfA].Link.MAC }}}},
		{name: "trust taken away", key: "trust", keys: `"mode": "broadcast", "delegate": {"type": "sriov", "trust": "off"}, `, change: both(func(d *bond.DeviceFacts) { d.Admin.Trust = &on }),
			found: []finding{{path: at1, text: "mode broadcast changes the MAC of VF 0 of enp2s0 (0000:5e:02.0), which the PF does not trust; if the PF has set that MAC, the VF refuses the change", hint: `set "trust": "on"` + attachIt}}},
		{name: "a MAC of the bond's own", key: "trust", keys: `"mac": "02:00:00:00:00:aa", `, change: untrusted,
			found: []finding{
				{path: at0, text: "mode active-backup changes the MAC of VF 0 of enp1s0 (0000:3b:02.0), which the PF does not trust; if the PF has set that MAC, the VF refuses the change", hint: `set "trust": "on"` + attachIt},
				{path: at1, text: "mode active-backup changes the MAC of VF 0 of enp2s0 (0000:5e:02.0), which the PF does not trust; if the PF has set that MAC, the VF refuses the change", hint: `set "trust": "on"` + attachIt}}},
		{name: "MACs exchanged in a failover", key: "trust", keys: `"failOverMac": "follow", `, change: untrusted,
			found: []finding{
				{path: at0, text: "mode active-backup changes the MAC of VF 0 of enp1s0 (0000:3b:02.0), which the PF does not trust; if the PF has set that MAC, the VF refuses the change", hint: `set "trust": "on"` + attachIt},
				{path: at1, text: "mode active-backup changes the MAC of VF 0 of enp2s0 (0000:5e:02.0), which the PF does not trust; if the PF has set that MAC, the VF refuses the change", hint: `set "trust": "on"` + attachIt}}},
		{name: "a MAC changed with spoof checking", key: "spoofchk", keys: `"mode": "balance-rr", `, change: untrusted,
			found: []finding{{path: at1, text: "mode balance-rr changes the MAC of VF 0 of enp2s0 (0000:5e:02.0), whose spoof checking is on; if the PF checks against the MAC that it knows, it drops what the VF sends", hint: `set "spoofchk": "off"` + attachIt}},
			meets: []meets{
				{"switched off by its configuration", `"mode": "balance-rr", "delegate": {"type": "sriov", "spoofchk": "off"}, `, untrusted},
				{"off at its PF", `"mode": "balance-rr", `, nil}}},
		{name: "spoof checking switched on", key: "spoofchk", keys: `"mode": "balance-rr", "delegate": {"type": "sriov", "spoofchk": "on"}, `,
			found: []finding{{path: at1, text: "mode balance-rr changes the MAC of VF 0 of enp2s0 (0000:5e:02.0), whose spoof checking is on; if the PF checks against the MAC that it knows, it drops what the VF sends", hint: `set "spoofchk": "off"` + attachIt}}},
		{name: "a carrier over a dead PF", key: "linkState", change: second(func(d *bond.DeviceFacts) { d.Admin.LinkState = 1 }),
			found: []finding{{path: at1, text: "the link state of VF 0 of enp2s0 (0000:5e:02.0) is enable, so it has a carrier even if the PF is dead, and miimon looks at nothing else", hint: `set "link_state": "auto"` + attachIt + `, or use arpInterval instead of miimon`}},
			meets: []meets{
				{"with ARP monitoring", `"arpInterval": 100, "arpIpTarget": "10.0.0.1", `, second(func(d *bond.DeviceFacts) { d.Admin.LinkState = 1 })},
				{"auto by its configuration", `"delegate": {"type": "sriov", "link_state": "auto"}, `, second(func(d *bond.DeviceFacts) { d.Admin.LinkState = 1 })},
				{"InfiniBand", ``, both(func(d *bond.DeviceFacts) { d.Admin.LinkState, d.Link.Type = 1, bond.InfiniBand })}}},
		{name: "never a carrier", key: "linkState", keys: `"arpInterval": 100, "arpIpTarget": "10.0.0.1", `, change: second(func(d *bond.DeviceFacts) { d.Admin.LinkState = 2 }),
			found: []finding{{path: at1, text: "the link state of VF 0 of enp2s0 (0000:5e:02.0) is disable, so it never has a carrier", hint: `set "link_state": "auto"` + attachIt}}},
		{name: "a carrier over a dead PF by its configuration", key: "linkState", keys: `"delegate": {"type": "sriov", "link_state": "enable"}, `,
			found: []finding{
				{path: at0, text: "the link state of VF 0 of enp1s0 (0000:3b:02.0) is enable, so it has a carrier even if the PF is dead, and miimon looks at nothing else", hint: `set "link_state": "auto"` + attachIt + `, or use arpInterval instead of miimon`},
				{path: at1, text: "the link state of VF 0 of enp2s0 (0000:5e:02.0) is enable, so it has a carrier even if the PF is dead, and miimon looks at nothing else", hint: `set "link_state": "auto"` + attachIt + `, or use arpInterval instead of miimon`}}},
		{name: "one VLAN, two protocols", key: "sameVLAN", change: func(f *Facts) {
			both(func(d *bond.DeviceFacts) { d.Admin.VLAN, d.Admin.Proto = 100, unix.ETH_P_8021Q })(f)
			second(func(d *bond.DeviceFacts) { d.Admin.Proto = unix.ETH_P_8021AD })(f)
		},
			found: []finding{{path: at1, text: "VF 0 of enp2s0 (0000:5e:02.0) has VLAN 100 (802.1ad), but links[0] has VLAN 100; a failover would lead into another network", hint: "give all links the same VLAN"}},
			meets: []meets{
				{"one by their configuration", `"delegate": {"type": "sriov", "vlan": 100, "vlanProto": "802.1AD"}, `, second(func(d *bond.DeviceFacts) { d.Admin.VLAN, d.Admin.Proto = 100, unix.ETH_P_8021Q })},
				{"both PFs", "", both(func(d *bond.DeviceFacts) { d.Admin.VLAN, d.Admin.Proto = 100, unix.ETH_P_8021AD })},
			}},
		{name: "two VLANs", key: "sameVLAN", change: second(func(d *bond.DeviceFacts) { d.Admin.VLAN = 100 }),
			found: []finding{{path: at1, text: "VF 0 of enp2s0 (0000:5e:02.0) has VLAN 100, but links[0] has VLAN 0; a failover would lead into another network", hint: "give all links the same VLAN"}},
			meets: []meets{{"one by their configuration", `"delegate": {"type": "sriov", "vlan": 200}, `, second(func(d *bond.DeviceFacts) { d.Admin.VLAN = 100 })}}},
	}
	compile := func(t *testing.T, keys, key, level string, change func(*Facts)) ([]string, error) {
		t.Helper()
		ignored := map[string]string{}
		for _, other := range netconf.RequirementKeys() {
			ignored[other] = netconf.LevelIgnore
		}
		if delete(ignored, key); level != "" {
			ignored[key] = level
		}
		f := nodeFacts()
		for device, mac := range map[string]string{vfA: "02:00:00:00:00:0a", vfB: "02:00:00:00:00:0b"} {
			f.Devices[device].Link.MAC, f.Devices[device].Link.Type, f.Devices[device].Admin.MAC = mac, bond.Ethernet, mac
		}
		if change != nil {
			change(&f)
		}
		r := request(t, `{"name": "n", `+keys+`"require": `+string(strictjson.Encode(ignored))+`, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`)
		_, warnings, err := compileTexts(r, f)
		// Not a requirement's, and the same at each level.
		warnings = slices.DeleteFunc(warnings, func(w string) bool { return strings.HasPrefix(w, "network n: mode: ") })
		return warnings, err
	}
	tested := map[string]bool{}
	for _, test := range tests {
		tested[test.key] = true
		t.Run(test.key+", "+test.name, func(t *testing.T) {
			var problems, want []string
			for _, f := range test.found {
				problems = append(problems, f.path+": "+f.text+" ("+f.hint+`, or set "require": {"`+test.key+`": "warn"})`)
				want = append(want, "network n: "+f.path+": "+f.text+" ("+f.hint+")")
			}
			_, err := compile(t, test.keys, test.key, netconf.LevelError, test.change)
			require.EqualError(t, err, "network n: "+strings.Join(problems, "; "))
			require.EqualValues(t, cnierror.Node, cnierror.Code(err))
			warnings, err := compile(t, test.keys, test.key, netconf.LevelWarn, test.change)
			require.NoError(t, err)
			assert.Equal(t, want, warnings)
			warnings, err = compile(t, test.keys, test.key, netconf.LevelIgnore, test.change)
			require.NoError(t, err)
			assert.Empty(t, warnings)
			for _, m := range test.meets {
				_, err := compile(t, m.keys, test.key, netconf.LevelError, m.change)
				assert.NoError(t, err, m.name)
			}
			r := netconf.Requirements[slices.Index(netconf.RequirementKeys(), test.key)]
			warnings, err = compile(t, test.keys, test.key, "", test.change)
			assert.Equal(t, r.Level == netconf.LevelError, err != nil, err)
			assert.Equal(t, r.Level == netconf.LevelWarn, len(warnings) > 0, warnings)
		})
	}
	for _, key := range netconf.RequirementKeys() {
		assert.True(t, tested[key], "nothing here does not meet %s", key)
	}
}

// TestRequireOfThree checks that each link is compared with all others, or with the first,
// and is named once.
func TestRequireOfThree(t *testing.T) {
	f := nodeFacts()
	third := f.Devices[vfB]
	third.Address, third.Link = vfB2, &bond.Link{Index: 9, Name: "enp2s0v1", Device: vfB2, MTU: 1500}
	third.Number, third.Admin = 1, &bond.VF{VLAN: 7}
	f.Devices[vfB2] = third
	r := request(t, `{"name": "n", "require": {"distinctPF": "warn", "sameVLAN": "warn"}, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}, {"deviceID": "0000:5e:02.1"}]}`)
	_, warnings, err := compileTexts(r, f)
	want := []string{
		"network n: links[2].deviceID: VF 0000:5e:02.1 is on the same PF as links[1]: 0000:5e:00.0 (enp2s0); one dead cable would take down both (use a VF of another PF)",
		"network n: links[2].deviceID: VF 1 of enp2s0 (0000:5e:02.1) has VLAN 7, but links[0] has VLAN 0; a failover would lead into another network (give all links the same VLAN)",
	}
	require.NoError(t, err)
	assert.Equal(t, want, warnings)
}

// TestRequireInPod checks that requirements apply to VFs that another network has attached.
func TestRequireInPod(t *testing.T) {
	for kind, level := range map[string]string{"multibond": netconf.LevelError, netconf.BondCNI: netconf.LevelWarn} {
		f := nodeFacts()
		f.Pod[0].Device, f.Pod[1].Device = vfA, vfA2
		second := f.Devices[vfA]
		second.Address, second.Link, second.Number = vfA2, nil, 1
		f.Devices[vfA2] = second
		r := request(t, `{"name": "n", "type": "`+kind+`", "mode": "active-backup", "miimon": "100", "failOverMac": 1, "linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]}`)
		_, warnings, err := compileTexts(r, f)
		const text = "network n: links[1].name: VF 0000:3b:02.1 is on the same PF as links[0]: 0000:3b:00.0 (enp1s0); one dead cable would take down both (use a VF of another PF"
		if level == netconf.LevelError {
			require.EqualError(t, err, text+`, or set "require": {"distinctPF": "warn"})`)
			require.EqualValues(t, cnierror.Node, cnierror.Code(err))
		} else {
			require.NoError(t, err)
			assert.Equal(t, []string{text + ")"}, warnings)
		}
	}
}

// TestInfiniBand checks that InfiniBand is accepted in one mode, with one failOverMac and
// with no other type of link.
func TestInfiniBand(t *testing.T) {
	for _, test := range []struct {
		name, keys string
		types      [2]uint16
		text       string
	}{
		{"as the kernel takes it", ``, [2]uint16{32, 32}, ""},
		{"another mode", `"mode": "balance-rr", `, [2]uint16{32, 32}, "mode: is balance-rr, but links[0] is InfiniBand, which the kernel bonds only in active-backup (use active-backup)"},
		{"another failOverMac", `"failOverMac": "none", `, [2]uint16{32, 32}, "failOverMac: is none, but links[0] is InfiniBand, which keeps its own address and allows only active (leave failOverMac out)"},
		{"a MAC", `"mac": "02:00:00:00:00:01", `, [2]uint16{32, 32}, "mac: is 02:00:00:00:00:01, but links[0] is InfiniBand, which keeps its own address (leave mac out)"},
		{"with Ethernet", ``, [2]uint16{1, 32}, "links[1].name: eth2 is InfiniBand, but links[0] is Ethernet (use links of one type)"},
		{"something else", ``, [2]uint16{1, 65534}, "links[1].name: eth2 is of type 65534, but links[0] is Ethernet (use links of one type)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := nodeFacts()
			for i, name := range []string{"eth1", "eth2"} {
				l := f.Host[name]
				l.Type = test.types[i]
				f.Host[name] = l
			}
			_, _, err := Compile(request(t, `{"name": "n", `+test.keys+`"links": [{"name": "eth1"}, {"name": "eth2"}]}`), f)
			if test.text != "" {
				require.EqualError(t, err, "network n: "+test.text)
				require.EqualValues(t, cnierror.Node, cnierror.Code(err))
			} else {
				require.NoError(t, err)
			}
		})
	}
}
