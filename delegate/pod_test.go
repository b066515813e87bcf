package delegate

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// cluster is the default network's file, in the directory that a cluster's
// configuration names.
const defaultFile = `{"cniVersion": "1.0.0", "name": "cbr0", "plugins": [{"type": "bridge"}, {"type": "portmap", "capabilities": {"portMappings": true}}]}`

const podArgs = "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=p;K8S_POD_UID=1234"

// fakeAgent answers each connection with what answer writes, after it has
// read a request.
func fakeAgent(t *testing.T, answer func(agentapi.Request, net.Conn)) agentapi.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var r agentapi.Request
				if agentapi.Read(conn, &r) == nil {
					answer(r, conn)
				}
			}()
		}
	}()
	return agentapi.Client{Socket: socket, Timeout: time.Minute}
}

// node is a machine with an agent, and a directory of configurations.
type node struct {
	*machine
	config netconf.Cluster
	mutex  sync.Mutex
	reply  agentapi.Reply
	blind  bool         // what the agent says of itself
	refuse *types.Error // to publish; nil: it does
	asked  []agentapi.Request
}

func newNode(t *testing.T, attachments ...agentapi.Attachment) *node {
	t.Helper()
	n := &node{machine: newMachine(t), reply: agentapi.Reply{Version: agentapi.Version, Lookup: &agentapi.LookupReply{
		Pod: agentapi.Pod{Namespace: "demo", Name: "p", UID: "1234"}, Attachments: attachments}}}
	agent := fakeAgent(t, func(r agentapi.Request, conn net.Conn) {
		n.mutex.Lock()
		defer n.mutex.Unlock()
		n.asked = append(n.asked, r)
		reply := agentapi.Reply{Version: agentapi.Version, Publish: &agentapi.PublishReply{}, Error: n.refuse}
		if r.Publish == nil {
			reply = n.reply
		}
		reply.Blind = n.blind
		agentapi.Write(conn, reply)
	})
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "10-cbr0.conflist"), defaultFile, 0o600)
	writeFile(t, filepath.Join(dir, "00-multibond.conflist"), `{"name": "multibond", "plugins": [{"type": "multibond"}]}`, 0o600)
	config, err := netconf.ParseCluster([]byte(fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "multibond", "type": "multibond", "agent": %q, "defaultNetwork": {"confDir": %q},
		"runtimeConfig": {"portMappings": [{"hostPort": 80}], "bandwidth": {}}}`, agent.Socket, dir)))
	require.NoError(t, err)
	n.config = config
	return n
}

func (n *node) request() plan.Request {
	return plan.Request{ContainerID: "c1", IfName: "eth0", Netns: pod1, Args: podArgs}
}

// infoFile returns the only device-info file that an agent may name for an interface.
func (n *node) infoFile(ifName string) string {
	return filepath.Join(n.DeviceInfo, "demo-vlan-c1_"+ifName)
}

// published returns the reports that the agent has got.
func (n *node) published() (out []agentapi.Publish) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for _, r := range n.asked {
		if r.Publish != nil {
			out = append(out, *r.Publish)
		}
	}
	return out
}

// bondOf is an attachment to a bond of two VFs.
func bondOf(ifName string, devices ...string) agentapi.Attachment {
	return agentapi.Attachment{Name: "demo/" + ifName, IfName: ifName, Bond: true, Devices: devices, Config: strictjson.Encode(values{
		"cniVersion": "1.0.0", "name": "net-" + ifName, "type": "multibond", "delegate": values{"type": "sriov"},
		"links": []values{{"deviceID": devices[0]}, {"deviceID": devices[1]}}, "ipam": values{"type": "host-local"},
	})}
}

// vlan is an attachment by one plugin over a VF.
func vlan(ifName, device string) agentapi.Attachment {
	return agentapi.Attachment{Name: "demo/vlan", IfName: ifName, Devices: []string{device},
		Config: strictjson.Encode(values{"cniVersion": "0.3.1", "name": "vlan", "type": "sriov", "vlan": 7, "deviceID": device})}
}

// TestPublishRefused: a pod whose networks nobody will see does not start, and nothing of it
// is left.
func TestPublishRefused(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	n.refuse = types.NewError(types.ErrTryAgainLater, "the pod is gone", "")
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	wantError(t, err, types.ErrTryAgainLater, "publishing the networks of pod demo/p: the pod is gone")
	n.wantState(before)
}

// TestDeviceStaysOnHost: a plugin may leave the VF on the host, and make the pod's interface
// of it. The VF is held, and DEL has nothing to restore.
func TestDeviceStaysOnHost(t *testing.T) {
	over := vlan("net1", vfA)
	over.Config = strictjson.Encode(values{"cniVersion": "1.0.0", "name": "lan", "type": "macvlan", "master": "enp1s0v0", "deviceID": vfA})
	n := newNode(t, over)
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	n.link(pod1, "net1")
	require.NoError(t, n.CheckPod(t.Context(), n.request().Key()))
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	n.wantState(before)
}

// TestArgsOfTheAnnotation checks that the plugins of a network get what its annotation adds to
// CNI_ARGS, at ADD and at DEL, and those of the pod's other networks do not.
func TestArgsOfTheAnnotation(t *testing.T) {
	lan := vlan("net1", vfA)
	lan.Args = "MAC=02:00:00:00:00:01;IP=10.0.0.1/24"
	n := newNode(t, lan)
	args := map[string]string{}
	n.plugins.seen = func(c invoke.Call) { args[c.Command+" "+c.IfName] = c.Args }
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	err = n.DelPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	for _, verb := range []string{"ADD", "DEL"} {
		assert.Equal(t, podArgs, args[verb+" eth0"])
		assert.Equal(t, podArgs+";"+lan.Args, args[verb+" net1"])
	}
}

// TestAddPodBegun: the Records of all networks exist before the first plugin is executed.
// They are removed if it fails, or by DEL if ADD was killed.
func TestAddPodBegun(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB), vlan("net2", vfA2))
	before := n.state()
	n.plugins.refuse["bridge ADD eth0"] = "no"
	var there []plan.Key
	n.plugins.seen = func(invoke.Call) {
		if there == nil {
			there, _ = n.Store.List()
		}
	}
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.Error(t, err)
	want := []plan.Key{{ContainerID: "c1", IfName: "bond0"}, {ContainerID: "c1", IfName: "eth0"}, {ContainerID: "c1", IfName: "net2"}}
	assert.Equal(t, want, there, "Records at the first plugin")
	n.wantState(before)
	n.plugins.seen = func(invoke.Call) { panic(killed{}) }
	require.True(t, untilKilled(func() { n.AddPod(t.Context(), n.config, n.request()) }), "not killed")
	n.plugins.seen = func(invoke.Call) {}
	got, err := n.Store.List()
	assert.Empty(t, cmp.Diff(want, got))
	assert.NoError(t, err)
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	n.wantState(before)
}

func TestAddPod(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB), vlan("net2", vfA2))
	before := n.state()
	result, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	assert.Equal(t, "eth0 10.56.217.2/24", result.Interfaces[0].Name+" "+result.IPs[0].Address.String())
	var calls []string
	for _, c := range n.plugins.calls {
		calls = append(calls, c.Type+" "+c.Command+" "+c.IfName)
	}
	assert.Equal(t, []string{"bridge ADD eth0", "portmap ADD eth0", "sriov ADD bond0-1", "sriov ADD bond0-2", "host-local ADD bond0", "sriov ADD net2"}, calls, "calls")
	sameJSON(t, `{"cniVersion": "1.0.0", "name": "cbr0", "type": "bridge"}`, n.plugins.calls[0].Config)
	assert.Contains(t, string(n.plugins.calls[1].Config), `"runtimeConfig":{"portMappings":[{"hostPort":80}]}`)
	reports := n.published()
	require.Len(t, reports, 1)
	require.Equal(t, "ADD", reports[0].Verb)
	require.Nil(t, reports[0].Failure)
	require.Equal(t, agentapi.Pod{Namespace: "demo", Name: "p", UID: "1234"}, reports[0].Pod)
	var names []string
	for _, a := range reports[0].Attachments {
		names = append(names, fmt.Sprintf("%s %s %t %s", a.Name, a.IfName, a.Bond, a.Result.Interfaces[0].Name))
	}
	assert.Equal(t, []string{"cbr0 eth0 false eth0", "demo/bond0 bond0 true bond0", "demo/vlan net2 false net2"}, names, "published")
	assert.Equal(t, vfA2, n.link(pod1, "net2").Device)
	assert.NoError(t, n.CheckPod(t.Context(), n.request().Key()), "CHECK")
	again := len(n.plugins.calls)
	_, err = n.AddPod(t.Context(), n.config, n.request())
	assert.NoError(t, err)
	assert.Len(t, n.plugins.calls, again)
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	n.wantState(before)
	n.heard(5) // of two ADDs two each
	last := n.published()
	assert.Equal(t, "DEL", last[len(last)-1].Verb)
}

// TestAddPodFails makes each edge of the ADD of a pod with three networks fail once.
// Nothing is left, and the agent hears why.
func TestAddPodFails(t *testing.T) {
	forPodEdges(t, func(t *testing.T, edge int) *edges {
		n := newNode(t, bondOf("bond0", vfA, vfB), vlan("net2", vfA2))
		before := n.state()
		n.edges.reset(edge, fail)
		_, err := n.AddPod(t.Context(), n.config, n.request())
		done := *n.edges
		if err == nil {
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		} else {
			require.NotZero(t, edge, err)
			last := n.published()
			require.Len(t, last, 1)
			require.NotNil(t, last[0].Failure)
			assert.Equal(t, err.Error(), last[0].Failure.Msg)
		}
		n.wantState(before)
		return &done
	})
}

// TestKilledInPod kills an ADD, or a DEL, at each edge. One DEL, or an ADD and its DEL,
// restores everything.
func TestKilledInPod(t *testing.T) {
	add := func(t *testing.T, n *node) {
		_, err := n.AddPod(t.Context(), n.config, n.request())
		require.NoError(t, err)
	}
	del := func(t *testing.T, n *node) {
		require.NoError(t, n.DelPod(t.Context(), netconf.Cluster{}, n.request()))
	}
	for name, verbs := range map[string][]func(*testing.T, *node){
		"ADD, DEL": {nil, add, del}, "ADD, ADD, DEL": {nil, add, add, del}, "DEL, DEL": {add, del, del},
	} {
		t.Run(name, func(t *testing.T) {
			forPodEdges(t, func(t *testing.T, edge int) *edges {
				n := newNode(t, bondOf("bond0", vfA, vfB), vlan("net2", vfA2))
				before := n.state()
				if verbs[0] != nil {
					verbs[0](t, n)
				}
				n.edges.reset(edge, kill)
				untilKilled(func() { verbs[1](t, n) })
				done := *n.edges
				for _, verb := range verbs[2:] {
					verb(t, n)
				}
				n.wantState(before)
				return &done
			})
		})
	}
}

func forPodEdges(t *testing.T, try func(t *testing.T, edge int) *edges) {
	passed := try(t, 0).passed
	require.GreaterOrEqual(t, len(passed), 20)
	for i, edge := range passed {
		t.Run(fmt.Sprintf("%d %s", i+1, edge), func(t *testing.T) { t.Parallel(); try(t, i+1) })
	}
}

// TestPodDelContinues: the first network's plugin refuses a DEL. The other networks are
// restored, and a second DEL finds the first one.
func TestPodDelContinues(t *testing.T) {
	for _, refused := range []string{"bridge DEL eth0", "host-local DEL bond0"} {
		t.Run(refused, func(t *testing.T) {
			n := newNode(t, bondOf("bond0", vfA, vfB))
			before := n.state()
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			n.plugins.refuse[refused] = "not now"
			err = n.DelPod(t.Context(), n.config, n.request())
			assert.EqualValues(t, cnierror.Restore, cnierror.Code(err))
			assert.ErrorContains(t, err, "not now")
			last := n.published()
			require.NotNil(t, last[len(last)-1].Failure)
			assert.Equal(t, vfA, n.link("", "enp1s0v0").Device)
			delete(n.plugins.refuse, refused)
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			n.wantState(before)
		})
	}
}

// TestPodUndoContinues: the last network's ADD fails, and the address of the bond before it
// cannot be released. The bond's Record is set aside, and DEL finds it by its sandbox.
func TestPodUndoContinues(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB), vlan("net2", vfA2))
	before := n.state()
	n.plugins.refuse["sriov ADD net2"], n.plugins.refuse["host-local DEL bond0"] = "no", "not now"
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.ErrorContains(t, err, "sriov ADD: no; not everything could be undone (the next DEL continues): network demo/bond0: ipam: host-local DEL: not now")
	require.Len(t, n.aside(), 1)
	clear(n.plugins.refuse)
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	n.wantState(before)
}

func TestDefaultRoute(t *testing.T) {
	gateway := netip.MustParseAddr("10.56.217.254")
	for _, test := range []struct {
		name  string
		route []netip.Addr
		want  string
	}{
		{"a gateway of the pod's", []netip.Addr{gateway}, "0.0.0.0/0 via 10.56.217.254"},
		{"the network's own", []netip.Addr{}, "0.0.0.0/0 via 10.56.217.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := bondOf("bond0", vfA, vfB)
			to.DefaultRoute = test.route
			n := newNode(t, to)
			before := n.state()
			result, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			assert.Empty(t, result.Routes)
			var got []string
			for _, name := range []string{"eth0", "bond0"} {
				a, err := n.namespace(pod1).Addresses(n.link(pod1, name).Index)
				require.NoError(t, err)
				for _, r := range a.Routes {
					got = append(got, name+" "+r.String())
				}
			}
			assert.Equal(t, []string{"bond0 " + test.want}, got, "routes")
			assert.NoError(t, n.CheckPod(t.Context(), n.request().Key()), "CHECK")
			require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
			n.wantState(before)
		})
	}
}

// TestDefaultRouteWarns: the interface that had the pod's default route is named with what
// it still reaches. If it has other routes over a gateway, its administrator has planned
// that.
func TestDefaultRouteWarns(t *testing.T) {
	nextHop := bond.Route{Dst: netip.MustParsePrefix("169.254.1.1/32")}
	services := bond.Route{Dst: netip.MustParsePrefix("10.96.0.0/12"), Gateway: netip.MustParseAddr("10.56.217.1")}
	six := bond.Route{Dst: netip.MustParsePrefix("fd00:96::/64"), Gateway: netip.MustParseAddr("fd00::1")}
	const removed = "network demo/bond0: default-route: the pod's default route 0.0.0.0/0 via 10.56.217.1 over eth0 was removed for 0.0.0.0/0 via 10.56.217.254 over bond0; eth0 reaches only %s now, " +
		"and services of the cluster and pods of other nodes may be unreachable (add routes to them in the configuration of that network, or leave default-route out)"
	for _, test := range []struct {
		name   string
		routes []bond.Route // that eth0 has as well
		want   []string
	}{
		{"a bridge", nil, []string{fmt.Sprintf(removed, "10.56.217.0/24")}},
		{"a next hop of the link", []bond.Route{nextHop}, []string{fmt.Sprintf(removed, "10.56.217.0/24, 169.254.1.1/32")}},
		{"routes of the other family", []bond.Route{six}, []string{fmt.Sprintf(removed, "10.56.217.0/24")}},
		{"routes to the cluster", []bond.Route{services}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := bondOf("bond0", vfA, vfB)
			to.DefaultRoute = []netip.Addr{netip.MustParseAddr("10.56.217.254")}
			n := newNode(t, to)
			n.Fail = func(verb string) error {
				if verb == "CreateBond bond0" {
					require.NoError(t, n.namespace(pod1).Configure(n.link(pod1, "eth0").Index, bond.Addresses{IPs: []netip.Prefix{netip.MustParsePrefix("fd00::2/64")}, Routes: test.routes}))
				}
				return nil
			}
			_, err := n.AddPod(t.Context(), n.config, n.request())
			require.NoError(t, err)
			assert.Equal(t, test.want, n.published()[0].Warnings, "what events report")
			assert.Equal(t, test.want, n.readRecord(plan.Key{ContainerID: "c1", IfName: "bond0"}).Warnings, "the Record's")
		})
	}
}

// TestAddPodErrors: each error is found before anything is touched.
func TestAddPodErrors(t *testing.T) {
	noRoute := vlan("net2", vfA2)
	noRoute.DefaultRoute = []netip.Addr{}
	for _, test := range []struct {
		name        string
		attachments []agentapi.Attachment
		change      func(*node)
		code        uint
		text        string
	}{
		{"two of the same name", []agentapi.Attachment{bondOf("bond0", vfA, vfB), vlan("bond0-1", vfA2)}, nil, cnierror.Node,
			"network demo/bond0 and network demo/vlan both use bond0-1"},
		{"one device twice", []agentapi.Attachment{bondOf("bond0", vfA, vfB), vlan("net2", vfA)}, nil, cnierror.Node,
			"link bond0-1 of network demo/bond0 and link net2 of network demo/vlan both use 0000:3b:02.0"},
		{"no default network", nil, func(n *node) { n.config.ConfDir = "/nonexistent" }, types.ErrTryAgainLater,
			"the default network in /nonexistent: the configuration directory: no such file or directory (the cluster's network plugin writes it when it is installed)"},
		{"not ready", nil, func(n *node) { n.config.ReadyFile = "/nonexistent" }, types.ErrTryAgainLater,
			"readinessindicatorfile: stat /nonexistent: no such file or directory (the cluster's network plugin creates it when it is ready)"},
		{"the agent refuses", nil, func(n *node) { n.reply.Lookup, n.reply.Error = nil, types.NewError(7, "no", "") }, 7, "no"},
		{"no gateway for the default route", []agentapi.Attachment{noRoute}, nil, cnierror.Node, "network demo/vlan: default-route: no gateway is set, and the network's result has none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, test.attachments...)
			if test.change != nil {
				test.change(n)
			}
			before := n.state()
			_, err := n.AddPod(t.Context(), n.config, n.request())
			wantError(t, err, test.code, test.text)
			n.wantState(before)
			last := n.published()
			require.Len(t, last, 1)
			assert.Equal(t, code.Text(err), last[0].Failure.Msg)
		})
	}
}

func TestAddPodWithoutAgent(t *testing.T) {
	n := newNode(t)
	n.config.Agent = filepath.Join(t.TempDir(), "agent.sock")
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	assert.EqualValues(t, types.ErrTryAgainLater, cnierror.Code(err))
	assert.ErrorIs(t, err, agentapi.ErrNoAgent)
	n.wantState(before)
	assert.NoError(t, n.StatusPod(n.config), "the node would become NotReady")
	r := n.request()
	r.Args = ""
	_, err = n.AddPod(t.Context(), n.config, r)
	assert.NoError(t, err, "without a pod there is nothing to ask")
	assert.NoError(t, n.DelPod(t.Context(), n.config, r))
	n.wantState(before)
}

func TestStatusPod(t *testing.T) {
	n := newNode(t)
	require.NoError(t, n.StatusPod(n.config))
	n.plugins.missing["bridge"] = true
	err := n.StatusPod(n.config)
	assert.EqualValues(t, types.ErrPluginNotAvailable, cnierror.Code(err))
	assert.EqualError(t, err, "CNI plugin bridge is not in [/opt/cni/bin]: file does not exist")
	clear(n.plugins.missing)
	n.config.ReadyFile = "/nonexistent"
	wantError(t, n.StatusPod(n.config), types.ErrPluginNotAvailable,
		"readinessindicatorfile: stat /nonexistent: no such file or directory (the cluster's network plugin creates it when it is ready)")
}

// TestCheckChain: CHECK looks for the interface that was attached. Another one of its name
// is not it.
func TestCheckChain(t *testing.T) {
	n := newNode(t)
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	require.NoError(t, n.CheckPod(t.Context(), n.request().Key()))
	n.mustDelete(pod1, "eth0")
	wantError(t, n.CheckPod(t.Context(), n.request().Key()), cnierror.Check, "network cbr0: eth0 is no longer in the pod")
	n.AddVirtual(pod1, "macvlan", "eth0")
	wantError(t, n.CheckPod(t.Context(), n.request().Key()), cnierror.Check, "network cbr0: eth0 is not the interface that was attached")
}

// TestDelUnknown: DEL of a container that is older than Multibond on its node.
func TestDelUnknown(t *testing.T) {
	n := newNode(t)
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.Equal(t, 1, n.plugins.count("bridge", "DEL"))
}

// TestDelUnknownAgain: what the plugins of a killed DEL have started ends with the next
// one, although there is no Record of it.
func TestDelUnknownAgain(t *testing.T) {
	n := newNode(t)
	n.plugins.seen = func(invoke.Call) { panic(killed{}) }
	require.True(t, untilKilled(func() { n.DelPod(t.Context(), n.config, n.request()) }))
	n.plugins.seen = func(invoke.Call) {}
	n.plugins.orphans["c1"] = func() {}
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.Empty(t, n.plugins.orphans)
}

func TestGCPod(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	attached := n.state()
	require.NoError(t, n.GC(t.Context(), "multibond", []netconf.GCAttachment{{ContainerID: "c1", IfName: "eth0"}}))
	n.wantState(attached)
	require.NoError(t, n.GC(t.Context(), "multibond", []netconf.GCAttachment{}))
	n.wantState(before)
}

func TestAddSecondary(t *testing.T) {
	n := newNode(t, bondOf("net1", vfA, vfB))
	r := n.request()
	var err error
	r.IfName = "net1"
	r.Network, err = netconf.ParseNetwork([]byte(fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "net-bond", "type": "multibond", "agent": %q,
		"links": [{"resourceName": "a/b"}, {"resourceName": "a/c"}]}`, n.config.Agent)), "net1")
	require.NoError(t, err)
	require.True(t, r.Network.NeedsAgent())
	n.change("", "enp2s0", bond.Change{Up: new(bool)})
	before := n.state()
	_, err = n.AddSecondary(t.Context(), r)
	require.NoError(t, err)
	assert.True(t, n.asked[0].Lookup.Secondary, "the agent does not know that somebody else publishes")
	reports := n.published()
	require.Len(t, reports, 1)
	require.Nil(t, reports[0].Attachments)
	assert.Equal(t, []string{"network demo/net1: links[1].deviceID: the PF enp2s0 of VF 0000:5e:02.0 is down (ip link set enp2s0 up) [MB545]"}, reports[0].Warnings, "warnings")
	require.NoError(t, n.DelPod(t.Context(), netconf.Cluster{}, r))
	n.wantState(before)
	r.Args = ""
	_, err = n.AddSecondary(t.Context(), r)
	wantError(t, err, types.ErrInvalidNetworkConfig, `network net-bond: links[0].resourceName: needs a pod and an agent that knows its devices, but there is none here (without Kubernetes, set deviceID to the VF's PCI address); links[1].resourceName: needs a pod and an agent that knows its devices, but there is none here (without Kubernetes, set deviceID to the VF's PCI address)`)
}

// TestDeviceInfoFile: what a plugin writes about its device is published, and removed with
// the network.
func TestDeviceInfoFile(t *testing.T) {
	one := vlan("net2", vfA2)
	one.DeviceInfo = json.RawMessage(`{"type":"pci"}`)
	n := newNode(t, one)
	file := n.infoFile("net2")
	n.reply.Lookup.Attachments[0].DeviceInfoFile = file
	n.plugins.write = map[string]string{"sriov ADD net2": file}
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	assert.Equal(t, `{"type":"written"}`, string(n.published()[0].Attachments[1].DeviceInfo))
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	_, err = os.Stat(file)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestPlainOtherBoot(t *testing.T) {
	n := newNode(t, vlan("net2", vfA2))
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	n.BootID = "boot2"
	n.plugins.calls = nil
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	var calls []string
	for _, c := range n.plugins.calls {
		calls = append(calls, c.Type+" "+c.Command+" "+c.IfName+" "+c.Netns)
	}
	slices.Sort(calls)
	assert.Equal(t, []string{"bridge DEL eth0 " + pod1, "portmap DEL eth0 " + pod1, "sriov DEL net2 "}, calls)
}

// TestWarnings: warnings are published with the pod's networks, and are in the Record.
func TestWarnings(t *testing.T) {
	bonded := bondOf("bond0", vfA, vfB)
	bonded.Config = strictjson.Encode(values{"cniVersion": "1.0.0", "name": "net1", "type": "multibond", "ipMasq": true,
		"links": []values{{"deviceID": vfA}, {"deviceID": vfB}}})
	n := newNode(t, bonded)
	n.reply.Lookup.Warnings = []string{"pod demo/p: no device plugin"}
	n.change("", "enp2s0", bond.Change{Up: new(bool)})
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	own := []string{
		"network demo/bond0: these keys are ignored: ipMasq [MB105]",
		"network demo/bond0: links[1].deviceID: the PF enp2s0 of VF 0000:5e:02.0 is down (ip link set enp2s0 up) [MB545]",
	}
	assert.Equal(t, own, n.readRecord(plan.Key{ContainerID: "c1", IfName: "bond0"}).Warnings, "Record")
	published := n.published()
	assert.Equal(t, append([]string{"pod demo/p: no device plugin"}, own...), published[len(published)-1].Warnings, "published")
}

// TestPodRecordDamaged: two Records of a pod are begun together, and the second is cut
// short before its attachment begins. DEL of the pod sets it aside, and GC frees its
// devices. Found by the campaign of faults: both stayed.
func TestPodRecordDamaged(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	at := slices.Index(n.edges.passed, "bridge ADD eth0") + 1
	err = n.DelPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	require.NotZero(t, at)
	n.edges.reset(at, kill)
	require.True(t, untilKilled(func() { n.AddPod(t.Context(), n.config, n.request()) }), "not killed")
	n.edges.reset(0, nil)
	require.NoError(t, os.Truncate(n.Store.File(c1), 100))
	assert.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.NoError(t, n.GC(t.Context(), "multibond", []netconf.GCAttachment{}))
	assert.NoError(t, os.Remove(n.Store.File(c1)+".damaged"))
	n.wantState(before)
}
