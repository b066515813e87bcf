package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/plan"
)

// restoreDevice executes DEL of the plugins of a device, if it has any, and then makes
// sure that the device is as before: plugins lose VFs in ways of their own. If another
// attachment has the device by now, restoreDevice leaves it alone and executes no
// plugin, because the plugins would reset it.
func (w *wayBack) restoreDevice(ctx context.Context, l plan.Link) error {
	if left, err := w.hasNewOwner(l); left || err != nil {
		return err
	}
	inPod, there, err := w.findInPod(l)
	if err != nil {
		return err
	}
	if !there {
		now, err := w.awaitOnHost(l)
		if err != nil {
			return err
		}
		// If the device is missing, its plugins still have files to free.
		l = w.unlessMadeAnew(l, now)
	}
	netns, err := netnsForPlugins(w.sandbox, l, inPod, there)
	if err != nil {
		return err
	}
	failed := w.deletePlugins(ctx, netns, l)
	if failed != nil && !errors.Is(failed, context.DeadlineExceeded) {
		// A plugin may keep what it remembers of the VF, and do the rest when asked again.
		failed = w.deletePlugins(ctx, netns, l)
	}
	if err := w.repairDevice(l); err != nil {
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
func netnsForPlugins(s sandbox, l plan.Link, inPod bond.Link, there bool) (string, error) {
	if s.pod == nil || there && inPod.Name == l.Name {
		return s.netns, nil
	}
	_, taken, err := bond.LinkIfThere(s.pod, l.Name)
	switch {
	case err != nil:
		return "", err
	case taken:
		return noNetns, nil
	case there:
		return s.netns, rename(s.pod, inPod, l.Name)
	}
	return s.netns, nil
}

// deletePlugins executes DEL of the plugins of a link, in reverse. They are told of the
// namespace at netns, if netnsOfDel agrees.
func (w *wayBack) deletePlugins(ctx context.Context, netns string, l plan.Link) error {
	var errs []error
	for _, p := range slices.Backward(l.Plugins) {
		_, err := w.execute(ctx, w.rec.Call("DEL", w.netnsOfDel(p, l, netns), l.Name, p, w.rec.Attached[l.Name].Result))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
