package delegate

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// routed is a node, n1, whose NICs have addresses, that of IPv6 by a router, with a keep that
// sets routes.
type routed struct {
	*machine
	k *keeper
}

func newRouted(t *testing.T) routed {
	m := newMachine(t)
	for name, ips := range map[string][]string{"enp1s0": {"10.0.1.1/24", "fd00:1::1/64"}, "enp2s0": {"10.0.2.1/24"}} {
		m.change("", name, bond.Change{Up: new(true)})
		l, err := m.namespace("").Link(name)
		require.NoError(t, err)
		a := bond.Addresses{IPs: prefixes(ips...), Attributes: map[netip.Prefix]bond.Attributes{}}
		for _, ip := range a.IPs {
			if ip.Addr().Is6() {
				a.Attributes[ip] = bond.Attributes{ValidUntil: time.Now().Add(time.Hour)}
			}
		}
		require.NoError(t, m.namespace("").Configure(l.Index, a))
	}
	r := routed{m, m.keeper()}
	r.k.Agent = filepath.Join(inMemory(t), "agent.sock")
	return r
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// attach writes the Record of a pod with an ipvlan on each of the masters.
func (r routed) attach(id, mode string, subnets []netip.Prefix, masters ...string) {
	r.t.Helper()
	p := plan.Plan{ContainerID: id, IfName: "net1", Netns: pod1, Attach: netconf.AttachEach}
	for i, master := range masters {
		config := netconf.NewConfig(fmt.Appendf(nil, `{"type": "ipvlan", "mode": %q, "master": %q}`, mode, master))
		p.Links = append(p.Links, plan.Link{
			Name: fmt.Sprint("net1-", i+1), Source: netconf.FromConfig, Plugins: []netconf.Plugin{{Type: "ipvlan", Config: config}},
			Block: &plan.Block{Blocks: netconf.Blocks{Subnets: subnets, InterfaceBits: 2, HostBits: 6}, Interface: i},
		})
	}
	rec := record.New(p)
	rec.BootID = r.BootID
	require.NoError(r.t, r.Store.Begin(rec))
	rec.Result = []byte(`{}`)
	require.NoError(r.t, r.Store.Update(rec))
}

// detach removes a pod's Record.
func (r routed) detach(id string) {
	r.t.Helper()
	require.NoError(r.t, r.Store.Forget(plan.Key{ContainerID: id, IfName: "net1"}))
}

// hosts writes the file of hosts: each with an index, its name, and its NICs' addresses.
func (r routed) hosts(peers ...agentapi.PeerHost) {
	r.t.Helper()
	h := agentapi.Hosts{Self: agentapi.Self{Index: 0, Node: "n1"}, Hosts: peers}
	require.NoError(r.t, h.Write(filepath.Join(filepath.Dir(r.k.Agent), "hosts.json")))
}

func peer(index int, nics ...string) agentapi.PeerHost {
	p := agentapi.PeerHost{Index: index, Node: fmt.Sprint("n", index+1)}
	for _, text := range nics {
		name, ips, _ := strings.Cut(text, " ")
		p.NICs = append(p.NICs, agentapi.HostNIC{Name: name, Addresses: prefixes(strings.Fields(ips)...)})
	}
	return p
}

// n2 is a host like this one.
var n2 = peer(1, "enp1s0 10.0.1.2/24 fd00:1::2/64", "enp2s0 10.0.2.2/24")

// look has keep look at the routes, and returns what it tells and what is set.
func (r routed) look() (agentapi.Routes, []string) {
	r.t.Helper()
	require.NoError(r.t, r.k.refresh())
	r.k.routes.due = time.Now()
	r.k.keepRoutes(r.t.Context())
	all, err := r.namespace("").Routes()
	require.NoError(r.t, err)
	var got []string
	for _, route := range all {
		if route.Protocol == unix.RTPROT_KERNEL {
			continue
		}
		for _, name := range []string{"enp1s0", "enp2s0"} {
			l, err := r.namespace("").Link(name)
			require.NoError(r.t, err)
			if route.Hops[0].Index == l.Index {
				got = append(got, fmt.Sprintf("%s via %s dev %s proto %d", route.Dst, route.Hops[0].Gateway, name, route.Protocol))
			}
		}
	}
	slices.Sort(got)
	return r.k.setRoutes(), got
}

const (
	toN2over1 = "192.168.1.0/24 via 10.0.1.2 dev enp1s0 proto 201"
	toN2over2 = "192.168.65.0/24 via 10.0.2.2 dev enp2s0 proto 201"
	toN3over1 = "192.168.2.0/24 via 10.0.1.3 dev enp1s0 proto 201"
)

var v4 = prefixes("192.168.0.0/16")

// TestHostRoutes: the routes follow the networks, the hosts and their addresses, come back if
// somebody has removed them, and go if keep is to give back what it has taken.
func TestHostRoutes(t *testing.T) {
	r := newRouted(t)
	is := func(what string, want agentapi.Routes, routes ...string) {
		t.Helper()
		now, got := r.look()
		assert.Equal(t, routes, got, what)
		now.Problems = nil
		assert.Equal(t, want, now, what)
	}
	is("no network", agentapi.Routes{})
	assert.Zero(t, r.k.routes.due, "nothing is looked at")
	r.attach("c1", "l3", v4, "enp1s0", "enp2s0")
	is("no file of hosts", agentapi.Routes{Waiting: 1})
	assert.NotZero(t, r.k.routes.due)
	r.hosts(n2)
	is("another host", agentapi.Routes{Set: 2}, toN2over1, toN2over2)
	r.attach("c2", "l3", v4, "enp1s0", "enp2s0")
	r.hosts(n2, peer(2, "eth7 10.0.1.3/24"))
	is("one that has but one NIC", agentapi.Routes{Set: 3, Waiting: 1}, toN2over1, toN3over1, toN2over2)
	r.change("", "enp1s0", bond.Change{Up: new(false)})
	is("a NIC that is down", agentapi.Routes{Set: 1, Waiting: 3}, toN2over2)
	r.change("", "enp1s0", bond.Change{Up: new(true)})
	is("up again", agentapi.Routes{Set: 3, Waiting: 1}, toN2over1, toN3over1, toN2over2)
	r.hosts(peer(1, "enp1s0 10.0.1.9/24", "enp2s0 10.0.2.2/24"))
	is("another address, and a host that is gone", agentapi.Routes{Set: 2}, "192.168.1.0/24 via 10.0.1.9 dev enp1s0 proto 201", toN2over2)
	r.detach("c1")
	is("another pod needs them", agentapi.Routes{Set: 2}, "192.168.1.0/24 via 10.0.1.9 dev enp1s0 proto 201", toN2over2)
	assert.Len(t, r.taken(), 2)
	r.k.Yield = true
	is("keep gives them back", agentapi.Routes{})
	assert.Empty(t, r.taken())
	r.k.Yield = false
	is("and takes them again", agentapi.Routes{Set: 2}, "192.168.1.0/24 via 10.0.1.9 dev enp1s0 proto 201", toN2over2)
	r.hosts(n2)
	r.detach("c2")
	is("no network any more", agentapi.Routes{})
	assert.Zero(t, r.k.routes.due, "nothing is looked at")
}

// TestHostRoutesOfRestart: a keep that starts removes no route that is needed, and those of
// nobody. It looks for routes only if the node has a network that is for several hosts.
func TestHostRoutesOfRestart(t *testing.T) {
	r := newRouted(t)
	r.Host.Kernel = quietKernel{r.Host.Kernel}
	var removed []string
	r.edges.refuse = func(verb string, what any) error {
		if verb == "RemoveRoute" {
			removed = append(removed, what.(bond.Route).Dst.String())
		}
		return nil
	}
	l, err := r.namespace("").Link("enp1s0")
	require.NoError(t, err)
	for _, dst := range []string{"192.168.1.0/24", "172.30.1.0/24"} {
		require.NoError(t, r.namespace("").AddRoute(l.Index, bond.Route{Dst: netip.MustParsePrefix(dst), Gateway: netip.MustParseAddr("10.0.1.2"), Protocol: bond.ProtocolRoutes}))
	}
	restart := func(until string) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		said, ended := make(chan string, 99), make(chan error, 1)
		go func() { ended <- r.Keep(ctx, KeepConfig{Agent: r.k.Agent}, func(line string) { said <- line }) }()
		for until != "" && !strings.Contains(<-said, until) {
		}
		stop()
		require.NoError(t, <-ended)
	}
	restart("")
	assert.Empty(t, removed, "no such network: somebody else's")
	r.attach("c1", "l3", v4, "enp1s0")
	r.hosts(n2)
	restart("routes to other hosts: 1 are set")
	assert.Equal(t, []string{"172.30.1.0/24"}, removed)
}

// quietKernel is a kernel without events.
type quietKernel struct{ bond.Kernel }

func (k quietKernel) OpenEvents() (*os.File, error) {
	read, write, err := os.Pipe()
	if err == nil {
		runtime.AddCleanup(read, func(w *os.File) { w.Close() }, write)
	}
	return read, err
}

// TestHostRoutesUnknown: what may still be needed stays while a Record or the file of hosts
// cannot be read. What is needed by none of them goes.
func TestHostRoutesUnknown(t *testing.T) {
	r := newRouted(t)
	other := prefixes("172.30.0.0/16")
	r.attach("c1", "l3", v4, "enp1s0")
	r.attach("c2", "l3", other, "enp1s0")
	r.hosts(n2)
	const toOther = "172.30.1.0/24 via 10.0.1.2 dev enp1s0 proto 201"
	_, got := r.look()
	require.Equal(t, []string{toOther, toN2over1}, got)

	file := r.Store.File(plan.Key{ContainerID: "c2", IfName: "net1"})
	record, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	r.k = r.keeperBeside(r.k)
	_, got = r.look()
	assert.Equal(t, []string{toOther, toN2over1}, got, "as it was begun")
	require.NoError(t, os.Remove(file+".begun"))
	r.k = r.keeperBeside(r.k)
	r.hosts(peer(1, "enp1s0 10.0.1.9/24"))
	now, got := r.look()
	assert.Equal(t, []string{toOther, "192.168.1.0/24 via 10.0.1.9 dev enp1s0 proto 201"}, got)
	assert.Equal(t, 1, now.Waiting)
	assert.Contains(t, now.Problems[0], "record of c2:net1")
	require.NoError(t, os.WriteFile(file, record, 0o600))

	require.NoError(t, os.Remove(filepath.Join(filepath.Dir(r.k.Agent), "hosts.json")))
	r.detach("c2")
	_, got = r.look()
	assert.Equal(t, []string{"192.168.1.0/24 via 10.0.1.9 dev enp1s0 proto 201"}, got)
}

// keeperBeside is a keep that is started anew, with the same agent.
func (r routed) keeperBeside(k *keeper) *keeper {
	again := r.keeper()
	again.Agent = k.Agent
	return again
}

// TestHostRoutesOf: which interfaces need routes, of which family, via which of a host's
// addresses.
func TestHostRoutesOf(t *testing.T) {
	for what, test := range map[string]struct {
		mode  string
		peers []agentapi.PeerHost
		want  agentapi.Routes
		set   []string
	}{
		"l2":  {mode: "l2", peers: []agentapi.PeerHost{n2}},
		"l3s": {"l3s", []agentapi.PeerHost{n2}, agentapi.Routes{Set: 2}, []string{toN2over1, "fd00:9:0:100::/56 via fd00:1::2 dev enp1s0 proto 201"}},
		"no IPv6": {"l3", []agentapi.PeerHost{peer(1, "enp1s0 10.0.1.2/24")}, agentapi.Routes{Set: 1, Waiting: 1,
			Problems: []string{"n2: none of its NICs has an IPv6 address in a network of enp1s0, which has [10.0.1.1/24 fd00:1::1/64]"}}, []string{toN2over1}},
		"its NIC of the same name, if there are two": {"l3", []agentapi.PeerHost{peer(1, "a 10.0.1.8/24 fd00:1::8/64", "enp1s0 10.0.1.2/24 fd00:1::2/64")},
			agentapi.Routes{Set: 2}, []string{toN2over1, "fd00:9:0:100::/56 via fd00:1::2 dev enp1s0 proto 201"}},
		"no room for its number": {"l3", []agentapi.PeerHost{peer(64, "enp1s0 10.0.1.2/24")}, agentapi.Routes{Failed: 1,
			Problems: []string{"n65: it is host 64, but hostBlock is 6, which is room for 64 hosts"}}, nil},
		"the number of this host": {"l3", []agentapi.PeerHost{{Index: 0, Node: "other", NICs: n2.NICs}}, agentapi.Routes{Failed: 1,
			Problems: []string{"other: it is host 0, by which number pods of this host have their addresses: delete these pods"}}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRouted(t)
			r.attach("c1", test.mode, prefixes("192.168.0.0/16", "fd00:9::/48"), "enp1s0")
			h := agentapi.Hosts{Self: agentapi.Self{Index: 9, Node: "n1"}, Hosts: test.peers}
			require.NoError(t, h.Write(filepath.Join(filepath.Dir(r.k.Agent), "hosts.json")))
			now, set := r.look()
			assert.Equal(t, test.want, now)
			assert.Equal(t, test.set, set)
		})
	}
}

// TestHostRouteInTheWay: a route of somebody else stays and is told of, and once it is gone
// the own one is set.
func TestHostRouteInTheWay(t *testing.T) {
	r := newRouted(t)
	r.attach("c1", "l3", v4, "enp1s0")
	r.hosts(n2)
	host := r.namespace("")
	l, err := host.Link("enp2s0")
	require.NoError(t, err)
	other := bond.Route{Dst: netip.MustParsePrefix("192.168.1.0/24"), Gateway: netip.MustParseAddr("10.0.2.9"), Protocol: unix.RTPROT_STATIC, Priority: 100}
	for range 2 {
		require.NoError(t, host.AddRoute(l.Index, other))
		now, set := r.look()
		assert.Equal(t, agentapi.Routes{Failed: 1, Problems: []string{
			"n2: somebody else has a route to 192.168.1.0/24, of protocol 4 (see ip route show 192.168.1.0/24; remove it, if it is not to be there)"}}, now)
		assert.Equal(t, []string{"192.168.1.0/24 via 10.0.2.9 dev enp2s0 proto 4"}, set)
		require.NoError(t, host.RemoveRoute(l.Index, other))
		now, set = r.look()
		assert.Equal(t, agentapi.Routes{Set: 1}, now)
		assert.Equal(t, []string{toN2over1}, set)
	}
	assert.Contains(t, r.log.String(), "routes to other hosts: 0 are set, 0 wait, 1 cannot be set; n2: somebody else has a route")
	own := bond.Route{Dst: netip.MustParsePrefix("192.168.1.0/24"), Gateway: netip.MustParseAddr("10.0.1.2"), Protocol: bond.ProtocolRoutes}
	l, err = host.Link("enp1s0")
	require.NoError(t, err)
	require.NoError(t, host.RemoveRoute(l.Index, own))
	_, set := r.look()
	assert.Equal(t, []string{toN2over1}, set, "somebody has removed it")
}

// TestHostRoutesOverlap: no route takes traffic from a network of the host, from another route,
// or from a host.
func TestHostRoutesOverlap(t *testing.T) {
	for subnet, want := range map[string]string{
		"10.0.0.0/16": "10.0.1.0/24 has 10.0.1.2, which is the address of a host (give the network another subnet)",
		"10.0.0.0/15": "somebody else has a route to 10.0.2.0/24, of protocol 2, which overlaps 10.0.2.0/23 (see ip route show 10.0.2.0/24; give the network another subnet)",
		"10.9.0.0/16": "somebody else has a route to 10.8.0.0/15, of protocol 4, which overlaps 10.9.1.0/24 (see ip route show 10.8.0.0/15; give the network another subnet)",
		"10.7.0.0/16": "10.7.1.0/24 has 10.7.1.7, which is the address of a host (give the network another subnet)",
	} {
		t.Run(subnet, func(t *testing.T) {
			r := newRouted(t)
			l, err := r.namespace("").Link("enp2s0")
			require.NoError(t, err)
			for _, dst := range []string{"0.0.0.0/0", "10.8.0.0/15"} {
				require.NoError(t, r.namespace("").AddRoute(l.Index, bond.Route{Dst: netip.MustParsePrefix(dst), Gateway: netip.MustParseAddr("10.0.2.9"), Protocol: unix.RTPROT_STATIC, Priority: 100}))
			}
			r.attach("c1", "l3", prefixes(subnet), "enp1s0")
			r.hosts(peer(1, "enp1s0 10.0.1.2/24", "enp7s0 10.7.1.7/32"))
			now, set := r.look()
			assert.Equal(t, agentapi.Routes{Failed: 1, Problems: []string{"n2: " + want}}, now)
			assert.Len(t, set, 2)
		})
	}
}

// TestHostRoutesOfTwoNetworks: of two networks whose subnets overlap, that of the earlier pod has
// its routes.
func TestHostRoutesOfTwoNetworks(t *testing.T) {
	r := newRouted(t)
	r.attach("c2", "l3", v4, "enp1s0")
	r.attach("c1", "l3", prefixes("192.168.0.0/18"), "enp1s0")
	r.attach("c3", "l3", prefixes("172.30.0.0/16"), "enp1s0")
	r.hosts(n2)
	now, set := r.look()
	assert.Equal(t, agentapi.Routes{Set: 2, Failed: 1, Problems: []string{
		"the subnet 192.168.0.0/18 of pods overlaps 192.168.0.0/16, of earlier pods, and is divided otherwise: no routes are set for it (give one of the networks another subnet)"}}, now)
	assert.Equal(t, []string{"172.30.1.0/24 via 10.0.1.2 dev enp1s0 proto 201", toN2over1}, set)
	r.detach("c2")
	now, set = r.look()
	assert.Equal(t, agentapi.Routes{Set: 2}, now)
	assert.Equal(t, []string{"172.30.1.0/24 via 10.0.1.2 dev enp1s0 proto 201", "192.168.0.64/26 via 10.0.1.2 dev enp1s0 proto 201"}, set)
}

// TestHostRoutesTwoNICs: two pods that have one interface on different NICs have no way for
// both.
func TestHostRoutesTwoNICs(t *testing.T) {
	r := newRouted(t)
	r.attach("c1", "l3", v4, "enp1s0")
	r.attach("c2", "l3", v4, "enp2s0")
	r.hosts(n2)
	now, set := r.look()
	assert.Equal(t, []string{toN2over1}, set)
	assert.Equal(t, 1, now.Failed)
	assert.Contains(t, now.Problems[0], "is to be reached over two NICs of this host")
}

// TestHostRoutesAreLookedAt: after which events.
func TestHostRoutesAreLookedAt(t *testing.T) {
	r := newRouted(t)
	nic := bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Name: "enp1s0"}}
	r.k.hear(nic)
	assert.Zero(t, r.k.routes.due, "no network needs routes")
	r.attach("c1", "l3", v4, "enp1s0")
	r.look()
	r.k.routes.due = time.Time{}
	r.k.hear(bond.Event{NSID: bond.OwnNamespace, Link: bond.Link{Name: "enp2s0"}})
	assert.Zero(t, r.k.routes.due)
	r.k.hear(nic)
	assert.NotZero(t, r.k.routes.due)
	assert.Positive(t, r.k.pause(), "not at once again")
}

// TestHostRoutesAreTold: the agent hears how the routes are if that has changed, and an agent
// that was away when it is back.
func TestHostRoutesAreTold(t *testing.T) {
	r := newRouted(t)
	r.attach("c1", "l3", v4, "enp1s0")
	r.hosts(n2)
	r.look()
	r.k.hearAnswer(t.Context(), <-r.k.routes.answers)
	assert.Zero(t, r.k.routes.told, "nobody is there")
	l, err := net.Listen("unix", r.k.Agent)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	heard, busy := make(chan agentapi.Routes, 9), make(chan struct{})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var request agentapi.Request
			if agentapi.Read(conn, &request) == nil && request.Routes != nil {
				heard <- *request.Routes
			}
			<-busy
			_ = agentapi.Write(conn, agentapi.Reply{Version: agentapi.Version})
			conn.Close()
		}
	}()
	answer := func() { r.k.hearAnswer(t.Context(), <-r.k.routes.answers) }
	for range 2 {
		r.look()
	}
	r.hosts(peer(7, "enp1s0 10.0.1.8/24"), n2)
	r.look()
	r.hosts()
	r.look()
	close(busy) // until then keep has not waited for it
	answer()
	answer()
	assert.False(t, r.k.routes.telling)
	r.k.tellAnew()
	r.hosts(n2)
	r.look()
	r.k.tellAnew() // while the one before is being told
	answer()
	answer()
	r.look()
	assert.False(t, r.k.routes.telling)
	close(heard)
	var got []agentapi.Routes
	for routes := range heard {
		got = append(got, routes)
	}
	assert.Equal(t, []agentapi.Routes{{Set: 1}, {}, {Set: 1}, {Set: 1}}, got, "of what changed meanwhile, the latest")
}
