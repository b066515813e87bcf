package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A directory of its own: the default one is emptied by whoever starts next.
func startCluster(t *testing.T) *Cluster {
	t.Helper()
	began := time.Now()
	c, err := Start(t.Context(), Options{Dir: filepath.Join(made(), "test"), Log: os.Stderr})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs())
		}
		assert.NoError(t, c.Close())
	})
	t.Logf("ready after %.1f s", time.Since(began).Seconds())
	return c
}

// namespaces are the network namespaces of the node's pods.
func namespaces(t *testing.T, c *Cluster) []string {
	t.Helper()
	out, err := c.On(t.Context(), "ls", "/run/netns")
	require.NoError(t, err)
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
	require.NoError(t, json.Unmarshal([]byte(kubectl("", "get", "node", c.Node.Name, "-o", "json")), &node))
	vfs := map[string]string{}
	for name, count := range node.Status.Allocatable {
		if strings.HasPrefix(name, "intel.com/") {
			vfs[name] = count
		}
	}
	assert.Equal(t, map[string]string{"intel.com/sriov_pf1": "7", "intel.com/sriov_pf2": "7"}, vfs, "allocatable VFs")
	assert.Equal(t, "v1.36.3", node.Status.NodeInfo.KubeletVersion)
	assert.Regexp(t, "^containerd://", node.Status.NodeInfo.ContainerRuntimeVersion)

	// With no grace the API server would not wait for the kubelet.
	before := namespaces(t, c)
	began := time.Now()
	kubectl(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"terminationGracePeriodSeconds": 1,
		"containers": [{"name": "c", "image": "`+ToolsImage+`", "command": ["sleep", "100000"]}]}}`, "apply", "-f", "-")
	kubectl("", "wait", "--for=condition=Ready", "--timeout=2m", "pod/p")
	t.Logf("the pod is ready after %.1f s", time.Since(began).Seconds())
	assert.Equal(t, "Running 10.244.0.2 "+c.Node.Name, kubectl("", "get", "pod", "p", "-o", "jsonpath={.status.phase} {.status.podIP} {.spec.nodeName}"), "the pod")
	assert.Contains(t, kubectl("", "exec", "p", "--", "ip", "-4", "-o", "addr", "show", "eth0"), " inet 10.244.0.2/24 ", "eth0")
	assert.Len(t, namespaces(t, c), len(before)+1, "the pod has one network namespace")
	// Without kube-proxy: the forwarder has the API server's cluster address.
	// Its answer to plain HTTP will do: busybox's wget crashes on https here.
	answer := kubectl("", "exec", "p", "--", "sh", "-c", `printf 'GET /version HTTP/1.0\r\n\r\n' | nc -w 20 `+clusterIP+` 443`)
	assert.Equal(t, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", answer, "the API server at its cluster address")

	// The token of the pod's account is for this pod on this node.
	token := kubectl("", "exec", "p", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3, "the token's parts")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims struct {
		Sub        string
		Kubernetes struct {
			Node, Pod struct{ Name string }
		} `json:"kubernetes.io"`
	}
	require.NoError(t, json.Unmarshal(payload, &claims))
	got := []string{claims.Sub, claims.Kubernetes.Node.Name, claims.Kubernetes.Pod.Name}
	assert.Equal(t, []string{"system:serviceaccount:default:default", c.Node.Name, "p"}, got, "the token's claims")

	began = time.Now()
	kubectl("", "delete", "pod", "p", "--timeout=2m")
	t.Logf("the pod is gone after %.1f s", time.Since(began).Seconds())
	assert.Equal(t, before, namespaces(t, c), "network namespaces")

	// What the kubelet asks for is in the audit log, under the node's own name.
	requests, err := c.Requests("system:node:"+c.Node.Name, began)
	require.NoError(t, err)
	deletes := 0
	for _, r := range requests {
		if r.Verb == "delete" && r.ObjectRef.Resource == "pods" && r.ObjectRef.Name == "p" && r.Status.Code == 200 {
			deletes++
		}
	}
	assert.Equal(t, 1, deletes, "the kubelet's requests that delete the pod")

	// Nobody empties the directory of a cluster that runs.
	_, err = Start(t.Context(), Options{Dir: c.dir})
	assert.ErrorIs(t, err, syscall.EWOULDBLOCK, "a second cluster in the same directory")

	// An outage: what was stored is there afterwards.
	c.StopAPIServer()
	out, err := c.Kubectl(t.Context(), "", "get", "nodes")
	assert.Error(t, err, "a stopped API server answers %q", out)
	require.NoError(t, c.StartAPIServer(t.Context()))
	assert.Equal(t, c.Node.Name, kubectl("", "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"), "nodes after the outage")
}
