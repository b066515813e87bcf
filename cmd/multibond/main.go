// multibond is a CNI meta plugin with bonding built in. It has the links of a bond
// attached by their own plugins, in order, and builds the bond itself.
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
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

const (
	stateDir = "/var/lib/cni/multibond"
	// withinEnv counts how many processes of this program have executed this one,
	// directly or not. They wait for it and may hold locks, so each level has its own.
	withinEnv = "MULTIBOND_WITHIN"
	// The kubelet gives a pod's sandbox four minutes. What takes longer than most of
	// them is undone here, rather than killed half-way.
	verbTimeout   = 200 * time.Second
	pluginTimeout = 60 * time.Second
	lockTimeout   = 60 * time.Second
)

// A namespace that ends returns its devices within milliseconds, or within seconds on
// a busy node. The runtime repeats a DEL that failed.
var limbo = delegate.Limbo{Wait: 5 * time.Second, GiveUp: 2 * time.Minute}

// releaseVersion is set by the linker.
var releaseVersion = "devel"

func main() {
	// The plugin does one thing after the other. Threads that looked for work for a
	// second processor took a sixth of the time of an ADD, and a third of a DEL's.
	runtime.GOMAXPROCS(1)
	if len(os.Args) > 1 && os.Args[1] == "plan" {
		os.Exit(planOf(os.Args[2:]))
	}
	funcs := skel.CNIFuncs{
		Add:    withCNIError(add),
		Del:    withCNIError(del),
		Check:  withCNIError(check),
		GC:     withCNIError(gc),
		Status: withCNIError(status),
	}
	if err := limitStdin(); err != nil {
		types.NewError(types.ErrDecodingFailure, "standard input: "+err.Error(), "").Print()
		os.Exit(1)
	}
	skel.PluginMainFuncs(funcs, invoke.Versions, "multibond "+releaseVersion+": a CNI plugin that bonds SR-IOV VFs; the container runtime executes it (multibond plan -help)")
}

// withCNIError turns the error of a verb into what CNI prints: a code and a message.
func withCNIError(verb func(context.Context, *skel.CmdArgs) error) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
		defer cancel()
		if err := verb(ctx, args); err != nil {
			return types.NewError(cnierror.Code(err), err.Error(), "")
		}
		return nil
	}
}

// newHost returns the host, this machine. It fails unless it runs as root.
func newHost(args *skel.CmdArgs) (*delegate.Host, error) {
	if uid := os.Geteuid(); uid != 0 {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("multibond runs as user %d and needs root, as container runtimes execute it", uid), "")
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	within, _ := strconv.Atoi(os.Getenv(withinEnv))
	store := record.Store{Dir: stateDir}
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

// request parses the request for a bond network. It returns the host only if the
// request is valid.
func request(args *skel.CmdArgs) (*delegate.Host, plan.Request, error) {
	network, err := netconf.ParseNetwork(args.StdinData, args.IfName)
	if err != nil {
		return nil, plan.Request{}, err
	}
	r := requestFromEnv(args)
	r.Network = network
	host, err := newHost(args)
	return host, r, err
}

// requestFromEnv returns the request without its network.
func requestFromEnv(args *skel.CmdArgs) plan.Request {
	return plan.Request{
		ContainerID: args.ContainerID, IfName: args.IfName, Netns: args.Netns, Args: args.Args,
	}
}

// clusterRequest is like request, but parses the cluster's configuration.
func clusterRequest(args *skel.CmdArgs) (*delegate.Host, netconf.Cluster, plan.Request, error) {
	config, err := netconf.ParseCluster(args.StdinData)
	if err != nil {
		return nil, config, plan.Request{}, err
	}
	host, err := newHost(args)
	if err != nil {
		return nil, config, plan.Request{}, err
	}
	host.Path = config.SearchPath(host.Path)
	return host, config, requestFromEnv(args), nil
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

// bondCNI returns the network if the configuration is one of bond-cni, else none.
func bondCNI(args *skel.CmdArgs) netconf.Network {
	n, err := netconf.ParseNetwork(args.StdinData, args.IfName)
	if err != nil || !n.IsBondCNI() {
		return netconf.Network{}
	}
	return n
}

// del takes what it needs from the Record. Only if there is no Record it uses the
// configuration: to call the default network, or to release what bond-cni attached.
func del(ctx context.Context, args *skel.CmdArgs) error {
	host, err := newHost(args)
	if err != nil {
		return err
	}
	var config netconf.Cluster
	r := requestFromEnv(args)
	if isCluster, err := netconf.IsCluster(args.StdinData); err == nil && isCluster {
		if config, err = netconf.ParseCluster(args.StdinData); err != nil {
			fmt.Fprintln(os.Stderr, "multibond:", err)
		}
		host.Path = config.SearchPath(host.Path)
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
	r := requestFromEnv(args)
	err = host.CheckPod(ctx, r.Key())
	if r.Network = bondCNI(args); cnierror.Code(err) == types.ErrUnknownContainer && r.Network.IsBondCNI() {
		return host.CheckBondCNI(r)
	}
	return err
}

func gc(ctx context.Context, args *skel.CmdArgs) error {
	isCluster, err := netconf.IsCluster(args.StdinData)
	if err != nil {
		return err
	}
	if isCluster {
		host, config, _, err := clusterRequest(args)
		if err != nil {
			return err
		}
		return host.GCPod(ctx, config)
	}
	host, r, err := request(args)
	if err != nil {
		return err
	}
	return host.GC(ctx, r.Network.Name, r.Network.Valid)
}

func status(ctx context.Context, args *skel.CmdArgs) error {
	isCluster, err := netconf.IsCluster(args.StdinData)
	if err != nil {
		return err
	}
	if isCluster {
		host, config, _, err := clusterRequest(args)
		if err != nil {
			return err
		}
		return host.StatusPod(ctx, config)
	}
	host, r, err := request(args)
	if err != nil {
		return err
	}
	return host.Status(ctx, r.Network)
}
