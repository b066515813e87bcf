package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/multibond/multibond/kubeclient"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// attached is a pod of a node with an address on demo/net, of which nothing is fragmented
// up to its MTU.
func attached(name, node, address string) corev1.Pod {
	p := onNode("demo", name, node)
	p.Annotations = map[string]string{nettypes.NetworkStatusAnnot: fmt.Sprintf(`[{"name": "cbr0", "interface": "eth0", "ips": ["10.244.0.9"], "default": true}, {"name": "demo/net", "interface": "bond0", "ips": [%q], "mtu": 9000}]`, address)}
	return p
}

// TestRing: each pod has one connection, to a pod of another node as long as there are some.
func TestRing(t *testing.T) {
	pods := []corev1.Pod{attached("a1", "n1", "10.0.0.1"), attached("a2", "n1", "10.0.0.2"), attached("b1", "n2", "10.0.0.3"), attached("b2", "n2", "10.0.0.4"), attached("six", "n3", "fd00::1")}
	pods = append(pods, onNode("demo", "none", "n1"))
	ended := attached("ended", "n1", "10.0.0.9")
	ended.Status.Phase = corev1.PodSucceeded
	ending := attached("ending", "n1", "10.0.0.8")
	ending.DeletionTimestamp = new(metav1.NewTime(noon))
	ends := endsOf(append(pods, ended, ending), "")
	require.Len(t, ends, 1)
	var unseen []string
	ways := func(from string) (out []string) {
		var all []connection
		all, unseen = checked{from: from}.connect("demo/net", ends["demo/net"])
		for _, c := range all {
			out = append(out, strings.TrimPrefix(c.From, "demo/")+" "+strings.TrimPrefix(c.To, "demo/"))
		}
		return out
	}
	assert.Equal(t, []string{"a1 b1", "b1 a2", "a2 b2", "b2 a1"}, ways(""), "six has no address of their family")
	assert.Equal(t, []string{"network demo/net: no other pod has an address of a family that demo/six bond0 has"}, unseen)
	assert.Equal(t, []string{"b1 a1", "b1 a2", "b1 b2"}, ways("b1"))
	assert.Equal(t, []string{"b1 a1", "b1 a2", "b1 b2"}, ways("demo/b1"))
	assert.Equal(t, []string{"network demo/net: demo/b1 bond0 and demo/six bond0 have no addresses of one family"}, unseen)
	assert.Empty(t, endsOf(pods, "demo/other"))
}

const (
	iputils = "5 packets transmitted, 5 received, 0% packet loss, time 4005ms\nrtt min/avg/max/mdev = 0.030/0.041/0.05/0.01 ms\n"
	busybox = "5 packets transmitted, 4 packets received, 20% packet loss\nround-trip min/avg/max = 0.045/0.060/0.080 ms\n"
	nothing = "5 packets transmitted, 0 packets received, 100% packet loss\n"
	large   = "2 packets transmitted, %d received, 0%% packet loss\n"
)

// TestCheck: what is printed of connections, and the exit code.
func TestCheck(t *testing.T) {
	answers := map[string]struct {
		small, large executed
		err          error
		code         int
		says         string
	}{
		"ok":           {executed{out: iputils}, executed{out: fmt.Sprintf(large, 2)}, nil, exitWell, `0/5 +0.04 ms +9000 +ok`},
		"loss":         {executed{out: busybox, code: 1}, executed{errs: "ping: invalid option -- 'M'", code: 1}, nil, exitWrong, `1/5 +0.06 ms +9000\? +loss`},
		"down":         {executed{out: nothing, code: 1}, executed{}, nil, exitWrong, `5/5 +- +9000\? +down\n(.*\n)*demo/a to 10.0.0.2: no packet was answered`},
		"MTU":          {executed{out: iputils}, executed{out: fmt.Sprintf(large, 0), code: 1}, nil, exitWrong, `0/5 +0.04 ms +9000 +mtu\n(.*\n)*demo/a to 10.0.0.2: packets of 9000 bytes are lost`},
		"no ping":      {executed{errs: "sh: ping: not found", code: 127}, executed{}, nil, exitUnknown, `- +- +9000\? +unknown\n(.*\n)*demo/a to 10.0.0.2: sh: ping: not found`},
		"not executed": {executed{}, executed{}, errors.New("pods \"a\" is forbidden"), exitUnknown, `- +- +9000\? +unknown\n(.*\n)*demo/a to 10.0.0.2: pods "a" is forbidden`},
	}
	for name, c := range answers {
		t.Run(name, func(t *testing.T) {
			api := kubefake.NewAPI(t)
			s := newState()
			s.pods = []corev1.Pod{attached("a", "n1", "10.0.0.1"), attached("b", "n2", "10.0.0.2")}
			s.putPods(t, api)
			code, stdout := checkOn(t, api, func(_ context.Context, pod *corev1.Pod, command []string) (executed, error) {
				assert.Equal(t, []string{"-I", "bond0"}, command[len(command)-3:len(command)-1])
				if slices.Contains(command, "do") {
					assert.Contains(t, command, "8972")
					return c.large, c.err
				}
				return c.small, c.err
			})
			assert.Equal(t, c.code, code, stdout)
			assert.Regexp(t, `demo/net +demo/a +bond0 +demo/b +10.0.0.2 +`+c.says, stdout)
		})
	}
}

// checkOn runs check on a cluster with the answers of pods.
func checkOn(t *testing.T, api *kubefake.API, exec execFunc, args ...string) (code int, stdout string) {
	t.Helper()
	var out bytes.Buffer
	e := &env{IOStreams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}, flags: genericclioptions.NewConfigFlags(true), now: func() time.Time { return noon }, exec: exec, every: time.Millisecond}
	code = runWith(e, append([]string{"multibondctl", "check", "-A", "--kubeconfig", kubeconfigOf(t, api)}, args...))
	return code, out.String()
}

// TestCheckNothing: a network with one pod cannot be checked, which is no success.
func TestCheckNothing(t *testing.T) {
	api := kubefake.NewAPI(t)
	s := newState()
	s.pods = []corev1.Pod{attached("a", "n1", "10.0.0.1")}
	s.putPods(t, api)
	code, out := checkOn(t, api, nil)
	assert.Equal(t, exitUnknown, code)
	assert.Contains(t, out, "Not seen: network demo/net: only pod demo/a is on it")
	code, out = checkOn(t, api, nil, "-o", "json")
	assert.Equal(t, exitUnknown, code)
	want := `{
  "apiVersion": "ctl.multibond.io/v1",
  "kind": "Check",
  "connections": [],
  "unseen": [
    "network demo/net: only pod demo/a is on it",
    "no two pods are on one network"
  ]
}
error: nothing could be checked: network demo/net: only pod demo/a is on it; no two pods are on one network
`
	assert.Empty(t, cmp.Diff(want, out))
}

// TestCheckUnseen: a running pod that asks for networks and has no status of them is named,
// and the check does not end well.
func TestCheckUnseen(t *testing.T) {
	api := kubefake.NewAPI(t)
	s := newState()
	s.pods = []corev1.Pod{attached("a", "n1", "10.0.0.1"), attached("b", "n2", "10.0.0.2"), onNode("demo", "silent", "n1")}
	s.pods[2].Annotations = map[string]string{kubeclient.NetworksAnnotation: "net"}
	s.putPods(t, api)
	code, out := checkOn(t, api, func(context.Context, *corev1.Pod, []string) (executed, error) {
		return executed{out: iputils}, nil
	})
	assert.Equal(t, exitUnknown, code)
	assert.Contains(t, out, "Not seen: pod demo/silent asks for networks, but its status has none")
}

// TestContainerOf: a command is executed where kubectl exec would execute it.
func TestContainerOf(t *testing.T) {
	pod := corev1.Pod{}
	pod.Spec.Containers = []corev1.Container{{Name: "proxy"}, {Name: "main"}}
	assert.Equal(t, "proxy", containerOf(&pod))
	pod.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": "main"}
	assert.Equal(t, "main", containerOf(&pod))
}
