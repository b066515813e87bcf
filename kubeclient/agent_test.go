package kubeclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

func TestMain(m *testing.M) {
	UseLog(slog.New(slog.DiscardHandler)) // client-go complains about API servers that stop
	if host := os.Getenv(processHost); host != "" {
		os.Exit(agentProcess(host, os.Getenv(processDir)))
	}
	os.Exit(m.Run())
}

// rig is an agent with the API server of a cluster and the kubelet of its node.
type rig struct {
	t       *testing.T
	api     *kubefake.API
	kubelet *kubefake.Kubelet
	options Options
	agent   *Agent
	front   string // address in front of the API server, if not empty
	token   string
	prepare func(*Agent) // before it runs
	stop    func()       // stops the agent and waits until it has ended
}

// nodeFiles returns a node with two PFs of two VFs each. The device plugin describes
// one of the VFs.
func nodeFiles() Machine {
	sys := fstest.MapFS{}
	for pf, vfs := range map[string][]string{"0000:01:00.0": {"0000:01:10.0", "0000:01:10.2"}, "0000:02:00.0": {"0000:02:10.0", "0000:02:10.2"}} {
		for _, vf := range vfs {
			sys["bus/pci/devices/"+vf+"/physfn"] = &fstest.MapFile{Data: []byte("../" + pf), Mode: os.ModeSymlink}
		}
	}
	return Machine{
		Sys: sys,
		ConfDir: fstest.MapFS{
			"20-file.conf": {Data: []byte(`{"cniVersion":"1.0.0","name":"filed","type":"macvlan"}`)},
			"30-only.conf": {Data: []byte(`{"cniVersion":"1.0.0","name":"only","type":"macvlan"}`)},
		},
		DeviceInfo:    fstest.MapFS{"dp/intel.com-b-0000:02:10.0-device.json": {Data: []byte(`{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:02:10.0","vhost-net":"/dev/vhost-net"}}`)}},
		DeviceInfoDir: "/devinfo",
		NICs:          func() ([]bond.NIC, error) { return nil, nil },
	}
}

// newRig starts a cluster with the networks of the tests and the pod demo/p, which
// has a bond and two devices.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, api: kubefake.NewAPI(t)}
	var kubelet Kubelet
	r.kubelet, kubelet, _ = newKubelet(t)
	dir := kubefake.ShortDir(t)
	r.options = Options{
		Node: "n1", Socket: filepath.Join(dir, "run/agent.sock"), StateDir: filepath.Join(dir, "queue"), Peer: os.Getuid(),
		Kubelet: kubelet, Machine: nodeFiles(), Log: slog.New(slog.DiscardHandler),
	}
	for ref, config := range cluster {
		namespace, name, _ := strings.Cut(ref, "/")
		r.api.Put(nadResource, namespace, name, nadObject(config))
	}
	r.pod("demo", "p", "uid-p", "bond-net1@bond0")
	r.kubelet.Give("demo", "p", map[string][]string{"intel.com/a": {"0000:01:10.0"}, "intel.com/b": {"0000:02:10.0"}})
	return r
}

// nadObject returns a NAD. config may begin with the name of its resource.
func nadObject(config string) map[string]any {
	resource, rest, has := strings.Cut(config, " {")
	annotations := map[string]any{"other": "annotation"}
	if has && !strings.Contains(resource, "{") {
		config, annotations[ResourceAnnotation] = "{"+rest, resource
	}
	return map[string]any{"metadata": map[string]any{"annotations": annotations}, "spec": map[string]any{"config": config}}
}

func (r *rig) pod(namespace, name, uid, networks string) {
	r.podWith(namespace, name, uid, map[string]any{NetworksAnnotation: networks})
}

func (r *rig) podWith(namespace, name, uid string, annotations map[string]any) {
	r.api.Put(podResource, namespace, name, podObject(uid, annotations))
}

func podObject(uid string, annotations map[string]any) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"uid": uid, "annotations": annotations},
		"spec":     map[string]any{"nodeName": "n1", "containers": []any{map[string]any{"name": "main", "image": "x"}}},
		"status":   map[string]any{"phase": "Pending", "aNewerField": "stays"},
	}
}

// start starts an agent and waits until it is ready.
func (r *rig) start() {
	r.t.Helper()
	r.startUnready()
	eventually(r.t, func(c *assert.CollectT) { require.NoError(c, r.client().Ready(context.Background())) })
	r.api.Requests()
}

func (r *rig) startUnready() {
	r.t.Helper()
	config := r.api.Config()
	if r.front != "" {
		config.Host = r.front
	}
	config.BearerToken = r.token
	agent, err := newAgent(r.options, config)
	require.NoError(r.t, err)
	agent.publisher.firstWait, agent.publisher.lastWait, agent.publisher.longestWait = 5*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	if r.prepare != nil {
		r.prepare(agent)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	r.agent = agent
	r.stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(r.t, <-done)
	})
	r.t.Cleanup(r.stop)
}

func (r *rig) client() agentapi.Client {
	return agentapi.Client{Socket: r.options.Socket, Timeout: 2 * time.Minute}
}

func lookupOf(namespace, name, uid string) agentapi.Lookup {
	return agentapi.Lookup{ContainerID: "c1", Netns: "/n", IfName: "eth0", Pod: agentapi.Pod{Namespace: namespace, Name: name, UID: uid}}
}

// requests fails the test unless exactly these requests were sent, apart from watches.
func (r *rig) requests(want map[string]int) {
	r.t.Helper()
	got := r.api.Requests()
	maps.DeleteFunc(got, func(request string, _ int) bool {
		return strings.HasPrefix(request, "watch") || strings.HasPrefix(request, "list")
	})
	assert.Equal(r.t, want, got)
}

var pLookup = lookupOf("demo", "p", "uid-p")

// attachedReport returns what a plugin publishes about demo/p.
func attachedReport() agentapi.Publish {
	return agentapi.Publish{
		Verb: "ADD", Pod: pLookup.Pod, Steps: []agentapi.Step{{What: "attach bond0-1", Milliseconds: 12}, {What: "bond", Milliseconds: 3}},
		Attachments: []agentapi.Result{
			{Name: "cbr0", IfName: "eth0", Result: bridged()},
			{Name: "demo/bond-net1", IfName: "bond0", Bond: true, Result: bonded()},
		},
	}
}

func TestLookupOfACachedPodAsksNothing(t *testing.T) {
	r := newRig(t)
	r.start()
	got, err := r.client().Lookup(t.Context(), pLookup)
	require.NoError(t, err)
	r.requests(map[string]int{})
	assert.Equal(t, pLookup.Pod, got.Pod)
	require.Len(t, got.Attachments, 1)
	a := got.Attachments[0]
	assert.Equal(t, []string{"0000:01:10.0", "0000:02:10.0"}, a.Devices)
	assert.Equal(t, "demo/bond-net1", a.Name)
	assert.Equal(t, "bond0", a.IfName)
	assert.True(t, a.Bond)
	assert.False(t, a.Default)
	assert.Nil(t, a.DefaultRoute)
	n, err := netconf.ParseNetwork(a.Config, a.IfName)
	require.NoError(t, err)
	assert.Equal(t, "0000:02:10.0", n.Links[1].Device)
}

func TestLookupWithoutDevicesDoesNotAskTheKubelet(t *testing.T) {
	r := newRig(t)
	r.pod("demo", "q", "uid-q", `[{"name":"lan","default-route":[]}]`)
	r.pod("demo", "plain", "uid-plain", "")
	r.start()
	for name, count := range map[string]int{"q": 1, "plain": 0} {
		got, err := r.client().Lookup(t.Context(), lookupOf("demo", name, "uid-"+name))
		require.NoError(t, err, name)
		assert.NotNil(t, got.Attachments, name)
		require.Len(t, got.Attachments, count, name)
		if count > 0 {
			assert.NotNil(t, got.Attachments[0].DefaultRoute, "the default route that was asked for is lost")
		}
	}
	assert.Empty(t, r.kubelet.Questions())
}

func TestLookupDescribesDevices(t *testing.T) {
	r := newRig(t)
	r.api.Put(nadResource, "demo", "vfb", nadObject(`intel.com/b {"type":"sriov"}`))
	r.pod("demo", "p", "uid-p", "vf,vfb")
	r.start()
	got, err := r.client().Lookup(t.Context(), pLookup)
	require.NoError(t, err)
	require.Len(t, got.Attachments, 2)
	assert.JSONEq(t, `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.0","pf-pci-address":"0000:01:00.0"}}`, string(got.Attachments[0].DeviceInfo))
	assert.JSONEq(t, `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:02:10.0","vhost-net":"/dev/vhost-net"}}`, string(got.Attachments[1].DeviceInfo))
	assert.Equal(t, "/devinfo/cni/demo-vf-c1_net1", got.Attachments[0].DeviceInfoFile)
	assert.Contains(t, string(got.Attachments[0].Config), got.Attachments[0].DeviceInfoFile)
}

func TestLookupOfTheClustersNetworks(t *testing.T) {
	r := newRig(t)
	r.api.Put(nadResource, "kube-system", "main", nadObject(`{"type":"bridge"}`))
	r.api.Put(nadResource, "kube-system", "every", nadObject(`{"type":"ptp"}`))
	r.api.Put(nadResource, "kube-system", "filed", nadObject(``))
	r.pod("kube-system", "s", "uid-s", "")
	r.podWith("demo", "d", "uid-d", map[string]any{NetworksAnnotation: "lan", DefaultNetworkAnnotation: "every"})
	r.start()
	summary := func(l agentapi.Lookup, cluster agentapi.Cluster) string {
		l.Cluster = cluster
		got, err := r.client().Lookup(t.Context(), l)
		if err != nil {
			return err.Error()
		}
		var words []string
		for _, a := range got.Attachments {
			words = append(words, fmt.Sprint(a.Name, "@", a.IfName, " ", a.Default))
		}
		return strings.Join(words, ", ")
	}
	all := agentapi.Cluster{Isolated: true, Network: "main", Defaults: []string{"every", "filed"}}
	for _, c := range []struct {
		lookup  agentapi.Lookup
		cluster agentapi.Cluster
		want    string
	}{
		{pLookup, all, "kube-system/main@eth0 true, kube-system/every@net1 false, kube-system/filed@net2 false, demo/bond-net1@bond0 false"},
		{lookupOf("demo", "d", "uid-d"), all, "kube-system/every@eth0 true, kube-system/every@net1 false, kube-system/filed@net2 false, demo/lan@net3 false"},
		{lookupOf("demo", "d", "uid-d"), agentapi.Cluster{}, "kube-system/every@eth0 true, demo/lan@net1 false"},
		{lookupOf("kube-system", "s", "uid-s"), all, "kube-system/main@eth0 true"},
		{lookupOf("kube-system", "s", "uid-s"), agentapi.Cluster{System: []string{"x"}, Defaults: []string{"every"}}, "kube-system/every@net1 false"},
		{lookupOf("kube-system", "s", "uid-s"), agentapi.Cluster{Namespace: "demo", Network: "lan"}, "demo/lan@eth0 true"},
		{lookupOf("kube-system", "s", "uid-s"), agentapi.Cluster{Network: "only", System: []string{"x"}, Defaults: []string{"only"}}, "only@eth0 true, only@net1 false"},
		{pLookup, agentapi.Cluster{Network: "none"}, `clusterNetwork: network kube-system/none: network-attachment-definitions "none" not found` + "\n" + `no file in the configuration directory has the name none: file does not exist`},
	} {
		assertPrefix(t, c.want, summary(c.lookup, c.cluster))
	}
}

// TestDoubts checks that what Multus ignores is a warning, and an error if the cluster's
// configuration is strict.
func TestDoubts(t *testing.T) {
	r := newRig(t)
	r.pod("demo", "p", "uid-p", `[{"name":"lan","mac":"01:00:5e:00:00:01","bandwidth":{"ingressRate":1}}]`)
	r.start()
	got, err := r.client().Lookup(t.Context(), pLookup)
	require.NoError(t, err)
	assert.Equal(t, "MAC=01:00:5e:00:00:01", got.Attachments[0].Args)
	require.Len(t, got.Warnings, 2)
	assertPrefix(t, "networks[0].mac: is 01:00:5e:00:00:01, which no interface can have", got.Warnings[0])
	assertPrefix(t, "networks[0].bandwidth: is requested, but no plugin of network demo/lan supports it", got.Warnings[1])
	l := pLookup
	l.Cluster.Strict = true
	_, err = r.client().Lookup(t.Context(), l)
	refused(t, err, cnitypes.ErrInvalidNetworkConfig, "networks[0].mac: is 01:00:5e:00:00:01", "networks[0].bandwidth: is requested")
}

func TestLookupOfAnotherMetaPlugin(t *testing.T) {
	r := newRig(t)
	r.pod("demo", "q", "uid-q", "large,bond-net1@bond0")
	r.api.Put(nadResource, "demo", "large", nadObject(`intel.com/a {"type":"macvlan","x":"`+strings.Repeat("x", maxConfig)+`"}`))
	r.kubelet.Give("demo", "q", map[string][]string{"intel.com/a": {"0000:01:10.0", "0000:01:10.2"}, "intel.com/b": {"0000:02:10.0"}})
	r.start()
	l := lookupOf("demo", "q", "uid-q")
	l.Secondary, l.IfName = true, "bond0"
	got, err := r.client().Lookup(t.Context(), l)
	require.NoError(t, err)
	require.Len(t, got.Attachments, 1)
	assert.Equal(t, "bond0", got.Attachments[0].IfName)
	assert.False(t, got.Attachments[0].Default)
	assert.Equal(t, []string{"0000:01:10.2", "0000:02:10.0"}, got.Attachments[0].Devices, "without the one that the other meta plugin gives to another network")
	l.IfName = "bond7"
	_, err = r.client().Lookup(t.Context(), l)
	refused(t, err, cnitypes.ErrInvalidNetworkConfig, "pod demo/q: its annotations have no network for interface bond7")
}

func TestLookupErrors(t *testing.T) {
	r := newRig(t)
	for name, annotation := range map[string]string{
		"null": "[null]", "gone": "lan,nothing", "foreign": "other/vf", "json": "[{", "twice": "lan@a,vf@a", "few": "pair",
	} {
		r.pod("demo", name, "uid-"+name, annotation)
		r.kubelet.Give("demo", name, map[string][]string{"intel.com/a": {"0000:01:10.2"}})
	}
	r.start()
	isolated := func(name string) error {
		l := lookupOf("demo", name, "uid-"+name)
		l.Cluster.Isolated = true
		_, err := r.client().Lookup(t.Context(), l)
		return err
	}
	refused(t, isolated("null"), cnitypes.ErrInvalidNetworkConfig, "pod demo/null", "networks[0]")
	refused(t, isolated("gone"), cnitypes.ErrInvalidNetworkConfig, "networks[1]: network demo/nothing", "not found")
	refused(t, isolated("foreign"), cnitypes.ErrInvalidNetworkConfig, "networks[0]: network other/vf", "isolated")
	refused(t, isolated("json"), cnitypes.ErrInvalidNetworkConfig, "networks: is not valid JSON")
	refused(t, isolated("twice"), cnitypes.ErrInvalidNetworkConfig, "networks[1].interface: is a")
	refused(t, isolated("few"), cnierror.Node, "network demo/pair needs 2 x intel.com/a, pod demo/few has 1 (0000:01:10.2)")
}

func TestUnknownPods(t *testing.T) {
	r := newRig(t)
	r.api.Put(podResource, "demo", "elsewhere", kubefake.Merge(podObject("uid-e", nil), map[string]any{"spec": map[string]any{"nodeName": "n2"}}))
	r.start()
	look := func(name, uid string) error {
		_, err := r.client().Lookup(t.Context(), lookupOf("demo", name, uid))
		return err
	}
	refused(t, look("none", "u"), cnitypes.ErrInvalidEnvironmentVariables, "the API server has no pod demo/none")
	r.requests(map[string]int{"get pods": 1})
	refused(t, look("p", "uid-old"), cnitypes.ErrInvalidEnvironmentVariables, "pod demo/p has UID uid-p, but the container runtime asks for uid-old")
	refused(t, look("elsewhere", "uid-e"), cnitypes.ErrInvalidEnvironmentVariables, `runs on node "n2"`)

	// After the pod is created again, the old one is refused and the new one found.
	r.api.Remove(podResource, "demo", "p")
	r.pod("demo", "p", "uid-new", "bond-net1")
	eventually(t, func(c *assert.CollectT) {
		require.True(c, r.agent.source.absent(pLookup.Pod), "the cache has the old pod still")
	})
	refused(t, look("p", "uid-p"), cnitypes.ErrInvalidEnvironmentVariables, "uid-new")
	assert.NoError(t, look("p", "uid-new"))
}

// TestRuntimeWithoutUID checks that a runtime that names no UID gets the pod of that name, as
// the API server has it, unless that is terminating.
func TestRuntimeWithoutUID(t *testing.T) {
	r := newRig(t)
	r.start()
	got, err := r.client().Lookup(t.Context(), lookupOf("demo", "p", ""))
	require.NoError(t, err)
	assert.Equal(t, "uid-p", got.Pod.UID)
	r.requests(map[string]int{"get pods": 1})
	r.api.Put(podResource, "demo", "p", kubefake.Merge(podObject("uid-p", nil), map[string]any{"metadata": map[string]any{"deletionTimestamp": "2026-01-01T00:00:00Z"}}))
	_, err = r.client().Lookup(t.Context(), lookupOf("demo", "p", ""))
	refused(t, err, cnitypes.ErrInvalidEnvironmentVariables, "pod demo/p is terminating")
	r.api.Put(podResource, "demo", "p", kubefake.Merge(podObject("uid-p", nil), map[string]any{"spec": map[string]any{"nodeName": "n2"}}))
	_, err = r.client().Lookup(t.Context(), lookupOf("demo", "p", ""))
	refused(t, err, cnitypes.ErrInvalidEnvironmentVariables, `runs on node "n2"`)
}

func TestStaticPodIsFoundByItsMirror(t *testing.T) {
	r := newRig(t)
	r.podWith("demo", "static-n1", "uid-mirror", map[string]any{NetworksAnnotation: "lan", "kubernetes.io/config.mirror": "abc123"})
	r.start()
	got, err := r.client().Lookup(t.Context(), lookupOf("demo", "static-n1", "abc123"))
	require.NoError(t, err)
	assert.Equal(t, "uid-mirror", got.Pod.UID)
}

// TestMissesAreReadOnce checks that an object that is not cached costs one request,
// and that the result is complete.
func TestMissesAreReadOnce(t *testing.T) {
	r := newRig(t)
	for _, request := range []string{"watch pods", "list pods", "watch " + nadResource, "list " + nadResource} {
		r.api.Refusing(request, http.StatusInternalServerError)
	}
	r.startUnready()
	eventually(t, func(c *assert.CollectT) {
		err := r.client().Ready(t.Context())
		require.ErrorContains(c, err, "caches")
		require.Equal(c, cnitypes.ErrTryAgainLater, cnierror.Code(err))
	})
	r.api.Requests()
	got, err := r.client().Lookup(t.Context(), pLookup)
	require.NoError(t, err)
	assert.Len(t, got.Attachments, 1)
	r.requests(map[string]int{"get pods": 1, "get " + nadResource: 1})
}

func TestClaimsNameRequests(t *testing.T) {
	r := newRig(t)
	r.api.Put(nadResource, "demo", "claimed", nadObject(`{"type":"multibond","links":[{"request":"left"},{"resourceName":"intel.com/dra"}]}`))
	allocated := func(request, device string) map[string]any {
		return map[string]any{"request": request, "driver": "sriov", "pool": "n1", "device": device}
	}
	r.api.Put(claimResource, "demo", "claim1", map[string]any{"status": map[string]any{"allocation": map[string]any{"devices": map[string]any{"results": []any{
		allocated("left", "0000-02-10-2"), allocated("right", "vf7"),
	}}}}})
	r.api.Put(sliceResource, "", "n1-sriov", map[string]any{"spec": map[string]any{"nodeName": "n1", "driver": "sriov", "pool": map[string]any{"name": "n1"}, "devices": []any{
		map[string]any{"name": "vf7", "attributes": map[string]any{deviceIDAttribute: map[string]any{"string": "0000:01:10.2"}, resourceNameAttribute: map[string]any{"string": "intel.com/dra"}}},
	}}})
	pod := podObject("uid-c", map[string]any{NetworksAnnotation: "claimed"})
	pod["spec"].(map[string]any)["resourceClaims"] = []any{map[string]any{"name": "vfs", "resourceClaimName": "claim1"}}
	r.api.Put(podResource, "demo", "c", pod)
	r.kubelet.Give("demo", "c", nil)
	r.start()
	got, err := r.client().Lookup(t.Context(), lookupOf("demo", "c", "uid-c"))
	require.NoError(t, err)
	assert.Equal(t, []string{"0000:02:10.2", "0000:01:10.2"}, got.Attachments[0].Devices)
	r.requests(map[string]int{"get resourceclaims": 1})

	// A pool that is no single node's.
	for name, spec := range map[string]map[string]any{
		"n1-sriov": {"nodeName": "n1", "pool": map[string]any{"name": "other"}}, "fabric": {"allNodes": true, "pool": map[string]any{"name": "n1"}},
	} {
		spec["driver"] = "sriov"
		spec["devices"] = []any{map[string]any{"name": "vf7", "attributes": map[string]any{
			deviceIDAttribute: map[string]any{"string": "0000:01:10.0"}, resourceNameAttribute: map[string]any{"string": "intel.com/dra"}}}}
		r.api.Put(sliceResource, "", name, map[string]any{"spec": spec})
	}
	got, err = r.client().Lookup(t.Context(), lookupOf("demo", "c", "uid-c"))
	require.NoError(t, err)
	assert.Equal(t, []string{"0000:02:10.2", "0000:01:10.0"}, got.Attachments[0].Devices)
	r.requests(map[string]int{"get resourceclaims": 1})

	// If claims may not be read, their requests have no names.
	r.api.Refusing("get resourceclaims", http.StatusForbidden)
	_, err = r.client().Lookup(t.Context(), lookupOf("demo", "c", "uid-c"))
	refused(t, err, cnierror.Node, "network demo/claimed needs 1 x request left")
}

func TestAgentShowsItsHealthAndMetrics(t *testing.T) {
	r := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.options.Listen = l.Addr().String()
	l.Close()
	r.start()
	page := func(t require.TestingT, path string) string {
		response, err := http.Get("http://" + r.options.Listen + path)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return fmt.Sprint(response.StatusCode, " ", string(body))
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		assert.Equal(t, "200 ok\n", page(t, path), path)
	}
	_, err = r.client().Lookup(t.Context(), pLookup)
	assert.NoError(t, err)
	_, err = r.client().Lookup(t.Context(), lookupOf("demo", "none", "u"))
	assert.Error(t, err, "a pod that is not there was found")
	_, err = r.client().Publish(t.Context(), attachedReport())
	assert.NoError(t, err)
	ended := agentapi.Publish{Verb: "DEL", Pod: pLookup.Pod, Steps: []agentapi.Step{{What: "bond", Milliseconds: 1}}}
	assert.NoError(t, r.client().Post(ended))
	r.queueHas(0)
	var body string
	eventually(t, func(c *assert.CollectT) {
		body = page(c, "/metrics")
		require.Contains(c, body, `verb="del"`)
	})
	for _, line := range []string{
		`multibond_lookup_duration_seconds_count{outcome="found"} 1`, `multibond_lookup_duration_seconds_count{outcome="failed"} 1`,
		`multibond_failures_total{reason="environment",verb="lookup"} 1`,
		`multibond_publishes_total{outcome="published"} 1`, `multibond_publish_queue_length 0`,
		`multibond_step_duration_seconds_count{step="attach",verb="add"} 1`, `multibond_step_duration_seconds_count{step="bond",verb="del"} 1`,
		`multibond_api_requests_total{resource="pods",verb="patch"} 1`, `multibond_kubelet_answers_total{source="PodResources Get"} 1`,
	} {
		assert.Contains(t, body, line+"\n")
	}
}

func TestNodeNameIsRequired(t *testing.T) {
	_, err := NewAgent(Options{})
	assert.Equal(t, errNoNode, err)
}

// TestTrimmedPod checks that the cache keeps of a pod exactly what a lookup and the teller
// read.
func TestTrimmedPod(t *testing.T) {
	pod := &corev1.Pod{}
	require.NoError(t, json.Unmarshal(strictjson.Encode(podObject("u", map[string]any{NetworksAnnotation: "a", DefaultNetworkAnnotation: "b", "big": "x"})), pod))
	trimmed := trimPod(pod)
	assert.Len(t, trimmed.Annotations, 2)
	assert.Equal(t, []corev1.Container{{Name: "main"}}, trimmed.Spec.Containers)
	assert.Equal(t, types.UID("u"), trimmed.UID)
	assert.Equal(t, "n1", trimmed.Spec.NodeName)
	assert.Equal(t, trimmed, trimPod(trimmed))

	const status = nettypes.NetworkStatusAnnot
	pod.Annotations[status] = `[{"name": "cbr0"}]`
	assert.NotContains(t, trimPod(pod).Annotations, status, "without a bond")
	pod.Annotations[status] = `[{"multibond.io/links": []}]`
	pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "other"}, {ConditionType: bondHealthy}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady}, {Type: bondHealthy}}
	trimmed = trimPod(pod)
	assert.Equal(t, pod.Annotations[status], trimmed.Annotations[status])
	assert.Equal(t, pod.Spec.ReadinessGates[1:], trimmed.Spec.ReadinessGates)
	assert.Equal(t, pod.Status.Conditions[1:], trimmed.Status.Conditions)
	assert.Equal(t, trimmed, trimPod(trimmed))
	pod.Annotations[status] += strings.Repeat(" ", maxPodAnnotations)
	assert.NotContains(t, trimPod(pod).Annotations, status, "too large")
	assert.Equal(t, "a", trimPod(pod).Annotations[NetworksAnnotation])
}
