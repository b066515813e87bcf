package delegate

import (
	"cmp"
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
// attachment or a program has the device by now, the plugins only free what they keep,
// because they would reset the device.
func (w *wayBack) restoreDevice(ctx context.Context, l plan.Link) error {
	l, inPod, left, err := w.locate(l)
	if left || err != nil {
		w.freeIfLeft(ctx, left, l)
		return err
	}
	if inPod == nil && w.isProgram(l) {
		w.freePlugins(ctx, l)
		_, err := w.repairDevice(l)
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
	what, err := w.repairDevice(l)
	if err != nil || errors.Is(failed, errNoTime) {
		return errors.Join(err, failed)
	}
	if err := w.removeNote(ctx, w.host, l.Device, w.rec.Plan.Netns); err != nil {
		return err
	}
	if failed != nil {
		w.leave("link %s: %v; %s", l.Name, failed, what)
	}
	w.removeCorruptCache(plan.Key{ContainerID: w.rec.Plan.ContainerID, IfName: l.Name}, &w.outcome)
	return nil
}

// hasNewOwner reports whether another attachment has the device by now.
func (w *wayBack) hasNewOwner(l plan.Link) (bool, error) {
	holder, err := w.Store.Holder(l.Holds())
	switch {
	case err != nil || holder == (plan.Key{}):
		return false, err
	case w.rec.Aside != "":
		return true, fmt.Errorf("VF %s belongs to container %s at present", l.Holds(), holder.ContainerID)
	case holder == w.rec.Plan.Key():
		return false, nil
	}
	w.leave("VF %s now belongs to container %s and is left alone", l.Holds(), holder.ContainerID)
	return true, nil
}

// restoreHeld executes DEL of the plugins of a VF that has no interface to restore, and
// takes back what they leave at its PF. Unless the VF is still this attachment's, with the
// driver that it had, the plugins only free what they keep.
func (w *wayBack) restoreHeld(ctx context.Context, l plan.Link) error {
	if left, err := w.hasNewOwner(l); left || err != nil {
		w.freeIfLeft(ctx, left, l)
		return err
	}
	now, err := bond.SurveyDevice(w.Sys, w.host, l.Held, "")
	if err != nil {
		return err
	}
	if now.Missing || now.Driver != l.Driver {
		w.freePlugins(ctx, l)
	} else if err := w.deleteChain(ctx, l); err != nil {
		return err
	} else if now, err = bond.SurveyDevice(w.Sys, w.host, l.Held, ""); err != nil {
		return err
	}
	if now.Missing {
		w.leave("%s no longer exists; there is nothing to restore", l.Held)
		return nil
	}
	if err := w.repairAdmin(l, now); err != nil {
		return err
	}
	if now.Driver != l.Driver {
		w.leave("%s has the driver %s in place of %s by now; its PF's settings are as before", l.Held, cmp.Or(now.Driver, "none"), cmp.Or(l.Driver, "none"))
	}
	return nil
}

// freePlugins executes DEL of the plugins of a device that they must not touch. Without a
// namespace they free what they keep of the attachment. Their refusal is a warning.
func (w *wayBack) freePlugins(ctx context.Context, l plan.Link) {
	failed := w.deletePlugins(ctx, noNamespace, l)
	for _, p := range l.Plugins {
		failed = errors.Join(failed, w.freeForOldSRIOV(ctx, p, l))
	}
	if failed != nil {
		w.leave("%s: %v", l.Name, failed)
	}
}

// freeIfLeft is freePlugins for a device that is left alone. If its Record was set aside,
// they were executed before.
func (w *wayBack) freeIfLeft(ctx context.Context, left bool, l plan.Link) {
	if left && w.rec.Aside == "" {
		w.freePlugins(ctx, l)
	}
}

// isProgram reports whether a VF has a userspace driver that it had not at ADD.
func (w *wayBack) isProgram(l plan.Link) bool {
	d, err := bond.ReadDevice(w.Sys, l.Device, l.DevPort)
	return err == nil && d.Userspace() && d.Driver != l.Driver
}

// noNamespace is the CNI_NETNS of plugins that only free what they keep.
const noNamespace = ""

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
