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
	"github.com/multibond/multibond/bond/code"
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
	// The kubelet gives a pod's sandbox four minutes to start, and two to stop. CRI-O
	// gives an ADD five, but a DEL only one, and ends it half-way. An ADD that fails when
	// its time is over still has its way back.
	addTimeout = 165 * time.Second
	wayBack    = 45 * time.Second
	// CRI-O ends GC after 30 seconds. The next GC continues.
	gcTimeout     = 22 * time.Second
	otherTimeout  = 200 * time.Second // CHECK, STATUS
	pluginTimeout = 60 * time.Second
	lockTimeout   = 60 * time.Second
	// grace is for what does not heed a limit: a device driver can take seconds.
	grace = 5 * time.Second
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
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "plan":
			os.Exit(planOf(os.Args[2:]))
		case "keep":
			os.Exit(keepOf(os.Args[2:]))
		case "drill":
			os.Exit(drillOf(os.Args[2:]))
		case drillGuard:
			os.Exit(guardOf(os.Args[2:]))
		}
	}
	funcs := skel.CNIFuncs{
		Add:    withCNIError(addTimeout, wayBack, add),
		Del:    withCNIError(wayBack, 0, del),
		Check:  withCNIError(otherTimeout, 0, check),
		GC:     withCNIError(gcTimeout, 0, gc),
		Status: withCNIError(otherTimeout, 0, status),
	}
	if err := limitStdin(); err != nil {
		types.NewError(types.ErrDecodingFailure, "standard input: "+err.Error(), "").Print()
		os.Exit(1)
	}
	skel.PluginMainFuncs(funcs, invoke.Versions, "multibond "+releaseVersion+": a CNI plugin that bonds SR-IOV VFs, executed by the container runtime (for people: multibond plan -help)")
}

// withCNIError gives a verb its time, prints its warnings to standard error, one per line,
// and turns its error into what CNI prints: a code and a message. back is the time that
// the verb may take in addition, to undo what it did.
func withCNIError(timeout, back time.Duration, verb func(context.Context, *skel.CmdArgs) (warnings []string, err error)) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) (failed error) {
		most := timeout + back + grace
		within(most, func() {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			warnings, err := verb(ctx, args)
			for _, w := range warnings {
				fmt.Fprintln(os.Stderr, "multibond:", w)
			}
			if err != nil {
				failed = types.NewError(cnierror.Code(err), code.Text(err), "")
			}
		}, func() {
			types.NewError(types.ErrTryAgainLater, fmt.Sprintf("it has not ended after %s, because the kernel or a disk does not answer; the next DEL continues", most), "").Print()
			os.Exit(1)
		})
		return failed
	}
}

// within calls do. If that takes longer than limit, it calls late, which ends the process,
// and does not return. What a verb has done is on disk at any time, so it may be ended
// like that.
func within(limit time.Duration, do, late func()) {
	timer := time.AfterFunc(limit, late)
	do()
	if !timer.Stop() {
		select {}
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
		DeviceInfo:  "/var/run/k8s.cni.cncf.io/devinfo/cni",
		BootID:      strings.TrimSpace(string(bootID)),
		Release:     releaseVersion,
		LockTimeout: lockTimeout,
		WayBack:     wayBack,
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
	warnings, err = host.CheckPod(ctx, r.Key(), netconf.NewConfig(args.StdinData).PrevResult)
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
		host.OpenEyes(ctx, cluster.Agent)
		return nil, host.StatusPod(*cluster)
	case r.Network.NeedsAgent():
		host.OpenEyes(ctx, r.Network.Agent)
	}
	return nil, host.Status(r.Network)
}
