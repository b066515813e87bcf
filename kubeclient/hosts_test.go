package kubeclient

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/strictjson"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// railsNAD is a network whose ipam divides subnets.
const railsNAD = `{"cniVersion": "1.0.0", "name": "rails", "type": "multibond", "attach": "each", "links": [{"deviceID": "0000:01:10.0"}],
	"ipam": {"type": "multibond", "subnet": "192.168.0.0/16", "hostBlock": 6}}`

// hostRig returns the agent of a node with a NIC, and the pod demo/r with such a network.
func hostRig(t *testing.T, api *kubefake.API, node, uid string, addresses ...string) *rig {
	t.Helper()
	r := newRig(t)
	if api != nil {
		r.api = api
	}
	r.api.Put(nadResource, "demo", "rails", nadObject(railsNAD))
	for _, name := range []string{"r", "r-" + node} {
		object := podObject("uid-"+name, map[string]any{NetworksAnnotation: "rails"})
		object["spec"].(map[string]any)["nodeName"] = node
		r.api.Put(podResource, "demo", name, object)
	}
	r.options.Node, r.options.HostsFile = node, filepath.Join(kubefake.ShortDir(t), "hosts.json")
	r.token = nodeToken(node, uid)
	give(r, addresses...)
	r.prepare = func(a *Agent) {
		a.hosts.every, a.hosts.settle, a.hosts.conflict = 5*time.Millisecond, time.Millisecond, 2*time.Millisecond
	}
	return r
}

// nodeToken returns the token of an agent.
func nodeToken(node, uid string) string {
	claims := fmt.Sprintf(`{"kubernetes.io": {"namespace": "multibond-system", "node": {"name": %q, "uid": %q}}}`, node, uid)
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// give gives the NIC of an agent addresses.
func give(r *rig, addresses ...string) {
	n := bond.NIC{Link: bond.Link{Name: "eth1"}}
	for _, text := range addresses {
		n.IPs = append(n.IPs, netip.MustParsePrefix(text))
	}
	r.options.Machine.NICs = func() ([]bond.NIC, error) { return []bond.NIC{n, {Link: bond.Link{Name: "eth2"}}}, nil }
}

// number returns the number of the agent's host.
func (r *rig) number() int {
	r.t.Helper()
	reply, err := r.client().Lookup(r.t.Context(), railsLookupOf(r.options.Node))
	require.NoError(r.t, err)
	require.NotNil(r.t, reply.Attachments[0].HostIndex)
	return *reply.Attachments[0].HostIndex
}

func railsLookupOf(node string) agentapi.Lookup { return lookupOf("demo", "r-"+node, "uid-r-"+node) }

// peers waits until the file for keep has these hosts.
func (r *rig) peers(want agentapi.Hosts) {
	r.t.Helper()
	eventually(r.t, func(c *assert.CollectT) {
		got, err := agentapi.ReadHosts(r.options.HostsFile)
		require.NoError(c, err)
		assert.Equal(c, want, got)
	})
}

// TestHostNumber: a host has a number once a network needs one, keeps it, and asks for it once.
func TestHostNumber(t *testing.T) {
	r := hostRig(t, nil, "n1", "u1", "10.0.1.1/24", "fe80::1/64")
	r.pod("demo", "p", "uid-p", "bond-net1@bond0")
	r.start()
	reply, err := r.client().Lookup(t.Context(), pLookup)
	require.NoError(t, err)
	assert.Nil(t, reply.Attachments[0].HostIndex)
	assert.Empty(t, r.api.Requests(), "no network needs a number")
	assert.NoFileExists(t, r.options.HostsFile)

	assert.Equal(t, 0, r.number())
	got := r.api.Requests()
	assert.Equal(t, 1, got["create leases"])
	assert.Equal(t, 1, got["watch leases"])
	lease := kubefake.Merge(r.api.Object(leaseResource, "multibond-system", "multibond-host-0"), map[string]any{"metadata": map[string]any{"uid": nil, "resourceVersion": nil}})
	written, err := json.Marshal(lease)
	require.NoError(t, err)
	want, err := os.ReadFile("testdata/lease.json") // what the policy of deploy allows, by tests/admission
	require.NoError(t, err)
	assert.JSONEq(t, string(want), string(written))
	r.peers(agentapi.Hosts{Self: agentapi.Self{Index: 0, Node: "n1"}, Hosts: []agentapi.PeerHost{}})
	assert.Equal(t, 0, r.number())
	r.requests(map[string]int{})

	// A Lease with a lower number that has become free changes nothing, nor does a restart.
	r.stop()
	r.start()
	assert.Equal(t, 0, r.number())
	assert.Zero(t, r.api.Requests()["create leases"])

	// One that somebody deletes is made again, with its number.
	r.api.Remove(leaseResource, "multibond-system", "multibond-host-0")
	eventually(t, func(c *assert.CollectT) {
		assert.NotNil(c, r.api.Object(leaseResource, "multibond-system", "multibond-host-0"))
	})
	assert.Equal(t, 0, r.number())

	// Addresses that change are told.
	r.stop()
	give(r, "10.0.1.7/24", "2001:db8::7/64")
	r.start()
	eventually(t, func(c *assert.CollectT) {
		meta := r.api.Object(leaseResource, "multibond-system", "multibond-host-0")["metadata"].(map[string]any)
		assert.Equal(c, map[string]any{"multibond.io/nics": `[{"name":"eth1","addresses":["10.0.1.7/24","2001:db8::7/64"]}]`}, meta["annotations"])
	})
}

// TestHostNumbersAtOnce: agents that begin at the same instant have different numbers, for
// which there is room.
func TestHostNumbersAtOnce(t *testing.T) {
	api := kubefake.NewAPI(t)
	const hosts = 16
	var rigs []*rig
	for i := range hosts {
		r := hostRig(t, api, fmt.Sprint("n", i), fmt.Sprint("u", i))
		r.start()
		rigs = append(rigs, r)
	}
	numbers := make([]int, hosts)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i, r := range rigs {
		all.Go(func() {
			<-begin
			reply, err := r.client().Lookup(t.Context(), railsLookupOf(r.options.Node))
			if assert.NoError(t, err) {
				numbers[i] = *reply.Attachments[0].HostIndex
			}
		})
	}
	close(begin)
	all.Wait()
	t.Logf("numbers %v, requests %v", numbers, api.Requests())
	sorted := slices.Sorted(slices.Values(numbers))
	assert.Len(t, slices.Compact(sorted), hosts, "%v", numbers)
	assert.Less(t, sorted[hosts-1], 64)
	for i, r := range rigs {
		assert.Equal(t, numbers[i], r.number(), "each keeps its own")
	}
}

// TestHostNumbersFill: the last free number for which there is room is taken before those
// above.
func TestHostNumbersFill(t *testing.T) {
	api := kubefake.NewAPI(t)
	for i := range 64 {
		if i != 41 {
			api.Put(leaseResource, "multibond-system", fmt.Sprint("multibond-host-", i), leaseObject(fmt.Sprint("other", i), "u", ""))
		}
	}
	first := hostRig(t, api, "n1", "u1")
	first.start()
	assert.Equal(t, 41, first.number())
	second := hostRig(t, api, "n2", "u2")
	second.start()
	assert.Equal(t, 64, second.number(), "the plugin refuses it, with the numbers")
	assert.Equal(t, 64, second.number())

	// A host with a number for which another network has no room takes a second one, if one
	// is free, and keeps both.
	api.Remove(leaseResource, "multibond-system", "multibond-host-7")
	eventually(t, func(c *assert.CollectT) { assert.Equal(c, 7, second.number()) })
	assert.Equal(t, "n2", holderIn(api, 64))
	first.peers(agentapi.Hosts{Self: agentapi.Self{Index: 41, Node: "n1"}, Hosts: peersOf(api, "n1")})
	second.peers(agentapi.Hosts{Self: agentapi.Self{Index: 7, Node: "n2"}, Hosts: peersOf(api, "n2")})
}

// holderIn returns the host that has a number, or "".
func holderIn(api *kubefake.API, index int) string {
	lease := api.Object(leaseResource, "multibond-system", leaseName(index))
	if lease == nil {
		return ""
	}
	return lease["spec"].(map[string]any)["holderIdentity"].(string)
}

// peersOf lists the other hosts that have Leases, without addresses.
func peersOf(api *kubefake.API, node string) (all []agentapi.PeerHost) {
	for index := range 100 {
		if holder := holderIn(api, index); holder != "" && holder != node {
			all = append(all, agentapi.PeerHost{Index: index, Node: holder, NICs: []agentapi.HostNIC{}})
		}
	}
	return all
}

// TestHostNumberOfAnEarlierNode: a Node that was made again under its name waits until the
// Lease of the earlier one is collected, and then has its number.
func TestHostNumberOfAnEarlierNode(t *testing.T) {
	api := kubefake.NewAPI(t)
	api.Put(leaseResource, "multibond-system", "multibond-host-5", leaseObject("n1", "u-before", ""))
	r := hostRig(t, api, "n1", "u1")
	r.start()
	_, err := r.client().Lookup(t.Context(), railsLookupOf("n1"))
	refused(t, err, cnitypes.ErrTryAgainLater, "the Lease multibond-system/multibond-host-5 is of an earlier Node n1")
	assert.Zero(t, r.api.Requests()["create leases"])
	api.Remove(leaseResource, "multibond-system", "multibond-host-5")
	eventually(t, func(c *assert.CollectT) { assert.Equal(c, "n1", holderIn(api, 5)) })
	assert.Equal(t, 5, r.number())
}

// TestHostNumberOfARenewedToken: the owner of a Lease is the Node that the token names when
// it is made, not when the agent has begun.
func TestHostNumberOfARenewedToken(t *testing.T) {
	r := hostRig(t, nil, "n1", "u1")
	var uid atomic.Value
	uid.Store("u1")
	prepare := r.prepare
	r.prepare = func(a *Agent) {
		prepare(a)
		file := filepath.Join(t.TempDir(), "token")
		a.hosts.self = func() nodeRef {
			require.NoError(t, os.WriteFile(file, []byte(nodeToken("n1", uid.Load().(string))+"\n"), 0o600))
			return nodeOf(&rest.Config{BearerToken: r.token, BearerTokenFile: file})
		}
	}
	r.start()
	assert.Equal(t, 0, r.number())
	uid.Store("u2")
	_, err := r.client().Lookup(t.Context(), railsLookupOf("n1"))
	refused(t, err, cnitypes.ErrTryAgainLater, "the Lease multibond-system/multibond-host-0 is of an earlier Node n1")
	r.api.Remove(leaseResource, "multibond-system", "multibond-host-0")
	eventually(t, func(c *assert.CollectT) { assert.Equal(c, "n1", holderIn(r.api, 0)) })
	meta := r.api.Object(leaseResource, "multibond-system", "multibond-host-0")["metadata"].(map[string]any)
	assert.Equal(t, "u2", meta["ownerReferences"].([]any)[0].(map[string]any)["uid"])
}

// TestHostNumberTaken: while the watch was away, somebody has deleted the Lease of a host,
// and another host has taken its number. The first one has another number then, and people
// are told, whether or not its watch has ever shown the Lease.
func TestHostNumberTaken(t *testing.T) {
	for name, shown := range map[string]bool{"shown": true, "made only": false} {
		t.Run(name, func(t *testing.T) {
			r := hostRig(t, nil, "n1", "u1")
			r.start()
			assert.Equal(t, 0, r.number())
			eventually(t, func(c *assert.CollectT) { assert.Empty(c, r.agent.hosts.toTell(nodeRef{"n1", "u1"}, "[]")) })
			if !shown {
				r.agent.hosts.lock.Lock()
				r.agent.hosts.unseen["multibond-host-0"] = true
				r.agent.hosts.lock.Unlock()
			}
			r.api.Stop()
			r.api.Remove(leaseResource, "multibond-system", "multibond-host-0")
			r.api.Put(leaseResource, "multibond-system", "multibond-host-0", leaseObject("n2", "u2", ""))
			r.api.Start()
			eventually(t, func(c *assert.CollectT) { assert.Equal(c, "n1", holderIn(r.api, 1)) })
			assert.Equal(t, 1, r.number())
			r.peers(agentapi.Hosts{Self: agentapi.Self{Index: 1, Node: "n1"}, Hosts: peersOf(r.api, "n1")})
			eventually(t, func(c *assert.CollectT) {
				events := r.api.Of(eventResource)
				require.Len(c, events, 1)
				assert.Equal(c, "HostNumberLost", events[0]["reason"])
				assert.Contains(c, events[0]["message"], "node n2 has number 0, which this host had until its Lease multibond-system/multibond-host-0 was deleted")
			})
		})
	}
}

// TestHostNumberLostUnseen: a Lease that was made and deleted while the watch was away is
// made again.
func TestHostNumberLostUnseen(t *testing.T) {
	r := hostRig(t, nil, "n1", "u1")
	r.start()
	r.api.Put(leaseResource, "multibond-system", "multibond-host-7", leaseObject("n7", "u7", ""))
	assert.Equal(t, 0, r.number())
	r.api.Refusing("watch leases", 500)
	r.api.Stop()
	r.api.Remove(leaseResource, "multibond-system", "multibond-host-0")
	lease := leaseOf(nodeRef{"n1", "u1"}, "multibond-system", 3, "[]") // the agent has made it while its watch was away
	lease.UID, lease.ResourceVersion = "uid-3", "1000000"
	r.agent.hosts.made(lease)
	r.api.Start()
	eventually(t, func(c *assert.CollectT) { assert.Equal(c, "n1", holderIn(r.api, 3)) })
	r.api.Refusing("watch leases", 0)
	eventually(t, func(c *assert.CollectT) { assert.Equal(c, "n1", holderIn(r.api, 0)) })
}

// TestHostTable: what the watch tells late of a Lease's name is not held against the Lease
// that this agent has made since.
func TestHostTable(t *testing.T) {
	self := nodeRef{"n1", "u1"}
	lease := func(node, version string) *coordinationv1.Lease {
		l := leaseOf(nodeRef{node, "u1"}, "multibond-system", 4, "[]")
		l.UID, l.ResourceVersion = types.UID(node), version
		return l
	}
	table := newHostTable("n1")
	table.made(lease("n1", "30"))
	table.seen(lease("n2", "10"))
	table.gone(lease("n2", "20"))
	index, has := table.held(self)
	assert.True(t, has)
	assert.Equal(t, 4, index)
	assert.False(t, table.hasLost())
	table.seen(lease("n1", "30"))
	assert.Empty(t, table.toTell(self, "[]"))
	table.made(lease("n1", "30"))
	assert.Empty(t, table.toTell(self, "[]"), "the answer has come after the event")
	table.seen(lease("n2", "40"))
	_, has = table.held(self)
	assert.False(t, has)
	assert.Equal(t, []int{4}, table.lostNumbers())
}

// TestHostNumberCost: what an attachment costs does not depend on how many hosts there are.
func TestHostNumberCost(t *testing.T) {
	table := newHostTable("n0")
	for i := range 5000 {
		table.seen(leaseOf(nodeRef{fmt.Sprint("n", i), "u"}, "multibond-system", i, `[{"name":"eth1","addresses":["10.0.1.9/24"]}]`))
	}
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		index, has := table.held(nodeRef{"n0", "u"})
		assert.True(t, has && index == 0)
	}))
}

func leaseObject(holder, uid, nics string) map[string]any {
	meta := map[string]any{"labels": map[string]any{"app.kubernetes.io/name": "multibond", "app.kubernetes.io/component": "host"},
		"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "Node", "name": holder, "uid": uid}}}
	if nics != "" {
		meta["annotations"] = map[string]any{nicsAnnotation: nics}
	}
	return map[string]any{"metadata": meta, "spec": map[string]any{"holderIdentity": holder}}
}

// TestHostsFollow: keep's file has the other hosts, follows them, and is kept up by the next
// agent before any pod starts.
func TestHostsFollow(t *testing.T) {
	r := hostRig(t, nil, "n1", "u1", "10.0.1.1/24")
	put := func(index int, holder, nics string) {
		r.api.Put(leaseResource, "multibond-system", fmt.Sprint("multibond-host-", index), leaseObject(holder, "u", nics))
	}
	put(0, "n0", `[{"name":"eth1","addresses":["10.0.1.9/24"]}]`)
	r.api.Put(leaseResource, "multibond-system", "somebody-elses", leaseObject("n9", "u", ""))
	r.start()
	assert.Equal(t, 1, r.number())
	peer := func(index int, node string, addresses ...string) agentapi.PeerHost {
		p := agentapi.PeerHost{Index: index, Node: node, NICs: []agentapi.HostNIC{}}
		for _, text := range addresses {
			p.NICs = append(p.NICs, agentapi.HostNIC{Name: "eth1", Addresses: []netip.Prefix{netip.MustParsePrefix(text)}})
		}
		return p
	}
	self := agentapi.Self{Index: 1, Node: "n1"}
	r.peers(agentapi.Hosts{Self: self, Hosts: []agentapi.PeerHost{peer(0, "n0", "10.0.1.9/24")}})
	put(12, "n12", `[{"name":"eth1","addresses":["10.0.1.12/24"]}]`)
	put(3, "n3", `{"name": "no list"}`)
	put(0, "n0", `[{"name":"eth1","addresses":["10.0.1.10/24"]}]`)
	r.peers(agentapi.Hosts{Self: self, Hosts: []agentapi.PeerHost{peer(0, "n0", "10.0.1.10/24"), peer(3, "n3"), peer(12, "n12", "10.0.1.12/24")}})
	r.stop()
	r.api.Remove(leaseResource, "multibond-system", "multibond-host-3")
	r.start()
	r.peers(agentapi.Hosts{Self: self, Hosts: []agentapi.PeerHost{peer(0, "n0", "10.0.1.10/24"), peer(12, "n12", "10.0.1.12/24")}})
	written, err := os.Stat(r.options.HostsFile)
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, written.Mode().Perm())

	// An agent that ends after an update may write late what it has known.
	require.NoError(t, agentapi.Hosts{Self: self, Hosts: []agentapi.PeerHost{}}.Write(r.options.HostsFile))
	r.peers(agentapi.Hosts{Self: self, Hosts: []agentapi.PeerHost{peer(0, "n0", "10.0.1.10/24"), peer(12, "n12", "10.0.1.12/24")}})
}

// TestHostsTooMuch: what one host has in its Leases costs the others no more than a bound.
func TestHostsTooMuch(t *testing.T) {
	table := newHostTable("n1")
	note := func(index int, holder string, nics string) {
		table.seen(leaseOf(nodeRef{holder, "u"}, "multibond-system", index, nics))
	}
	note(0, "n0", "[]")
	for i := range maxNumbers {
		note(10+i, "several", "[]")
	}
	for i := range maxNumbers + 1 {
		note(30+i, "greedy", "[]")
	}
	all, greedy := table.others()
	assert.Len(t, all, 1+maxNumbers)
	assert.Equal(t, []string{"greedy"}, greedy)

	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.0.0.%d/24", i))
	}
	note(0, "n0", string(strictjson.Encode([]map[string]any{{"name": "eth0", "addresses": many[:50]}, {"name": "eth1", "addresses": many[50:]}})))
	all, _ = table.others()
	require.Error(t, all[0].err)
	assert.Empty(t, all[0].NICs)

	lease := leaseOf(nodeRef{"n0", "u"}, "multibond-system", 0, strings.Repeat("x", maxNICs))
	budget := &cacheBudget{left: maxNICs + 10, kept: map[types.UID]int{}}
	lease.UID = "first"
	assert.NotEmpty(t, trimLease(budget)(lease).Annotations)
	lease.UID = "second"
	assert.Empty(t, trimLease(budget)(lease).Annotations)
	budget.release("first")
	assert.NotEmpty(t, trimLease(budget)(lease).Annotations)
	lease.Annotations[nicsAnnotation] += "x"
	assert.Empty(t, trimLease(budget)(lease).Annotations)
}

// TestHostDescribed: a host with very many addresses tells as many as others take.
func TestHostDescribed(t *testing.T) {
	h := &hosts{log: slog.New(slog.DiscardHandler)}
	h.nics = func() (all []bond.NIC, err error) {
		for i := range 200 {
			n := bond.NIC{Link: bond.Link{Name: fmt.Sprintf("eth%03d", i)}}
			for j := range 2 {
				n.IPs = append(n.IPs, netip.MustParsePrefix(fmt.Sprintf("2001:db8:1111:2222:3333:4444:%x:%x/64", i, j)))
			}
			all = append(all, n)
		}
		return all, nil
	}
	text, err := h.described()
	require.NoError(t, err)
	assert.LessOrEqual(t, len(text), maxNICs)
	nics, err := nicsOf(leaseOf(nodeRef{}, "", 0, text))
	require.NoError(t, err)
	assert.Equal(t, "eth000", nics[0].Name)
	assert.Greater(t, len(nics), 20)
}

// TestHostTellsLearntAddresses: a router or DHCPv6 may have given a NIC its only global address.
func TestHostTellsLearntAddresses(t *testing.T) {
	h := &hosts{log: slog.New(slog.DiscardHandler)}
	prefix := netip.MustParsePrefix
	h.nics = func() ([]bond.NIC, error) {
		return []bond.NIC{
			{Link: bond.Link{Name: "eth1"}, IPs: []netip.Prefix{prefix("10.0.1.1/24"), prefix("169.254.0.1/16")}},
			{Link: bond.Link{Name: "eth2"}, Learnt: []netip.Prefix{prefix("2001:db8::5054:ff:fe00:1/64")}},
		}, nil
	}
	text, err := h.described()
	require.NoError(t, err)
	assert.Equal(t, `[{"name":"eth1","addresses":["10.0.1.1/24"]},{"name":"eth2","addresses":["2001:db8::5054:ff:fe00:1/64"]}]`, text)
}

// TestHostNumberRefused: what keeps a host from having a number is told, and tried again.
func TestHostNumberRefused(t *testing.T) {
	r := hostRig(t, nil, "n1", "u1")
	r.api.Refusing("create leases", 403)
	r.start()
	_, err := r.client().Lookup(t.Context(), railsLookupOf("n1"))
	refused(t, err, cnitypes.ErrTryAgainLater, "network demo/rails: the number of this host: making Lease multibond-system/multibond-host-0: ")
	r.api.Refusing("create leases", 0)
	assert.Equal(t, 0, r.number())

	r = hostRig(t, nil, "n1", "")
	r.start()
	_, err = r.client().Lookup(t.Context(), railsLookupOf("n1"))
	refused(t, err, cnitypes.ErrTryAgainLater, "the agent's token does not name its node")
	assert.Zero(t, r.api.Requests()["create leases"])
}
