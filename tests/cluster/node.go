package cluster

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/multibond/multibond/tests/lab"
)

//go:embed node/start.sh
var startScript string

//go:embed node/containerd.toml
var containerdConfig string

//go:embed node/kubelet.yaml
var kubeletConfig string

//go:embed node/default.conflist
var defaultNetwork string

// Node is a machine of the cluster.
type Node struct {
	Name string  // an address of this machine, by which the API server reaches its kubelet
	VM   *lab.VM // nil: it is off

	cluster *Cluster
	number  int      // from 0
	port    int      // of its kubelet
	trunk   *os.File // joins its switch with the other node's, if there is one
}

// addNodes names the nodes, and finds ports for them and the control plane.
func (c *Cluster) addNodes() error {
	ports := []*int{&c.ports.etcd, &c.ports.etcdPeer, &c.ports.api}
	if !c.options.WithoutNode {
		for i := range c.options.Nodes {
			n := &Node{Name: fmt.Sprintf("127.0.0.%d", i+1), cluster: c, number: i}
			c.Nodes, ports = append(c.Nodes, n), append(ports, &n.port)
		}
		c.Node = c.Nodes[0]
	}
	if len(c.Nodes) == 2 {
		ends, err := lab.Trunk()
		if err != nil {
			return err
		}
		c.Nodes[0].trunk, c.Nodes[1].trunk = ends[0], ends[1]
	}
	return freePorts(ports...)
}

// prepare makes what the guest gets below /lab/node.
func (n *Node) prepare() error {
	var resources []map[string]any
	for i := 1; i <= 4; i++ {
		resources = append(resources, map[string]any{
			"resourceName": fmt.Sprintf("sriov_pf%d", i), "selectors": map[string]any{"pfNames": []string{fmt.Sprintf("enp%ds0", i)}},
		})
	}
	pools, err := json.Marshal(map[string]any{"resourceList": resources})
	if err != nil {
		return err
	}
	files := map[string]string{
		"start.sh": startScript, "containerd.toml": containerdConfig, "pools.json": string(pools),
		"default.conflist": strings.ReplaceAll(defaultNetwork, "NODE", fmt.Sprint(n.number)),
		"kubelet.yaml":     strings.ReplaceAll(kubeletConfig, "KUBELET_PORT", fmt.Sprint(n.port)),
		"kubelet.conf":     kubeconfig(n.cluster.server(hostAddress), "/lab/node", "kubelet"),
	}
	errs := []error{
		os.MkdirAll(n.dir(), 0o755),
		n.cluster.pki.issue(n.key(), "system:node:"+n.Name, []string{"system:nodes"}, []string{n.Name}),
	}
	for name, content := range files {
		errs = append(errs, os.WriteFile(filepath.Join(n.dir(), name), []byte(content), 0o755))
	}
	return errors.Join(errs...)
}

func (n *Node) dir() string { return filepath.Join(n.cluster.dir, "node-"+n.Name) }

// key is the name of its kubelet's certificate and key.
func (n *Node) key() string { return "kubelet-" + n.Name }

func (n *Node) files() map[string]string {
	keys := n.cluster.pki
	files := map[string]string{
		"node/ca.crt": keys.path("ca.crt"), "node/kubelet.crt": keys.path(n.key() + ".crt"), "node/kubelet.key": keys.path(n.key() + ".key"),
	}
	entries, _ := os.ReadDir(n.dir())
	for _, e := range entries {
		files["node/"+e.Name()] = filepath.Join(n.dir(), e.Name())
	}
	return files
}

func (n *Node) boot(ctx context.Context) (err error) {
	o := n.cluster.options
	n.VM, err = lab.Boot(ctx, lab.Options{
		Kernel: o.Kernel, PFs: o.PFs, VFs: o.VFs, Log: o.Log, Timeout: o.Timeout, Files: n.files(), Trunk: n.trunk, Number: n.number,
		Disk: filepath.Join(made(), "node.img"), Forward: map[string]int{fmt.Sprintf("%s:%d", n.Name, n.port): n.port},
	})
	return err
}

func (n *Node) startPrograms(ctx context.Context) error {
	_, err := n.On(ctx, "/lab/node/start.sh", n.Name, fmt.Sprint(n.number), clusterIP+":443", fmt.Sprintf("%s:%d", hostAddress, n.cluster.ports.api))
	return err
}

// TurnOn has a node that is off join the cluster as a new machine, and waits until it is
// ready, with all VFs to be had.
func (n *Node) TurnOn(ctx context.Context) error {
	for _, step := range []func(context.Context) error{n.boot, n.startPrograms, n.awaitReady} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// TurnOff turns the node off, if it is on. What is on it is lost, and the API server is told
// nothing.
func (n *Node) TurnOff() error {
	if n.VM == nil {
		return nil
	}
	err := n.VM.Close()
	n.VM = nil
	return err
}

// On runs a command on the node that must end with status 0, and returns what
// it printed.
func (n *Node) On(ctx context.Context, args ...string) (string, error) {
	out, err := n.VM.Run(ctx, lab.Cmd{Args: append([]string{"bash", "-c", nodePath + `exec "$@"`, "bash"}, args...)})
	if err == nil && out.Exit != 0 {
		err = fmt.Errorf("exit status %d", out.Exit)
	}
	if err != nil {
		return string(out.Stdout), fmt.Errorf("on node %s, %s: %w\n%s%s", n.Name, strings.Join(args, " "), err, out.Stdout, out.Stderr)
	}
	return string(out.Stdout), nil
}

const nodePath = "PATH=/opt/node/bin:/usr/sbin:/usr/bin:/opt/cni/bin; "

// awaitReady waits until the node is ready and the device plugin has reported.
func (n *Node) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	const query = `{.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message} {.status.allocatable}`
	for {
		state, err := n.cluster.Kubectl(ctx, "", "get", "node", n.Name, "-o", "jsonpath="+query)
		ready := err == nil && strings.HasPrefix(state, "True ")
		for i := range n.cluster.options.PFs {
			ready = ready && strings.Contains(state, fmt.Sprintf(`"intel.com/sriov_pf%d":"%d"`, i+1, n.cluster.options.VFs))
		}
		if ready {
			return nil
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s %w\n%s", state, err, n.Logs())
		}
	}
}

// Logs are the end of each log of the node.
func (n *Node) Logs() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := n.On(ctx, "sh", "-c", "cd /var/log/node && for log in *; do echo \"== $log\"; tail -n 25 $log; done")
	if err != nil {
		return err.Error()
	}
	return out
}

// Import has the node's containerd load an image file of this machine.
func (n *Node) Import(ctx context.Context, file string) error {
	image, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	if err := os.WriteFile(filepath.Join(n.VM.Share(), name), image, 0o644); err != nil {
		return err
	}
	_, err = n.On(ctx, "ctr", "-n", "k8s.io", "image", "import", "--local", "/lab/"+name)
	return err
}

// State lists what an attachment can change on the node: VFs, by device, what
// the PFs keep for them, and the files that addresses and Records are. What
// host-local notes of its last address is nobody's.
func (n *Node) State(ctx context.Context) ([]string, error) {
	out, err := n.On(ctx, "bash", "-c", stateScript)
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

const stateScript = `
for vf in /sys/bus/pci/drivers/igbvf/0000:*; do
	for link in $vf/net/*; do
		mac='' mtu='' flags='' # without a process for each, which takes the guest 10 ms
		read -r mac <$link/address
		read -r mtu <$link/mtu
		read -r flags <$link/flags
		echo "${vf##*/} ${link##*/} $mac mtu $mtu flags $flags"
	done
done
ip link show | grep -E '^ +vf '
find /var/lib/cni/multibond /var/lib/cni/networks /var/lib/cni/sriov /var/run/k8s.cni.cncf.io/devinfo/cni -type f 2>/dev/null | grep -v -e /lock -e /keep.lock -e /multibond/ended -e last_reserved
ip -o link show type bond
true`
