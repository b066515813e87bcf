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
	skel.PluginMainFuncs(funcs, invoke.Versions, "multibond "+releaseVersion+": a CNI plugin that bonds SR-IOV VFs, executed by the container runtime (for people: multibond plan -help)")
}

// withCNIError prints the warnings of a verb to standard error, one per line, and turns
// its error into what CNI prints: a code and a message.
func withCNIError(verb func(context.Context, *skel.CmdArgs) (warnings []string, err error)) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
		defer cancel()
		warnings, err := verb(ctx, args)
		for _, w := range warnings {
			fmt.Fprintln(os.Stderr, "multibond:", w)
		}
		if err != nil {
			return types.NewError(cnierror.Code(err), err.Error(), "")
		}
		return nil
	}
}

// newHost returns the host, this machine. It fails unless it runs as root.
func newHost(args *skel.CmdArgs) (*delegate.Host, error) {
	if uid := os.Geteuid(); uid != 0 {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("multibond runs as user %d, but needs root, as container runtimes execute it", uid), "")
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
	}, nil
}

// requestFromEnv returns the request without its network.
func requestFromEnv(args *skel.CmdArgs) plan.Request {
	return plan.Request{
		ContainerID: args.ContainerID, IfName: args.IfName, Netns: args.Netns, Args: args.Args,
	}
}

// configured returns the host and the request. The request has a network if the
// configuration is that of a bond network; if it is the cluster's, cluster is not nil.
func configured(args *skel.CmdArgs) (host *delegate.Host, cluster *netconf.Cluster, r plan.Request, err error) {
	config, err := netconf.Parse(args.StdinData, args.IfName)
	if err != nil {
		return nil, nil, r, err
	}
	if host, err = newHost(args); err != nil {
		return nil, nil, r, err
	}
	r = requestFromEnv(args)
	if config.Cluster != nil {
		host.Path = config.Cluster.SearchPath(host.Path)
	} else {
		r.Network = *config.Network
	}
	return host, config.Cluster, r, nil
}

func add(ctx context.Context, args *skel.CmdArgs) (warnings []string, err error) {
	host, cluster, r, err := configured(args)
	if err != nil {
		return nil, err
	}
	var result *current.Result
	version := r.Network.CNIVersion
	switch {
	case cluster != nil:
		version = cluster.CNIVersion
		result, warnings, err = host.AddPod(ctx, *cluster, r)
	case r.Network.NeedsAgent():
		result, warnings, err = host.AddSecondary(ctx, r)
	default:
		result, warnings, err = host.Add(ctx, r)
	}
	if err != nil {
		return warnings, err
	}
	return warnings, invoke.PrintResult(os.Stdout, result, version)
}

// del takes what it needs from the Record. Only if there is no Record it uses the
// configuration: to call the default network, or to release what bond-cni attached.
func del(ctx context.Context, args *skel.CmdArgs) (warnings []string, err error) {
	host, err := newHost(args)
	if err != nil {
		return nil, err
	}
	r := requestFromEnv(args)
	var cluster netconf.Cluster
	config, err := netconf.Parse(args.StdinData, args.IfName)
	switch {
	case config.Cluster != nil:
		if err != nil {
			warnings = append(warnings, err.Error())
		}
		cluster = *config.Cluster
		host.Path = cluster.SearchPath(host.Path)
	case err == nil && config.Network.IsBondCNI():
		r.Network = *config.Network
	}
	more, err := host.DelPod(ctx, cluster, r)
	return append(warnings, more...), err
}

func check(ctx context.Context, args *skel.CmdArgs) (warnings []string, err error) {
	host, err := newHost(args)
	if err != nil {
		return nil, err
	}
	r := requestFromEnv(args)
	warnings, err = host.CheckPod(ctx, r.Key())
	if cnierror.Code(err) != types.ErrUnknownContainer {
		return warnings, err
	}
	config, invalid := netconf.Parse(args.StdinData, args.IfName)
	if invalid != nil || config.Network == nil || !config.Network.IsBondCNI() {
		return warnings, err
	}
	r.Network = *config.Network
	return warnings, host.CheckBondCNI(r)
}

func gc(ctx context.Context, args *skel.CmdArgs) (warnings []string, err error) {
	host, cluster, r, err := configured(args)
	switch {
	case err != nil:
		return nil, err
	case cluster != nil:
		return host.GCPod(ctx, *cluster)
	}
	return host.GC(ctx, r.Network.Name, r.Network.Valid)
}

func status(ctx context.Context, args *skel.CmdArgs) (warnings []string, err error) {
	host, cluster, r, err := configured(args)
	switch {
	case err != nil:
		return nil, err
	case cluster != nil:
		return nil, host.StatusPod(ctx, *cluster)
	}
	return nil, host.Status(ctx, r.Network)
}
