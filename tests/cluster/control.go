package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// program is one of the control plane, which runs on this machine.
type program struct {
	name string
	args []string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed at its end
}

// start starts it; the kernel ends it when this process ends. Its output is
// added to its log.
func (p *program) start() error {
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(filepath.Join(made(), "bin", p.name), p.args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	p.done = make(chan struct{})
	go func() {
		// The signal follows the thread that started the program.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
		close(p.done)
	}()
	return <-started
}

// stop ends it, and waits for its end.
func (p *program) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// tail is the end of its log, for messages.
func (p *program) tail() string {
	const most = 3000
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("the end of %s:\n%s", p.log, data[max(0, len(data)-most):])
}

// await waits until ok, or until the program has ended.
func (p *program) await(ctx context.Context, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var last error
	for {
		if last = ok(); last == nil {
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
			continue
		case <-p.done:
			last = errors.Join(errors.New("it has ended"), last)
		case <-ctx.Done():
		}
		return fmt.Errorf("waiting for %s: %w\n%s", what, last, p.tail())
	}
}

// controlPlane describes the programs in the order of their start.
func (c *Cluster) controlPlane() {
	etcd := fmt.Sprintf("http://127.0.0.1:%d", c.ports.etcd)
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.ports.etcdPeer)
	c.etcd = c.program("etcd", "--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd, "--listen-peer-urls="+peer,
		"--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	c.api = c.program("kube-apiserver", "--etcd-servers="+etcd, "--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.ports.api), "--advertise-address="+hostAddress,
		"--tls-cert-file="+c.pki.path("api.crt"), "--tls-private-key-file="+c.pki.path("api.key"), "--client-ca-file="+c.pki.path("ca.crt"),
		"--service-account-key-file="+c.pki.path("accounts.pub"), "--service-account-signing-key-file="+c.pki.path("accounts.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/24",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--kubelet-client-certificate="+c.pki.path("admin.crt"), "--kubelet-client-key="+c.pki.path("admin.key"),
		"--kubelet-preferred-address-types=Hostname",
		"--audit-policy-file="+filepath.Join(c.dir, "audit.yaml"), "--audit-log-path="+c.auditLog())
	config := "--kubeconfig=" + filepath.Join(c.dir, "admin.conf")
	c.others = []*program{
		c.program("kube-controller-manager", config, "--leader-elect=false", "--secure-port=0",
			"--service-account-private-key-file="+c.pki.path("accounts.key"), "--root-ca-file="+c.pki.path("ca.crt")),
		c.program("kube-scheduler", config, "--leader-elect=false", "--secure-port=0"),
	}
}

func (c *Cluster) program(name string, args ...string) *program {
	return &program{name: name, args: args, log: filepath.Join(c.dir, name+".log")}
}

// StartAPIServer starts the API server and waits until it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	if err := c.api.start(); err != nil {
		return err
	}
	return c.api.await(ctx, "the API server", func() error {
		_, err := c.Kubectl(ctx, "", "get", "--raw", "/readyz")
		return err
	})
}

// StopAPIServer ends the API server; what it stores stays.
func (c *Cluster) StopAPIServer() { c.api.stop() }

func (c *Cluster) startControlPlane(ctx context.Context) error {
	if err := c.etcd.start(); err != nil {
		return err
	}
	if err := c.StartAPIServer(ctx); err != nil {
		return errors.Join(err, errors.New(c.etcd.tail()))
	}
	for _, p := range c.others {
		if err := p.start(); err != nil {
			return err
		}
	}
	return nil
}

// freePorts finds ports of the loopback that nobody listens on.
func freePorts(into ...*int) error {
	for _, port := range into {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() // all at the end, so that they differ
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}
