// Package cluster starts a Kubernetes cluster: the control plane on this machine,
// and one node or two on one switch, each in a VM of the lab, with real SR-IOV VFs,
// the kubelet, containerd and the SR-IOV device plugin. It needs neither root nor a
// registry.
//
// PF 1's VFs are the resource intel.com/sriov_pf1, and so on. Pods get their
// default network, a bridge, from /etc/cni/net.d/10-default.conflist, and reach
// the API server at its cluster address from the host's network.
//
// What it starts is made by setup.sh (make cluster-setup), below build/cluster.
package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/multibond/multibond/tests/lab"
)

const (
	// ToolsImage has a shell, busybox's programs and the demo's probe.
	ToolsImage = "multibond.test/tools:1"

	hostAddress = "10.0.2.2" // this machine's loopback, as the guest sees it
	clusterIP   = "10.96.0.1"
)

// Options says which cluster to start. The zero value is a good one.
type Options struct {
	Nodes   int           // 1 or 2; default 1
	Kernel  string        // as in lab.Options
	PFs     int           // default 2
	VFs     int           // of each PF, default 7
	Dir     string        // of logs and keys; default build/cluster/run, emptied first; of one cluster at a time
	Log     io.Writer     // progress, in single lines; default none
	Timeout time.Duration // of a VM's whole life, default 45 min

	// WithoutNode starts the control plane only.
	WithoutNode bool
}

// Cluster is one that runs.
type Cluster struct {
	Kubeconfig string // of its administrator
	Nodes      []*Node
	*Node      // the first, which most tests have only

	options   Options
	dir       string
	lock      *os.File // held while the cluster has the directory
	log       io.Writer
	pki       *pki
	ports     struct{ etcd, etcdPeer, api int }
	etcd, api *program
	others    []*program
}

func made() string { return filepath.Join(lab.Root(), "build", "cluster") }

// Start starts a cluster and waits until its nodes are ready, with all VFs to be
// had. A step that fails says so with the end of the log of what was at fault.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(made(), "run")
	}
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.PFs == 0 {
		o.PFs = 2
	}
	if o.VFs == 0 {
		o.VFs = 7
	}
	if o.Timeout == 0 {
		o.Timeout = 45 * time.Minute
	}
	c := &Cluster{options: o, dir: o.Dir, log: o.Log, Kubeconfig: filepath.Join(o.Dir, "admin.conf")}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster: %w", err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(made(), "stamp")); err != nil {
		return fmt.Errorf("%w: run make cluster-setup", err)
	}
	type step struct {
		what string
		do   func() error
	}
	steps := []step{
		{"keys", c.prepare},
		{"nodes boot, control plane starts", func() error { return c.both(ctx) }},
		{"kubelet, containerd, device plugin start", func() error { return c.each(ctx, (*Node).startPrograms) }},
		{"nodes ready, with their VFs", func() error { return c.each(ctx, (*Node).awaitReady) }},
	}
	if c.options.WithoutNode {
		steps = []step{steps[0], {"control plane starts", func() error { return c.startControlPlane(ctx) }}}
	}
	for _, step := range steps {
		began := time.Now()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(c.log, "cluster: %s: %.1f s\n", step.what, time.Since(began).Seconds())
	}
	return nil
}

// both boots the nodes while the control plane starts.
func (c *Cluster) both(ctx context.Context) error {
	booted := make(chan error, 1)
	go func() { booted <- c.each(ctx, (*Node).boot) }()
	err := c.startControlPlane(ctx)
	return errors.Join(err, <-booted)
}

// each does something with all nodes at once.
func (c *Cluster) each(ctx context.Context, do func(*Node, context.Context) error) error {
	errs := make([]error, len(c.Nodes))
	var all sync.WaitGroup
	for i, n := range c.Nodes {
		all.Go(func() { errs[i] = do(n, ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// prepare makes the directory, with all keys and files.
func (c *Cluster) prepare() error {
	if err := c.lockDir(); err != nil {
		return err
	}
	keys := filepath.Join(c.dir, "keys")
	if err := errors.Join(os.RemoveAll(c.dir), os.MkdirAll(keys, 0o755)); err != nil {
		return err
	}
	if err := c.addNodes(); err != nil {
		return err
	}
	var err error
	if c.pki, err = newPKI(keys); err != nil {
		return err
	}
	err = errors.Join(
		c.pki.issue("api", "kube-apiserver", nil, []string{"127.0.0.1", hostAddress, clusterIP, "kubernetes.default.svc", "localhost"}),
		c.pki.issue("admin", "admin", []string{"system:masters"}, nil),
		os.WriteFile(c.Kubeconfig, []byte(kubeconfig(c.server("127.0.0.1"), keys, "admin")), 0o600),
		os.WriteFile(filepath.Join(c.dir, "audit.yaml"), []byte(auditPolicy), 0o600))
	for _, n := range c.Nodes {
		err = errors.Join(err, n.prepare())
	}
	c.controlPlane()
	return err
}

// lockDir keeps others from emptying the directory of a cluster that runs. The
// lock goes with the process, however that ends.
func (c *Cluster) lockDir() error {
	name := filepath.Clean(c.dir) + ".lock"
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return fmt.Errorf("%s: another cluster is running there, stop it first: %w", c.dir, err)
	}
	c.lock = file
	return nil
}

func (c *Cluster) server(host string) string { return fmt.Sprintf("https://%s:%d", host, c.ports.api) }

// Close ends the cluster; its logs stay.
func (c *Cluster) Close() error {
	var err error
	for _, n := range c.Nodes {
		err = errors.Join(err, n.TurnOff())
		if n.trunk != nil {
			err = errors.Join(err, n.trunk.Close())
		}
	}
	for _, p := range append(c.others, c.api, c.etcd) {
		if p != nil {
			p.stop()
		}
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}

// Kubectl runs kubectl as the administrator and returns what it printed. An
// error has what it said.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(made(), "bin", "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "HOME="+c.dir)
	cmd.Dir = lab.Root()
	cmd.Stdin = strings.NewReader(stdin)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s%s", strings.Join(args, " "), err, said.String(), out.String())
	}
	return out.String(), nil
}

// As is one request to the API server by who has the token, as kubectl would
// not make it: kubectl reads an object before it patches it.
func (c *Cluster) As(ctx context.Context, token, method, path, body string) (answer string, err error) {
	ca, err := os.ReadFile(c.pki.path("ca.crt"))
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, c.server("127.0.0.1")+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.Status + "\n" + string(text), err
}

// Bin is where kubectl is.
func (c *Cluster) Bin() string { return filepath.Join(made(), "bin") }

// NodeKubeconfig is a kubeconfig of the administrator that works on a node.
func (c *Cluster) NodeKubeconfig() string {
	inline := func(file string) string {
		data, _ := os.ReadFile(c.pki.path(file))
		return base64.StdEncoding.EncodeToString(data)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x`, c.server(hostAddress), inline("ca.crt"), inline("admin.crt"), inline("admin.key"))
}

// CA is the certificate by which the API server is known.
func (c *Cluster) CA() []byte {
	data, _ := os.ReadFile(c.pki.path("ca.crt"))
	return data
}

// Address is the API server's on this machine.
func (c *Cluster) Address() (host, port string) { return "127.0.0.1", fmt.Sprint(c.ports.api) }
