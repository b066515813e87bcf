package delegate

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/delegate/strictjson"
)

// pooled is a bond of two macvlans on two NICs of the host.
const pooled = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", "require": {"distinctCard": "error"},
	"links": [{"pool": {"names": ["enp*"]}, "count": 2, "config": {"type": "macvlan"}}], "ipam": {"type": "host-local"}}`

// moved is a bond of two NICs of the host.
const moved = `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond",
	"links": [{"pool": {}, "count": 2, "config": {"type": "host-device"}}]}`

// newRails is a machine with three more NICs, on two cards.
func newRails(t *testing.T) *machine {
	m := newMachine(t)
	m.AddPF("0000:5f:00.0", "rail0")
	m.AddPF("0000:5f:00.1", "rail1")
	m.AddPF("0000:60:00.0", "rail2")
	return m
}

// nicsOf lists the NICs that the Record says were chosen.
func (m *machine) nicsOf(k plan.Key) (names []string) {
	for _, l := range m.readRecord(k).Plan.Links {
		names = append(names, l.NIC.Name)
	}
	return names
}

// told lists what plugins were told in their calls of one command.
func (m *machine) told(command, key string) (out []string) {
	for _, c := range m.plugins.calls {
		var config map[string]json.RawMessage
		require.NoError(m.t, json.Unmarshal(c.Config, &config))
		if value := config[key]; c.Command == command && value != nil {
			out = append(out, strings.Trim(string(value), `"`))
		}
	}
	return out
}

// TestPool: links are made on NICs of the host, and DEL calls the plugins with those that
// ADD has chosen, whatever fits by then.
func TestPool(t *testing.T) {
	m := newRails(t)
	before := m.state()
	r := request(t, pooled)
	m.mustAdd(r)
	assert.Equal(t, []string{"enp1s0", "enp2s0"}, m.nicsOf(c1))
	assert.Equal(t, []string{"enp1s0", "enp2s0"}, m.told("ADD", "master"))
	require.NoError(t, m.Check(t.Context(), c1))

	m.change("", "enp1s0", bond.Change{Up: new(false)})
	m.mustAdd(r)
	assert.Equal(t, []string{"enp1s0", "enp2s0"}, m.nicsOf(c1), "a repeated ADD")
	m.mustDel(c1)
	assert.Equal(t, []string{"enp2s0", "enp1s0"}, m.told("DEL", "master"))
	_, err := m.Add(t.Context(), r)
	require.ErrorContains(t, err, "links[0].pool: wants 2 NICs and gets 1: enp1s0 (0000:3b:00.0) is down; ")
	assert.EqualValues(t, cnierror.Node, cnierror.Code(err))
	m.change("", "enp1s0", bond.Change{Up: new(true)})
	m.wantState(before)
}

// TestPoolFails: after an ADD that fails, nothing is left on any NIC.
func TestPoolFails(t *testing.T) {
	for _, config := range []string{pooled, moved} {
		m := newRails(t)
		before := m.state()
		m.plugins.refuse["macvlan ADD bond0-2"], m.plugins.refuse["host-device ADD bond0-2"] = "no", "no"
		_, err := m.Add(t.Context(), request(t, config))
		require.ErrorContains(t, err, "no")
		m.wantState(before)
	}
}

// TestPoolMoved: NICs that are moved are other pods' no more, and are as before after DEL.
func TestPoolMoved(t *testing.T) {
	m := newRails(t)
	m.configure("", "rail0", bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}})
	before := m.state()
	m.mustAdd(request(t, moved))
	assert.Equal(t, []string{"rail0", "rail2"}, m.nicsOf(c1))
	assert.Equal(t, "0000:60:00.0", m.link(pod1, "bond0-2").Device)
	require.NoError(t, m.Check(t.Context(), c1))

	second := other(request(t, moved))
	_, err := m.Add(t.Context(), second)
	require.ErrorContains(t, err, "links[0].pool: wants 2 NICs and gets 1: enp1s0 (0000:3b:00.0) has VFs, whose settings are lost while it is in a pod; ")
	m.mustDel(c1)
	m.wantState(before)
}

// TestPoolEach: without a bond, there is an interface on each NIC, and DEL leaves nothing.
func TestPoolEach(t *testing.T) {
	m := newRails(t)
	before := m.state()
	m.mustAdd(request(t, `{"cniVersion": "1.1.0", "name": "net1", "type": "multibond", "attach": "each", "delegate": {"type": "macvlan"},
		"links": [{"pool": {"names": ["rail*"]}, "count": 3}], "ipam": {"type": "host-local"}}`))
	assert.Equal(t, []string{"rail0", "rail2", "rail1"}, m.nicsOf(c1))
	require.NoError(t, m.Check(t.Context(), c1))
	m.mustDel(c1)
	m.wantState(before)
}

// TestPoolIsDeterministic: a hundred ADDs choose the same NICs, also in a new process, and
// on a machine on which the interfaces appeared in another order.
func TestPoolIsDeterministic(t *testing.T) {
	m := newRails(t)
	for range 100 {
		m.mustAdd(request(t, pooled))
		assert.Equal(t, []string{"enp1s0", "enp2s0"}, m.nicsOf(c1))
		m.mustDel(c1)
	}
	k := bondfake.New()
	k.AddPF("0000:60:00.0", "rail2")
	k.AddPF(pfB, "enp2s0", vfB, vfB2)
	k.AddPF(pfA, "enp1s0", vfA, vfA2)
	restarted := newMachineOn(t, k)
	restarted.mustAdd(request(t, pooled))
	assert.Equal(t, []string{"enp1s0", "enp2s0"}, restarted.nicsOf(c1))
}

// TestPoolCosts: only a network with a pool has the host's links listed.
func TestPoolCosts(t *testing.T) {
	for config, listed := range map[string]bool{standard: false, pooled: true} {
		m := newRails(t)
		var verbs []string
		m.Fail = func(verb string) error {
			verbs = append(verbs, strings.TrimSpace(verb))
			return nil
		}
		r := request(t, config)
		r.Netns = "" // whose links are always listed
		_, _, err := m.DryRun(r)
		require.NoError(t, err)
		assert.Equal(t, listed, slices.Contains(verbs, "Links"), config)
	}
}

// TestNear: the primary is the link that is near the pod's devices, which the agent knows.
// An agent of an earlier release says nothing, and ADD warns of it.
func TestNear(t *testing.T) {
	one := bondOf("bond0", vfA, vfB)
	one.Config = strictjson.SetField(one.Config, "near", strictjson.Encode("devices"))
	for _, test := range []struct {
		near     *agentapi.Near
		primary  string
		warnings []string
	}{
		{&agentapi.Near{NUMA: map[string]int{"1": 1}}, "bond0-2", nil},
		{nil, "bond0-1", []string{"network demo/bond0: near: is devices, but no agent has said where they are, so it has no effect (update the agent; without Kubernetes leave near out) [MB529]"}},
	} {
		one.Near = test.near
		n := newNode(t, one)
		n.SetNUMA(vfA, 0)
		n.SetNUMA(vfB, 1)
		_, err := n.AddPod(t.Context(), n.config, n.request())
		require.NoError(t, err)
		assert.Equal(t, test.primary, n.link(pod1, "bond0").Options[bond.Primary])
		assert.Equal(t, test.warnings, n.readRecord(plan.Key{ContainerID: "c1", IfName: "bond0"}).Warnings)
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	}
}

// TestKilledUnnamed: an interface to which its plugin had not given its name when it was
// killed does not stay in the pod. Others do.
func TestKilledUnnamed(t *testing.T) {
	m := newRails(t)
	m.AddVirtual(pod1, "veth", "veth00000001")
	m.AddVirtual(pod1, "dummy", "veth00000002")
	m.AddVirtual(pod1, "macvlan", "other")
	before := m.state()
	m.plugins.seen = func(c invoke.Call) {
		if c.Type == "macvlan" && c.Command == "ADD" && c.IfName == "bond0-2" {
			m.AddVirtual(pod1, "macvlan", "veth72928c75")
		}
	}
	m.plugins.refuse["macvlan ADD bond0-2"] = "signal: killed"
	_, err := m.Add(t.Context(), request(t, pooled))
	require.ErrorContains(t, err, "signal: killed")
	m.wantState(before)
}

// TestPoolIPVLAN: an ipvlan has the address that its plugin needs only until the link is
// there.
func TestPoolIPVLAN(t *testing.T) {
	m := newRails(t)
	before := m.state()
	m.mustAdd(request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "ipam": {"type": "host-local"},
		"links": [{"pool": {"names": ["rail*"]}, "config": {"type": "macvlan"}}, {"pool": {"names": ["rail*"]}, "config": {"type": "ipvlan"}}]}`))
	now, err := m.namespace(pod1).Addresses(m.link(pod1, "bond0-2").Index)
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.56.217.3/24")}, now.IPs)
	assert.NotContains(t, string(m.readRecord(c1).Attached["bond0-2"].Result), "169.254.")
	assert.True(t, m.link(pod1, "bond0-2").Up)
	require.NoError(t, m.Check(t.Context(), c1))
	m.mustDel(c1)

	m.mustAdd(request(t, `{"cniVersion": "1.0.0", "name": "n", "attach": "each", "links": [{"config": {"type": "ipvlan", "master": "rail0"}}], "minLinks": 1}`))
	now, err = m.namespace(pod1).Addresses(m.link(pod1, "bond0-1").Index)
	require.NoError(t, err)
	assert.Empty(t, now.IPs, "without IPAM")
	m.mustDel(c1)
	m.wantState(before)
}

// TestPoolTwice: two networks of one pod choose different NICs if one of them is moved, and
// can share those that are not.
func TestPoolTwice(t *testing.T) {
	const by = `{"cniVersion": "1.1.0", "name": "%s", "type": "multibond", "attach": "each", "links": [{"pool": {"names": ["rail*"]}, "config": {"type": "%s"}}], "minLinks": 1}`
	for _, test := range []struct {
		first, second string
		want          []string
	}{
		{"host-device", "host-device", []string{"rail0", "rail1"}},
		{"host-device", "macvlan", []string{"rail0", "rail1"}},
		{"macvlan", "host-device", []string{"rail0", "rail1"}},
		{"macvlan", "macvlan", []string{"rail0", "rail0"}},
	} {
		m := newRails(t)
		before := m.state()
		first, second := request(t, fmt.Sprintf(by, "a", test.first)), request(t, strings.Replace(fmt.Sprintf(by, "b", test.second), `"config"`, `"name": "x", "config"`, 1))
		second.IfName = "net2"
		for _, r := range []*plan.Request{&first, &second} {
			r.Group = plan.Group{Network: "all", IfNames: []string{"bond0", "net2"}}
		}
		recs, err := m.addAll(t.Context(), []plan.Request{first, second}, &outcome{})
		require.NoError(t, err)
		var names []string
		for _, rec := range recs {
			names = append(names, rec.Plan.Links[0].NIC.Name)
		}
		assert.Equal(t, test.want, names, "%v", test)
		m.mustDel(c1)
		m.wantState(before)
	}
}

// TestPoolLate: a NIC that comes back to the host after an ADD has locked the devices is not
// its, because another ADD may choose it.
func TestPoolLate(t *testing.T) {
	m := newRails(t)
	r := request(t, moved)
	s, err := m.enter(pod1)
	require.NoError(t, err)
	defer s.close()
	facts, err := m.survey(r, s)
	require.NoError(t, err)
	all := together{rs: []plan.Request{r}, recs: []*record.Record{nil}, locked: []string{"0000:5f:00.1", "0000:60:00.0"}}
	all.addTo(&facts, r)
	p, _, err := plan.Compile(r, facts)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"0000:5f:00.1", "0000:60:00.0"}, p.Devices())
}

// TestPoolRenamed: an interface that the application has renamed goes, too.
func TestPoolRenamed(t *testing.T) {
	m := newRails(t)
	before := m.state()
	m.mustAdd(request(t, railsEach))
	m.change(pod1, "bond0-1", bond.Change{Up: new(false)})
	m.change(pod1, "bond0-1", bond.Change{Name: new("other1")})
	m.mustDel(c1)
	m.wantState(before)
}
