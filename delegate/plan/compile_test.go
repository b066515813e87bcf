package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// nodeFacts is a node on which the standard network can be attached.
func nodeFacts() Facts {
	device := func(pf, netdev, vf string, index int) bond.DeviceFacts {
		return bond.DeviceFacts{
			Device: bond.Device{Address: vf, PF: pf, Driver: "igbvf", Netdev: netdev + "v0", PFNetdev: netdev},
			Link:   &bond.Link{Index: index, Name: netdev + "v0", Device: vf, MTU: 1500, MaxMTU: 9216},
			PFLink: &bond.Link{Index: index - 1, Name: netdev, Device: pf, MTU: 9000, Up: true, Carrier: true},
			Admin:  &bond.VF{},
		}
	}
	return Facts{
		Path: []string{"/opt/cni/bin"},
		Facts: bond.Facts{
			Devices: map[string]bond.DeviceFacts{vfA: device(pfA, "enp1s0", vfA, 3), vfB: device(pfB, "enp2s0", vfB, 5)},
			Host: map[string]bond.HostLink{
				"eth1": {Link: bond.Link{Index: 7, Name: "eth1", MTU: 9000, MaxMTU: 9000}},
				"eth2": {Link: bond.Link{Index: 8, Name: "eth2", MTU: 4000}},
				// The VF by its name.
				"enp2s0v0": {Link: bond.Link{Index: 5, Name: "enp2s0v0", Device: vfB, MTU: 1500}},
			},
			Pod: []bond.Link{{Index: 2, Name: "net1", MTU: 1500}, {Index: 3, Name: "net2", MTU: 1400}},
		},
		Plugins: map[string]bool{"sriov": true, "host-local": true},
		Holders: map[string]Key{},
	}
}

// TestPlan prints the plans of the sources of links.
func TestPlan(t *testing.T) {
	for _, test := range []struct{ name, config, want string }{
		{"devices", standard, `bond0-1: VF 0 of enp1s0 (0000:3b:02.0) by sriov, vlan 100
bond0-2: VF 0 of enp2s0 (0000:5e:02.0) by sriov, vlan 100
bond0: create active-backup mtu 1500 miimon 100 fail_over_mac active primary bond0-1 num_grat_arp 5
bond0: accept_ra 0
bond0: flush bond0-1, set it down, enslave it
bond0: flush bond0-2, set it down, enslave it
bond0: set it up
bond0: get addresses from host-local, announce them`},
		{"the host's links, and the smaller MTU", `{"name": "n", "links": [{"name": "eth1"}, {"name": "eth2"}]}`, `eth1: from the host
eth2: from the host
bond0: create active-backup mtu 4000 miimon 100 fail_over_mac active primary eth1 num_grat_arp 5
bond0: flush eth1, set it down, enslave it
bond0: flush eth2, set it down, enslave it
bond0: set it up`},
		{"a VF with settings, a host's VF and a macvlan", `{"name": "n", "links": [
			{"deviceID": "0000:3b:02.0", "config": {"plugins": [{"type": "sriov", "vlan": 7, "mac": "02:00:00:00:00:01", "trust": "on", "spoofchk": "off", "link_state": "auto"}, {"type": "host-local"}]}},
			{"name": "enp2s0v0"}, {"config": {"type": "host-local"}}], "require": {"sameVLAN": "ignore"}}`, `bond0-1: VF 0 of enp1s0 (0000:3b:02.0) by sriov, host-local, vlan 7, mac 02:00:00:00:00:01, trust on, spoofchk off, state auto
enp2s0v0: VF 0 of enp2s0 (0000:5e:02.0) from the host
bond0-3: by host-local
bond0: create active-backup miimon 100 fail_over_mac active primary bond0-1 num_grat_arp 5
bond0: flush bond0-1, set it down, enslave it
bond0: flush enp2s0v0, set it down, enslave it
bond0: flush bond0-3, set it down, enslave it
bond0: set it up`},
		{"the pod's links, and the smaller MTU", `{"name": "n", "linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]}`, `bond0: create active-backup mtu 1400 miimon 100 fail_over_mac active primary net1 num_grat_arp 5
bond0: flush net1, set it down, enslave it
bond0: flush net2, set it down, enslave it
bond0: set it up`},
		{"what links shall have in the bond, and which is first", `{"name": "n", "linksInContainer": true, "activeSlave": "net2", "links": [{"name": "net1", "queueId": 2}, {"name": "net2", "prio": "-1", "queueId": 1}]}`, `bond0: create active-backup mtu 1400 miimon 100 fail_over_mac active num_grat_arp 5
bond0: flush net1, set it down, enslave it
net1: queue_id 2
bond0: flush net2, set it down, enslave it
net2: queue_id 1 prio -1
bond0: set it up
bond0: use net2 first, once it has a carrier`},
		{"links that a plugin makes, whose MTU nobody knows yet", `{"name": "n", "links": [{"config": {"type": "host-local"}}, {"config": {"type": "host-local"}}]}`, `bond0-1: by host-local
bond0-2: by host-local
bond0: create active-backup miimon 100 fail_over_mac active primary bond0-1 num_grat_arp 5
bond0: flush bond0-1, set it down, enslave it
bond0: flush bond0-2, set it down, enslave it
bond0: set it up`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, f := request(t, test.config), nodeFacts()
			plan, warnings, err := compileTexts(r, f)
			require.NoError(t, err)
			require.Nil(t, warnings)
			assert.Equal(t, test.want, plan.String())
		})
	}
}

// TestCompileIsPure checks for every kind of link and network that the same arguments
// give the same plan, and that they are as they were.
func TestCompileIsPure(t *testing.T) {
	for name, config := range map[string]string{
		"devices":                standard,
		"a VLAN for all":         `{"name": "n", "vlan": 7, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`,
		"one MAC for all":        `{"name": "n", "macPolicy": "shared", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`,
		"the host's":             `{"name": "n", "links": [{"name": "eth1"}, {"name": "enp2s0v0", "prio": 1}]}`,
		"the pod's":              `{"name": "n", "linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]}`,
		"what plugins make":      `{"name": "n", "links": [{"config": {"plugins": [{"type": "sriov", "deviceID": "0000:3b:02.0"}, {"type": "host-local"}]}}, {"config": {"type": "host-local"}}]}`,
		"one link missing":       `{"name": "n", "minLinks": 1, "links": [{"name": "gone"}, {"name": "eth1"}, {"resourceName": "a/b"}]}`,
		"no link left":           `{"name": "n", "minLinks": 1, "links": [{"name": "gone"}, {"resourceName": "a/b"}]}`,
		"bond-cni's":             `{"type": "bond", "name": "n", "mode": "balance-tlb", "links": [{"name": "eth1"}, {"name": "eth2"}]}`,
		"a chain":                `{"name": "n", "plugins": [{"type": "sriov", "deviceID": "0000:3b:02.0"}, {"type": "host-local"}]}`,
		"a chain with no device": `{"name": "n", "type": "host-local"}`,
	} {
		arguments := func() (Request, Facts) {
			r, f := Request{ContainerID: "c1", IfName: "bond0", DefaultRoute: []netip.Addr{netip.IPv4Unspecified()}}, nodeFacts()
			var err error
			if strings.Contains(config, `"links"`) {
				r.Network, err = netconf.ParseNetwork([]byte(config), "bond0")
			} else if r.Network, err = netconf.ParseChain([]byte(config)); strings.Contains(config, vfA) {
				r.Network.Device = vfA
			}
			require.NoError(t, err)
			f.Devices[vfA].Link.MAC, f.Devices[vfB].Link.MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
			return r, f
		}
		type compiled struct {
			Plan     Plan
			Warnings bond.Problems
			Text     string
		}
		compile := func(r Request, f Facts) compiled {
			p, warnings, err := Compile(r, f)
			return compiled{p, warnings, fmt.Sprint(err)}
		}
		r, f := arguments()
		first := compile(r, f)
		require.Equal(t, name == "no link left", first.Text != "<nil>", "%s: %s", name, first.Text)
		require.Equal(t, first, compile(r, f), name)
		sameRequest, sameFacts := arguments()
		require.Equal(t, sameRequest, r, name)
		require.Equal(t, sameFacts, f, name)
		require.Equal(t, first, compile(sameRequest, sameFacts), name)
	}
}

func TestCompileProblems(t *testing.T) {
	with := func(keys string) string {
		return `{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], ` + keys + `}`
	}
	const vfs = `{"name": "n", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`
	const hosts = `{"name": "n", "links": [{"name": "eth1"}, {"name": "eth2"}]}`
	const pods = `{"name": "n", "linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]}`
	device := func(change func(*bond.DeviceFacts)) func(*Facts) {
		return func(f *Facts) {
			d := f.Devices[vfB]
			change(&d)
			f.Devices[vfB] = d
		}
	}
	host := func(change func(*bond.HostLink)) func(*Facts) {
		return func(f *Facts) {
			l := f.Host["eth2"]
			change(&l)
			f.Host["eth2"] = l
		}
	}
	for _, test := range []struct {
		name, config string
		change       func(*Facts)
		text         string
	}{
		{"no device", vfs, device(func(d *bond.DeviceFacts) { *d = bond.DeviceFacts{Missing: true} }), `network n: links[1].deviceID: there is no PCI device 0000:5e:02.0 (list them with: lspci -D | grep 'Virtual Function')`},
		{"a PF", vfs, device(func(d *bond.DeviceFacts) { d.PF, d.Driver = "", "igb" }), `network n: links[1].deviceID: 0000:5e:02.0 is not a VF (driver igb) (create VFs with sriov_numvfs, and name one of them, or attach this device with "delegate": {"type": "host-device"})`},
		{"a PF without a driver", vfs, device(func(d *bond.DeviceFacts) { d.PF, d.Driver = "", "" }), `network n: links[1].deviceID: 0000:5e:02.0 is not a VF (driver none) (create VFs with sriov_numvfs, and name one of them, or attach this device with "delegate": {"type": "host-device"})`},
		{"another plugin's device without an interface", strings.Replace(vfs, `"links"`, `"delegate": {"type": "host-local"}, "links"`, 1), device(func(d *bond.DeviceFacts) { d.PF, d.Link = "", nil }), `network n: links[1].deviceID: device 0000:5e:02.0 has no interface on the host (another pod or program has it)`},
		{"another plugin's device in use", strings.Replace(vfs, `"links"`, `"delegate": {"type": "host-local"}, "links"`, 1), device(func(d *bond.DeviceFacts) { d.PF, d.Link = "", &bond.Link{Name: "ens7", Master: 3} }), `network n: links[1].deviceID: device 0000:5e:02.0 (ens7) is part of a bond or bridge of the host (remove it with: ip link set ens7 nomaster)`},
		{"a userspace driver", vfs, device(func(d *bond.DeviceFacts) { d.Driver, d.Link = "vfio-pci", nil }), `network n: links[1].deviceID: VF 0000:5e:02.0 has the userspace driver vfio-pci, so the kernel has no interface to bond (bind it to the VF's network driver, or leave it to a DPDK program)`},
		{"no driver", vfs, device(func(d *bond.DeviceFacts) { d.Driver, d.Link = "", nil }), `network n: links[1].deviceID: VF 0000:5e:02.0 has no driver (bind it to the VF's network driver)`},
		{"in another namespace", vfs, device(func(d *bond.DeviceFacts) { d.Link = nil }), `network n: links[1].deviceID: VF 0000:5e:02.0 has no interface on the host (another pod or program has it)`},
		{"in another namespace, and sriov-cni knows in which", vfs, func(f *Facts) {
			device(func(d *bond.DeviceFacts) { d.Link = nil })(f)
			f.Netns = map[string]string{vfB: "/run/netns/p7"}
		}, `network n: links[1].deviceID: VF 0000:5e:02.0 has no interface on the host (sriov-cni gave it to the pod at "/run/netns/p7")`},
		{"in use by another container", vfs, func(f *Facts) { f.Holders[vfB] = Key{"c7", "net3"} }, `network n: links[1].deviceID: VF 0000:5e:02.0 is in use by container c7, as a link of net3 (delete that pod, or use another VF)`},
		{"part of a bond of the host", vfs, device(func(d *bond.DeviceFacts) { d.Link.Master = 9 }), `network n: links[1].deviceID: VF 0000:5e:02.0 (enp2s0v0) is part of a bond or bridge of the host (remove it with: ip link set enp2s0v0 nomaster)`},
		{"the PF without an interface", vfs, device(func(d *bond.DeviceFacts) { d.PFLink = nil }), `network n: links[1].deviceID: the PF 0000:5e:00.0 of VF 0000:5e:02.0 has no interface on the host (a VF is configured through its PF: use a VF whose PF is on the host)`},
		{"two VFs of one PF", vfs, device(func(d *bond.DeviceFacts) { d.PF, d.PFNetdev = pfA, "enp1s0" }), `network n: links[1].deviceID: VF 0000:5e:02.0 is on the same PF as links[0]: 0000:3b:00.0 (enp1s0); one dead cable would take down both (use a VF of another PF, or set "require": {"distinctPF": "warn"})`},
		{"MTU above the PF's", with(`"mtu": 9200`), nil, `network n: mtu: is 9200, but the PF enp1s0 of links[0].deviceID allows at most 9000 (raise the PF's MTU or lower the bond's, or set "require": {"pfMTU": "warn"}); mtu: is 9200, but the PF enp2s0 of links[1].deviceID allows at most 9000 (raise the PF's MTU or lower the bond's, or set "require": {"pfMTU": "warn"})`},
		{"MTU above the links'", with(`"mtu": 10000`), func(f *Facts) {
			f.Devices[vfA].PFLink.MTU, f.Devices[vfB].PFLink.MTU = 10000, 10000
		}, `network n: mtu: is 10000, but links[0].deviceID (enp1s0v0) allows at most 9216; mtu: is 10000, but links[1].deviceID (enp2s0v0) allows at most 9216`},
		{"name taken", vfs, func(f *Facts) { f.Pod = append(f.Pod, bond.Link{Name: "bond0-2", Kind: "dummy"}) }, `network n: links[1].name: bond0-2 is taken in the pod by bond0-2 (dummy) (give the link another name)`},
		{"name taken by a device", vfs, func(f *Facts) { f.Pod = append(f.Pod, bond.Link{Name: "bond0-2", Device: vfA2}) }, `network n: links[1].name: bond0-2 is taken in the pod by bond0-2 (device 0000:3b:02.1) (give the link another name)`},
		{"name taken as another's", vfs, func(f *Facts) { f.Pod[0].AltNames = []string{"bond0-1", "bond0"} }, `network n: the name bond0 is taken in the pod by net1, as its alternative name (ask for another interface name); links[0].name: bond0-1 is taken in the pod by net1, as its alternative name (give the link another name)`},
		{"bond's name taken", vfs, func(f *Facts) { f.Pod = append(f.Pod, bond.Link{Name: "bond0", Kind: "bond"}) }, `network n: the name bond0 is taken in the pod by bond0 (bond) (ask for another interface name)`},
		{"no link on the host", hosts, func(f *Facts) { delete(f.Host, "eth2") }, `network n: links[1].name: the host has no interface eth2 (if it is an interface of the pod, set "linksInContainer": true)`},
		{"the host's default route", hosts, host(func(l *bond.HostLink) {
			l.Addresses.Default = true
		}), `network n: links[1].name: eth2 carries the host's default route; moving it into a pod would cut the host off (use another interface)`},
		{"the host's default route over a VF", vfs, func(f *Facts) { f.InUse = map[string]bond.Addresses{vfA: {Default: true}} },
			`network n: links[0].deviceID: enp1s0v0 carries the host's default route; moving it into a pod would cut the host off (use another interface)`},
		{"the host's link in a bond", hosts, host(func(l *bond.HostLink) { l.Master = 9 }), `network n: links[1].name: eth2 is part of a bond or bridge of the host (remove it with: ip link set eth2 nomaster)`},
		{"the host's link by an alternative name", hosts, host(func(l *bond.HostLink) { l.Name = "eno2" }),
			`network n: links[1].name: eth2 is an alternative name of the host's eno2, which loses it in the pod (use eno2)`},
		{"the host's link is a VF in use", hosts, func(f *Facts) {
			host(func(l *bond.HostLink) { l.Device = vfB })(f)
			f.Holders[vfB] = Key{"c7", "net3"}
		}, `network n: links[1].name: VF 0000:5e:02.0 is in use by container c7, as a link of net3 (delete that pod, or use another VF)`},
		{"router advertisements without IPv6", with(`"mtu": 1279, "acceptRA": true`), nil, `network n: acceptRA: is true, but without IPv6 there are none: IPv6 on bond0: mtu is 1279, but IPv6 needs at least 1280 (leave it out, or set a larger mtu)`},
		{"the host's link and an MTU", `{"name": "n", "mtu": 9001, "links": [{"name": "eth1"}, {"name": "eth2"}]}`, nil, `network n: mtu: is 9001, but links[0].name (eth1) allows at most 9000`},
		{"no link in the pod", pods, func(f *Facts) { f.Pod[1].Name = "net7" }, `network n: links[1].name: the pod has no interface net2, it has net1, net7 (another network of the pod must make it, under this name; with Multus as the meta plugin, the annotation must name that network before the bond)`},
		{"nothing in the pod", pods, func(f *Facts) { f.Pod = nil }, `network n: links[0].name: the pod has no interface net1, it has none (another network of the pod must make it, under this name; with Multus as the meta plugin, the annotation must name that network before the bond); links[1].name: the pod has no interface net2, it has none (another network of the pod must make it, under this name; with Multus as the meta plugin, the annotation must name that network before the bond)`},
		{"the pod's link in a bond", pods, func(f *Facts) { f.Pod[1].Master = 9 }, `network n: links[1].name: net2 is already part of another bond or bridge`},
		{"no plugin", with(`"ipam": {"type": "host-local"}`), func(f *Facts) { f.Plugins = map[string]bool{} }, `network n: the CNI plugin host-local is not in /opt/cni/bin (install it, or add its directory to the runtime's CNI plugin path); the CNI plugin sriov is not in /opt/cni/bin (install it, or add its directory to the runtime's CNI plugin path)`},
		{"no bonding", vfs, func(f *Facts) { f.Bonding = bond.ErrNoBonding }, `network n: this kernel has no bonding (install the kernel's modules, or use a kernel that has bonding)`},
		{"everything", vfs, func(f *Facts) { *f = Facts{Bonding: bond.ErrNoBonding, Path: f.Path} }, `network n: this kernel has no bonding (install the kernel's modules, or use a kernel that has bonding); the CNI plugin sriov is not in /opt/cni/bin (install it, or add its directory to the runtime's CNI plugin path); links[0].deviceID: 0000:3b:02.0 is not a VF (driver none) (create VFs with sriov_numvfs, and name one of them, or attach this device with "delegate": {"type": "host-device"}); links[1].deviceID: 0000:5e:02.0 is not a VF (driver none) (create VFs with sriov_numvfs, and name one of them, or attach this device with "delegate": {"type": "host-device"})`},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := nodeFacts()
			if test.change != nil {
				test.change(&f)
			}
			_, _, err := Compile(request(t, test.config), f)
			require.EqualError(t, err, test.text)
			require.EqualValues(t, cnierror.Node, cnierror.Code(err))
		})
	}
}

// TestWarnSwitch checks that the warning comes for VFs only, in the modes that need it.
func TestWarnSwitch(t *testing.T) {
	const text = " over VFs needs a static link aggregation group of the PFs' ports on the switch, and every user of these PFs must then send over all of them; active-backup needs neither"
	const vfs = `[{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	for _, test := range []struct {
		mode, links string
		want        []string
	}{
		{"balance-rr", vfs, []string{"network n: mode: balance-rr" + text}},
		{"balance-xor", vfs, []string{"network n: mode: balance-xor" + text}},
		{"active-backup", vfs, nil},
		{"balance-alb", vfs, nil},
		{"balance-rr", `[{"name": "eth1"}, {"name": "eth2"}]`, nil},
	} {
		_, warnings, err := compileTexts(request(t, `{"name": "n", "mode": "`+test.mode+`", "links": `+test.links+`}`), nodeFacts())
		require.NoError(t, err)
		assert.Equal(t, test.want, warnings, test.mode)
	}
}

// TestLACP checks that 802.3ad must be allowed over VFs, and over nothing else.
func TestLACP(t *testing.T) {
	const refused = "network n: mode: is 802.3ad over VFs (%s), but a switch port speaks LACP with only one bond (IEEE 802.1AX), " +
		`and all VFs of a PF share that port (use active-backup, or set "allowLACP": true if neither another pod nor the host uses the PFs' ports)`
	const vfs = `[{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	for _, test := range []struct{ name, keys, links, vfs string }{
		{"over VFs", ``, vfs, "links[0].deviceID, links[1].deviceID"},
		{"over a VF and another link", ``, `[{"name": "eth1"}, {"deviceID": "0000:5e:02.0"}]`, "links[1].deviceID"},
		{"over VFs by their names", ``, `[{"name": "eth1"}, {"name": "enp2s0v0"}]`, "links[1].name"},
		{"not allowed", `"allowLACP": false, `, vfs, "links[0].deviceID, links[1].deviceID"},
		{"allowed", `"allowLACP": true, `, vfs, ""},
		{"over the host's links", ``, `[{"name": "eth1"}, {"name": "eth2"}]`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := nodeFacts()
			_, _, err := Compile(request(t, `{"name": "n", "mode": "802.3ad", `+test.keys+`"links": `+test.links+`}`), f)
			if test.vfs != "" {
				require.EqualError(t, err, fmt.Sprintf(refused, test.vfs))
				require.EqualValues(t, cnierror.Node, cnierror.Code(err))
			} else {
				require.NoError(t, err)
			}
		})
	}
}

// TestCompileOwn checks that a device that the container itself holds is not in use.
func TestCompileOwn(t *testing.T) {
	f := nodeFacts()
	f.Holders[vfA] = c1
	_, _, err := Compile(request(t, standard), f)
	require.NoError(t, err)
}
