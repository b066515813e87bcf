package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/kubeclient/kubefake"
	"github.com/stretchr/testify/require"
)

// node is the node of all cases.
type node struct {
	t          *testing.T
	api        *kubefake.API
	kubelet    *kubefake.Kubelet
	kubeconfig string
	containers int
}

const nodeName = "n1"

// agentSocket is the socket of the agent.
const agentSocket = agentDir + "/agent.sock"

// newNode starts an API server, a kubelet and the agent.
func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, api: kubefake.NewAPI(t), kubeconfig: "/run/kubeconfig"}
	require.NoError(t, atomicfile.Files{}.Remove(kubelet)) // of another test
	n.kubelet, _ = kubefake.NewKubelet(t, kubelet)
	require.NoError(t, os.WriteFile(n.kubeconfig, []byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "c",
 "clusters": [{"name": "c", "cluster": {"server": "http://`+n.api.Address+`"}}],
 "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}]}`), 0o600))
	agent := exec.Command(filepath.Join(binDir, "multibond-agent"), "-node-name="+nodeName, "-kubeconfig="+n.kubeconfig, "-listen=",
		"-conf-dir="+confDir, "-socket="+agentSocket, "-state-dir="+agentDir+"/queue", "-log-level=ERROR")
	agent.Stderr = os.Stderr
	agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, agent.Start())
	t.Cleanup(func() {
		agent.Process.Kill()
		agent.Wait()
	})
	client := agentapi.Client{Socket: agentSocket, Timeout: time.Minute}
	require.Eventually(t, func() bool { return client.Ready(t.Context()) == nil }, time.Minute, 5*time.Millisecond)
	return n
}

// contender is a meta plugin.
type contender struct {
	plugin string
	config map[string]any // in addition to that of the case
}

func (n *node) contenders() (multus, multibond contender) {
	return contender{"multus", map[string]any{
			"type": "multus", "kubeconfig": n.kubeconfig, "cniDir": stateDir + "/multus", "binDir": binDir, "logLevel": "panic", "logToStderr": false,
		}}, contender{"multibond", map[string]any{
			"type": "multibond", "agent": agentSocket, "binDir": binDir,
		}}
}

// defaults are the keys of the cluster's configuration in all cases. A key that is null in
// a case is left out.
func defaults() map[string]any {
	return map[string]any{
		"cniVersion": "1.0.0", "name": "meta", "confDir": confDir,
		"delegates": []any{map[string]any{"cniVersion": "1.0.0", "name": "pods", "type": "noop"}},
	}
}

// configOf returns the configuration that the runtime gives to the contender.
func (c *testCase) configOf(who contender) ([]byte, error) {
	config, own := defaults(), map[string]any{}
	if text := c.sections["cluster"]; text != "" {
		if err := json.Unmarshal([]byte(text), &own); err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
	}
	if own["clusterNetwork"] != nil {
		delete(config, "delegates")
	}
	for _, more := range []map[string]any{own, who.config} {
		for key, value := range more {
			config[key] = value
			if value == nil {
				delete(config, key)
			}
		}
	}
	return json.Marshal(config)
}

// give creates what the case needs.
func (n *node) give(c *testCase, uid string) error {
	for _, one := range c.nads {
		annotations := map[string]any{}
		if one.resource != "" {
			annotations["k8s.v1.cni.cncf.io/resourceName"] = one.resource
		}
		spec := map[string]any{}
		if one.config != "" {
			spec["config"] = one.config
		}
		n.api.Put(kubefake.NADs, one.namespace, one.name, map[string]any{"metadata": map[string]any{"annotations": annotations}, "spec": spec})
	}
	for path, text := range c.files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return err
		}
	}
	annotations := map[string]any{}
	for section, key := range map[string]string{"networks": "k8s.v1.cni.cncf.io/networks", "default-network": "v1.multus-cni.io/default-network"} {
		if text, there := c.sections[section]; there {
			annotations[key] = text
		}
	}
	if text := c.sections["annotations"]; text != "" {
		if err := json.Unmarshal([]byte(text), &annotations); err != nil {
			return fmt.Errorf("annotations: %w", err)
		}
	}
	namespace, name, _ := strings.Cut(c.sections["pod"], "/")
	spec := map[string]any{"nodeName": nodeName, "containers": []any{map[string]any{"name": "main", "image": "x"}}}
	if claims := n.giveClaims(c, namespace); claims != nil {
		spec["resourceClaims"] = claims
	}
	n.api.Put(kubefake.Pods, namespace, name, map[string]any{
		"metadata": map[string]any{"uid": uid, "annotations": annotations},
		"spec":     spec,
		"status":   map[string]any{"phase": "Pending"},
	})
	devices := map[string][]string{}
	for line := range strings.Lines(c.sections["devices"]) {
		if words := strings.Fields(line); len(words) > 1 {
			devices[words[0]] = append(devices[words[0]], words[1:]...)
		}
	}
	n.kubelet.Set(func(f *kubefake.Kubelet) { f.Pods = nil })
	n.kubelet.Give(namespace, name, devices)
	for _, one := range c.claims {
		n.kubelet.GiveClaim(namespace, name, one.name, one.devices)
	}
	return nil
}

// giveClaims creates the case's claims, and returns those of the pod's specification.
func (n *node) giveClaims(c *testCase, namespace string) (ofPod []any) {
	for _, one := range c.claims {
		var results []any
		for _, d := range one.devices {
			results = append(results, map[string]any{"request": one.request, "driver": d.Driver, "pool": d.Pool, "device": d.Device})
		}
		n.api.Put(kubefake.Claims, namespace, one.name, map[string]any{"status": map[string]any{"allocation": map[string]any{"devices": map[string]any{"results": results}}}})
		ofPod = append(ofPod, map[string]any{"name": one.name, "resourceClaimName": one.name})
	}
	return ofPod
}

// take removes what give created, and what a DEL that failed has left.
func (n *node) take(c *testCase) error {
	for _, one := range c.nads {
		n.api.Remove(kubefake.NADs, one.namespace, one.name)
	}
	for path := range c.files {
		os.Remove(path)
	}
	namespace, name, _ := strings.Cut(c.sections["pod"], "/")
	n.api.Remove(kubefake.Pods, namespace, name)
	for _, one := range c.claims {
		n.api.Remove(kubefake.Claims, namespace, one.name)
	}
	return os.RemoveAll(filepath.Join(stateDir, "multibond"))
}

// execute runs a verb of the contender as a runtime does. Its error has what was printed.
func (n *node) execute(who contender, verb string, env []string, stdin []byte) ([]byte, error) {
	cmd := exec.Command(filepath.Join(binDir, who.plugin))
	cmd.Env = append(os.Environ(), append(env, "CNI_COMMAND="+verb, "CNI_IFNAME=eth0", "CNI_PATH="+binDir)...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &said
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%w: %s%s", err, out.String(), said.String())
	}
	return out.Bytes(), nil
}
