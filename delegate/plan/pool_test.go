package plan

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
)

// nic is a NIC of the host that is up. Its card is in the slot of its address.
func nic(name, device string, changes ...func(*bond.NIC)) bond.NIC {
	n := bond.NIC{
		Link:   bond.Link{Name: name, Device: device, MTU: 9000, Up: true, Carrier: true, Type: bond.Ethernet},
		Vendor: "8086", Model: "1592", Driver: "ice", Port: bond.Port{Speed: 25000, NUMA: "0"},
	}
	for _, change := range changes {
		change(&n)
	}
	return n
}

// withNICs is a node with two cards of two ports each, and what a host has otherwise.
func withNICs(changes ...func(*bond.NIC)) Facts {
	f := nodeFacts()
	f.Plugins["macvlan"], f.Plugins["host-device"] = true, true
	f.NICs = []bond.NIC{
		nic("eth0", "0000:03:00.0", func(n *bond.NIC) { n.Default = true }),
		nic("ens1f0", "0000:3b:00.0"), nic("ens1f1", "0000:3b:00.1"),
		nic("ens1f0v0", "0000:3b:02.0", func(n *bond.NIC) { n.PF = "0000:3b:00.0" }),
		nic("ens2f0", "0000:5e:00.0"), nic("ens2f1", "0000:5e:00.1"),
	}
	for i := range f.NICs {
		for _, change := range changes {
			change(&f.NICs[i])
		}
	}
	return f
}

func of(name string, change func(*bond.NIC)) func(*bond.NIC) {
	return func(n *bond.NIC) {
		if n.Link.Name == name {
			change(n)
		}
	}
}

func noCarrier(n *bond.NIC) { n.Link.Carrier = false }

// pooled is a bond of links that are made on NICs of the host.
func pooled(links string) string {
	return `{"name": "n", "delegate": {"type": "macvlan"}, "links": [` + links + `]}`
}

// chosen lists the names of the NICs of a plan's links.
func chosen(p Plan) (names []string) {
	for _, l := range p.Links {
		if l.NIC != nil {
			names = append(names, l.NIC.Name)
		}
	}
	return names
}

// TestPool: which NICs are chosen from a pool, and in which order.
func TestPool(t *testing.T) {
	address := func(cidr string) func(*bond.NIC) {
		return func(n *bond.NIC) { n.IPs = append(n.IPs, netip.MustParsePrefix(cidr)) }
	}
	for _, test := range []struct {
		name, links string
		facts       Facts
		want        []string
	}{
		{"distinct cards first, NICs without an address", `{"pool": {}, "count": 3}`, withNICs(), []string{"ens1f0", "ens2f0", "ens1f1"}},
		{"two NICs in one subnet are two NICs", `{"pool": {"networks": ["10.0.0.0/24"]}, "count": 2}`,
			withNICs(of("ens1f1", address("10.0.0.1/24")), of("ens2f1", address("10.0.0.2/24"))), []string{"ens1f1", "ens2f1"}},
		{"names", `{"pool": {"names": ["ens?f1"]}, "count": 2}`, withNICs(), []string{"ens1f1", "ens2f1"}},
		{"vendor, device and driver", `{"pool": {"vendor": "15b3", "device": "1017", "driver": "mlx5_core"}, "count": 2}`,
			withNICs(func(n *bond.NIC) {
				if n.Card() == "0000:5e:00" {
					n.Vendor, n.Model, n.Driver = "15b3", "1017", "mlx5_core"
				}
			}), []string{"ens2f0", "ens2f1"}},
		{"speed", `{"pool": {"minSpeed": 25000}, "count": 2}`, withNICs(of("ens1f0", func(n *bond.NIC) { n.Port.Speed = 10000 }), of("ens2f0", func(n *bond.NIC) { n.Port.Speed = 0 })),
			[]string{"ens1f1", "ens2f1"}},
		{"NUMA node", `{"pool": {"numa": 1}, "count": 2}`, withNICs(func(n *bond.NIC) {
			if n.Card() == "0000:5e:00" {
				n.Port.NUMA = "1"
			}
		}), []string{"ens2f0", "ens2f1"}},
		{"link type", `{"pool": {"linkType": "infiniband"}, "count": 2}`, withNICs(of("ens1f1", func(n *bond.NIC) { n.Link.Type = bond.InfiniBand }), of("ens2f1", func(n *bond.NIC) { n.Link.Type = bond.InfiniBand })),
			[]string{"ens1f1", "ens2f1"}},
		{"those without a carrier last", `{"pool": {}, "count": 3}`, withNICs(of("ens1f0", noCarrier), of("ens2f0", noCarrier)), []string{"ens1f1", "ens2f1", "ens1f0"}},
		{"the NIC of a VF of the bond is no other link's", `{"deviceID": "0000:3b:02.0", "config": {"type": "sriov"}}, {"pool": {}, "count": 3}`,
			withNICs(), []string{"ens2f0", "ens1f1", "ens2f1"}},
		{"pools choose in the order of links", `{"pool": {"names": ["ens1*"]}}, {"pool": {}}, {"pool": {}, "config": {"type": "host-device"}}`,
			withMoved(), []string{"ens1f0", "ens2f0", "ens1f1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request(t, pooled(test.links))
			p, _, err := Compile(r, test.facts)
			require.NoError(t, err)
			assert.Equal(t, test.want, chosen(p))
		})
	}
}

// TestPoolNarrowed: of a pool, a pod gets only what it has chosen by name, and nothing else
// that the pool does not have.
func TestPoolNarrowed(t *testing.T) {
	config := func(masters string) string {
		return `{"name": "n", "allow": ["names"], "args": {"cni": {"masters": ` + masters + `}}, "delegate": {"type": "macvlan"}, "links": [{"pool": {"names": ["ens1*", "ens?f1"]}, "count": 2}]}`
	}
	p, _, err := Compile(request(t, config(`["ens1f0", "ens2*"]`)), withNICs())
	require.NoError(t, err)
	assert.Equal(t, []string{"ens1f0", "ens2f1"}, chosen(p))
	_, _, err = Compile(request(t, config(`["ens1f0", "ens2f0", "nope"]`)), withNICs())
	require.ErrorContains(t, err, "wants 2 NICs and gets 1: eth0 (0000:03:00.0) has another name; ens1f0 (0000:3b:00.0) is taken by links[0]; "+
		"ens1f1 (0000:3b:00.1) has another name than the pod has chosen; ens2f0 (0000:5e:00.0) has another name; ens2f1 (0000:5e:00.1) has another name than the pod has chosen; ")
}

// withMoved is withNICs with the facts about the devices of the NICs, which are surveyed if
// one of them is moved.
func withMoved(changes ...func(*bond.NIC)) Facts {
	f := withNICs(changes...)
	for _, n := range f.NICs {
		if n.PF == "" {
			f.Devices[n.Link.Device] = bond.DeviceFacts{Device: bond.Device{Address: n.Link.Device, Driver: n.Driver, Netdev: n.Link.Name}, Link: &n.Link}
		}
	}
	return f
}

// configOf returns the configuration of the plugin that makes a link.
func configOf(t *testing.T, l Link) (config map[string]string) {
	t.Helper()
	require.NoError(t, json.Unmarshal(l.Plugins[0].Config.Raw, &config))
	return config
}

// TestPoolPlan prints the plan of links on the host's NICs. The Record keeps which they are.
func TestPoolPlan(t *testing.T) {
	p, warnings, err := compileTexts(request(t, pooled(`{"pool": {}}, {"pool": {}, "config": {"type": "host-device"}}`)), withMoved(of("ens2f0", noCarrier), of("ens2f1", noCarrier)))
	require.NoError(t, err)
	assert.Equal(t, `bond0-1: on ens1f0 (0000:3b:00.0) by macvlan
bond0-2: on ens1f1 (0000:3b:00.1) by host-device
bond0: create active-backup miimon 100 fail_over_mac active primary bond0-1 num_grat_arp 5
bond0: flush bond0-1, set it down, enslave it
bond0: flush bond0-2, set it down, enslave it
bond0: set it up`, p.String())
	assert.Nil(t, warnings)
	assert.Equal(t, &NIC{"ens1f0", "0000:3b:00.0"}, p.Links[0].NIC)
	assert.Equal(t, "ens1f0", configOf(t, p.Links[0])["master"])
	assert.Equal(t, "0000:3b:00.1", configOf(t, p.Links[1])["deviceID"])
	assert.Equal(t, []string{"0000:3b:00.1"}, p.Devices())
}

// TestPoolShort: too few NICs are one error, which names each NIC of the host and why it is
// none for the pool. A link may be missing if minLinks allows it.
func TestPoolShort(t *testing.T) {
	facts := withMoved(of("ens1f1", func(n *bond.NIC) { n.Link.Up = false }), of("ens2f0", func(n *bond.NIC) { n.Master = "br0" }), of("ens2f1", func(n *bond.NIC) { n.VFs = true }))
	held := withMoved()
	held.Holders["0000:3b:00.0"], held.Remains = Key{"c2", "bond0"}, map[string]Remains{"0000:3b:00.1": {"c3", []string{"MAC is x, was y"}}}
	none := withNICs()
	none.NICs = nil
	const hint = " (see what the pool asks for, and what the host has)"
	for _, test := range []struct {
		name, config string
		facts        Facts
		want         string
	}{
		{"macvlan", pooled(`{"pool": {"names": ["e*"]}, "count": 4}`), facts, "links[0].pool: wants 4 NICs and gets 2: eth0 (0000:03:00.0) carries the host's default route; " +
			"ens1f0 (0000:3b:00.0) is taken by links[0]; ens1f1 (0000:3b:00.1) is down; ens2f0 (0000:5e:00.0) is part of the host's br0; " +
			"ens2f1 (0000:5e:00.1) is taken by links[1]; interfaces of VFs (1) are in no pool" + hint},
		{"host-device", `{"name": "n", "delegate": {"type": "host-device"}, "links": [{"pool": {}, "count": 2}]}`, facts, "links[0].pool: wants 2 NICs and gets 1: " +
			"eth0 (0000:03:00.0) carries the host's default route; ens1f0 (0000:3b:00.0) is taken by links[0]; ens1f1 (0000:3b:00.1) is down; " +
			"ens2f0 (0000:5e:00.0) is part of the host's br0; ens2f1 (0000:5e:00.1) has VFs, whose settings are lost while it is in a pod; interfaces of VFs (1) are in no pool" + hint},
		{"in use", `{"name": "n", "delegate": {"type": "host-device"}, "links": [{"pool": {"names": ["ens1*"]}, "count": 2}]}`, held, "links[0].pool: wants 2 NICs and gets 0: eth0 (0000:03:00.0) has another name; " +
			"ens1f0 (0000:3b:00.0) is in use by container c2; ens1f1 (0000:3b:00.1) still has what container c3 has left on it; " +
			"ens2f0 (0000:5e:00.0) has another name; ens2f1 (0000:5e:00.1) has another name; interfaces of VFs (1) are in no pool" + hint},
		{"no NIC", pooled(`{"pool": {}, "count": 2}`), none, "links[0].pool: wants 2 NICs and gets 0: the host has no NIC" + hint},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := Compile(request(t, test.config), test.facts)
			require.EqualError(t, err, "network n: "+test.want)
		})
	}
	p, warnings, err := compileTexts(request(t, `{"name": "n", "minLinks": 1, "delegate": {"type": "macvlan"}, "links": [{"pool": {"names": ["ens1f0"]}, "count": 2}]}`), facts)
	require.NoError(t, err)
	assert.Equal(t, []string{"ens1f0"}, chosen(p))
	require.Len(t, warnings, 2)
	assert.Contains(t, warnings[0], "network n: links[0].pool: wants 2 NICs and gets 1: ")
}

// TestPoolRefusals: each thing that keeps a NIC out of a pool is named.
func TestPoolRefusals(t *testing.T) {
	for pool, want := range map[string]string{
		`"vendor": "15b3"`:                         "has the vendor 8086",
		`"device": "1017"`:                         "has the device ID 1592",
		`"driver": "mlx5_core"`:                    "has the driver ice",
		`"linkType": "infiniband"`:                 "is Ethernet",
		`"numa": 1`:                                "is on NUMA node 0",
		`"minSpeed": 100000`:                       "has 25000 Mbit/s",
		`"networks": ["10.0.0.0/24", "fd00::/64"]`: "has no address in 10.0.0.0/24, fd00::/64",
	} {
		r := request(t, pooled(`{"pool": {`+pool+`}, "count": 2}`))
		assert.Equal(t, want, (&compiler{r: r}).unfit(r.Network.Links[0], nic("ens1f0", pfA)))
	}
	r := request(t, pooled(`{"pool": {"minSpeed": 1}, "count": 2}`))
	assert.Equal(t, "reports no speed", (&compiler{r: r}).unfit(r.Network.Links[0], nic("ens1f0", pfA, func(n *bond.NIC) { n.Port.Speed = 0 })))
}

// TestPoolRequirements: what is required of PFs is required of the NICs of pools too.
func TestPoolRequirements(t *testing.T) {
	port := func(id string) func(*bond.NIC) { return func(n *bond.NIC) { n.Port.ID = id } }
	for _, test := range []struct {
		name, require, pool string
		facts               Facts
		want                string
	}{
		{"card", `"distinctCard": "error"`, `{"names": ["ens1*"]}`, withNICs(), `links[0].pool: the NIC ens1f1 is on the same card as links[0]: 0000:3b:00 (ens1f0 and ens1f1) (use a VF of another card, or set "require": {"distinctCard": "warn"})`},
		{"port", ``, `{"names": ["ens1*"]}`, withNICs(of("ens1f0", port("x")), of("ens1f1", port("x"))),
			`links[0].pool: the NIC ens1f1 is on ens1f1, which has the same port as ens1f0 of links[0] (phys_port_id x); one dead cable would take down both (use a VF of another PF, or set "require": {"distinctPF": "warn"})`},
		{"NUMA node", `"sameNUMA": "error"`, `{}`, withNICs(of("ens2f0", func(n *bond.NIC) { n.Port.NUMA = "1" })),
			`links[0].pool: the NIC ens2f0 is on NUMA node 1, but links[0] is on node 0 (use VFs of one NUMA node, or set "require": {"sameNUMA": "warn"})`},
		{"speed", `"sameSpeed": "error"`, `{}`, withNICs(of("ens2f0", func(n *bond.NIC) { n.Port.Speed = 10000 })),
			`links[0].pool: the NIC ens2f0 has 10000 Mbit/s, but ens1f0 of links[0] has 25000 (use PFs of the same speed, or set "require": {"sameSpeed": "warn"})`},
		{"carrier", `"pfUp": "error"`, `{"names": ["ens?f0"]}`, withNICs(of("ens2f0", noCarrier)),
			`links[0].pool: the NIC ens2f0 has no carrier (check its cable and its switch port, or set "require": {"pfUp": "warn"})`},
		{"MTU", ``, `{}`, withNICs(func(n *bond.NIC) { n.Link.MTU = 1400 }),
			`mtu: is 1500, but the NIC ens1f0 of links[0].pool allows at most 1400 (raise the NIC's MTU or lower the bond's, or set "require": {"pfMTU": "warn"}); ` +
				`mtu: is 1500, but the NIC ens2f0 of links[0].pool allows at most 1400 (raise the NIC's MTU or lower the bond's, or set "require": {"pfMTU": "warn"})`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := Compile(request(t, `{"name": "n", "mtu": 1500, "delegate": {"type": "macvlan"}, "require": {`+test.require+`}, "links": [{"pool": `+test.pool+`, "count": 2}]}`), test.facts)
			require.EqualError(t, err, "network n: "+test.want)
		})
	}
}

// TestPoolIsDeterministic: the choice depends on what the host has, and on nothing else.
func TestPoolIsDeterministic(t *testing.T) {
	first, _, err := Compile(request(t, pooled(`{"pool": {}, "count": 3}`)), withNICs())
	require.NoError(t, err)
	for range 100 {
		again, _, err := Compile(request(t, pooled(`{"pool": {}, "count": 3}`)), withNICs())
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
	assert.True(t, slices.Equal([]string{"ens1f0", "ens2f0", "ens1f1"}, chosen(first)))
}
