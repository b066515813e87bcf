// multibond is a CNI meta plugin with bonding built in: it has a bond's links
// attached by their own plugins, in order, and bonds them itself.
package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate"
)

const (
	stateDir = "/var/lib/cni/multibond"
	// The kubelet gives a pod's sandbox four minutes, most of which a stuck
	// plugin or a busy node may take without the pod being lost.
	pluginTimeout = 60 * time.Second
	lockTimeout   = 60 * time.Second
)

// A namespace that ends gives its devices back within milliseconds, on a busy
// node within seconds; the runtime repeats a DEL that failed.
var limbo = delegate.Limbo{Wait: 5 * time.Second, GiveUp: 2 * time.Minute}

// releaseVersion is set by the linker.
var releaseVersion = "devel"

func main() {
	funcs := skel.CNIFuncs{
		Add:    edge(add),
		Del:    edge(del),
		Check:  edge(check),
		GC:     edge(gc),
		Status: edge(status),
	}
	skel.PluginMainFuncs(funcs, delegate.Versions, "multibond "+releaseVersion+": a CNI plugin that bonds SR-IOV VFs; the container runtime executes it")
}

// edge turns an error into what CNI prints: a code and a message.
func edge(verb func(*delegate.Host, *skel.CmdArgs) error) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		if uid := os.Geteuid(); uid != 0 {
			return types.NewError(types.ErrInvalidEnvironmentVariables, "multibond must be executed as root, as container runtimes do", "")
		}
		host, err := newHost()
		if err == nil {
			err = verb(host, args)
		}
		if err != nil {
			return types.NewError(delegate.Code(err), err.Error(), "")
		}
		return nil
	}
}

func newHost() (*delegate.Host, error) {
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &delegate.Host{
		Kernel:      bond.System{},
		Sys:         os.DirFS("/sys"),
		Runner:      delegate.Exec{Env: os.Environ(), Timeout: pluginTimeout},
		Store:       delegate.Store{Dir: stateDir},
		BootID:      strings.TrimSpace(string(bootID)),
		LockTimeout: lockTimeout,
		Limbo:       limbo,
		Log:         os.Stderr,
	}, nil
}

func request(args *skel.CmdArgs) (delegate.Request, error) {
	network, err := delegate.ParseNetwork(args.StdinData, args.IfName)
	return delegate.Request{
		ContainerID: args.ContainerID, IfName: args.IfName, Netns: args.Netns, Args: args.Args,
		Path: filepath.SplitList(args.Path), Network: network,
	}, err
}

func add(h *delegate.Host, args *skel.CmdArgs) error {
	r, err := request(args)
	if err != nil {
		return err
	}
	result, err := h.Add(context.Background(), r)
	if err != nil {
		return err
	}
	return delegate.PrintResult(os.Stdout, result, r.Network.CNIVersion)
}

func del(h *delegate.Host, args *skel.CmdArgs) error {
	return h.Del(context.Background(), delegate.Key{ContainerID: args.ContainerID, IfName: args.IfName})
}

func check(h *delegate.Host, args *skel.CmdArgs) error {
	r, err := request(args)
	if err != nil {
		return err
	}
	return h.Check(context.Background(), r)
}

func gc(h *delegate.Host, args *skel.CmdArgs) error {
	network, err := delegate.ParseNetwork(args.StdinData, "")
	if err != nil {
		return err
	}
	return h.GC(context.Background(), network)
}

func status(h *delegate.Host, args *skel.CmdArgs) error {
	network, err := delegate.ParseNetwork(args.StdinData, "")
	if err != nil {
		return err
	}
	return h.Status(network, filepath.SplitList(args.Path))
}
