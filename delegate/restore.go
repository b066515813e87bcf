package delegate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// restore is the one way back: for an ADD that failed, for DEL, for GC and
// after a crash. It does not invert steps. It looks where each thing is now
// and makes it what it was, goes on after an error, and can be called again.
// The Record goes only when everything is as before; until then the error
// names what is not; its code is 103, or 102 where the kernel lets nobody look.
// Locks on the container and its devices are held.
func (h *Host) restore(ctx context.Context, rec *record.Record) error {
	s, err := h.enterIfThere(rec.Plan.Netns, rec.NetnsID)
	if err != nil {
		return err
	}
	defer s.close()
	return h.restoreIn(ctx, s, rec)
}

// restoreIn is restore with the Record's namespaces open.
func (h *Host) restoreIn(ctx context.Context, s sandbox, rec *record.Record) error {
	if err := h.restoreAll(ctx, s, rec); err != nil {
		return err
	}
	return cnierror.With(cnierror.Restore, h.Store.End(rec))
}

// restoreAll is restoreIn without the end of the Record.
func (h *Host) restoreAll(ctx context.Context, s sandbox, rec *record.Record) error {
	rec.Result = nil // from here on it is not attached any more
	h.doubt = h.doubt || rec.BootID != h.BootID
	var errs []error
	released := false
	if rec.Plan.IsChain() {
		errs = append(errs, h.restoreChain(ctx, s, rec))
	} else if rec.BootID == h.BootID {
		var err error
		released, err = h.removeBond(ctx, s, rec)
		errs = append(errs, err)
		for _, l := range slices.Backward(rec.Plan.Links) {
			errs = append(errs, h.restoreLink(ctx, s, rec, l))
		}
	}
	if !released {
		errs = append(errs, h.startRelease(ctx, s, rec)())
	}
	if err := errors.Join(errs...); err != nil {
		return cnierror.With(cnierror.Restore, fmt.Errorf("network %s: %w", rec.Plan.Network, errors.Join(err, h.Store.Update(rec))))
	}
	return nil
}

// removeBond deletes the bond; the kernel then closes its links and gives
// them their own MAC and MTU back. That takes long, so meanwhile its addresses are
// given back, where IPAM does not need the bond for that: it is down by then, and
// answers to them no more. It says whether they have been, or were refused to be.
func (h *Host) removeBond(ctx context.Context, s sandbox, rec *record.Record) (released bool, err error) {
	if s.pod == nil {
		return false, nil
	}
	links, err := s.pod.Links()
	if err != nil {
		return false, err
	}
	b, there := bond.Find(links, func(l bond.Link) bool { return l.Kind == "bond" && rec.Made(l, links) })
	// A link that was never begun means that no bond was made either.
	if !there || len(rec.Started) < len(rec.Plan.Links) {
		return false, nil
	}
	if !slices.Contains(localIPAM, rec.Plan.IPAM) {
		return false, s.pod.Delete(b.Index)
	}
	down := false
	if err := s.pod.Change(b.Index, bond.Change{Up: &down}); err != nil {
		return false, err
	}
	wait := h.startRelease(ctx, s, rec)
	deleted := s.pod.Delete(b.Index)
	return true, errors.Join(deleted, wait())
}

// restoreLink makes one link what it was, and remembers that it is.
func (h *Host) restoreLink(ctx context.Context, s sandbox, rec *record.Record, l plan.Link) error {
	if !slices.Contains(rec.Started, l.Name) || slices.Contains(rec.Restored, l.Name) {
		return nil
	}
	var err error
	switch {
	case l.Source == netconf.FromPod:
		err = h.restorePodLink(s, rec, l)
	case l.Source == netconf.FromConfig:
		err = h.restoreMade(ctx, s, rec, l)
	case l.Device != "":
		err = h.restoreDevice(ctx, s, rec, l)
	case l.Source == netconf.FromHost:
		err = h.restoreVirtual(s, rec, l)
	}
	if err != nil {
		return fmt.Errorf("link %s (%s): %w", l.Name, cmp.Or(l.Device, string(l.Source)), err)
	}
	rec.Restored = append(rec.Restored, l.Name)
	return nil
}

// restoreDevice has the plugins release a device, where it came by plugins,
// and then makes sure that it is as before: plugins lose VFs in ways of their
// own. A VF that somebody else has by now is left alone, and its plugins are
// not called, because they would reset the other's VF.
func (h *Host) restoreDevice(ctx context.Context, s sandbox, rec *record.Record, l plan.Link) error {
	if left, err := h.hasNewOwner(rec, l); left || err != nil {
		return err
	}
	inPod, there, err := h.findInPod(s, rec, l)
	if err != nil {
		return err
	}
	if !there {
		now, left, err := h.awaitOnHost(s, rec, l)
		if left || err != nil {
			return err
		}
		// One that does not exist now leaves its plugins' own files to be freed.
		l = h.unlessMadeAnew(rec, l, now)
	}
	if s.netns, err = netnsForPlugins(s, l, inPod, there); err != nil {
		return err
	}
	failed := h.deletePlugins(ctx, s, rec, l)
	if failed != nil && !errors.Is(failed, context.DeadlineExceeded) {
		// It may keep what it remembers of the VF, and does the rest when asked again.
		failed = h.deletePlugins(ctx, s, rec, l)
	}
	if err := h.repairDevice(s, rec, l); err != nil {
		return errors.Join(err, failed)
	}
	if failed != nil {
		h.warn("link %s: %v; VF %s is as before all the same", l.Name, failed, l.Device)
		h.removeCorruptCache(plan.Key{ContainerID: rec.Plan.ContainerID, IfName: l.Name})
	}
	return nil
}

// hasNewOwner says whether another attachment has the device by now.
func (h *Host) hasNewOwner(rec *record.Record, l plan.Link) (bool, error) {
	holder, err := h.Store.Holder(l.Device)
	if err != nil || holder == (plan.Key{}) || holder == rec.Plan.Key() {
		return false, err
	}
	h.warn("VF %s belongs to container %s by now and is left alone", l.Device, holder.ContainerID)
	return true, nil
}

// netnsForPlugins gives a link the name again by which its plugins look for
// it, and returns the namespace to look in. Where another interface has the
// name, plugins take that one instead: they are told of no namespace, and
// then only free what they keep.
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

// awaitOnHost waits for a device that is not in the pod to be on the host, or
// to have no interface at all, or not to exist. It reports whether the device
// is to be left alone instead: because it has been nowhere for so long that
// somebody else must have it.
func (h *Host) awaitOnHost(s sandbox, rec *record.Record, l plan.Link) (now bond.DeviceFacts, left bool, err error) {
	const pause = 50 * time.Millisecond
	for deadline := time.Now().Add(h.Limbo.Wait); ; time.Sleep(pause) {
		now, err = bond.SurveyDevice(h.Sys, s.host, l.Device)
		switch {
		case err != nil:
			return now, false, err
		case now.Link != nil || now.Userspace() || now.Driver == "": // it is missing, too
			return now, false, nil
		}
		if time.Now().After(deadline) {
			break
		}
	}
	left, err = h.isLost(rec, l)
	return now, left, err
}

// isLost says whether a link that is nowhere has been so for so long that
// whoever has it keeps it. Until then that is an error, for a later DEL.
func (h *Host) isLost(rec *record.Record, l plan.Link) (bool, error) {
	if since := rec.LostAt(l); time.Since(since) > h.Limbo.GiveUp {
		h.warn("%s has been neither on the host nor in the pod since %s; whoever has it keeps it", cmp.Or(l.Device, l.Name), since.Format(time.RFC3339))
		return true, nil
	}
	return false, errors.New("it is neither on the host nor in the pod; if its network namespace has just ended, it will come back")
}

// deletePlugins calls the plugins of a link in reverse.
func (h *Host) deletePlugins(ctx context.Context, s sandbox, rec *record.Record, l plan.Link) error {
	var errs []error
	for _, p := range slices.Backward(l.Plugins) {
		_, err := h.execute(ctx, rec.Call("DEL", s.netns, l.Name, p, rec.Attached[l.Name].Result))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// findInPod finds a link where it was last: by its device, else by its index.
func (h *Host) findInPod(s sandbox, rec *record.Record, l plan.Link) (bond.Link, bool, error) {
	if s.pod == nil {
		return bond.Link{}, false, nil
	}
	links, err := s.pod.Links()
	if err != nil {
		return bond.Link{}, false, err
	}
	seen, wasSeen := rec.Attached[l.Name]
	found, there := bond.Find(links, func(x bond.Link) bool {
		switch {
		case l.Device != "":
			return x.Device == l.Device
		case l.Source == netconf.FromPod:
			return x.Index == l.Before.Index
		case wasSeen:
			return x.Index == seen.Link.Index
		}
		return x.Name == l.Name
	})
	return found, there, nil
}

// restoreMade has the plugins delete what they made in the pod. Where they
// never finished making it, or it went with the pod's namespace, their refusal
// changes nothing.
func (h *Host) restoreMade(ctx context.Context, s sandbox, rec *record.Record, l plan.Link) error {
	failed := h.deletePlugins(ctx, s, rec, l)
	_, there, err := h.findInPod(s, rec, l)
	_, attached := rec.Attached[l.Name]
	switch {
	case err != nil:
		return errors.Join(failed, err)
	case there:
		return errors.Join(failed, errors.New("it is still in the pod"))
	case failed != nil && (!attached || s.pod == nil):
		// What was in the pod went with its namespace.
		h.warn("link %s: %v", l.Name, failed)
		return nil
	}
	return failed
}

// restoreVirtual takes a link without a device back that was moved into the
// pod by its name.
func (h *Host) restoreVirtual(s sandbox, rec *record.Record, l plan.Link) error {
	if err := h.bringHome(s, rec, l); err != nil {
		return err
	}
	now, there, err := bond.LinkIfThere(s.host, l.Before.Name)
	if err != nil {
		return err
	}
	home := there && now.Name == l.Before.Name && now.Kind == l.Before.Kind
	if !home && l.Before.Kind == "" {
		_, err := h.isLost(rec, l) // it has a driver, so it comes back
		return err
	}
	if !home {
		h.warn("%s (%s) went with the pod's network namespace, as virtual interfaces do", l.Name, l.Before.Kind)
		return nil
	}
	return bond.Restore(s.host, now, *l.Before, l.AddressesBefore)
}

// restorePodLink takes a link out of the bond, where that could not be
// removed: as long as it is a part of it, it is not as before.
func (h *Host) restorePodLink(s sandbox, rec *record.Record, l plan.Link) error {
	inPod, there, err := h.findInPod(s, rec, l)
	if err != nil || !there {
		return err
	}
	if none := 0; inPod.Master != none {
		if err := s.pod.Change(inPod.Index, bond.Change{Master: &none}); err != nil {
			return fmt.Errorf("taking it out of the bond: %w", err)
		}
		if inPod, there, err = h.findInPod(s, rec, l); err != nil || !there {
			return err
		}
	}
	return bond.Restore(s.pod, inPod, *l.Before, l.AddressesBefore)
}

// startRelease has IPAM give the bond's addresses back, and returns what waits for
// that. After a crash of the machine nobody knows whether IPAM was asked, so it is
// told in any case.
func (h *Host) startRelease(ctx context.Context, s sandbox, rec *record.Record) (wait func() error) {
	if rec.Plan.IPAM == "" || !rec.IPAMAsked && rec.BootID == h.BootID {
		return func() error { return nil }
	}
	ended := h.start(ctx, rec.IPAMCall("DEL", s.netns))
	return func() error {
		_, err := ended()
		switch {
		case err == nil:
			rec.IPAMAsked = false
		case rec.IPAMRefused:
			// It gave nothing, so there is nothing that it could refuse to take back.
			h.warn("ipam: %v", err)
			return nil
		default:
			return fmt.Errorf("ipam: %w", err)
		}
		return nil
	}
}
