package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// contender is a way to attach a pod's networks.
type contender struct {
	name   string
	plugin string
	config map[string]any
	// processes are the names of its processes, without its delegates.
	processes []string
}

// noop is a network whose plugin does nothing.
var noop = map[string]any{"cniVersion": "1.0.0", "name": "noop", "type": "noop"}

// multibond returns Multibond with the agent that has its socket in a directory.
func multibond(agentDir string) contender {
	config := map[string]any{"cniVersion": "1.0.0", "name": "multibond", "type": "multibond", "agent": agentDir + "/agent.sock",
		"defaultNetwork": map[string]any{"confDir": confDir, "name": ""}}
	return contender{"multibond", "multibond", config, []string{"multibond", "multibond-agent"}}
}

// contenders returns Multibond and its peers. Each of them attaches the default
// network first.
func (m *machine) contenders(defaultNetwork map[string]any) []contender {
	multus := func(kind string, more map[string]any) map[string]any {
		config := map[string]any{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": kind, "delegates": []any{defaultNetwork}, "logLevel": "panic", "binDir": binDir}
		for key, value := range more {
			config[key] = value
		}
		return config
	}
	all := []contender{
		multibond(agentDir),
		{"multus thin", "multus", multus("multus", map[string]any{"kubeconfig": m.kubeconfig, "cniDir": stateDir + "/multus-thin"}), []string{"multus"}},
		{"multus thick", "multus-shim", multus("multus-shim", map[string]any{"daemonSocketDir": "/run/multus/thick"}), []string{"multus-shim", "multus-daemon"}},
	}
	if m.other {
		other := multibond(otherDir)
		other.name, other.plugin, other.processes = "other", "other", []string{"other", "other-agent"}
		all = append(all, other)
	}
	return all
}

// ofMultus reports whether the contender is a kind of Multus.
func (c contender) ofMultus() bool { return strings.HasPrefix(c.name, "multus") }

// sandbox is a pod with a network namespace.
type sandbox struct {
	container, netns string
	pod, uid         string
}

func (c contender) call(ctx context.Context, command string, s sandbox) (time.Duration, error) {
	took, _, err := execute(ctx, c.plugin, command, "eth0", c.config, s)
	return took, err
}

// floorOf does for a sandbox only what no contender can leave out, and returns how
// long that took.
type floorOf func(ctx context.Context, command string, s sandbox) (time.Duration, error)

// execute runs a plugin as a runtime does. It returns the time and the output.
func execute(ctx context.Context, plugin, command, ifName string, config any, s sandbox) (time.Duration, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	stdin, err := json.Marshal(config)
	if err != nil {
		return 0, nil, err
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
		return took, nil, fmt.Errorf("%s %s of %s: %w: %s%s", plugin, command, s.pod, err, out.String(), said.String())
	}
	return took, out.Bytes(), nil
}

// addPods creates pods, by name, with the networks given. It returns the UIDs of
// all pods by name.
func (m *machine) addPods(ctx context.Context, networks map[string][]string) (map[string]string, error) {
	var objects []string
	for name, names := range networks {
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

// burstPods returns n pods with two networks each.
func burstPods(n int) map[string][]string {
	networks := map[string][]string{}
	for i := range n {
		networks[fmt.Sprint("b", i)] = noops(2)
	}
	return networks
}

// noops returns the names of n networks that do nothing.
func noops(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("net", i))
	}
	return names
}

// growNADs creates NADs of networks that do nothing until the cluster has as many
// as asked for.
func (m *machine) growNADs(ctx context.Context, to int) error {
	const most = 500 // per kubectl, which creates 50 a second
	var all []map[string]any
	for ; m.nads < to; m.nads++ {
		if len(all) == 0 || len(all[len(all)-1]) == most {
			all = append(all, map[string]any{})
		}
		all[len(all)-1][fmt.Sprint("net", m.nads)] = noop
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, 4)
	errs := make([]error, len(all))
	for i, networks := range all {
		slots <- struct{}{}
		group.Go(func() {
			errs[i] = m.createNADs(ctx, networks)
			<-slots
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// createNADs creates NADs, by name.
func (m *machine) createNADs(ctx context.Context, networks map[string]any) error {
	var objects strings.Builder
	for name, network := range networks {
		config, _ := json.Marshal(network)
		object, _ := json.Marshal(map[string]any{
			"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
			"metadata": map[string]any{"name": name}, "spec": map[string]string{"config": string(config)},
		})
		objects.Write(append(object, "\n---\n"...))
	}
	_, err := m.cluster.Kubectl(ctx, objects.String(), "create", "-f", "-")
	return err
}
