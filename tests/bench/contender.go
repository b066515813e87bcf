package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// contender is a way to attach a pod's networks.
type contender struct {
	name   string
	plugin string
	config map[string]any
}

var defaultNetwork = map[string]any{"cniVersion": "1.0.0", "name": "noop", "type": "noop"}

// contenders returns Multibond and what it is compared with.
func contenders(kubeconfig string) []contender {
	multus := func(kind string, more map[string]any) map[string]any {
		config := map[string]any{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": kind, "delegates": []any{defaultNetwork}, "logLevel": "panic", "binDir": binDir}
		for key, value := range more {
			config[key] = value
		}
		return config
	}
	return []contender{
		{"multibond", "multibond", map[string]any{"cniVersion": "1.0.0", "name": "multibond", "type": "multibond", "agent": "/run/multibond/agent.sock",
			"defaultNetwork": map[string]any{"confDir": confDir, "name": ""}}},
		{"multus thin", "multus", multus("multus", map[string]any{"kubeconfig": kubeconfig, "cniDir": stateDir + "/multus-thin"})},
		{"multus thick", "multus-shim", multus("multus-shim", map[string]any{"daemonSocketDir": "/run/multus/thick"})},
	}
}

// sandbox is a pod that has a network namespace.
type sandbox struct {
	container, netns string
	pod, uid         string
}

func (c contender) call(ctx context.Context, command string, s sandbox) (time.Duration, error) {
	return execute(ctx, c.plugin, command, "eth0", c.config, s)
}

// execute runs a plugin as a runtime does.
func execute(ctx context.Context, plugin, command, ifName string, config any, s sandbox) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	stdin, err := json.Marshal(config)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, plugin))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID="+s.container, "CNI_NETNS="+s.netns, "CNI_IFNAME="+ifName, "CNI_PATH="+binDir,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="+s.pod+";K8S_POD_UID="+s.uid+";K8S_POD_INFRA_CONTAINER_ID="+s.container)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &said
	began := time.Now()
	err = cmd.Run()
	took := time.Since(began)
	if err != nil {
		return took, fmt.Errorf("%s %s of %s: %w: %s%s", plugin, command, s.pod, err, out.String(), said.String())
	}
	return took, nil
}

// floor executes the delegates of a pod with n networks one after the other.
func floor(ctx context.Context, command string, n int, s sandbox) (total time.Duration, err error) {
	for i := range n + 1 {
		took, err := execute(ctx, "noop", command, fmt.Sprint("net", i), defaultNetwork, s)
		if err != nil {
			return total, err
		}
		total += took
	}
	return total, nil
}

// addPods makes pods of so many networks each, and returns their UIDs by name.
func (m *machine) addPods(ctx context.Context, networks map[string]int) (map[string]string, error) {
	var objects []string
	for name, n := range networks {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("net%d", i))
		}
		object, _ := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Pod",
			"metadata": map[string]any{"name": name, "labels": map[string]string{"app": "bench"}, "annotations": map[string]string{"k8s.v1.cni.cncf.io/networks": strings.Join(names, ",")}},
			"spec":     map[string]any{"nodeName": node, "tolerations": []any{map[string]string{"operator": "Exists"}}, "containers": []any{map[string]string{"name": "c", "image": "none"}}},
		})
		objects = append(objects, string(object))
	}
	if _, err := m.cluster.Kubectl(ctx, strings.Join(objects, "\n---\n"), "apply", "-f", "-"); err != nil {
		return nil, err
	}
	out, err := m.cluster.Kubectl(ctx, "", "get", "pods", "-l", "app=bench", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{"\n"}{end}`)
	uids := map[string]string{}
	for line := range strings.Lines(out) {
		var name, uid string
		fmt.Sscan(line, &name, &uid)
		uids[name] = uid
	}
	return uids, err
}

// addNADs makes NADs of networks that do nothing, from and to these numbers.
func (m *machine) addNADs(ctx context.Context, from, to int) error {
	var objects strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&objects, `{"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": "net%d"}, "spec": {"config": "{\"cniVersion\": \"1.0.0\", \"type\": \"noop\"}"}}`+"\n---\n", i)
	}
	_, err := m.cluster.Kubectl(ctx, objects.String(), "create", "-f", "-")
	return err
}
