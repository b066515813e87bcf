package delegate

import (
	"context"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/record"
)

// forgottenTime is how long a call may take for a Record that it has nothing to do with.
const forgottenTime = 2 * leastShare

// retryForgotten tries one Record again whose plugins keep something: of these networks, if
// there is one, and otherwise of any. Nobody else may do so: podman and nerdctl call DEL
// once, containerd forgets a sandbox whose ADD has failed, and none of them calls GC. It is
// the one that was tried longest ago, so that one that always fails does not keep the
// others. It does not wait for locks, and fails nothing.
func (h *Host) retryForgotten(ctx context.Context, called string, networks []string, o *outcome) {
	if end, limited := ctx.Deadline(); limited && time.Until(end) < forgottenTime {
		return
	}
	ours := func(rec *record.Record) bool { return slices.Contains(networks, rec.Plan.Network) }
	waiting := h.listAside(&outcome{}, func(rec *record.Record) bool { return rec.Plan.ContainerID != called && h.isForgotten(rec, ours(rec)) })
	if len(waiting) == 0 {
		return
	}
	next := slices.MinFunc(waiting, func(a, b *record.Record) int {
		switch {
		case ours(a) && !ours(b):
			return -1
		case ours(b) && !ours(a):
			return 1
		}
		return a.LastTried.Compare(b.LastTried)
	})
	ctx, cancel := context.WithTimeout(ctx, forgottenTime)
	defer cancel()
	is := func(rec *record.Record) bool { return rec.Aside == next.Aside }
	err := h.retryContainer(ctx, next.Plan.ContainerID, 0, o, is)
	if err != nil && cnierror.Code(err) != types.ErrTryAgainLater { // locked: somebody is at work on it
		o.warn("%v", err)
	}
	o.warnOfRefused()
}

// isForgotten reports whether a Record that was set aside is to be tried again by a call
// that has nothing to do with it, or wants something of its network. A plugin that hangs
// keeps other calls only once, when its time is over.
func (h *Host) isForgotten(rec *record.Record, wanted bool) bool {
	switch {
	case !rec.KeepsNoDevice(h.BootID) || h.Store.Has(rec.Plan.Key()):
		return false
	case len(rec.Unanswered) > 0 && !rec.FailsFor(h.Limbo.GiveUp):
		return false
	}
	return rec.IsEarly() || rec.IsDue(time.Now()) || wanted && len(rec.Unanswered) == 0
}
