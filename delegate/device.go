package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// restoreDevice executes DEL of the plugins of a device, if it has any, and then makes
// sure that the device is as before: plugins lose VFs in ways of their own. If another
// attachment has the device by now, restoreDevice leaves it alone and executes no
// plugin, because the plugins would reset it.
func (w *wayBack) restoreDevice(ctx context.Context, l plan.Link) error {
	l, inPod, left, err := w.locate(l)
	if left || err != nil {
		return err
	}
	// If the device is missing, its plugins still have files to free.
	netns, err := netnsForPlugins(w.sandbox, l, inPod)
	if err != nil {
		return err
	}
	failed := w.deletePlugins(ctx, netns, l)
	if failed != nil && !errors.Is(failed, context.DeadlineExceeded) && !errors.Is(failed, errNoTime) {
		// A plugin may keep what it remembers of the VF, and do the rest when asked again.
		failed = w.deletePlugins(ctx, netns, l)
	}
	if err := w.repairDevice(l); err != nil || errors.Is(failed, errNoTime) {
		return errors.Join(err, failed)
	}
	if err := w.removeNote(ctx, w.host, l.Device, w.rec.Plan.Netns); err != nil {
		return err
	}
	if failed != nil {
		w.leave("link %s: %v; VF %s was restored nevertheless", l.Name, failed, l.Device)
	}
	w.removeCorruptCache(plan.Key{ContainerID: w.rec.Plan.ContainerID, IfName: l.Name}, &w.outcome)
	return nil
}

// hasNewOwner reports whether another attachment has the device by now.
func (w *wayBack) hasNewOwner(l plan.Link) (bool, error) {
	holder, err := w.Store.Holder(l.Identity())
	switch {
	case err != nil || holder == (plan.Key{}):
		return false, err
	case w.rec.Aside != "":
		return true, fmt.Errorf("VF %s belongs to container %s at present", l.Device, holder.ContainerID)
	case holder == w.rec.Plan.Key():
		return false, nil
	}
	w.leave("VF %s now belongs to container %s and is left alone", l.Device, holder.ContainerID)
	return true, nil
}

// netnsForPlugins gives a link back the name by which its plugins look for it, and
// returns the namespace that they are told. If another interface has that name, the
// plugins would take that one. They are then told of no namespace, and only free what
// they keep.
func netnsForPlugins(s sandbox, l plan.Link, inPod *bond.Link) (string, error) {
	if s.pod == nil || inPod != nil && inPod.Name == l.Name {
		return s.netns, nil
	}
	_, taken, err := bond.LinkIfThere(s.pod, l.Name)
	switch {
	case err != nil:
		return "", err
	case taken:
		return noNetns, nil
	case inPod != nil:
		return s.netns, rename(s.pod, *inPod, l.Name)
	}
	return s.netns, nil
}

// deletePlugins executes DEL of the plugins of a link, in reverse. A plugin that has not
// answered an earlier DEL comes last, so that it does not keep the others from being
// executed. They are told of the namespace at netns, if netnsOfDel agrees.
func (w *wayBack) deletePlugins(ctx context.Context, netns string, l plan.Link) error {
	plugins := slices.Clone(l.Plugins)
	slices.Reverse(plugins)
	slices.SortStableFunc(plugins, func(a, b netconf.Plugin) int {
		return w.rec.UnansweredSince(a.Type, l.Name).Compare(w.rec.UnansweredSince(b.Type, l.Name))
	})
	var errs []error
	for _, p := range plugins {
		call := w.rec.Call("DEL", w.netnsOfDel(p, l, netns), l.Name, p, w.rec.Attached[l.Name].Result)
		errs = append(errs, w.startDel(ctx, call)())
	}
	return errors.Join(errs...)
}
