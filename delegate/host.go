package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/record"
)

// Host is the machine as this package sees it: every edge is a field, and nothing
// else. What a call has come to is in what it returns.
type Host struct {
	Kernel      bond.Kernel
	Sys         fs.FS  // the root of sysfs
	SRIOV       string // the directory in which sriov-cni keeps its state
	Runner      invoke.Runner
	Store       record.Store
	Path        []string // CNI_PATH: the directories in which plugins are looked for
	Namespaces  string   // the directory in which runtimes keep network namespaces
	BootID      string
	LockTimeout time.Duration
	Limbo       Limbo
}

// Limbo bounds the wait for a device that is in no namespace that we know. A
// namespace that ends gives its devices back a while after it is gone; until
// then nobody can tell this from a device that somebody else has taken.
type Limbo struct {
	Wait   time.Duration // within one call
	GiveUp time.Duration // over all calls; then it is left to whoever has it
}

// sandbox is an open pair of namespaces. pod is nil where it is gone.
type sandbox struct {
	host, pod bond.Namespace
	netns     string // what plugins are told
}

// noNetns is what plugins are told where the pod's path leads to another
// namespace by now: a path that leads nowhere. sriov-cni then frees what it
// keeps; with an empty CNI_NETNS it would not.
const noNetns = "/proc/self/ns/gone"

func (s sandbox) close() {
	s.host.Close()
	if s.pod != nil {
		s.pod.Close()
	}
}

// enter opens the host's and the pod's namespace for an ADD.
func (h *Host) enter(netns string) (sandbox, error) {
	s, err := h.enterIfThere(netns, "")
	switch {
	case err != nil:
		return s, err
	case s.pod == nil:
		s.close()
		return sandbox{}, cnierror.Errorf(types.ErrInvalidNetNS, "there is no network namespace at %q (CNI_NETNS)", netns)
	case s.pod.ID() == s.host.ID():
		s.close()
		return sandbox{}, cnierror.Errorf(types.ErrInvalidNetNS, "CNI_NETNS %s is the host's own network namespace", netns)
	}
	return s, nil
}

// enterIfThere opens both namespaces for the way back. The pod's is nil where
// it is gone, or where another one than id has its path now; id "" is any.
func (h *Host) enterIfThere(netns, id string) (sandbox, error) {
	host, err := h.Kernel.Host()
	if err != nil {
		return sandbox{}, cnierror.With(cnierror.Kernel, err)
	}
	s := sandbox{host: host, netns: netns}
	if netns == "" {
		return s, nil
	}
	pod, err := h.Kernel.Open(netns)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		s.close()
		return sandbox{}, cnierror.With(cnierror.Kernel, err)
	case id != "" && pod.ID() != id:
		pod.Close()
		s.netns = noNetns
		return s, nil
	}
	s.pod = pod
	return s, nil
}

// start starts one plugin. It is looked for where the call says, which is the
// CNI_PATH of the attachment's ADD, and then in today's: the runtime may have got
// another plugin directory since.
func (h *Host) start(ctx context.Context, c invoke.Call) (wait func() (json.RawMessage, error)) {
	c.Path = unite(c.Path, h.Path)
	return h.Runner.Start(ctx, c)
}

// unite returns the directories of first, and those of then that are not among
// them.
func unite(first, then []string) []string {
	all := slices.Clone(first)
	for _, dir := range then {
		if !slices.Contains(all, dir) {
			all = append(all, dir)
		}
	}
	return all
}

// execute executes one plugin. CNI forbids two at once for one container
// (CNI specification, section 2).
func (h *Host) execute(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
	return h.start(ctx, c)()
}
