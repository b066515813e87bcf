package plan

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// blocks is the ipam of multi-nic-cni's example.
const blocks = `"ipam": {"type": "multibond", "subnet": "192.168.0.0/16", "interfaceBlock": 2, "hostBlock": 6}`

// blocksFacts is a node with NICs, keep and the plugins of the tests.
func blocksFacts(changes ...func(*bond.NIC)) Facts {
	f := withNICs(changes...)
	f.Plugins["host-local"], f.Plugins["ipvlan"], f.Keep = true, true, true
	return f
}

// placesOf returns each interface with what it has on link, and its first address.
func placesOf(p Plan) map[string]string {
	places := map[string]string{}
	for _, a := range p.IPAMs() {
		b := p.BlockOf(a.IfName)
		onLink := b.OfInterface(b.Subnets[0], b.Interface)
		places[a.IfName] = fmt.Sprintf("%s %s", onLink, b.Ranges(b.OfHost(b.Subnets[0], b.Interface, b.Host))[0].First)
	}
	return places
}

// TestBlocks: what an interface has on link depends on its NIC or its place in links, and not
// on what the pod chooses, on what is near, or on the state of other NICs.
func TestBlocks(t *testing.T) {
	address := func(cidr string) func(*bond.NIC) {
		return func(n *bond.NIC) { n.IPs = append(n.IPs, netip.MustParsePrefix(cidr)) }
	}
	pool := func(pool, keys string) string {
		return `"attach": "each", ` + blocks + `, "links": [{"pool": {` + pool + `}` + keys + `, "config": {"type": "macvlan"}}]`
	}
	const block0, block1, block2, block3 = "192.168.0.0/18 192.168.1.1", "192.168.64.0/18 192.168.65.1", "192.168.128.0/18 192.168.129.1", "192.168.192.0/18 192.168.193.1"
	for _, test := range []struct {
		name, config string
		facts        Facts
		want         map[string]string
	}{
		{"a bond", blocks + `, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`, blocksFacts(), map[string]string{"bond0": block0}},
		{"links of their own", `"attach": "each", ` + blocks + `, "links": [{"deviceID": "0000:5e:02.0"}, {"deviceID": "0000:3b:02.0"}]`, blocksFacts(), map[string]string{"bond0-1": block0, "bond0-2": block1}},
		{"each with a subnet of its own", `"attach": "each", "links": [{"deviceID": "0000:5e:02.0", "ipam": {"type": "multibond", "subnet": "10.1.0.0/24", "hostBlock": 2}}, {"deviceID": "0000:3b:02.0", "ipam": {"type": "multibond", "subnet": "10.2.0.0/24", "hostBlock": 2}}]`,
			blocksFacts(), map[string]string{"bond0-1": "10.1.0.0/24 10.1.0.65", "bond0-2": "10.2.0.0/24 10.2.0.65"}},
		{"one is missing", `"attach": "each", "minLinks": 1, ` + blocks + `, "links": [{"name": "eth7"}, {"deviceID": "0000:3b:02.0"}]`, blocksFacts(), map[string]string{"bond0-2": block1}},
		{"the second is near", `"attach": "each", "near": "devices", ` + blocks + `, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`, func() Facts {
			f := blocksFacts()
			for device, node := range map[string]string{vfA: "0", vfB: "1"} {
				d := f.Devices[device]
				d.Port.NUMA = node
				f.Devices[device] = d
			}
			return f
		}(), map[string]string{"bond0-1": block1, "bond0-2": block0}},
		{"a pool, distinct cards first", pool(`"names": ["ens*"]`, `, "count": 2`), blocksFacts(), map[string]string{"bond0-1": block0, "bond0-2": block2}},
		{"one of the pool", pool(`"names": ["ens*"]`, ``), blocksFacts(of("ens1f0", func(n *bond.NIC) { n.Link.Up = false })), map[string]string{"bond0-1": block1}},
		{"chosen by name", pool(`"names": ["ens*"]`, ``) + `, "allow": ["names"], "args": {"cni": {"names": ["ens2f1"]}}`, blocksFacts(), map[string]string{"bond0-1": block3}},
		{"one that is slow for now", pool(`"names": ["ens*"], "minSpeed": 10000`, ``), blocksFacts(of("ens1f0", func(n *bond.NIC) { n.Port.Speed = 0 })), map[string]string{"bond0-1": block1}},
		{"with the host's default route", pool(``, ``), blocksFacts(), map[string]string{"bond0-1": block1}},
		{"by names", pool(`"names": ["ens2f0", "ens9", "ens1f0", "ens1f1"]`, `, "count": 2`), blocksFacts(of("ens1f0", func(n *bond.NIC) { n.Link.Up = false })), map[string]string{"bond0-1": block3, "bond0-2": block0}},
		{"by networks", pool(`"networks": ["10.2.0.0/16", "10.9.0.0/16", "10.1.0.0/16"]`, `, "count": 2`), blocksFacts(of("ens1f0", address("10.1.0.7/16")), of("ens2f1", address("10.2.0.7/16"))),
			map[string]string{"bond0-1": block2, "bond0-2": block0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := asking(t, `{"name": "n", `+test.config+`}`, nearNode1)
			r.HostIndex = new(1)
			p, _, err := Compile(r, test.facts)
			require.NoError(t, err)
			assert.Equal(t, test.want, placesOf(p))
			assert.Equal(t, p.BlockOf("other"), (*Block)(nil))
			again, _, err := Compile(r, test.facts)
			require.NoError(t, err)
			assert.Equal(t, p, again)
			for _, a := range p.IPAMs() {
				assert.Equal(t, "host-local", a.Type)
			}
		})
	}
}

// TestBlocksPrinted: a plan says in which ranges the addresses are.
func TestBlocksPrinted(t *testing.T) {
	const ipam = `"ipam": {"type": "multibond", "subnet": ["192.168.0.0/16", "fd00::/48"], "interfaceBlock": 2, "hostBlock": 6}, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	for attach, want := range map[string]string{
		"bond": "\nbond0: get addresses from host-local in 192.168.3.0/24, fd00:0:0:300::/56 (interface 0 of host 3), announce them",
		"each": "\nbond0-2: get addresses from host-local in 192.168.67.0/24, fd00:0:0:4300::/56 (interface 1 of host 3), use table 1001 for what leaves from them, announce them",
	} {
		r := request(t, `{"name": "n", "attach": "`+attach+`", `+ipam+`}`)
		r.HostIndex = new(3)
		p, _, err := Compile(r, blocksFacts())
		require.NoError(t, err)
		assert.Contains(t, p.String(), want)
	}
}

// TestBlocksProblems: a host without a number, or without room, and a network that needs
// routes on a node without keep.
func TestBlocksProblems(t *testing.T) {
	const noKeep = "ipam.type: is multibond, and links[1] is ipvlan in a mode that reaches the pods of other hosts only by routes of this host, which keep sets, but keep does not run here (run keep on the node (deploy/keep), or use ipvlan in mode l2)"
	ipvlan := func(mode string) string {
		return `"attach": "each", ` + blocks + `, "links": [{"config": {"type": "macvlan", "master": "ens1f0"}}, {"config": {"type": "ipvlan", "master": "ens1f1", "mode": "` + mode + `"}}]`
	}
	const two = `"attach": "each", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}], `
	for _, test := range []struct {
		name, config string
		host         *int
		keep         bool
		want         string
	}{
		{"no agent", two + blocks, nil, true, "ipam.type: is multibond, which needs the number of this host, but no agent has given one (update the agent; without Kubernetes use host-local, with a range for each host)"},
		{"too many hosts", two + blocks, new(64), true, "ipam.hostBlock: is 6, which is room for 64 hosts, but this host is number 64, counted from 0 (raise it, which changes the addresses of all pods)"},
		{"too many interfaces", two + `"ipam": {"type": "multibond", "subnet": "192.168.0.0/16", "hostBlock": 6}`, new(0), true,
			"ipam.interfaceBlock: is 0, which is room for 1 interfaces, but links[1] is number 1, counted from 0 (raise it, which changes the addresses of all pods)"},
		{"too many NICs", `"attach": "each", "links": [{"pool": {"names": ["ens2f1", "ens2f0"]}, "count": 2, "config": {"type": "macvlan"}}], "ipam": {"type": "multibond", "subnet": "192.168.0.0/16", "hostBlock": 6}`, new(0), true,
			"ipam.interfaceBlock: is 0, which is room for 1 interfaces, but the NIC ens2f0 is number 1, counted from 0 (raise it, which changes the addresses of all pods)"},
		{"l3 without keep", ipvlan("l3"), new(1), false, noKeep},
		{"l3s without keep", ipvlan("l3s"), new(1), false, noKeep},
		{"l3 with keep", ipvlan("l3"), new(1), true, ""},
		{"l2 without keep", ipvlan("l2"), new(1), false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := blocksFacts()
			f.Keep = test.keep
			r := request(t, `{"name": "n", `+test.config+`}`)
			r.HostIndex = test.host
			p, _, err := Compile(r, f)
			if test.want == "" {
				require.NoError(t, err)
				assert.Equal(t, test.keep, p.Links[1].NeedsRoutes())
				return
			}
			require.EqualError(t, err, "network n: "+test.want)
			assert.EqualValues(t, cnierror.Node, cnierror.Code(err))
		})
	}
}
