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

// writeNodeFiles makes what the guest gets below /lab/node.
func (c *Cluster) writeNodeFiles() error {
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
		"start.sh": startScript, "containerd.toml": containerdConfig, "default.conflist": defaultNetwork,
		"kubelet.yaml": strings.ReplaceAll(kubeletConfig, "KUBELET_PORT", fmt.Sprint(c.ports.kubelet)),
		"kubelet.conf": kubeconfig(c.server(hostAddress), "/lab/node", "kubelet"), "pools.json": string(pools),
	}
	dir := filepath.Join(c.dir, "node")
	errs := []error{os.MkdirAll(dir, 0o755)}
	for name, content := range files {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755))
	}
	return errors.Join(errs...)
}

func (c *Cluster) nodeFiles() map[string]string {
	files := map[string]string{}
	entries, _ := os.ReadDir(filepath.Join(c.dir, "node"))
	for _, e := range entries {
		files["node/"+e.Name()] = filepath.Join(c.dir, "node", e.Name())
	}
	for _, key := range []string{"ca.crt", "kubelet.crt", "kubelet.key"} {
		files["node/"+key] = c.pki.path(key)
	}
	return files
}

// On runs a command on the node that must end with status 0, and returns what
// it printed.
func (c *Cluster) On(ctx context.Context, args ...string) (string, error) {
	out, err := c.Node.Run(ctx, lab.Cmd{Args: append([]string{"bash", "-c", nodePath + `exec "$@"`, "bash"}, args...)})
	if err == nil && out.Exit != 0 {
		err = fmt.Errorf("exit status %d", out.Exit)
	}
	if err != nil {
		return string(out.Stdout), fmt.Errorf("on the node, %s: %w\n%s%s", strings.Join(args, " "), err, out.Stdout, out.Stderr)
	}
	return string(out.Stdout), nil
}

const nodePath = "PATH=/opt/node/bin:/usr/sbin:/usr/bin:/opt/cni/bin; "

func (c *Cluster) startNode(ctx context.Context, o Options) error {
	_, err := c.On(ctx, "/lab/node/start.sh", NodeName, clusterIP+":443", fmt.Sprintf("%s:%d", hostAddress, c.ports.api))
	return err
}

// awaitNode waits until the node is ready and the device plugin has reported.
func (c *Cluster) awaitNode(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	const query = `{.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message} {.status.allocatable}`
	for {
		state, err := c.Kubectl(ctx, "", "get", "node", NodeName, "-o", "jsonpath="+query)
		ready := err == nil && strings.HasPrefix(state, "True ")
		for i := range o.PFs {
			ready = ready && strings.Contains(state, fmt.Sprintf(`"intel.com/sriov_pf%d":"%d"`, i+1, o.VFs))
		}
		if ready {
			return nil
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s %w\n%s", state, err, c.NodeLogs())
		}
	}
}

// NodeLogs is the end of each log of the node.
func (c *Cluster) NodeLogs() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := c.On(ctx, "sh", "-c", "cd /var/log/node && for log in *; do echo \"== $log\"; tail -n 25 $log; done")
	if err != nil {
		return err.Error()
	}
	return out
}

// Import has the node's containerd load an image file of this machine.
func (c *Cluster) Import(ctx context.Context, file string) error {
	image, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	if err := os.WriteFile(filepath.Join(c.Node.Share(), name), image, 0o644); err != nil {
		return err
	}
	_, err = c.On(ctx, "ctr", "-n", "k8s.io", "image", "import", "--local", "/lab/"+name)
	return err
}

// State lists what an attachment can change on the node: VFs, by device, what
// the PFs keep for them, and the files that addresses and Records are. What
// host-local notes of its last address is nobody's.
func (c *Cluster) State(ctx context.Context) ([]string, error) {
	out, err := c.On(ctx, "bash", "-c", stateScript)
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
