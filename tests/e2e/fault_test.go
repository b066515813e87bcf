package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWrongAnnotations: the pod's owner reads on the pod what is wrong, and
// nothing is left of the attempts.
func TestWrongAnnotations(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	for _, test := range []struct {
		name, annotation string
		vfs              int
		words            []string
	}{
		{"null", `[null]`, 0, []string{"annotation k8s.v1.cni.cncf.io/networks: networks[0]: is null"}},
		{"json", `[{"name": "bond-net1"`, 0, []string{"annotation k8s.v1.cni.cncf.io/networks", "JSON"}},
		{"twice", `bond-net1@b0,bond-net1@b0`, 2, []string{"networks[1]", "b0"}},
		{"none", `no-such-net`, 0, []string{s.namespace + "/no-such-net", "not found"}},
		{"nameless", `@bond0.100`, 0, []string{"networks[0]"}},
		{"devices", `bond-net1@bond0`, 0, []string{"network " + s.namespace + "/bond-net1 needs 1 x intel.com/sriov_pf1, pod " + s.namespace + "/devices has 0"}},
	} {
		s.apply(pod(test.name, test.annotation, test.vfs))
		s.wantEvent(test.name, "NetworksFailed", test.words...)
		s.remove(test.name)
	}
}

// plugin executes the plugin on the node as a container runtime does.
func plugin(s *scene, command, container, netns, args string) (answer map[string]any, took time.Duration) {
	s.Helper()
	on := func(args ...string) string {
		s.Helper()
		out, err := c.On(context.WithoutCancel(s.Context()), args...)
		require.NoError(s, err)
		return out
	}
	var list struct{ Plugins []map[string]any }
	require.NoError(s, json.Unmarshal([]byte(on("cat", "/etc/cni/net.d/00-multibond.conflist")), &list))
	config := list.Plugins[0]
	config["name"], config["cniVersion"] = "multibond", "1.1.0"
	const script = `began=${EPOCHREALTIME/./}
echo "$5" | CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=$3 CNI_IFNAME=eth0 CNI_ARGS=$4 CNI_PATH=/opt/cni/bin /opt/cni/bin/multibond
echo; echo "took $(((${EPOCHREALTIME/./} - began) / 1000))"`
	out := on("bash", "-c", script, "bash", command, container, netns, args, string(encode(config)))
	text, ms, _ := strings.Cut(out, "\ntook ")
	if text = strings.TrimSpace(text); text != "" {
		require.NoError(s, json.Unmarshal([]byte(text), &answer), text)
	}
	var n int
	fmt.Sscan(ms, &n)
	return answer, time.Duration(n) * time.Millisecond
}

func podArgs(namespace, name, uid string) string {
	return fmt.Sprintf("IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_UID=%s", namespace, name, uid)
}

// netns makes a network namespace on the node, for the time of the test.
func netns(s *scene) string {
	s.Helper()
	on := func(args ...string) {
		_, err := c.On(context.WithoutCancel(s.Context()), args...)
		require.NoError(s, err)
	}
	on("ip", "netns", "add", "e2e")
	s.Cleanup(func() { on("ip", "netns", "del", "e2e") })
	return "/run/netns/e2e"
}

// TestUnknownPod: no pod, or another one under its name, is an error, never a
// result without interfaces.
func TestUnknownPod(t *testing.T) {
	s := newScene(t)
	s.apply(pod("p", "", 0))
	s.ready("p")
	ns := netns(s)
	for _, test := range []struct {
		args, words string
		code        float64
	}{
		{podArgs(s.namespace, "none", "11111111-1111-1111-1111-111111111111"), "none", 4},
		{podArgs(s.namespace, "p", "11111111-1111-1111-1111-111111111111"), "11111111-1111-1111-1111-111111111111", 4},
	} {
		answer, _ := plugin(s, "ADD", "e2e-unknown", ns, test.args)
		assert.Equal(t, test.code, answer["code"], test.args)
		assert.Contains(t, answer["msg"], test.words, test.args)
	}
}

// TestAgentAway: DEL works whole, ADD fails at once with code 11, STATUS
// succeeds and the node stays Ready, and pods that were to start do so when
// the agent is back.
func TestAgentAway(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("p1", "bond-net1@bond0", 1))
	s.ready("p1")
	with := node(t)
	ns := netns(s)
	readiness := []string{"get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].lastTransitionTime}`}
	ready := s.kubectl(readiness...)
	daemonset := []string{"-n", "multibond-system", "patch", "daemonset", "multibond-agent", "-p"}
	s.kubectl(append(daemonset, `{"spec": {"template": {"spec": {"nodeSelector": {"away": "yes"}}}}}`)...)
	s.kubectl("-n", "multibond-system", "wait", "--for=delete", "pod", "-l", "app=multibond-agent", "--timeout=5m")
	s.wantNamed("agent missing", "status", "no agent runs there")
	answer, took := plugin(s, "ADD", "e2e-away", ns, podArgs(s.namespace, "p9", "11111111-1111-1111-1111-111111111111"))
	assert.Equal(t, 11.0, answer["code"], "ADD: %v", answer)
	assert.Contains(t, answer["msg"], "multibond-agent does not answer")
	report.AgentAway = map[string]int64{"ADD": took.Milliseconds()}
	answer, took = plugin(s, "STATUS", "", "", "")
	assert.Empty(t, answer, "STATUS")
	report.AgentAway["STATUS"] = took.Milliseconds()
	s.apply(pod("p2", "bond-net1@bond0", 1))
	// A kubelet that took the node for NotReady would not try.
	s.wantEvent("p2", "FailedCreatePodSandBox", "multibond-agent does not answer")
	assert.Equal(t, ready, s.kubectl(readiness...), "when the node became Ready")
	s.kubectl("-n", s.namespace, "delete", "pod", "p1", "--timeout=5m")
	s.wantBefore()
	s.kubectl(append(daemonset, `{"spec": {"template": {"spec": {"nodeSelector": {"away": null}}}}}`)...)
	s.kubectl("-n", "multibond-system", "rollout", "status", "daemonset/multibond-agent", "--timeout=5m")
	s.ready("p2")
	assert.Len(t, node(t), len(with), "with p1 the node was:\n%s", strings.Join(with, "\n"))
}

// TestAgentRestarted in the middle of ten ADDs: every pod comes up, and each
// has its network-status.
func TestAgentRestarted(t *testing.T) {
	s := newScene(t)
	s.apply(nad("lan", lan))
	var names, pods []string
	for i := range 10 {
		names = append(names, fmt.Sprintf("p%d", i))
		pods = append(pods, pod(names[i], "lan@net1", 0))
	}
	s.apply(pods...)
	time.Sleep(2 * time.Second)
	s.kubectl("-n", "multibond-system", "delete", "pod", "-l", "app=multibond-agent", "--grace-period=0", "--force")
	s.ready(names...)
	for _, name := range names {
		assert.Equal(t, []string{"eth0", "net1"}, s.interfaces(name), name)
	}
	s.kubectl("-n", "multibond-system", "rollout", "status", "daemonset/multibond-agent", "--timeout=5m")
}

// TestAPIServerAway: DEL works whole; the ADD of a pod that the agent knows
// works, and is published when the API server is back; one that it does not
// know fails with code 11.
func TestAPIServerAway(t *testing.T) {
	s := newScene(t)
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("p", "bond-net1@bond0", 1))
	s.ready("p")
	uid := s.kubectl("-n", s.namespace, "get", "pod", "p", "-o", "jsonpath={.metadata.uid}")
	containers, err := c.On(t.Context(), "sh", "-c", `cd /var/lib/cni/multibond && grep -l '"name":"p","uid":"`+uid+`"' *:eth0.json | sed 's/:.*//'`)
	require.NoError(t, err)
	ns, err := c.On(t.Context(), "sh", "-c", `sed 's/.*"netns":"\([^"]*\)".*/\1/' /var/lib/cni/multibond/`+strings.TrimSpace(containers)+`:eth0.json`)
	require.NoError(t, err)
	id, sandbox := strings.TrimSpace(containers), strings.TrimSpace(ns)
	s.kubectl("-n", s.namespace, "annotate", "pod", "p", "k8s.v1.cni.cncf.io/network-status-", "--overwrite")
	c.StopAPIServer()
	back := func() {
		require.NoError(t, c.StartAPIServer(context.WithoutCancel(t.Context())))
	}
	t.Cleanup(func() { c.StopAPIServer(); back() })
	answer, _ := plugin(s, "DEL", id, sandbox, podArgs(s.namespace, "p", uid))
	assert.Nil(t, answer, "DEL")
	s.wantBefore()
	answer, _ = plugin(s, "ADD", id, sandbox, podArgs(s.namespace, "p", uid))
	assert.NotContains(t, answer, "code", "ADD")
	answer, _ = plugin(s, "ADD", "e2e-fresh", sandbox, podArgs(s.namespace, "fresh", "11111111-1111-1111-1111-111111111111"))
	assert.Equal(t, 11.0, answer["code"], "ADD of a pod that nobody knows: %v", answer)
	back()
	s.eventually(func() error {
		out := s.kubectl("-n", s.namespace, "get", "pod", "p", "-o", `jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}`)
		if !strings.Contains(out, "bond-net1") {
			return fmt.Errorf("not published: %q", out)
		}
		return nil
	})
}

// TestPolicy: what RBAC cannot say. The token is the agent's own.
func TestPolicy(t *testing.T) {
	s := newScene(t)
	s.apply(pod("p", "", 0), gated(pod("gated", "", 0)))
	s.ready("p", "gated")
	agent := s.kubectl("-n", "multibond-system", "get", "pods", "-l", "app=multibond-agent", "-o", "jsonpath={.items[0].metadata.name}")
	token := strings.TrimSpace(s.kubectl("-n", "multibond-system", "create", "token", "multibond-agent", "--bound-object-kind=Pod", "--bound-object-name="+agent))
	s.apply(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "elsewhere"}, "spec": {"nodeName": "elsewhere", "containers": [{"name": "c", "image": "x"}]}}`)
	defer s.kubectl("-n", s.namespace, "delete", "pod", "elsewhere", "--grace-period=0", "--force")
	patch := func(pod, patch, subresource string) string {
		s.Helper()
		out, err := c.As(t.Context(), token, "PATCH", "/api/v1/namespaces/"+s.namespace+"/pods/"+pod+subresource, patch)
		require.NoError(t, err)
		return out
	}
	condition := func(kind string) string {
		return fmt.Sprintf(`{"status": {"conditions": [{"type": %q, "status": "False", "reason": "Test"}]}}`, kind)
	}
	const ours = `{"metadata": {"annotations": {"k8s.v1.cni.cncf.io/network-status": "[]"}}}`
	for _, test := range []struct{ name, pod, patch, subresource, words string }{
		{"its own annotation", "p", ours, "/status", "200 OK"},
		{"a pod of another node", "elsewhere", ours, "/status", "the agent of node 127.0.0.1 may not change a pod of node elsewhere"},
		{"another annotation", "p", `{"metadata": {"annotations": {"a": "b"}}}`, "/status", "the agent may change only the annotation k8s.v1.cni.cncf.io/network-status"},
		{"a label", "p", `{"metadata": {"labels": {"a": "b"}}}`, "/status", "the agent may not change a pod's labels"},
		{"the status", "p", `{"status": {"reason": "x"}}`, "/status", "the agent may not change a pod's status"},
		{"its own condition", "gated", condition("multibond.io/BondHealthy"), "/status", "200 OK"},
		{"that of a pod that does not wait for it", "p", condition("multibond.io/BondHealthy"), "/status", "the agent may change only the condition multibond.io/BondHealthy, and only of a pod that has it"},
		{"another condition", "gated", condition("Ready"), "/status", "the agent may change only the condition multibond.io/BondHealthy"},
		{"a condition that is not there", "gated", condition("example.com/Other"), "/status", "the agent may change only the condition multibond.io/BondHealthy"},
		{"all conditions", "gated", `{"status": {"conditions": [{"$patch": "replace"}]}}`, "/status", "the agent may change only the condition multibond.io/BondHealthy"},
		{"the pod itself", "p", `{"metadata": {"labels": {"a": "b"}}}`, "", "cannot patch resource"},
	} {
		assert.Contains(t, patch(test.pod, test.patch, test.subresource), test.words, test.name)
	}
	const tells = `{"metadata": {"annotations": {"multibond.io/node": "{}"}}}`
	assert.Contains(t, patch("p", tells, "/status"), "the agent may change only the annotation", "what it tells of its node, in another pod")
	out, err := c.As(t.Context(), token, "PATCH", "/api/v1/namespaces/multibond-system/pods/"+agent+"/status?dryRun=All", tells)
	require.NoError(t, err)
	assert.Contains(t, out, "200 OK", "what it tells of its node")
	s.tryLeases(token)
	for _, path := range []string{"/api/v1/secrets", "/api/v1/nodes", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"} {
		out, err := c.As(t.Context(), token, "GET", path, "")
		assert.NoError(t, err, path)
		assert.Regexp(t, "^403 ", out, path)
	}
}

// tryLeases: an agent takes numbers for its own node only.
func (s *scene) tryLeases(token string) {
	s.Helper()
	node := strings.Fields(s.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name} {.items[0].metadata.uid}"))
	const path, only = "/apis/coordination.k8s.io/v1/namespaces/multibond-system/leases", "the agent may only write Leases multibond-host-N whose holder and owner is its own node"
	for _, test := range []struct{ name, verb, path, lease, words string }{
		{"its own", "POST", path + "?dryRun=All", leaseOf("multibond-host-65000", node[0], node[0], node[1]), "201 Created"},
		{"another holder", "POST", path, leaseOf("multibond-host-65000", "elsewhere", node[0], node[1]), only},
		{"another owner", "POST", path, leaseOf("multibond-host-65000", node[0], "elsewhere", node[1]), only},
		{"a node that is not there any more", "POST", path, leaseOf("multibond-host-65000", node[0], node[0], "00000000-0000-0000-0000-000000000000"), only},
		{"another name", "POST", path, leaseOf("leader", node[0], node[0], node[1]), only},
		{"another namespace", "POST", strings.Replace(path, "multibond-system", s.namespace, 1), leaseOf("multibond-host-65000", node[0], node[0], node[1]), "403 Forbidden"},
		{"that of another node", "PATCH", path + "/multibond-host-65001", leaseOf("multibond-host-65001", node[0], node[0], node[1]), "the agent may not change the Lease of another node"},
		{"to give one up", "DELETE", path + "/multibond-host-65001", "", "403 Forbidden"},
	} {
		if test.verb == "PATCH" {
			s.pipe(leaseOf("multibond-host-65001", "elsewhere", node[0], node[1]), "-n", "multibond-system", "create", "-f", "-")
			defer s.kubectl("-n", "multibond-system", "delete", "lease", "multibond-host-65001")
		}
		out, err := c.As(s.Context(), token, test.verb, test.path, test.lease)
		require.NoError(s, err)
		assert.Contains(s, out, test.words, test.name)
	}
}

// leaseOf is a Lease of a holder, owned by a Node.
func leaseOf(name, holder, owner, uid string) string {
	return fmt.Sprintf(`{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": %q, "labels": {"app.kubernetes.io/name": "multibond", "app.kubernetes.io/component": "host"}, "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": %q, "uid": %q}]},
		"spec": {"holderIdentity": %q}}`, name, owner, uid, holder)
}
