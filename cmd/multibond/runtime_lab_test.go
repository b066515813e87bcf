//go:build lab

package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/rogpeppe/go-internal/testscript"
)

// containerRuntime is how a container runtime calls CNI: what it says of a sandbox, in
// which order, and how long it waits before it kills the plugin. The comments of its
// functions name the files of its sources.
type containerRuntime struct {
	args      func(sandboxID, pod string) [][2]string
	idPrefix  string
	namespace func(*crSandbox) error                                // makes the sandbox's network namespace
	run       func(*crSandbox) error                                // a pod
	stop      func(*crSandbox) error                                // a pod
	start     func(n *crNode, list *libcni.NetworkConfigList) error // the runtime itself
}

var containerRuntimes = map[string]containerRuntime{
	"containerd": {args: podArgs, namespace: mountedAs("/var/run/netns/cni-"), run: runContainerd, stop: stopContainerd},
	"crio":       {args: podArgs, namespace: mountedAs("/var/run/netns/"), run: runCRIO, stop: stopCRIO, start: startCRIO},
	"nerdctl":    {args: hookArgs, idPrefix: "default-", namespace: ofProcess, run: runNerdctl, stop: stopNerdctl},
	"podman":     {args: nameArgs, namespace: mountedAs("/run/netns/netns-"), run: runPodman, stop: stopPodman},
}

// nodeKey is the key of a script's crNode.
type nodeKey struct{}

// crNode is what a runtime has on the node while a script runs.
type crNode struct {
	cni       *libcni.CNIConfig
	limit     time.Duration // takes the place of the runtime's own, if it is not 0
	log       io.Writer     // of errors that the runtime ignores
	sandboxes map[string]*crSandbox
}

// crSandbox is one pod, as its runtime knows it.
type crSandbox struct {
	*crNode
	libcni.RuntimeConf
	list     *libcni.NetworkConfigList
	process  *exec.Cmd // that has the namespace, if nothing else has
	attached bool      // ADD has succeeded
	stopped  bool      // DEL has succeeded, and is not repeated
}

// runtimeVerb has a container runtime run or stop a pod, or start itself, with CNI's own
// library: "runtime NAME run POD CONFLIST", "runtime NAME stop POD", "runtime NAME start
// CONFLIST", each with the time that the runtime waits as a last argument if that is not
// to be its own. It fails if the runtime has an error. NETNS_POD becomes the path of the
// pod's namespace.
func runtimeVerb(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: runtime NAME run|stop|start POD|CONFLIST ...")
	}
	r, known := containerRuntimes[args[0]]
	if !known {
		ts.Fatalf("runtime %s is not known", args[0])
	}
	n := nodeOf(ts)
	err := n.do(ts, r, args[1:])
	if err != nil {
		fmt.Fprintln(ts.Stderr(), err)
	}
	if (err != nil) != neg {
		ts.Fatalf("runtime %v: %v", args, err)
	}
}

func (n *crNode) do(ts *testscript.TestScript, r containerRuntime, args []string) error {
	n.limit = 0
	if limit, err := time.ParseDuration(args[len(args)-1]); err == nil {
		n.limit = limit
	}
	switch what := args[0]; what {
	case "start":
		return r.start(n, readList(ts, args[1]))
	case "run":
		return r.run(n.newSandbox(ts, r, args[1], readList(ts, args[2])))
	case "stop":
		return r.stop(n.sandboxes[args[1]])
	default:
		return fmt.Errorf("%s is not known", what)
	}
}

func readList(ts *testscript.TestScript, file string) *libcni.NetworkConfigList {
	list, err := libcni.ConfListFromBytes([]byte(ts.ReadFile(file)))
	ts.Check(err)
	return list
}

// newSandbox makes a sandbox of a pod. What is left of an earlier one has ended.
func (n *crNode) newSandbox(ts *testscript.TestScript, r containerRuntime, pod string, list *libcni.NetworkConfigList) *crSandbox {
	if earlier, there := n.sandboxes[pod]; there {
		earlier.removeNamespace()
	}
	id := fmt.Sprintf("%s%x", r.idPrefix, sha256.Sum256([]byte(pod)))
	s := &crSandbox{crNode: n, list: list, RuntimeConf: libcni.RuntimeConf{ContainerID: id, IfName: "eth0", Args: r.args(id, pod)}}
	ts.Check(r.namespace(s))
	ts.Defer(s.removeNamespace)
	ts.Setenv("NETNS_"+pod, s.NetNS)
	n.sandboxes[pod] = s
	return s
}

// nodeOf returns the node of a script. Plugins are those of its CNI_PATH.
func nodeOf(ts *testscript.TestScript) *crNode {
	n := ts.Value(nodeKey{}).(*crNode)
	n.log = ts.Stderr()
	n.cni = libcni.NewCNIConfigWithCacheDir(filepath.SplitList(ts.Getenv("CNI_PATH")), ts.MkAbs("cni-cache"),
		&invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}, PluginDecoder: version.PluginDecoder{}})
	return n
}

// within calls with a time limit after which the plugin is killed. 0 is no limit.
func (n *crNode) within(own time.Duration, call func(context.Context) error) error {
	limit := cmp.Or(n.limit, own)
	if limit == 0 {
		return call(context.Background())
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return call(ctx)
}

func (s *crSandbox) add(limit time.Duration) error {
	return s.within(limit, func(ctx context.Context) error {
		_, err := s.cni.AddNetworkList(ctx, s.list, &s.RuntimeConf)
		s.attached = err == nil
		return err
	})
}

func (s *crSandbox) del(limit time.Duration, netns string) error {
	conf := s.RuntimeConf
	conf.NetNS = netns
	return s.within(limit, func(ctx context.Context) error { return s.cni.DelNetworkList(ctx, s.list, &conf) })
}

// delCached has the configuration and the runtime's own arguments of the ADD.
func (s *crSandbox) delCached(limit time.Duration) error {
	list, conf := s.list, &s.RuntimeConf
	if raw, cached, err := s.cni.GetNetworkListCachedConfig(s.list, conf); err == nil && raw != nil {
		if list, err = libcni.ConfListFromBytes(raw); err != nil {
			return err
		}
		conf = cached
	}
	return s.within(limit, func(ctx context.Context) error { return s.cni.DelNetworkList(ctx, list, conf) })
}

// mountedAs makes a namespace under a path that begins so and ends with a UUID.
func mountedAs(prefix string) func(*crSandbox) error {
	return func(s *crSandbox) error {
		uuid, err := os.ReadFile("/proc/sys/kernel/random/uuid")
		if err != nil {
			return err
		}
		s.NetNS = prefix + string(uuid[:36])
		out, err := exec.Command("ip", "netns", "add", filepath.Base(s.NetNS)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
}

// ofProcess makes a namespace that nothing but a process has.
func ofProcess(s *crSandbox) error {
	s.process = exec.Command("unshare", "--net", "sleep", "3600")
	if err := s.process.Start(); err != nil {
		return err
	}
	s.NetNS = fmt.Sprintf("/proc/%d/ns/net", s.process.Process.Pid)
	host, err := os.Readlink("/proc/self/ns/net")
	for deadline := time.Now().Add(time.Minute); err == nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var own string
		if own, err = os.Readlink(s.NetNS); err == nil && own != host {
			return nil
		}
	}
	return fmt.Errorf("the process has no namespace: %w", err)
}

func (s *crSandbox) removeNamespace() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		return
	}
	_ = exec.Command("ip", "netns", "del", filepath.Base(s.NetNS)).Run()
}

// podArgs are CNI_ARGS of containerd (internal/cri/server/sandbox_run.go, toCNILabels)
// and CRI-O (ocicni, buildCNIRuntimeConf).
func podArgs(id, pod string) [][2]string {
	return [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "demo"}, {"K8S_POD_NAME", pod}, {"K8S_POD_INFRA_CONTAINER_ID", id}, {"K8S_POD_UID", "uid-" + pod}}
}

// hookArgs are CNI_ARGS of nerdctl (pkg/ocihook/ocihook.go, applyNetworkSettings).
func hookArgs(id, pod string) [][2]string {
	return [][2]string{{"IgnoreUnknown", "1"}, {"NERDCTL_CNI_DHCP_HOSTNAME", pod}}
}

// nameArgs are CNI_ARGS of podman (containers/common, libnetwork/cni/run.go,
// getRuntimeConfig): the container's name without a pod's namespace, and names of
// containers may have capitals.
func nameArgs(_, pod string) [][2]string {
	return [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAME", "My_" + pod}}
}

// runContainerd is RunPodSandbox of containerd (internal/cri/server/sandbox_run.go), for
// which the kubelet gives it twice the runtimeRequestTimeout. An error of the DEL after an
// ADD that failed is ignored, and the namespace removed.
func runContainerd(s *crSandbox) error {
	err := s.add(4 * time.Minute)
	if err != nil {
		if ignored := s.del(time.Minute, s.NetNS); ignored != nil {
			fmt.Fprintln(s.log, ignored)
		}
		s.removeNamespace()
	}
	return err
}

// stopContainerd is StopPodSandbox of containerd (internal/cri/server/sandbox_stop.go).
// The kubelet repeats it until it has succeeded, and RemovePodSandbox begins with it: so
// DEL comes again when the namespace is gone.
func stopContainerd(s *crSandbox) error {
	netns := s.NetNS
	if _, err := os.Stat(netns); err != nil {
		netns = ""
	}
	if err := s.del(2*time.Minute, netns); err != nil {
		if s.attached {
			return err
		}
		fmt.Fprintln(s.log, err)
	}
	s.removeNamespace()
	return nil
}

// runCRIO is networkStart of CRI-O (server/sandbox_network.go): ADD and then CHECK, which
// asks for the pod's addresses.
func runCRIO(s *crSandbox) error {
	err := s.add(9 * time.Minute)
	if err == nil {
		err = s.within(9*time.Minute, func(ctx context.Context) error { return s.cni.CheckNetworkList(ctx, s.list, &s.RuntimeConf) })
	}
	if err != nil {
		return errors.Join(err, s.delCached(time.Minute))
	}
	return nil
}

// stopCRIO is networkStop of CRI-O: DEL comes before the containers end, has the path of
// the namespace whether that is there or not, and is not repeated once it has succeeded.
// After one that failed the path is removed, which does nothing to a mounted namespace.
func stopCRIO(s *crSandbox) error {
	if s.stopped {
		return nil
	}
	if err := s.delCached(time.Minute); err != nil {
		if _, gone := os.Stat(s.NetNS); gone != nil {
			return errors.Join(err, gone)
		}
		if mounted := os.RemoveAll(s.NetNS); mounted != nil {
			return errors.Join(err, mounted)
		}
	}
	s.stopped = true
	s.removeNamespace()
	return nil
}

// startCRIO is what CRI-O does before the first ADD (ocicni, loadNetworks, and
// internal/config/cnimgr): VERSION of each plugin; STATUS until it succeeds; then GC, for
// which CNI's library calls DEL for each attachment that the runtime does not have any
// more, with the path that it had.
func startCRIO(n *crNode, list *libcni.NetworkConfigList) error {
	if _, err := n.cni.ValidateNetworkList(context.Background(), list); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(500 * time.Millisecond) {
		err := n.cni.GetStatusNetworkList(context.Background(), list)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return err
		}
	}
	valid := []types.GCAttachment{}
	for _, s := range n.sandboxes {
		if _, err := os.Stat(s.NetNS); err == nil && !s.stopped {
			valid = append(valid, types.GCAttachment{ContainerID: s.ContainerID, IfName: s.IfName})
		}
	}
	return n.within(30*time.Second, func(ctx context.Context) error {
		return n.cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid})
	})
}

// runNerdctl is the hook createRuntime of nerdctl (pkg/ocihook/ocihook.go): a DEL without
// a namespace, whose error is ignored, and ADD with that of the container's process.
func runNerdctl(s *crSandbox) error {
	_ = s.del(0, "")
	return s.add(0)
}

// stopNerdctl is the hook postStop: the process has ended, and DEL has no namespace.
func stopNerdctl(s *crSandbox) error {
	s.removeNamespace()
	return s.del(0, "")
}

// runPodman is Setup of podman's CNI backend (containers/common, libnetwork/cni/run.go).
func runPodman(s *crSandbox) error {
	err := s.add(0)
	if err != nil {
		return errors.Join(err, s.delCached(0))
	}
	return nil
}

// stopPodman is Teardown of podman's CNI backend. DEL is called once, and the namespace is
// removed whatever became of it (libpod, teardownNetNS).
func stopPodman(s *crSandbox) error {
	err := s.delCached(0)
	s.removeNamespace()
	return err
}
