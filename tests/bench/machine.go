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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/multibond/multibond/tests/cluster"
	"github.com/multibond/multibond/tests/lab"
)

// node is the name of the node that the benchmark's pods are bound to.
const node = "bench"

const (
	binDir  = "/opt/cni/bin"
	confDir = "/etc/cni/net.d"
)

// private are the directories that the programs have for themselves. stateDir is
// on a disk, as on a node.
var private = []string{"/opt", "/etc/cni", "/run/netns", "/run/multibond", "/run/multus", "/run/secrets"}

const stateDir = "/var/lib/cni"

// agentDir has the agent's socket, and otherDir that of another version's agent.
const (
	agentDir = "/run/multibond"
	otherDir = agentDir + "/other"
)

const noopNetwork = `{"cniVersion": "1.0.0", "name": "noop", "plugins": [{"type": "noop"}]}`

// inPrivate runs this program again in a mount namespace of its own.
func inPrivate(args []string) error {
	cmd := exec.Command("/proc/self/exe", append([]string{"-private"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd.Run()
}

// mountPrivate mounts empty directories for the programs, and one on the disk for
// their state.
func mountPrivate() error {
	for _, dir := range private {
		if err := errors.Join(os.MkdirAll(dir, 0o755), syscall.Mount("none", dir, "tmpfs", 0, "")); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	state := filepath.Join(lab.Root(), "build", "bench-state")
	return errors.Join(os.MkdirAll(binDir, 0o755), os.MkdirAll(confDir, 0o755), os.RemoveAll(state), os.MkdirAll(state, 0o755),
		os.MkdirAll(stateDir, 0o755), syscall.Mount(state, stateDir, "", syscall.MS_BIND, ""))
}

// machine is what all contenders use.
type machine struct {
	cluster    *cluster.Cluster
	kubeconfig string
	other      bool // there is another version of Multibond
	processes  []*process
	pods       int // network namespaces that exist
	nads       int // that exist, of networks that do nothing
}

// build builds packages without symbols.
func build(ctx context.Context, dir, out string, packages ...string) error {
	return buildWith(ctx, "-s -w", dir, out, packages...)
}

// buildWith builds packages in a directory of the repository with these linker
// flags.
func buildWith(ctx context.Context, linker, dir, out string, packages ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-ldflags", linker, "-o", out}, packages...)...)
	cmd.Dir, cmd.Env = filepath.Join(lab.Root(), dir), append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, text)
	}
	return nil
}

// install builds the programs of all contenders, and adds those that were given.
func install(ctx context.Context, given programs) error {
	const multus = "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/"
	if err := errors.Join(
		build(ctx, ".", binDir+"/", "./cmd/multibond", "./cmd/multibond-agent", "./tests/bench/noop"),
		build(ctx, "tests/cluster/programs/multus", binDir+"/", multus+"multus", multus+"multus-daemon", multus+"multus-shim"),
	); err != nil {
		return err
	}
	errs := []error{os.WriteFile(filepath.Join(confDir, "10-noop.conflist"), []byte(noopNetwork), 0o644)}
	for name, content := range given {
		errs = append(errs, os.WriteFile(filepath.Join(binDir, name), content, 0o755))
	}
	return errors.Join(errs...)
}

// process is a daemon of a contender.
type process struct {
	name string
	cmd  *exec.Cmd
	log  bytes.Buffer
}

// start starts a daemon. It is killed when this program ends.
func (m *machine) start(name string, env []string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(filepath.Join(binDir, name), args...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	m.processes = append(m.processes, p)
	return p, nil
}

// await waits until a process has created its socket.
func (p *process) await(socket string) error {
	for range 300 {
		if _, err := os.Stat(socket); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("%s did not create %s within 30 seconds:\n%s", p.name, socket, p.log.String())
}

// rss returns the resident memory of a process, now and at most so far, in KiB.
func rss(pid int) (now, most int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		fmt.Sscanf(line, "VmRSS: %d", &now)
		fmt.Sscanf(line, "VmHWM: %d", &most)
	}
	return now, most
}

// peakMemory samples the private memory of all processes with these names until
// stop is called, which returns the maximum of their sum in KiB. Shared memory, as
// that of their programs' files, is left out (proc(5), statm).
func peakMemory(names ...string) (stop func() int) {
	const pause = 10 * time.Millisecond
	ended, most := make(chan struct{}), make(chan int)
	go func() {
		peak := 0
		for {
			peak = max(peak, ownMemory(names))
			select {
			case <-ended:
				most <- peak
				return
			case <-time.After(pause):
			}
		}
	}()
	return func() int {
		close(ended)
		return <-most
	}
}

// ownMemory returns the private memory of all processes with these names, in KiB.
func ownMemory(names []string) (kib int) {
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, file := range files {
		name, _ := os.ReadFile(file) // the process may have ended
		if !slices.Contains(names, strings.TrimSpace(string(name))) {
			continue
		}
		var size, resident, shared int
		text, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "statm"))
		fmt.Sscan(string(text), &size, &resident, &shared)
		kib += (resident - shared) * os.Getpagesize() / 1024
	}
	return kib
}

// startAgent starts an agent with its socket and its queue in a directory, and waits
// for the socket.
func (m *machine) startAgent(program, dir string) (*process, error) {
	agent, err := m.start(program, nil, "-node-name="+node, "-kubeconfig="+m.kubeconfig, "-listen=", "-conf-dir="+confDir,
		"-socket="+dir+"/agent.sock", "-state-dir="+dir+"/queue")
	if err != nil {
		return nil, err
	}
	return agent, agent.await(dir + "/agent.sock")
}

// startDaemons starts the agents and Multus's daemon. The daemon takes its
// credentials from where a container has them; env is a container's environment.
func (m *machine) startDaemons(env []string) error {
	if _, err := m.startAgent("multibond-agent", agentDir); err != nil {
		return err
	}
	if m.other {
		if _, err := m.startAgent("other-agent", otherDir); err != nil {
			return err
		}
	}
	// Multus's daemon exits unless it can make a configuration from one that it finds.
	// Nobody reads the result here.
	found, made, file := "/etc/cni/multus", "/etc/cni/multus-made", "/etc/cni/daemon.json"
	daemon, _ := json.Marshal(map[string]any{
		"cniVersion": "0.3.1", "logLevel": "error", "logToStderr": true, "socketDir": "/run/multus/thick", "binDir": binDir, "cniDir": stateDir + "/multus-thick",
		"multusConfigFile": "auto", "multusAutoconfigDir": found, "cniConfigDir": made,
	})
	if err := errors.Join(os.MkdirAll(found, 0o755), os.MkdirAll(made, 0o755), os.WriteFile(file, daemon, 0o644),
		os.WriteFile(filepath.Join(found, "10-noop.conflist"), []byte(noopNetwork), 0o644)); err != nil {
		return err
	}
	thick, err := m.start("multus-daemon", append(env, "MULTUS_NODE_NAME="+node), "-config="+file)
	if err != nil {
		return err
	}
	return thick.await("/run/multus/thick/multus.sock")
}

// token creates the service account of Multus's daemon and returns its token.
func (m *machine) token(ctx context.Context) (string, error) {
	const object = `{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "multus", "namespace": "kube-system"}}
---
{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "multus"},
 "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
 "subjects": [{"kind": "ServiceAccount", "name": "multus", "namespace": "kube-system"}]}`
	if _, err := m.cluster.Kubectl(ctx, object, "apply", "-f", "-"); err != nil {
		return "", err
	}
	token, err := m.cluster.Kubectl(ctx, "", "-n", "kube-system", "create", "token", "multus", "--duration=24h")
	return strings.TrimSpace(token), err
}

// inCluster writes the files that a container of the service account has, and
// returns its environment.
func (m *machine) inCluster(ctx context.Context) ([]string, error) {
	token, err := m.token(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(serviceAccount, 0o755), os.WriteFile(serviceAccount+"/token", []byte(token), 0o600),
		os.WriteFile(serviceAccount+"/ca.crt", m.cluster.CA(), 0o644)); err != nil {
		return nil, err
	}
	host, port := m.cluster.Address()
	return []string{"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port}, nil
}

// clusterDir is the directory of the benchmark's control plane.
func clusterDir() string { return filepath.Join(lab.Root(), "build", "bench-cluster") }

// command is exec.CommandContext with all arguments in one list.
func command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, args[0], args[1:]...)
}

// logs returns the ends of the daemons' logs as an error.
func (m *machine) logs() error {
	const most = 2000
	var errs []error
	for _, p := range m.processes {
		text := p.log.String()
		errs = append(errs, fmt.Errorf("%s, process %d:\n%s", p.name, p.cmd.Process.Pid, text[max(0, len(text)-most):]))
	}
	return errors.Join(errs...)
}

// close kills the daemons.
func (m *machine) close() {
	for _, p := range m.processes {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// netns returns the path of network namespace number i. It creates what is missing
// up to that number.
func (m *machine) netns(i int) (string, error) {
	for ; m.pods <= i; m.pods++ {
		if out, err := exec.Command("ip", "netns", "add", fmt.Sprint("bench", m.pods)).CombinedOutput(); err != nil {
			return "", fmt.Errorf("ip netns add: %w: %s", err, out)
		}
	}
	return fmt.Sprint("/run/netns/bench", i), nil
}
