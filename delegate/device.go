package delegate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// restoreDevice executes DEL of the plugins of a device, if it has any, and then makes
// sure that the device is as before: plugins lose VFs in ways of their own. If another
// attachment or a program has the device by now, the plugins only free what they keep,
// because they would reset the device.
func (w *wayBack) restoreDevice(ctx context.Context, l plan.Link) error {
	if w.rec.IsFreed(l) {
		return w.freePlugins(ctx, l)
	}
	l, inPod, left, err := w.locate(l)
	if left || err != nil {
		return errors.Join(err, w.freeIfLeft(ctx, left, l))
	}
	if inPod == nil && w.isProgram(l) {
		kept := w.freePlugins(ctx, l)
		_, err := w.repairDevice(l)
		return w.freeDevice(l, err, kept)
	}
	// If the device is missing, its plugins still have files to free.
	netns, err := netnsForPlugins(w.sandbox, l, w.rec.Attached[l.Name], inPod)
	if err != nil {
		return err
	}
	failed := w.deletePlugins(ctx, netns, l)
	if failed != nil && !errors.Is(failed, context.DeadlineExceeded) && !errors.Is(failed, errNoTime) {
		// A plugin may keep what it remembers of the VF, and do the rest when asked again.
		failed = w.deletePlugins(ctx, netns, l)
	}
	what, err := w.repairDevice(l)
	// The next pod gets the VF also if the rest is given up.
	err = errors.Join(err, w.removeNote(ctx, w.host, l, w.rec.Plan.Netns))
	if err != nil || errors.Is(failed, errNoTime) {
		return errors.Join(err, failed)
	}
	w.removeCorruptCache(plan.Key{ContainerID: w.rec.Plan.ContainerID, IfName: l.Name}, &w.outcome)
	if err := w.removeCache(l, failed, false); err != nil || failed == nil {
		return err
	}
	return w.releaseRefused(ctx, l, failed, what)
}

// releaseRefused is called for a device that is as before, although its plugins have refused.
// That is a warning. Their IPAM is executed by itself, and if it refuses too, that is an error.
func (w *wayBack) releaseRefused(ctx context.Context, l plan.Link, failed error, what string) error {
	w.leave("link %s: %v; %s", l.Name, failed, what)
	return w.freeDevice(l, nil, w.releaseFor(ctx, l))
}

// freeDevice returns what is left to do for a device: what of it is not as before, and what
// its plugins keep. If it is as before, and the plugins were executed, the next pod gets it.
func (w *wayBack) freeDevice(l plan.Link, unrestored, kept error) error {
	if unrestored == nil && kept != nil && !errors.Is(kept, errNoTime) {
		w.rec.Frees(l)
	}
	return errors.Join(unrestored, kept)
}

// hasNewOwner reports whether another attachment has the device by now.
func (w *wayBack) hasNewOwner(l plan.Link) (bool, error) {
	if slices.Contains(w.rec.LetGo, l.Name) {
		return true, nil
	}
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
// takes back what they leave at its PF, whether they refuse or not. Unless the VF is still
// this attachment's, with the driver that it had, the plugins only free what they keep.
func (w *wayBack) restoreHeld(ctx context.Context, l plan.Link) error {
	if w.rec.IsFreed(l) {
		return w.freePlugins(ctx, l)
	}
	if left, err := w.hasNewOwner(l); left || err != nil {
		return errors.Join(err, w.freeIfLeft(ctx, left, l))
	}
	now, err := bond.SurveyDevice(w.Sys, w.host, l.Held, "")
	if err != nil {
		return err
	}
	if now.Missing || now.Driver != l.Driver {
		kept := w.freePlugins(ctx, l)
		return w.freeDevice(l, w.repairHeld(ctx, l), kept)
	}
	failed := w.deletePlugins(ctx, w.netns, l)
	if err := w.repairHeld(ctx, l); err != nil || failed == nil || errors.Is(failed, errNoTime) {
		return errors.Join(err, failed)
	}
	if err := w.removeCache(l, failed, false); err != nil {
		return err
	}
	return w.releaseRefused(ctx, l, failed, pfRestored)
}

// pfRestored is what has become of a VF without an interface.
const pfRestored = "its PF's settings were restored nevertheless"

// repairHeld takes back what the ADD has set at the PF of a VF that has no interface.
func (w *wayBack) repairHeld(ctx context.Context, l plan.Link) error {
	now, err := bond.SurveyDevice(w.Sys, w.host, l.Held, "")
	if err != nil {
		return err
	}
	if now.Missing {
		w.leave("%s no longer exists; there is nothing to restore", l.Held)
		return w.removeNote(ctx, w.host, l, w.rec.Plan.Netns)
	}
	if err := w.repairAdmin(l, now); err != nil {
		return err
	}
	if err := w.removeNote(ctx, w.host, l, w.rec.Plan.Netns); err != nil {
		return err
	}
	if now.Driver != l.Driver {
		w.leave("%s has the driver %s in place of %s by now; its PF's settings are as before", l.Held, cmp.Or(now.Driver, "none"), cmp.Or(l.Driver, "none"))
	}
	return nil
}

// freePlugins executes DEL of the plugins of a device that they must not touch. Without a
// namespace they free what they keep of the attachment. Their refusal is a warning. Some
// of them release no address then, so their IPAM is executed, too. Its refusal is an error.
func (w *wayBack) freePlugins(ctx context.Context, l plan.Link) error {
	failed := w.deletePlugins(ctx, netnsUntold, l)
	if errors.Is(failed, errNoTime) {
		return failed
	}
	if failed != nil {
		w.leave("%s: %v", l.Name, failed)
	}
	return errors.Join(w.removeCache(l, failed, true), w.releaseFor(ctx, l))
}

// freeIfLeft is freePlugins for a device that is left alone. If its Record was set aside,
// they were executed before.
func (w *wayBack) freeIfLeft(ctx context.Context, left bool, l plan.Link) error {
	if !left || w.rec.Aside != "" {
		return nil
	}
	return w.freePlugins(ctx, l)
}

// isProgram reports whether a VF has a userspace driver that it had not at ADD.
func (w *wayBack) isProgram(l plan.Link) bool {
	d, err := bond.ReadDevice(w.Sys, l.Device, l.DevPort)
	return err == nil && d.Userspace() && d.Driver != l.Driver
}

// netnsUntold is an empty CNI_NETNS. Plugins get it if they are only to free what they keep.
const netnsUntold = ""

// netnsForPlugins gives a link back the name by which its plugins look for it, and
// returns the namespace that they are told. If another interface has that name, and they
// have not made it of a device that stayed on the host, the plugins would take that one.
// They are then told of no namespace, and only free what they keep.
func netnsForPlugins(s sandbox, l plan.Link, made record.Attached, inPod *bond.Link) (string, error) {
	if s.pod == nil || inPod != nil && inPod.Name == l.Name {
		return s.netns, nil
	}
	other, taken, err := bond.LinkIfThere(s.pod, l.Name)
	switch {
	case err != nil:
		return "", err
	case taken && other.Index == made.Link.Index && other.Device == made.Link.Device && made.Link.Device != l.Device:
		return s.netns, nil
	case taken:
		return netnsNowhere, nil
	case inPod != nil:
		return s.netns, rename(s.pod, *inPod, l.Name)
	}
	return s.netns, nil
}

// deletePlugins executes DEL of the plugins of a link.
func (w *wayBack) deletePlugins(ctx context.Context, netns string, l plan.Link) error {
	var errs []error
	for _, p := range w.inOrder(l) {
		errs = append(errs, w.deletePlugin(ctx, netns, l, p))
	}
	return errors.Join(errs...)
}

// deletePlugin executes DEL of one plugin of a link. It is told of the namespace at netns,
// if netnsOfDel agrees.
func (w *wayBack) deletePlugin(ctx context.Context, netns string, l plan.Link, p netconf.Plugin) error {
	return w.startDel(ctx, w.rec.Call("DEL", w.netnsOfDel(p, l, netns), l.Name, p, w.rec.Attached[l.Name].Result))()
}

// inOrder yields the plugins of a link, with their places in ADD, in the order of DEL: the
// reverse. A plugin that has not answered an earlier DEL comes last, so that it does not
// keep the others from being executed.
func (w *wayBack) inOrder(l plan.Link) iter.Seq2[int, netconf.Plugin] {
	var order []int
	for i := range slices.Backward(l.Plugins) {
		order = append(order, i)
	}
	since := func(i int) time.Time { return w.rec.UnansweredSince(l.Plugins[i].Type, l.Name) }
	slices.SortStableFunc(order, func(a, b int) int { return since(a).Compare(since(b)) })
	return func(yield func(int, netconf.Plugin) bool) {
		for _, i := range order {
			if !yield(i, l.Plugins[i]) {
				return
			}
		}
	}
}
