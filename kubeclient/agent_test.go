package kubeclient

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/delegate"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

func TestMain(m *testing.M) {
	UseLog(slog.New(slog.DiscardHandler)) // what client-go says of API servers that stop
	if host := os.Getenv(processHost); host != "" {
		os.Exit(agentProcess(host, os.Getenv(processDir)))
	}
	os.Exit(m.Run())
}

// rig is an agent with the API server and the kubelet of a cluster.
type rig struct {
	t       *testing.T
	api     *fakeAPI
	kubelet *fakeKubelet
	options Options
	agent   *Agent
	stop    func() // the agent, and waits for its end
}

// nodeFiles are two PFs with two VFs each, of which the device plugin
// describes one.
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
	}
}

// newRig starts a cluster with the networks of the tests and a pod, demo/p,
// that has a bond and two devices.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, api: newFakeAPI(t)}
	var kubelet Kubelet
	r.kubelet, kubelet, _ = newFakeKubelet(t)
	dir := shortDir(t)
	r.options = Options{
		Node: "n1", Socket: filepath.Join(dir, "run/agent.sock"), StateDir: filepath.Join(dir, "queue"), Peer: os.Getuid(),
		Kubelet: kubelet, Machine: nodeFiles(), Log: slog.New(slog.DiscardHandler),
	}
	for ref, config := range cluster {
		namespace, name, _ := strings.Cut(ref, "/")
		r.api.put(nadResource, namespace, name, nadObject(config))
	}
	r.pod("demo", "p", "uid-p", "bond-net1@bond0")
	r.kubelet.give("demo", "p", map[string][]string{"intel.com/a": {"0000:01:10.0"}, "intel.com/b": {"0000:02:10.0"}})
	return r
}

// nadObject has a configuration, after its resource where it has one.
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
	r.api.put(podResource, namespace, name, podObject(uid, annotations))
}

func podObject(uid string, annotations map[string]any) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"uid": uid, "annotations": annotations},
		"spec":     map[string]any{"nodeName": "n1", "containers": []any{map[string]any{"name": "main", "image": "x"}}},
		"status":   map[string]any{"phase": "Pending", "aNewerField": "stays"},
	}
}

// start starts an agent, and waits until it is ready.
func (r *rig) start() {
	r.t.Helper()
	r.startUnready()
	eventually(r.t, func() error { return r.client().Ready(context.Background()) })
	r.api.requests()
}

func (r *rig) startUnready() {
	r.t.Helper()
	agent, err := newAgent(r.options, r.api.config())
	if err != nil {
		r.t.Fatal(err)
	}
	agent.publisher.firstWait, agent.publisher.lastWait = 5*time.Millisecond, 50*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	r.agent = agent
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(r.stop)
}

func (r *rig) client() delegate.AgentClient {
	return delegate.AgentClient{Socket: r.options.Socket, Timeout: 30 * time.Second}
}

func lookupOf(namespace, name, uid string) delegate.Lookup {
	return delegate.Lookup{ContainerID: "c1", Netns: "/n", IfName: "eth0", Pod: delegate.Pod{Namespace: namespace, Name: name, UID: uid}}
}

// requests fails the test unless exactly these were sent to the API server.
func (r *rig) requests(want map[string]int) {
	r.t.Helper()
	got := r.api.requests()
	maps.DeleteFunc(got, func(request string, _ int) bool {
		return strings.HasPrefix(request, "watch") || strings.HasPrefix(request, "list")
	})
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Error(diff)
	}
}

// refused fails the test unless err has a code and all the words.
func refused(t *testing.T, err error, code uint, words ...string) {
	t.Helper()
	if err == nil || cnierror.Code(err) != code {
		t.Fatalf("code %d: %v, wanted is %d", cnierror.Code(err), err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v\nwanted is %s", err, w)
		}
	}
}

var pLookup = lookupOf("demo", "p", "uid-p")

// attachedReport is what a plugin publishes of demo/p.
func attachedReport() delegate.Publish {
	return delegate.Publish{
		Verb: "ADD", Pod: pLookup.Pod, Steps: []delegate.Step{{What: "attach bond0-1", Milliseconds: 12}, {What: "bond", Milliseconds: 3}},
		Attachments: []delegate.PodResult{
			{Name: "cbr0", IfName: "eth0", Result: bridged()},
			{Name: "demo/bond-net1", IfName: "bond0", Bond: true, Result: bonded()},
		},
	}
}

func TestLookupOfACachedPodAsksNothing(t *testing.T) {
	r := newRig(t)
	r.start()
	got, err := r.client().Lookup(t.Context(), pLookup)
	if err != nil {
		t.Fatal(err)
	}
	r.requests(map[string]int{})
	if got.Pod != pLookup.Pod || len(got.Attachments) != 1 {
		t.Fatalf("%+v", got)
	}
	a := got.Attachments[0]
	if diff := cmp.Diff([]string{"0000:01:10.0", "0000:02:10.0"}, a.Devices); diff != "" {
		t.Error(diff)
	}
	if a.Name != "demo/bond-net1" || a.IfName != "bond0" || !a.Bond || a.Default || a.DefaultRoute != nil {
		t.Errorf("%+v", a)
	}
	if n, err := delegate.ParseNetwork(a.Config, a.IfName); err != nil || n.Links[1].Device != "0000:02:10.0" {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestLookupWithoutDevicesDoesNotAskTheKubelet(t *testing.T) {
	r := newRig(t)
	r.pod("demo", "q", "uid-q", `[{"name":"lan","default-route":[]}]`)
	r.pod("demo", "plain", "uid-plain", "")
	r.start()
	for name, count := range map[string]int{"q": 1, "plain": 0} {
		got, err := r.client().Lookup(t.Context(), lookupOf("demo", name, "uid-"+name))
		if err != nil || len(got.Attachments) != count || got.Attachments == nil {
			t.Errorf("%+v, %v", got, err)
		}
		if count > 0 && got.Attachments[0].DefaultRoute == nil {
			t.Error("the default route that was asked for is lost")
		}
	}
	if asked := r.kubelet.questions(); asked != nil {
		t.Error(asked)
	}
}

func TestLookupDescribesDevices(t *testing.T) {
	r := newRig(t)
	r.api.put(nadResource, "demo", "vfb", nadObject(`intel.com/b {"type":"sriov"}`))
	r.pod("demo", "p", "uid-p", "vf,vfb")
	r.start()
	got, err := r.client().Lookup(t.Context(), pLookup)
	if err != nil || len(got.Attachments) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	compareJSON(t, `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.0","pf-pci-address":"0000:01:00.0"}}`, got.Attachments[0].DeviceInfo)
	compareJSON(t, `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:02:10.0","vhost-net":"/dev/vhost-net"}}`, got.Attachments[1].DeviceInfo)
	if file := got.Attachments[0].DeviceInfoFile; file != "/devinfo/cni/demo-vf-c1_net1" || !strings.Contains(string(got.Attachments[0].Config), file) {
		t.Errorf("%s: %s", file, got.Attachments[0].Config)
	}
}

func TestLookupOfTheClustersNetworks(t *testing.T) {
	r := newRig(t)
	r.api.put(nadResource, "kube-system", "main", nadObject(`{"type":"bridge"}`))
	r.api.put(nadResource, "kube-system", "every", nadObject(`{"type":"ptp"}`))
	r.api.put(nadResource, "kube-system", "filed", nadObject(``))
	r.pod("kube-system", "s", "uid-s", "")
	r.podWith("demo", "d", "uid-d", map[string]any{NetworksAnnotation: "lan", DefaultNetworkAnnotation: "every"})
	r.start()
	summary := func(l delegate.Lookup, cluster delegate.Cluster) string {
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
	all := delegate.Cluster{Isolated: true, Network: "main", Defaults: []string{"every", "filed"}}
	for _, c := range []struct {
		lookup  delegate.Lookup
		cluster delegate.Cluster
		want    string
	}{
		{pLookup, all, "kube-system/main@eth0 true, kube-system/every@net1 false, kube-system/filed@net2 false, demo/bond-net1@bond0 false"},
		{lookupOf("demo", "d", "uid-d"), all, "kube-system/every@eth0 true, kube-system/every@net1 false, kube-system/filed@net2 false, demo/lan@net3 false"},
		{lookupOf("demo", "d", "uid-d"), delegate.Cluster{}, "kube-system/every@eth0 true, demo/lan@net1 false"},
		{lookupOf("kube-system", "s", "uid-s"), all, "kube-system/main@eth0 true"},
		{lookupOf("kube-system", "s", "uid-s"), delegate.Cluster{System: []string{"x"}, Defaults: []string{"every"}}, "kube-system/every@net1 false"},
		{lookupOf("kube-system", "s", "uid-s"), delegate.Cluster{Namespace: "demo", Network: "lan"}, "demo/lan@eth0 true"},
		{lookupOf("kube-system", "s", "uid-s"), delegate.Cluster{Network: "only", System: []string{"x"}, Defaults: []string{"only"}}, "only@eth0 true, only@net1 false"},
		{pLookup, delegate.Cluster{Network: "none"}, `clusterNetwork: network kube-system/none: network-attachment-definitions "none" not found` + "\n" + `no file of the configuration directory has the name none: file does not exist`},
	} {
		if got := summary(c.lookup, c.cluster); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s\nwanted is %s", got, c.want)
		}
	}
}

func TestLookupOfAnotherMetaPlugin(t *testing.T) {
	r := newRig(t)
	r.pod("demo", "p", "uid-p", "lan,bond-net1@bond0")
	r.start()
	l := pLookup
	l.Secondary, l.IfName = true, "bond0"
	got, err := r.client().Lookup(t.Context(), l)
	if err != nil || len(got.Attachments) != 1 || got.Attachments[0].IfName != "bond0" || len(got.Attachments[0].Devices) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	l.IfName = "bond7"
	_, err = r.client().Lookup(t.Context(), l)
	refused(t, err, cnitypes.ErrInvalidNetworkConfig, "pod demo/p: its annotations name no network for interface bond7")
}

func TestLookupErrors(t *testing.T) {
	r := newRig(t)
	for name, annotation := range map[string]string{
		"null": "[null]", "gone": "lan,nothing", "foreign": "other/vf", "json": "[{", "twice": "lan@a,vf@a", "few": "pair",
	} {
		r.pod("demo", name, "uid-"+name, annotation)
		r.kubelet.give("demo", name, map[string][]string{"intel.com/a": {"0000:01:10.2"}})
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
	refused(t, isolated("json"), cnitypes.ErrInvalidNetworkConfig, "networks: is no JSON")
	refused(t, isolated("twice"), cnitypes.ErrInvalidNetworkConfig, "networks[1].interface: is a")
	refused(t, isolated("few"), cnierror.Node, "network demo/pair needs 2 x intel.com/a, pod demo/few has 1 (0000:01:10.2)")
}

func TestUnknownPods(t *testing.T) {
	r := newRig(t)
	r.api.put(podResource, "demo", "elsewhere", merge(podObject("uid-e", nil), map[string]any{"spec": map[string]any{"nodeName": "n2"}}))
	r.start()
	look := func(name, uid string) error {
		_, err := r.client().Lookup(t.Context(), lookupOf("demo", name, uid))
		return err
	}
	refused(t, look("none", "u"), cnitypes.ErrInvalidEnvironmentVariables, "the API server knows no pod demo/none")
	r.requests(map[string]int{"get pods": 1})
	refused(t, look("p", "uid-old"), cnitypes.ErrInvalidEnvironmentVariables, "pod demo/p has UID uid-p, and the container runtime asks for uid-old")
	refused(t, look("elsewhere", "uid-e"), cnitypes.ErrInvalidEnvironmentVariables, `runs on node "n2"`)
	refused(t, look("p", ""), cnitypes.ErrInvalidEnvironmentVariables, "K8S_POD_UID")

	// Created again under its name: the old one is refused, the new one found.
	r.api.remove(podResource, "demo", "p")
	r.pod("demo", "p", "uid-new", "bond-net1")
	eventually(t, func() error {
		if !r.agent.source.gone(pLookup.Pod) {
			return errors.New("the cache has the old pod still")
		}
		return nil
	})
	refused(t, look("p", "uid-p"), cnitypes.ErrInvalidEnvironmentVariables, "uid-new")
	if err := look("p", "uid-new"); err != nil {
		t.Error(err)
	}
}

func TestStaticPodIsFoundByItsMirror(t *testing.T) {
	r := newRig(t)
	r.podWith("demo", "static-n1", "uid-mirror", map[string]any{NetworksAnnotation: "lan", "kubernetes.io/config.mirror": "abc123"})
	r.start()
	got, err := r.client().Lookup(t.Context(), lookupOf("demo", "static-n1", "abc123"))
	if err != nil || got.Pod.UID != "uid-mirror" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestMissesAreReadOnce: where the watch is behind, one request for each
// object, and a result that is whole.
func TestMissesAreReadOnce(t *testing.T) {
	r := newRig(t)
	for _, request := range []string{"watch pods", "list pods", "watch " + nadResource, "list " + nadResource} {
		r.api.refusing(request, http.StatusInternalServerError)
	}
	r.startUnready()
	eventually(t, func() error {
		if err := r.client().Ready(t.Context()); cnierror.Code(err) != cnitypes.ErrTryAgainLater || !strings.Contains(err.Error(), "caches") {
			return fmt.Errorf("%v", err)
		}
		return nil
	})
	r.api.requests()
	got, err := r.client().Lookup(t.Context(), pLookup)
	if err != nil || len(got.Attachments) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	r.requests(map[string]int{"get pods": 1, "get " + nadResource: 1})
}

func TestClaimsNameRequests(t *testing.T) {
	r := newRig(t)
	r.api.put(nadResource, "demo", "claimed", nadObject(`{"type":"multibond","links":[{"request":"left"},{"resourceName":"intel.com/dra"}]}`))
	allocated := func(request, device string) map[string]any {
		return map[string]any{"request": request, "driver": "sriov", "pool": "n1", "device": device}
	}
	r.api.put(claimResource, "demo", "claim1", map[string]any{"status": map[string]any{"allocation": map[string]any{"devices": map[string]any{"results": []any{
		allocated("left", "0000-02-10-2"), allocated("right", "vf7"),
	}}}}})
	r.api.put(sliceResource, "", "n1-sriov", map[string]any{"spec": map[string]any{"nodeName": "n1", "driver": "sriov", "pool": map[string]any{"name": "n1"}, "devices": []any{
		map[string]any{"name": "vf7", "attributes": map[string]any{deviceIDAttribute: map[string]any{"string": "0000:01:10.2"}, resourceNameAttribute: map[string]any{"string": "intel.com/dra"}}},
	}}})
	pod := podObject("uid-c", map[string]any{NetworksAnnotation: "claimed"})
	pod["spec"].(map[string]any)["resourceClaims"] = []any{map[string]any{"name": "vfs", "resourceClaimName": "claim1"}}
	r.api.put(podResource, "demo", "c", pod)
	r.kubelet.give("demo", "c", nil)
	r.start()
	got, err := r.client().Lookup(t.Context(), lookupOf("demo", "c", "uid-c"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"0000:02:10.2", "0000:01:10.2"}, got.Attachments[0].Devices); diff != "" {
		t.Error(diff)
	}
	r.requests(map[string]int{"get resourceclaims": 1})

	// Without the right to read claims their devices have no names.
	r.api.refusing("get resourceclaims", http.StatusForbidden)
	_, err = r.client().Lookup(t.Context(), lookupOf("demo", "c", "uid-c"))
	refused(t, err, cnierror.Node, "network demo/claimed needs 1 x request left")
}

func TestAgentShowsItsHealthAndMetrics(t *testing.T) {
	r := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.options.Listen = l.Addr().String()
	l.Close()
	r.start()
	page := func(path string) (int, string) {
		response, err := http.Get("http://" + r.options.Listen + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := page(path); code != 200 || body != "ok\n" {
			t.Error(path, code, body)
		}
	}
	if _, err := r.client().Lookup(t.Context(), pLookup); err != nil {
		t.Error(err)
	}
	if _, err := r.client().Lookup(t.Context(), lookupOf("demo", "none", "u")); err == nil {
		t.Error("a pod that is not there was found")
	}
	if _, err := r.client().Publish(t.Context(), attachedReport()); err != nil {
		t.Error(err)
	}
	ended := delegate.Publish{Verb: "DEL", Pod: pLookup.Pod, Steps: []delegate.Step{{What: "bond", Milliseconds: 1}}}
	if err := r.client().Post(t.Context(), ended); err != nil {
		t.Error(err)
	}
	r.queueHas(0)
	var body string
	eventually(t, func() error {
		if _, body = page("/metrics"); !strings.Contains(body, `verb="del"`) {
			return errors.New("the agent has not counted the DEL")
		}
		return nil
	})
	for _, line := range []string{
		`multibond_lookup_duration_seconds_count{outcome="found"} 1`, `multibond_lookup_duration_seconds_count{outcome="failed"} 1`,
		`multibond_failures_total{reason="environment",verb="lookup"} 1`,
		`multibond_publishes_total{outcome="published"} 1`, `multibond_publish_queue_length 0`,
		`multibond_step_duration_seconds_count{step="attach",verb="add"} 1`, `multibond_step_duration_seconds_count{step="bond",verb="del"} 1`,
		`multibond_api_requests_total{resource="pods",verb="patch"} 1`, `multibond_kubelet_answers_total{source="PodResources Get"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no %s in\n%s", line, body)
		}
	}
}

func TestNodeNameIsRequired(t *testing.T) {
	if _, err := NewAgent(Options{}); err != errNoNode {
		t.Error(err)
	}
}

// TestTrimmedPod: what the cache keeps of a pod is all that a lookup
// reads, and not more.
func TestTrimmedPod(t *testing.T) {
	pod := &corev1.Pod{}
	if err := json.Unmarshal(strictjson.Encode(podObject("u", map[string]any{NetworksAnnotation: "a", DefaultNetworkAnnotation: "b", "big": "x"})), pod); err != nil {
		t.Fatal(err)
	}
	trimmed := trimPod(pod)
	if len(trimmed.Annotations) != 2 || trimmed.Spec.Containers[0].Image != "" || trimmed.Spec.Containers[0].Name != "main" || trimmed.UID != "u" || trimmed.Spec.NodeName != "n1" {
		t.Errorf("%+v", trimmed)
	}
	if diff := cmp.Diff(trimmed, trimPod(trimmed)); diff != "" {
		t.Error(diff)
	}
}
