package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/multibond/multibond/cmd/multibondctl/measure"
	"github.com/multibond/multibond/kubeclient"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// kubelets has the pods of checks run, each with interfaces on the network demo/rails, until the
// returned function is called. Those of a node that refuses fail instead.
func kubelets(api *kubefake.API, interfaces int, refuses string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(time.Millisecond) {
			for _, raw := range api.Of(kubefake.Pods) {
				var pod corev1.Pod
				text, _ := json.Marshal(raw)
				if json.Unmarshal(text, &pod) == nil && pod.Labels["app"] == checkLabel && pod.Status.Phase == "" {
					start(api, raw, &pod, interfaces, refuses)
				}
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

func start(api *kubefake.API, raw map[string]any, pod *corev1.Pod, interfaces int, refuses string) {
	node := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
	phase, ready := corev1.PodRunning, corev1.ConditionTrue
	if node == refuses {
		phase, ready = corev1.PodFailed, corev1.ConditionFalse
	}
	number := pod.Name[strings.LastIndex(pod.Name, "-")+1:]
	entries := []map[string]any{{"name": "cbr0", "interface": "eth0", "ips": []string{"10.244.0.9"}, "default": true}}
	for i := range interfaces {
		entries = append(entries, map[string]any{"name": "demo/rails", "interface": fmt.Sprint("net1-", i+1), "ips": []string{fmt.Sprintf("10.0.%d.%s", i, number)}})
	}
	status, _ := json.Marshal(entries)
	api.Put(kubefake.Pods, pod.Namespace, pod.Name, kubefake.Merge(raw, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{nettypes.NetworkStatusAnnot: string(status)}},
		"spec":     map[string]any{"nodeName": node},
		"status":   map[string]any{"phase": string(phase), "message": map[bool]any{true: "Allocate failed"}[node == refuses], "conditions": []any{map[string]any{"type": "Ready", "status": string(ready)}}},
	}))
}

// kubelet has the pods of checks run until the script ends: "kubelet INTERFACES [NODE]", of
// which those of the node fail.
func kubelet(ts *testscript.TestScript, neg bool, args []string) {
	var interfaces int
	fmt.Sscan(args[0], &interfaces)
	ts.Defer(kubelets(ts.Value(scriptCluster).(*kubefake.API), interfaces, strings.Join(args[1:], "")))
}

const railsNAD = `{"cniVersion": "1.0.0", "name": "rails", "type": "multibond", "attach": "each",
	"links": [{"resourceName": "intel.com/pf1"}, {"resourceName": "intel.com/pf2"}],
	"ipam": {"type": "host-local", "subnet": "10.0.0.0/16"}}`

// withNodes puts the network demo/rails into an API server, and agents of nodes of which so many
// devices of each resource are allocated.
func withNodes(t *testing.T, api *kubefake.API, allocated map[string]int) {
	api.Put(kubefake.NADs, "demo", "rails", map[string]any{"spec": map[string]any{"config": railsNAD}})
	for node, n := range allocated {
		s := newState()
		for i := range s.report.Resources {
			s.report.Resources[i].Allocated = n
		}
		agent := onNode("multibond-system", "agent-"+node, node)
		agent.Labels = map[string]string{"app": "multibond-agent"}
		agent.Spec.Containers = containersOf("agent", "example.com/agent:of-"+node)
		text, err := json.Marshal(s.report)
		require.NoError(t, err)
		agent.Annotations = map[string]string{kubeclient.NodeAnnotation: string(text)}
		put(t, api, kubefake.Pods, agent.ObjectMeta, agent)
		api.Put(kubefake.Nodes, "", node, map[string]any{"metadata": map[string]any{"labels": map[string]any{"name": node}}})
	}
}

// ownOn checks demo/rails with the answers of pods, and that no pod of the check stays.
func ownOn(t *testing.T, api *kubefake.API, exec execFunc, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	code, stdout, stderr = runOwn(t, api, exec, args...)
	assert.Empty(t, checkPods(api), "pods stay")
	return code, stdout, stderr
}

func runOwn(t *testing.T, api *kubefake.API, exec execFunc, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	e := &env{IOStreams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs}, flags: genericclioptions.NewConfigFlags(true), now: func() time.Time { return noon }, exec: exec, every: time.Millisecond}
	code = runWith(e, append([]string{"multibondctl", "check", "rails", "--kubeconfig", kubeconfigOf(t, api)}, args...))
	return code, out.String(), errs.String()
}

// checkPods lists the pods of checks.
func checkPods(api *kubefake.API) (names []string) {
	for _, pod := range api.Of(kubefake.Pods) {
		if name := pod["metadata"].(map[string]any)["name"].(string); strings.HasPrefix(name, checkLabel) {
			names = append(names, name)
		}
	}
	return names
}

// answers returns what stands for exec in pods: each finds the same.
func answers(f measure.Found) execFunc {
	return func(_ context.Context, _ *corev1.Pod, command []string) (executed, error) {
		one := f
		if slices.Contains(command, "-throughput") {
			one = measure.Found{MTU: f.MTU, Mbit: f.Mbit}
		}
		text, err := json.Marshal(one)
		return executed{out: string(text)}, err
	}
}

// TestOwnPods: a pod on each node that has room, each interface asks its like on the next node,
// and nothing is left. On a single node there are two pods.
func TestOwnPods(t *testing.T) {
	good := measure.Found{Sent: 5, Received: 5, RTT: new(0.5), MTU: 9000, Largest: 9000, Mbit: new(8800.0)}
	for name, c := range map[string]struct {
		nodes map[string]int
		args  []string
		found measure.Found
		code  int
		says  []string
	}{
		"ring": {map[string]int{"n1": 0, "n2": 7, "n3": 8}, nil, good, exitUnknown, []string{
			"n1     n2   2/2         10.0.0.1 10.0.1.1   0/10   0.50 ms   9000   ok\n",
			"n2     n1   2/2         10.0.0.0 10.0.1.0   0/10   0.50 ms   9000   ok\n",
			"Not seen: node n3: 8 of 8 devices of intel.com/pf1 are allocated",
		}},
		"one node":      {map[string]int{"n1": 6}, []string{"--throughput=1s"}, good, exitWell, []string{"n1 (1)  n1 (2)  2/2        10.0.0.1 10.0.1.1  0/10  0.50 ms  9000  8.80 Gbit/s, 8.80 Gbit/s  ok\n"}},
		"nodes":         {map[string]int{"n1": 0, "n2": 0, "n3": 0}, []string{"--nodes", "n1,n3"}, good, exitWell, []string{"n1     n3   2/2"}},
		"node selector": {map[string]int{"n1": 0, "n2": 0, "n3": 0}, []string{"--node-selector", "name in (n2,n3)"}, good, exitWell, []string{"n2     n3   2/2"}},
		"pairs":         {map[string]int{"n1": 0, "n2": 0, "n3": 0}, []string{"--pairs"}, good, exitWell, []string{"n1     n2   2/2", "n1     n3   2/2", "n3     n2   2/2"}},
		"MTU": {map[string]int{"n1": 0, "n2": 0}, nil, measure.Found{Sent: 5, Received: 5, RTT: new(0.5), MTU: 9000, Largest: 1500}, exitWrong, []string{
			"0/10   0.50 ms   1500 of 9000   mtu\n", "n1 to n2, net1-1 to 10.0.0.1: packets of more than 1500 bytes are lost on the way, and the MTU is 9000",
		}},
		"loss": {map[string]int{"n1": 0, "n2": 0}, nil, measure.Found{Sent: 5, Received: 4, RTT: new(0.5), MTU: 9000, Largest: 9000}, exitWrong, []string{"2/10   0.50 ms   9000   loss\n"}},
		"down": {map[string]int{"n1": 0, "n2": 0}, []string{"--throughput"}, measure.Found{Sent: 5, MTU: 9000}, exitWrong, []string{"0/2         10.0.0.1 10.0.1.1   10/10   -     -     down\n"}},
		"wide": {map[string]int{"n1": 0, "n2": 0}, []string{"-o", "wide"}, good, exitWell, []string{"demo/rails   demo/multibond-check-8461f318-0   net1-1      demo/multibond-check-8461f318-1   10.0.0.1   0/5    0.50 ms   9000   ok"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := kubefake.NewAPI(t)
			withNodes(t, api, c.nodes)
			defer kubelets(api, 2, "")()
			code, stdout, stderr := ownOn(t, api, answers(c.found), c.args...)
			assert.Equal(t, c.code, code, "%s%s", stdout, stderr)
			for _, words := range c.says {
				assert.Contains(t, stdout, words)
			}
		})
	}
}

// TestOwnPodRights: the pod has the devices that the network needs, and no right.
func TestOwnPodRights(t *testing.T) {
	api := kubefake.NewAPI(t)
	withNodes(t, api, map[string]int{"n1": 0, "n2": 0})
	defer kubelets(api, 2, "")()
	var made corev1.Pod
	code, _, stderr := ownOn(t, api, func(ctx context.Context, pod *corev1.Pod, command []string) (executed, error) {
		if strings.HasSuffix(pod.Name, "-1") {
			made = *pod
		}
		return answers(measure.Found{Sent: 5, Received: 5, MTU: 1500, Largest: 1500})(ctx, pod, command)
	})
	require.Equal(t, exitWell, code, stderr)
	c := made.Spec.Containers[0]
	assert.Equal(t, "example.com/agent:of-n2", c.Image, "that of the node's agent")
	for _, of := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
		amount := of["intel.com/pf1"]
		assert.Equal(t, int64(1), amount.Value())
	}
	assert.Equal(t, `[{"name":"rails","namespace":"demo"}]`, made.Annotations[kubeclient.NetworksAnnotation])
	assert.Equal(t, "measure", containerOf(&corev1.Pod{ObjectMeta: made.ObjectMeta, Spec: corev1.PodSpec{Containers: containersOf("proxy", "x")}}), "also if admission puts another container first")
	assert.True(t, *made.Spec.SecurityContext.RunAsNonRoot)
	assert.Empty(t, c.SecurityContext.Capabilities.Add)
	assert.False(t, *made.Spec.AutomountServiceAccountToken)
	assert.Positive(t, *made.Spec.ActiveDeadlineSeconds, "it ends if nobody removes it")
}

// interrupted returns what stands for exec in pods: the check gets one signal meanwhile.
func interrupted(signal os.Signal) execFunc {
	var once sync.Once
	return func(ctx context.Context, _ *corev1.Pod, _ []string) (executed, error) {
		once.Do(func() {
			self, _ := os.FindProcess(os.Getpid())
			_ = self.Signal(signal)
		})
		<-ctx.Done()
		return executed{}, ctx.Err()
	}
}

// TestOwnPodsStay: if pods cannot be removed, the check says so and how to do it, and has its
// report and exit code.
func TestOwnPodsStay(t *testing.T) {
	for name, c := range map[string]struct {
		exec   execFunc
		code   int
		stdout string
		stderr string
	}{
		"interrupted": {interrupted(os.Interrupt), exitUnknown, "", "error: interrupt signal received\n"},
		"all is well": {answers(measure.Found{Sent: 5, Received: 5, MTU: 9000, Largest: 9000}), exitUnknown, "9000   ok", "error: pods of the check may stay"},
		"down":        {answers(measure.Found{Sent: 5, MTU: 9000}), exitWrong, noAnswer, "4 of 4 connections are not ok\n"},
	} {
		t.Run(name, func(t *testing.T) {
			api := kubefake.NewAPI(t)
			withNodes(t, api, map[string]int{"n1": 0, "n2": 0})
			api.Refusing("delete pods", http.StatusForbidden)
			defer kubelets(api, 2, "")()
			code, stdout, stderr := runOwn(t, api, c.exec)
			assert.Equal(t, c.code, code, "%s%s", stdout, stderr)
			assert.Contains(t, stdout, c.stdout)
			assert.Contains(t, stderr, c.stderr)
			assert.Contains(t, stderr, "(kubectl delete pods -n demo -l app=multibond-check,multibond.io/network=8461f318 removes them)")
			assert.NotContains(t, stderr, "are removed")
		})
	}
}

// TestOwnPodsRemoved: no pod is left, whatever becomes of the check, also of one that was killed
// before.
func TestOwnPodsRemoved(t *testing.T) {
	refused := func(context.Context, *corev1.Pod, []string) (executed, error) {
		return executed{}, errors.New("pods \"x\" is forbidden")
	}
	for name, c := range map[string]struct {
		exec    execFunc
		refuses string
		code    int
		says    string
	}{
		"exec is refused":     {refused, "", exitUnknown, "pods \"x\" is forbidden"},
		"interrupted":         {interrupted(os.Interrupt), "", exitUnknown, "error: interrupt signal received: the pods of the check are removed"},
		"the terminal closes": {interrupted(syscall.SIGHUP), "", exitUnknown, "error: hangup signal received: the pods of the check are removed"},
		"a node fails":        {answers(measure.Found{}), "n2", exitWrong, "error   node n2: pod demo/multibond-check-8461f318-1 is not on the network: Allocate failed"},
		"the program is none": {func(context.Context, *corev1.Pod, []string) (executed, error) { return executed{code: 127}, nil }, "", exitUnknown, "it ended with code 127"},
	} {
		t.Run(name, func(t *testing.T) {
			api := kubefake.NewAPI(t)
			withNodes(t, api, map[string]int{"n1": 0, "n2": 0})
			old := onNode("demo", checkLabel+"-8461f318-7", "n1")
			old.Labels = map[string]string{"app": checkLabel, checkNetworkLabel: "8461f318"}
			put(t, api, kubefake.Pods, old.ObjectMeta, old)
			defer kubelets(api, 2, c.refuses)()
			code, stdout, stderr := ownOn(t, api, c.exec)
			assert.Equal(t, c.code, code, "%s%s", stdout, stderr)
			assert.Contains(t, stdout+stderr, c.says)
			assert.Contains(t, stderr, "removing 1 pod of an earlier check\n")
		})
	}
}

// TestOwnPodsRefusals: nothing is made if it can be known before that it is of no use.
func TestOwnPodsRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		nodes map[string]int
		args  []string
		says  string
	}{
		"no network":   {map[string]int{"n1": 0}, []string{"-n", "other"}, `"rails" not found`},
		"no room":      {map[string]int{"n1": 7, "n2": 8}, nil, "two pods with network demo/rails, which needs 1 x intel.com/pf1, 1 x intel.com/pf2 each, have no room: node n2: 8 of 8 devices of intel.com/pf1 are allocated"},
		"no agents":    {nil, nil, "have no room on nodes with agents"},
		"no such node": {map[string]int{"n1": 0}, []string{"--nodes", "n9"}, "node n9: no agent tells of it"},
		"no labels":    {map[string]int{"n1": 0}, []string{"--node-selector", "a=b"}, "no node has the labels a=b"},
		"both kinds":   {map[string]int{"n1": 0}, []string{"-l", "a=b"}, "--selector: to use it, leave out NETWORK"},
		"too long":     {map[string]int{"n1": 0}, []string{"--throughput=2m"}, "--throughput is 2m0s, want at most 1m"},
	} {
		t.Run(name, func(t *testing.T) {
			api := kubefake.NewAPI(t)
			withNodes(t, api, c.nodes)
			code, _, stderr := ownOn(t, api, nil, c.args...)
			assert.Equal(t, exitUnknown, code)
			assert.Contains(t, stderr, c.says)
		})
	}
	api := kubefake.NewAPI(t)
	code, out := checkOn(t, api, nil, "--pairs")
	assert.Equal(t, exitUnknown, code)
	assert.Contains(t, out, "--pairs: to use it, name a NETWORK")
}

// TestPodsOfOthersStay: a check removes only its own pods, of its network.
func TestPodsOfOthersStay(t *testing.T) {
	api := kubefake.NewAPI(t)
	withNodes(t, api, map[string]int{"n1": 0})
	other := onNode("demo", "other", "n1")
	other.Labels = map[string]string{"app": checkLabel, checkNetworkLabel: "00000000"}
	put(t, api, kubefake.Pods, other.ObjectMeta, other)
	defer kubelets(api, 1, "")()
	code, _, stderr := ownOn(t, api, answers(measure.Found{Sent: 1, Received: 1, MTU: 1500, Largest: 1500}))
	assert.Equal(t, exitWell, code, stderr)
	assert.NotNil(t, api.Object(kubefake.Pods, "demo", "other"))
}

// TestRails: the first interface of a pod asks the first of another, whatever their names are.
func TestRails(t *testing.T) {
	var pods []corev1.Pod
	for i, node := range []string{"n1", "n2"} {
		p := onNode("demo", fmt.Sprint("p", i), node)
		p.Annotations = map[string]string{nettypes.NetworkStatusAnnot: fmt.Sprintf(`[{"name": "demo/rails", "interface": "a%[1]d", "ips": ["10.0.0.%[1]d"]}, {"name": "demo/rails", "interface": "b%[1]d", "ips": ["10.0.1.%[1]d"]}]`, i)}
		p.CreationTimestamp = metav1.NewTime(noon)
		pods = append(pods, p)
	}
	ends := endsOf(pods, "")["demo/rails"]
	for name, connect := range map[string]func() ([]connection, []string){
		"ring":  func() ([]connection, []string) { return ring("demo/rails", ends) },
		"pairs": func() ([]connection, []string) { return toAll("demo/rails", ends, func(end) bool { return true }) },
	} {
		var ways []string
		all, unseen := connect()
		for _, c := range all {
			ways = append(ways, c.Interface+" "+c.Address)
		}
		assert.ElementsMatch(t, []string{"a0 10.0.0.1", "b0 10.0.1.1", "a1 10.0.0.0", "b1 10.0.1.0"}, ways, name)
		assert.Empty(t, unseen)
	}
}
