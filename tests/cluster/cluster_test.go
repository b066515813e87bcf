package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A directory of its own: the default one is emptied by whoever starts next.
func startCluster(t *testing.T) *Cluster {
	t.Helper()
	began := time.Now()
	c, err := Start(t.Context(), Options{Dir: filepath.Join(made(), "test"), Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.NodeLogs())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("ready after %.1f s", time.Since(began).Seconds())
	return c
}

// namespaces are the network namespaces of the node's pods.
func namespaces(t *testing.T, c *Cluster) []string {
	t.Helper()
	out, err := c.On(t.Context(), "ls", "/run/netns")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// TestCluster is what everything else that starts a cluster stands on.
func TestCluster(t *testing.T) {
	c := startCluster(t)
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		out, err := c.Kubectl(ctx, stdin, args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, c.Events(ctx, "default"))
		}
		return out
	}

	var node struct {
		Status struct {
			Allocatable map[string]string
			NodeInfo    struct{ KubeletVersion, ContainerRuntimeVersion string }
		}
	}
	if err := json.Unmarshal([]byte(kubectl("", "get", "node", NodeName, "-o", "json")), &node); err != nil {
		t.Fatal(err)
	}
	vfs := map[string]string{}
	for name, count := range node.Status.Allocatable {
		if strings.HasPrefix(name, "intel.com/") {
			vfs[name] = count
		}
	}
	if diff := cmp.Diff(map[string]string{"intel.com/sriov_pf1": "7", "intel.com/sriov_pf2": "7"}, vfs); diff != "" {
		t.Errorf("allocatable VFs, -want +got:\n%s", diff)
	}
	if got := node.Status.NodeInfo.KubeletVersion; got != "v1.36.3" {
		t.Errorf("the kubelet says it is %q", got)
	}
	if got := node.Status.NodeInfo.ContainerRuntimeVersion; !strings.HasPrefix(got, "containerd://") {
		t.Errorf("the runtime says it is %q", got)
	}

	// With no grace the API server would not wait for the kubelet.
	before := namespaces(t, c)
	began := time.Now()
	kubectl(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"terminationGracePeriodSeconds": 1,
		"containers": [{"name": "c", "image": "`+ToolsImage+`", "command": ["sleep", "100000"]}]}}`, "apply", "-f", "-")
	kubectl("", "wait", "--for=condition=Ready", "--timeout=2m", "pod/p")
	t.Logf("the pod is ready after %.1f s", time.Since(began).Seconds())
	if got := kubectl("", "get", "pod", "p", "-o", "jsonpath={.status.phase} {.status.podIP} {.spec.nodeName}"); got != "Running 10.244.0.2 "+NodeName {
		t.Errorf("the pod: %q", got)
	}
	if got := kubectl("", "exec", "p", "--", "ip", "-4", "-o", "addr", "show", "eth0"); !strings.Contains(got, " inet 10.244.0.2/24 ") {
		t.Errorf("eth0: %q", got)
	}
	if got := len(namespaces(t, c)) - len(before); got != 1 {
		t.Errorf("the pod has %d network namespaces", got)
	}
	// Without kube-proxy: the forwarder has the API server's cluster address.
	// Its answer to plain HTTP will do: busybox's wget crashes on https here.
	answer := kubectl("", "exec", "p", "--", "sh", "-c", `printf 'GET /version HTTP/1.0\r\n\r\n' | nc -w 20 `+clusterIP+` 443`)
	if want := "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"; answer != want {
		t.Errorf("the API server at its cluster address: %q, want %q", answer, want)
	}

	// The token of the pod's account is for this pod on this node.
	token := kubectl("", "exec", "p", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the token has %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Sub        string
		Kubernetes struct {
			Node, Pod struct{ Name string }
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	got := []string{claims.Sub, claims.Kubernetes.Node.Name, claims.Kubernetes.Pod.Name}
	if want := []string{"system:serviceaccount:default:default", NodeName, "p"}; !slices.Equal(want, got) {
		t.Errorf("the token's claims: %q, want %q", got, want)
	}

	began = time.Now()
	kubectl("", "delete", "pod", "p", "--timeout=2m")
	t.Logf("the pod is gone after %.1f s", time.Since(began).Seconds())
	if diff := cmp.Diff(before, namespaces(t, c)); diff != "" {
		t.Errorf("network namespaces, -before +after:\n%s", diff)
	}

	// What the kubelet asks for is in the audit log, under the node's own name.
	requests, err := c.Requests("system:node:"+NodeName, began)
	if err != nil {
		t.Fatal(err)
	}
	deletes := 0
	for _, r := range requests {
		if r.Verb == "delete" && r.ObjectRef.Resource == "pods" && r.ObjectRef.Name == "p" && r.Status.Code == 200 {
			deletes++
		}
	}
	if deletes != 1 {
		t.Errorf("the kubelet deleted the pod %d times", deletes)
	}

	// Nobody empties the directory of a cluster that runs.
	if second, err := Start(t.Context(), Options{Dir: c.dir}); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("a second cluster in the same directory: %v, %v", second, err)
	}

	// An outage: what was stored is there afterwards.
	c.StopAPIServer()
	if out, err := c.Kubectl(t.Context(), "", "get", "nodes"); err == nil {
		t.Errorf("a stopped API server answers %q", out)
	}
	if err := c.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := kubectl("", "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"); got != NodeName {
		t.Errorf("nodes after the outage: %q", got)
	}
}
