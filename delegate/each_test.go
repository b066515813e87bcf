package delegate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// railsOf describes what a pod has of links with addresses of their own.
func (m *machine) railsOf(path string) (lines []string) {
	for _, l := range m.linesOf(path) {
		_, addresses, is := strings.Cut(l, " ips=")
		switch name := strings.Fields(l)[1]; {
		case is:
			lines = append(lines, name+" "+addresses)
		case strings.Contains(l, " rule "), strings.Contains(l, " route "), strings.Contains(l, "ARP"):
			lines = append(lines, strings.TrimPrefix(l, path+" "))
		}
	}
	return lines
}

// TestEachOlder: a program that knows no links without a bond leaves their Record alone.
func TestEachOlder(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, eachOfFour))
	assert.Equal(t, 2, m.readRecord(c1).Version)
}

// TestEachRulesOfThePod: a rule that the pod has made for a table of a link stays.
func TestEachRulesOfThePod(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, eachOfFour))
	own := bond.Rule{Table: 1000, Priority: 100} // from all, by another property of the packet
	require.NoError(t, m.namespace(pod1).AddRouting(bond.Routing{Rules: []bond.Rule{own}}))
	m.mustDel(c1)
	now, err := m.namespace(pod1).Routing()
	require.NoError(t, err)
	assert.Contains(t, now.Rules, own)
	assert.False(t, slices.ContainsFunc(now.Rules, func(r bond.Rule) bool { return r.Priority == record.RulePriority }))
}

// TestEachDirect6: an IPv6 route without a gateway stays with each link.
func TestEachDirect6(t *testing.T) {
	rec := &record.Record{Attached: map[string]record.Attached{"a": {Link: bond.Link{Index: 1}}, "b": {Link: bond.Link{Index: 2}}}}
	rec.Plan.Links = []plan.Link{{Name: "a"}, {Name: "b"}}
	direct, direct4 := bond.Route{Dst: netip.MustParsePrefix("fd00:80::/64")}, bond.Route{Dst: netip.MustParsePrefix("10.80.0.0/16")}
	own := map[string]bond.Addresses{"a": {Routes: []bond.Route{direct, direct4}}, "b": {Routes: []bond.Route{direct, direct4}}}
	paths := takePaths(rec, own)
	require.Len(t, paths, 1)
	assert.Equal(t, direct4.Dst, paths[0].Dst)
	for _, a := range own {
		assert.Equal(t, []bond.Route{direct}, a.Routes)
	}
}

// TestEach: four VFs are four interfaces in one subnet. Each has an address, a table and a
// rule, and the routes of all are one. The result and CHECK know all of them.
func TestEach(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.SetBonding(false) // which is not needed
	result, err := m.Add(t.Context(), request(t, eachOfFour))
	require.NoError(t, err)
	universe, onLink := 0, unix.RT_SCOPE_LINK
	var index []int
	for i, name := range []string{"bond0-1", "bond0-2", "bond0-3", "bond0-4"} {
		l := m.link(pod1, name)
		index = append(index, l.Index)
		assert.True(t, l.Up && l.OwnARP && l.Master == 0, name)
		assert.Equal(t, "0", m.AcceptRA(pod1, name), name)
		ip := netip.AddrFrom4([4]byte{10, 56, 217, byte(i + 2)})
		now, err := m.namespace(pod1).Addresses(l.Index)
		require.NoError(t, err)
		assert.Equal(t, []netip.Prefix{netip.PrefixFrom(ip, 24)}, now.IPs, name)
		assert.Equal(t, []bond.Route{
			{Dst: netip.MustParsePrefix("10.56.217.0/24"), Source: ip, Table: 1000 + i, Scope: &onLink},
			{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.56.217.1"), Table: 1000 + i, Scope: &universe},
		}, now.Routes, name)
		assert.Equal(t, name, result.Interfaces[i].Name)
		assert.Equal(t, pod1, result.Interfaces[i].Sandbox)
		assert.Equal(t, l.Device, result.Interfaces[i].PciID)
		assert.Equal(t, i, *result.IPs[i].Interface)
		assert.Equal(t, ip.String(), result.IPs[i].Address.IP.String())
	}
	assert.Len(t, result.Interfaces, 4)
	assert.Len(t, result.Routes, 1)
	routing, err := m.namespace(pod1).Routing()
	require.NoError(t, err)
	assert.Equal(t, []int{1000, 1001, 1002, 1003}, routing.Tables)
	for i, ip := range []string{"10.56.217.2/32", "10.56.217.3/32", "10.56.217.4/32", "10.56.217.5/32"} {
		assert.Contains(t, routing.Rules, bond.Rule{From: netip.MustParsePrefix(ip), Table: 1000 + i, Priority: 30000})
	}
	require.Len(t, routing.Paths, 1)
	gateway := netip.MustParseAddr("10.56.217.1")
	assert.Equal(t, []bond.Hop{{Index: index[0], Gateway: gateway}, {Index: index[1], Gateway: gateway}, {Index: index[2], Gateway: gateway}, {Index: index[3], Gateway: gateway}}, routing.Paths[0].Hops)
	var called []string
	for _, c := range m.plugins.calls {
		if c.Type == "host-local" {
			called = append(called, c.Command+" "+c.ContainerID+" "+c.IfName)
		}
	}
	assert.Equal(t, []string{"ADD c1 bond0-1", "ADD c1 bond0-2", "ADD c1 bond0-3", "ADD c1 bond0-4"}, called)

	require.NoError(t, m.Check(t.Context(), c1))
	again, err := m.Add(t.Context(), request(t, eachOfFour))
	require.NoError(t, err)
	assert.Equal(t, result, again)
	assert.Equal(t, 4, m.plugins.count("host-local", "ADD"))
	m.mustDel(c1)
	m.SetBonding(true)
	m.wantState(before)
}

// TestEachCheck: CHECK finds what differs of each interface, and of what they share.
func TestEachCheck(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(m *machine)
		want   string
	}{
		{"down", func(m *machine) { m.change(pod1, "bond0-1", bond.Change{Up: new(false)}) }, "bond0-1: the interface is down"},
		{"no address", func(m *machine) {
			require.NoError(m.t, m.namespace(pod1).Flush(m.link(pod1, "bond0-2").Index))
		}, "bond0-2: address 10.56.217.3/24 is missing; bond0-2: route 10.56.217.0/24 is missing in table 1001; bond0-2: route 0.0.0.0/0 via 10.56.217.1 is missing in table 1001"},
		{"no rule", func(m *machine) {
			all, err := m.namespace(pod1).Routing()
			require.NoError(m.t, err)
			require.NoError(m.t, m.namespace(pod1).RemoveRouting(bond.Routing{Rules: all.Rules[len(all.Rules)-1:]}))
		}, "bond0: rule 30000: from 10.56.217.5/32 lookup 1003 is missing"},
		{"no common route", func(m *machine) {
			all, err := m.namespace(pod1).Routing()
			require.NoError(m.t, err)
			require.NoError(m.t, m.namespace(pod1).RemoveRouting(bond.Routing{Paths: all.Paths}))
		}, "bond0: route 0.0.0.0/0 via 10.56.217.1 dev"},
		{"another name", func(m *machine) {
			m.change(pod1, "bond0-3", bond.Change{Up: new(false)})
			m.change(pod1, "bond0-3", bond.Change{Name: new("x")})
		}, "bond0-3: the interface is gone"},
		{"the PF's part", func(m *machine) { m.changeVF("enp1s0", func(vf *bond.VF) { vf.VLAN = 7 }) }, "bond0-1: VF 0 of enp1s0: vlan is 7, was 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.mustAdd(request(t, eachOfFour))
			test.change(m)
			err := m.Check(t.Context(), c1)
			require.ErrorContains(t, err, test.want)
			assert.EqualValues(t, cnierror.Check, cnierror.Code(err))
		})
	}
}

// TestEachInOneADD: two networks of one pod get tables that do not collide, with each other
// or with what the pod has.
func TestEachInOneADD(t *testing.T) {
	m := newMachine(t)
	m.AddVirtual(pod1, "dummy", "d0")
	m.change(pod1, "d0", bond.Change{Up: new(true)})
	m.configure(pod1, "d0", bond.Addresses{Routes: []bond.Route{{Dst: netip.MustParsePrefix("192.0.2.0/24"), Table: 1001}}})
	require.NoError(t, m.namespace(pod1).AddRouting(bond.Routing{Rules: []bond.Rule{{From: netip.MustParsePrefix("192.0.2.1/32"), Table: 1003}}}))
	before := m.state()
	first := request(t, `{"cniVersion": "1.0.0", "name": "a", "attach": "each", "ipam": {"type": "host-local"}, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`)
	second := request(t, `{"cniVersion": "1.0.0", "name": "b", "attach": "each", "ipam": {"type": "host-local"}, "links": [{"deviceID": "0000:3b:02.1", "name": "x"}, {"deviceID": "0000:5e:02.1", "name": "y"}]}`)
	second.IfName = "net2"
	for _, r := range []*plan.Request{&first, &second} {
		r.Group = plan.Group{Network: "all", IfNames: []string{"bond0", "net2"}}
	}
	var o outcome
	recs, err := m.addAll(t.Context(), []plan.Request{first, second}, &o)
	require.NoError(t, err)
	assert.Equal(t, []int{1000, 1002}, recs[0].Plan.Tables())
	assert.Equal(t, []int{1004, 1005}, recs[1].Plan.Tables())
	m.mustDel(c1)
	m.wantState(before)
}

// TestEachOneAddress: an IPAM configuration that gives each link the same address is an
// error, which leaves nothing.
func TestEachOneAddress(t *testing.T) {
	m := newMachine(t)
	m.plugins.answer = map[string]string{}
	for _, name := range []string{"bond0-1", "bond0-2"} {
		m.plugins.answer["static ADD "+name] = `{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24"}]}`
	}
	before := m.state()
	_, err := m.Add(t.Context(), request(t, `{"name": "n", "attach": "each", "links": [{"deviceID": "0000:3b:02.0", "ipam": {"type": "static"}}, {"deviceID": "0000:5e:02.0", "ipam": {"type": "static"}}]}`))
	wantError(t, err, cnierror.Delegate, `network n: ipam: static gave 10.0.0.1 to bond0-2, which bond0-1 already has (give each link an ipam of its own: "links": [{"ipam": {...}, ...}, ...])`)
	m.wantState(before)
}

// TestEachIPAM: each link has an IPAM configuration of its own, at ADD, CHECK and DEL. Links
// without an address get none of what needs one.
func TestEachIPAM(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"},
		"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0", "ipam": {"type": "host-local", "subnet": "10.2.0.0/16"}}]}`))
	require.NoError(t, m.Check(t.Context(), c1))
	m.mustDel(c1)
	var got []string
	for _, c := range m.plugins.calls {
		if c.Type == "host-local" {
			var config struct{ IPAM struct{ Subnet string } }
			require.NoError(t, json.Unmarshal(c.Config, &config))
			got = append(got, c.Command+" "+c.IfName+" "+config.IPAM.Subnet)
		}
	}
	assert.Equal(t, []string{"ADD bond0-1 10.1.0.0/16", "ADD bond0-2 10.2.0.0/16", "CHECK bond0-1 10.1.0.0/16", "CHECK bond0-2 10.2.0.0/16", "DEL bond0-2 10.2.0.0/16", "DEL bond0-1 10.1.0.0/16"}, got)

	m = newMachine(t)
	m.mustAdd(request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`))
	require.NoError(t, m.Check(t.Context(), c1))
	routing, err := m.namespace(pod1).Routing()
	require.NoError(t, err)
	assert.Empty(t, routing.Tables)
}

// TestEachReleases: the address of a link is released once the link has gone, if IPAM does
// not need it, and otherwise before.
func TestEachReleases(t *testing.T) {
	m := newMachine(t)
	m.plugins.answer = map[string]string{"dhcp ADD bond0-2": `{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24"}]}`}
	m.mustAdd(request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "ipam": {"type": "host-local"}, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0", "ipam": {"type": "dhcp"}}]}`))
	there := map[string]bool{}
	m.plugins.seen = func(c invoke.Call) {
		if c.Type == "dhcp" || c.Type == "host-local" {
			_, there[c.Type], _ = bond.LinkIfThere(m.namespace(pod1), c.IfName)
		}
	}
	m.mustDel(c1)
	assert.Equal(t, map[string]bool{"dhcp": true, "host-local": false}, there)
}

// TestEachGC: GC hands each IPAM plugin the interfaces that it has addresses of.
func TestEachGC(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, eachOfFour))
	require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{{ContainerID: "c1", IfName: "bond0"}}))
	last := m.plugins.calls[len(m.plugins.calls)-1]
	require.Equal(t, "host-local GC", last.Type+" "+last.Command)
	for _, name := range []string{"bond0-1", "bond0-2", "bond0-3", "bond0-4"} {
		assert.Contains(t, string(last.Config), `{"containerID":"c1","ifname":"`+name+`"}`)
	}
	require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{}))
	assert.Empty(t, m.plugins.pool)
	assert.Empty(t, m.railsOf(pod1))
}

// TestEachDefaultRoute: a default route that another network of the pod is asked for takes
// the place of the one over all links, and not of those in their tables.
func TestEachDefaultRoute(t *testing.T) {
	m := newMachine(t)
	first := request(t, `{"cniVersion": "1.0.0", "name": "a", "attach": "each", "ipam": {"type": "host-local"}, "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]}`)
	second := request(t, `{"cniVersion": "1.0.0", "name": "b", "ipam": {"type": "host-local"}, "links": [{"deviceID": "0000:3b:02.1", "name": "x"}, {"deviceID": "0000:5e:02.1", "name": "y"}]}`)
	second.IfName, second.DefaultRoute = "net2", []netip.Addr{}
	for _, r := range []*plan.Request{&first, &second} {
		r.Group = plan.Group{Network: "all", IfNames: []string{"bond0", "net2"}}
	}
	var o outcome
	recs, err := m.addAll(t.Context(), []plan.Request{first, second}, &o)
	require.NoError(t, err)
	assert.Empty(t, recs[0].Paths)
	assert.False(t, slices.ContainsFunc(m.railsOf(pod1), func(l string) bool { return strings.Contains(l, " route ") }))
	require.NoError(t, m.CheckPod(t.Context(), c1))
	m.mustDel(c1)

	first.DefaultRoute, second.DefaultRoute = []netip.Addr{}, nil
	_, err = m.addAll(t.Context(), []plan.Request{first, second}, &o)
	wantError(t, err, cnierror.Node, `network a: attach: is each, and the pod asks for its default-route over this network, which has an interface for each link (write the default route into ipam, or ask for it on a network with one interface)`)
}

// TestEachGone: DEL after the end of the namespace brings the VFs home and gives all
// addresses back, also if the Record is damaged.
func TestEachGone(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		m := newMachine(t)
		before := m.state()
		m.mustAdd(request(t, eachOfFour))
		if damaged {
			require.NoError(t, os.Truncate(m.Store.File(c1), 10))
		}
		m.RemoveNamespace(pod1)
		m.mustDel(c1)
		assert.Empty(t, m.plugins.pool)
		m.AddNamespace(pod1)
		damagedFile := func(l string) bool { return strings.HasSuffix(l, ".damaged") }
		assert.Equal(t, strings.Split(before, "\n"), slices.DeleteFunc(strings.Split(m.state(), "\n"), damagedFile))
	}
}

// TestEachDamaged: DEL by a damaged Record takes the rules away, of which it knows the tables.
func TestEachDamaged(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, eachOfFour))
	require.NoError(t, os.Truncate(m.Store.File(c1), 10))
	m.mustDel(c1)
	assert.Empty(t, m.railsOf(pod1))
	assert.Empty(t, m.plugins.pool)
	assert.Equal(t, newMachine(t).linesOf(""), m.linesOf(""))
}

// TestEachPool: the links of a pool are interfaces too, each on another NIC.
func TestEachPool(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "delegate": {"type": "macvlan"}, "links": [{"pool": {"names": ["enp?s0"]}, "count": 2}], "ipam": {"type": "host-local"}}`))
	assert.Equal(t, []string{"enp1s0", "enp2s0"}, m.nicsOf(c1))
	require.NoError(t, m.Check(t.Context(), c1))
	m.mustDel(c1)
	m.wantState(before)
}

// TestEachRulesGivenUp: rules that could not be removed until a DEL was given up are removed
// by the next one.
func TestEachRulesGivenUp(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.mustAdd(request(t, eachOfFour))
	m.Fail = func(verb string) error {
		if strings.HasPrefix(verb, "RemoveRouting") {
			return unix.EPERM
		}
		return nil
	}
	moves["DEL c1 after the time"](m)
	require.Equal(t, record.GivenUp, m.lifeOf(c1))
	m.Fail = nil
	m.mustDel(c1)
	m.wantState(before)
}

// TestEachNamedTables: the table of a link is none that a plugin of the pod names, or a route
// of IPAM, in any network of the ADD.
func TestEachNamedTables(t *testing.T) {
	m := newMachine(t)
	first := request(t, `{"cniVersion": "1.0.0", "name": "a", "attach": "each", "links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}],
		"ipam": {"type": "host-local", "routes": [{"dst": "192.0.2.0/24", "table": 1001}]}}`)
	second := request(t, `{"cniVersion": "1.0.0", "name": "b", "plugins": [{"type": "multibond", "links": [{"deviceID": "0000:3b:02.1", "name": "x"}, {"deviceID": "0000:5e:02.1", "name": "y"}],
		"ipam": {"type": "host-local"}}, {"type": "sbr", "table": 1000}]}`)
	second.IfName = "net2"
	for _, r := range []*plan.Request{&first, &second} {
		r.Group = plan.Group{Network: "all", IfNames: []string{"bond0", "net2"}}
	}
	recs, err := m.addAll(t.Context(), []plan.Request{first, second}, &outcome{})
	require.NoError(t, err)
	assert.Equal(t, []int{1002, 1003}, recs[0].Plan.Tables())
}

// TestEachWithoutCarrier: an interface whose NIC has no carrier is not waited for. Others are
// announced.
func TestEachWithoutCarrier(t *testing.T) {
	m := newRails(t)
	m.Plug("rail1", false)
	m.mustAdd(request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "delegate": {"type": "macvlan"}, "links": [{"pool": {"names": ["rail*"]}, "count": 3}], "ipam": {"type": "host-local"}}`))
	require.Equal(t, []string{"rail0", "rail2", "rail1"}, m.nicsOf(c1))
	m.change(pod1, "bond0-3", bond.Change{Up: new(false)}) // as if its carrier went with that of the NIC
	s, err := m.enter(pod1)
	require.NoError(t, err)
	defer s.close()
	rec := m.readRecord(c1)
	var o outcome
	require.NoError(t, announceEach(s, rec, &o))
	assert.Equal(t, []string{"network n: bond0-3 has no carrier, as its NIC has none; its addresses were not announced"}, o.warnings)
}

// TestEachIsNoDefault: the default network of a pod has one interface.
func TestEachIsNoDefault(t *testing.T) {
	rails := agentapi.Attachment{Name: "demo/rails", IfName: "eth0", Default: true, Bond: true, Config: json.RawMessage(eachOfFour)}
	n := newNode(t, rails)
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.ErrorContains(t, err, "attach: is each, but it is the pod's default network, whose interface eth0 the runtime looks for (use a network with one interface, ")
	n.wantState(before)
}

// TestEachResults: the result has all interfaces and addresses in each CNI version that knows
// interfaces (CNI specification, "ADD Success").
func TestEachResults(t *testing.T) {
	m := newMachine(t)
	result, err := m.Add(t.Context(), request(t, eachOfFour))
	require.NoError(t, err)
	for _, version := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		var text bytes.Buffer
		require.NoError(t, invoke.PrintResult(&text, result, version))
		var got struct {
			CNIVersion string
			Interfaces []struct {
				Name, Mac, Sandbox, PciID string
				Mtu                       int
			}
			IPs []struct {
				Version   string
				Interface int
				Address   netip.Prefix
			}
			Routes []struct{ Dst netip.Prefix }
		}
		require.NoError(t, json.Unmarshal(text.Bytes(), &got))
		assert.Equal(t, version, got.CNIVersion)
		require.Len(t, got.Interfaces, 4, version)
		require.Len(t, got.IPs, 4, version)
		for i, l := range got.Interfaces {
			now := m.link(pod1, fmt.Sprint("bond0-", i+1))
			assert.Equal(t, []any{now.Name, now.MAC, pod1, i}, []any{l.Name, l.Mac, l.Sandbox, got.IPs[i].Interface}, version)
			assert.Equal(t, map[bool]string{true: now.Device}[version == "1.1.0"], l.PciID, version)
			assert.Equal(t, map[bool]int{true: now.MTU}[version == "1.1.0"], l.Mtu, version)
			assert.Equal(t, fmt.Sprintf("10.56.217.%d/24", i+2), got.IPs[i].Address.String(), version)
			assert.Equal(t, map[bool]string{true: "4"}[version < "1.0.0"], got.IPs[i].Version, version)
		}
		assert.Len(t, got.Routes, 1, version)
		parsed, err := invoke.ParseResult(text.Bytes(), version)
		require.NoError(t, err, version)
		assert.Len(t, parsed.Interfaces, 4, version)
	}
}
