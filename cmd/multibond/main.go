// multibond is a CNI meta plugin with bonding built in: it has a bond's links
// attached by their own plugins, in order, and bonds them itself.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
)

const (
	stateDir = "/var/lib/cni/multibond"
	// withinEnv is how often this program is among those that have executed it,
	// which may hold its locks: each waits for the one that it has executed.
	withinEnv = "MULTIBOND_WITHIN"
	// The kubelet gives a pod's sandbox four minutes. What is not done in most
	// of them is undone, rather than killed half-way.
	verbTimeout   = 200 * time.Second
	pluginTimeout = 60 * time.Second
	lockTimeout   = 60 * time.Second
)

// A namespace that ends gives its devices back within milliseconds, on a busy
// node within seconds; the runtime repeats a DEL that failed.
var limbo = delegate.Limbo{Wait: 5 * time.Second, GiveUp: 2 * time.Minute}

// releaseVersion is set by the linker.
var releaseVersion = "devel"

func main() {
	// It does one thing after the other: threads that look for work for a second
	// processor took a sixth of an ADD's time, and a third of a DEL's.
	runtime.GOMAXPROCS(1)
	if len(os.Args) > 1 && os.Args[1] == "plan" {
		os.Exit(planOf(os.Args[2:]))
	}
	funcs := skel.CNIFuncs{
		Add:    edge(add),
		Del:    edge(del),
		Check:  edge(check),
		GC:     edge(gc),
		Status: edge(status),
	}
	if err := boundStdin(); err != nil {
		types.NewError(types.ErrDecodingFailure, "standard input: "+err.Error(), "").Print()
		os.Exit(1)
	}
	skel.PluginMainFuncs(funcs, invoke.Versions, "multibond "+releaseVersion+": a CNI plugin that bonds SR-IOV VFs; the container runtime executes it (multibond plan -help)")
}

// edge turns an error into what CNI prints: a code and a message.
func edge(verb func(context.Context, *skel.CmdArgs) error) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
		defer cancel()
		if err := verb(ctx, args); err != nil {
			return types.NewError(cnierror.Code(err), err.Error(), "")
		}
		return nil
	}
}

// newHost is this machine. Whatever needs it needs root.
func newHost(args *skel.CmdArgs) (*delegate.Host, error) {
	if uid := os.Geteuid(); uid != 0 {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("multibond runs as user %d and needs root, as container runtimes execute it", uid), "")
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	within, _ := strconv.Atoi(os.Getenv(withinEnv))
	store := delegate.Store{Dir: stateDir}
	for range within {
		store = store.Within()
	}
	return &delegate.Host{
		Kernel:      bond.System{},
		Sys:         os.DirFS("/sys"),
		SRIOV:       "/var/lib/cni/sriov",
		Runner:      invoke.Exec{Env: append(os.Environ(), fmt.Sprintf("%s=%d", withinEnv, within+1)), Timeout: pluginTimeout},
		Store:       store,
		Path:        filepath.SplitList(args.Path),
		Namespaces:  "/run/netns",
		BootID:      strings.TrimSpace(string(bootID)),
		LockTimeout: lockTimeout,
		Limbo:       limbo,
		Log:         os.Stderr,
	}, nil
}

// request reads the request for a bond network, and opens the machine only if
// it makes sense.
func request(args *skel.CmdArgs) (*delegate.Host, delegate.Request, error) {
	network, err := netconf.ParseNetwork(args.StdinData, args.IfName)
	if err != nil {
		return nil, delegate.Request{}, err
	}
	r := bare(args)
	r.Network = network
	host, err := newHost(args)
	return host, r, err
}

// bare is what the runtime says beside the configuration.
func bare(args *skel.CmdArgs) delegate.Request {
	return delegate.Request{
		ContainerID: args.ContainerID, IfName: args.IfName, Netns: args.Netns, Args: args.Args,
		Path: filepath.SplitList(args.Path),
	}
}

// clusterRequest is request for the cluster's configuration.
func clusterRequest(args *skel.CmdArgs) (*delegate.Host, netconf.Cluster, delegate.Request, error) {
	config, err := netconf.ParseCluster(args.StdinData)
	if err != nil {
		return nil, config, delegate.Request{}, err
	}
	host, err := newHost(args)
	return host, config, bare(args), err
}

func add(ctx context.Context, args *skel.CmdArgs) error {
	isCluster, err := netconf.IsCluster(args.StdinData)
	if err != nil {
		return err
	}
	var result *current.Result
	var version string
	if isCluster {
		host, config, r, err := clusterRequest(args)
		if err != nil {
			return err
		}
		version = config.CNIVersion
		if result, err = host.AddPod(ctx, config, r); err != nil {
			return err
		}
	} else {
		host, r, err := request(args)
		if err != nil {
			return err
		}
		attach := host.Add
		if r.Network.NeedsAgent() {
			attach = host.AddSecondary
		}
		version = r.Network.CNIVersion
		if result, err = attach(ctx, r); err != nil {
			return err
		}
	}
	return invoke.PrintResult(os.Stdout, result, version)
}

// bondCNI is the network of a configuration of bond-cni, or no network.
func bondCNI(args *skel.CmdArgs) netconf.Network {
	n, err := netconf.ParseNetwork(args.StdinData, args.IfName)
	if err != nil || !n.IsBondCNI() {
		return netconf.Network{}
	}
	return n
}

// del does not need the configuration: the Record has what it needs. Only
// where there is none, the default network is told all the same, or what
// bond-cni attached is released.
func del(ctx context.Context, args *skel.CmdArgs) error {
	host, err := newHost(args)
	if err != nil {
		return err
	}
	var config netconf.Cluster
	r := bare(args)
	if isCluster, err := netconf.IsCluster(args.StdinData); err == nil && isCluster {
		if config, err = netconf.ParseCluster(args.StdinData); err != nil {
			fmt.Fprintln(os.Stderr, "multibond:", err)
		}
	} else {
		r.Network = bondCNI(args)
	}
	return host.DelPod(ctx, config, r)
}

func check(ctx context.Context, args *skel.CmdArgs) error {
	host, err := newHost(args)
	if err != nil {
		return err
	}
	r := bare(args)
	err = host.CheckPod(ctx, r.Key())
	if r.Network = bondCNI(args); cnierror.Code(err) == types.ErrUnknownContainer && r.Network.IsBondCNI() {
		return host.CheckPredecessor(r)
	}
	return err
}

func gc(ctx context.Context, args *skel.CmdArgs) error {
	isCluster, err := netconf.IsCluster(args.StdinData)
	if err != nil {
		return err
	}
	if isCluster {
		host, config, r, err := clusterRequest(args)
		if err != nil {
			return err
		}
		return host.GCPod(ctx, config, r.Path)
	}
	host, r, err := request(args)
	if err != nil {
		return err
	}
	return host.GC(ctx, r.Network.Name, r.Network.Valid, r.Path)
}

func status(ctx context.Context, args *skel.CmdArgs) error {
	isCluster, err := netconf.IsCluster(args.StdinData)
	if err != nil {
		return err
	}
	if isCluster {
		host, config, r, err := clusterRequest(args)
		if err != nil {
			return err
		}
		return host.StatusPod(ctx, config, r.Path)
	}
	host, r, err := request(args)
	if err != nil {
		return err
	}
	return host.Status(ctx, r.Network, r.Path)
}
