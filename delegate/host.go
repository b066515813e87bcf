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

// Host is the machine as this package sees it. Its fields are configuration: the edges
// of the process. The methods return what has become of a call, and keep nothing.
type Host struct {
	Kernel      bond.Kernel
	Sys         fs.FS  // the root of sysfs
	SRIOV       string // the directory in which sriov-cni keeps its state
	Runner      invoke.Runner
	Store       record.Store
	Path        []string // CNI_PATH: the directories in which plugins are looked for
	Namespaces  string   // the directory in which runtimes keep network namespaces
	DeviceInfo  string   // the only directory in which an agent may name a device-info file
	BootID      string
	Release     string        // of this program
	LockTimeout time.Duration // how long locks are waited for
	WayBack     time.Duration // how long restoring may take
	Limbo       Limbo
}

// Limbo limits the wait for a device that is in no namespace that we know. A namespace
// that ends returns its devices a while after it is gone. Until then this cannot be
// told from a device that somebody else has taken.
type Limbo struct {
	Wait   time.Duration // within one call
	GiveUp time.Duration // over all calls; then whoever has the device keeps it
}

// sandbox is an open pair of namespaces. pod is nil if the pod's namespace is gone.
type sandbox struct {
	host, pod bond.Namespace
	netns     string   // what plugins are told
	own       []string // devices that an ADD has to itself: no other pod or program has them

	unreadable error // why the namespaces could not be opened; both are nil then
}

// netnsNowhere is a CNI_NETNS at which there is no file. Plugins get it if the pod's path leads
// to another namespace by now. sriov-cni then frees what it keeps, which it does not do if
// CNI_NETNS is empty.
const netnsNowhere = "/proc/self/ns/gone"

func (s sandbox) close() {
	if s.host != nil {
		s.host.Close()
	}
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
	case s.netns == netnsNowhere:
		s.close()
		return sandbox{}, cnierror.Errorf(types.ErrInvalidNetNS, "CNI_NETNS is %s, which is the host's own network namespace", netns)
	case s.pod == nil:
		s.close()
		return sandbox{}, cnierror.Errorf(types.ErrInvalidNetNS, "there is no network namespace at %q (CNI_NETNS)", netns)
	}
	return s, nil
}

// enterIfThere opens both namespaces. The pod's is nil if it is gone, or if its path
// leads to another namespace by now: to one that is not id, unless id is "", or to the
// host's own, which is never a pod's. A path such as /proc/4711/ns/net leads there once
// its number belongs to a process of the host.
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
	case pod.ID() == host.ID(), id != "" && pod.ID() != id:
		pod.Close()
		s.netns = netnsNowhere
		return s, nil
	}
	s.pod = pod
	return s, nil
}

// enterToRestore is enterIfThere for a Record. If a namespace cannot be opened, restore
// fails with that until it gives up.
func (h *Host) enterToRestore(rec *record.Record) sandbox {
	s, err := h.enterIfThere(rec.Plan.Netns, rec.NetnsID)
	s.unreadable = err
	return s
}

// enterOrLeave is enterIfThere where no Record remembers how long that has failed. A pod's
// namespace that cannot be opened is a warning, and what is in it is left.
func (h *Host) enterOrLeave(netns string, o *outcome) (sandbox, error) {
	s, err := h.enterIfThere(netns, "")
	if err == nil {
		return s, nil
	}
	o.leave("%v", err)
	s, err = h.enterIfThere("", "")
	s.netns = netns
	return s, err
}

// openLocks opens the locks.
func (h *Host) openLocks(ctx context.Context) (*record.Locks, error) {
	return record.OpenLocks(h.Store.Dir, h.patience(ctx))
}

// patience returns how long locks may be waited for: at most half of the time that ctx has
// left, because what they are needed for takes time too.
func (h *Host) patience(ctx context.Context) time.Duration {
	patience := h.LockTimeout
	if end, limited := ctx.Deadline(); limited {
		patience = min(patience, (time.Until(end) / 2).Round(time.Millisecond))
	}
	return patience
}

// lockContainer opens the locks and takes the one on a container. The caller closes them.
func (h *Host) lockContainer(ctx context.Context, id string) (*record.Locks, error) {
	locks, err := h.openLocks(ctx)
	if err != nil {
		return nil, err
	}
	if err := locks.Lock(ctx, "container", id); err != nil {
		return nil, errors.Join(err, locks.Close())
	}
	return locks, nil
}

// start starts one plugin. It looks for the plugin in the path of the call, which is the
// CNI_PATH of the attachment's ADD, and then in that of this process: the runtime may
// have got another plugin directory since.
func (h *Host) start(ctx context.Context, c invoke.Call) (wait func() (json.RawMessage, error)) {
	c.Path = unite(c.Path, h.Path)
	return h.Runner.Start(ctx, c)
}

// unite returns the directories of first, followed by the others of then.
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
