package delegate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// restore is the one way back: for an ADD that failed, for DEL, for GC and after a crash.
// It does not invert steps. It looks where each thing is now and makes it what it was,
// goes on after an error, and can be called again. It restores Records of one sandbox, in
// reverse, and removes those that are restored, but the first one, by which DEL finds the
// others, only if nothing has failed, here or before. What has failed for too long is given
// up. The error contains failed, and names what is not as before. If only plugins keep
// something, that is not in the error but in the outcome.
//
// What plugins of a killed call have left running is ended first, because it could undo
// what is restored here. Restoring takes at most h.WayBack. Each plugin gets a share of what
// is left of that. What has been restored is on disk before the next plugin is executed, so
// that a further DEL continues where a killed one has stopped. The caller holds locks on the
// container and its devices, and has opened the Records' namespaces.
func (h *Host) restore(ctx context.Context, s sandbox, recs []*record.Record, failed error) (out outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.WayBack)
	defer cancel()
	if slices.ContainsFunc(recs, (*record.Record).WasCut) {
		h.endOrphans(ctx, recs[0].Plan.ContainerID, &out)
	}
	r := h.waysBack(s, recs)
	r.run(ctx)
	for i, w := range slices.Backward(r.ways) {
		out.join(w.outcome)
		err := w.failure()
		switch needed := i == 0 && failed != nil && w.rec.Aside == ""; {
		case err != nil && !needed && h.givesUp(w.rec):
			err = h.giveUp(w.rec, err, &out)
		case err != nil && !needed && w.rec.KeepsNoDevice(h.BootID):
			out.refused = errors.Join(out.refused, err)
			err = h.setAsideEarly(w.rec, err)
		case err != nil:
			err = errors.Join(err, h.failed(w.rec))
		case w.later != nil && !needed:
			err = h.giveUp(w.rec, w.of(w.later), &out)
		case needed:
			err = cnierror.With(types.ErrIOFailure, h.Store.Update(w.rec))
		default:
			err = cnierror.With(cnierror.Restore, h.Store.End(w.rec))
		}
		failed = errors.Join(failed, err)
	}
	return out, failed
}

// endOrphans ends what plugins of a killed call for a container have left running.
func (h *Host) endOrphans(ctx context.Context, container string, o *outcome) {
	if err := h.Runner.EndOrphans(ctx, container); err != nil {
		o.warn("%v", err)
	}
}

// removeBond deletes the bond. The kernel then closes its links and gives them their own
// MAC and MTU back. That takes long, so the addresses are released meanwhile, while the
// bond is down and does not answer to them any more. IPAM that needs the bond for that is
// executed before: also if the namespace is gone, because the daemon of dhcp keeps the
// namespace open in which it got the lease, and the links in it. IPAM that has not answered
// an earlier DEL is not executed here.
func (w *wayBack) removeBond(ctx context.Context) error {
	local := slices.Contains(localIPAM, w.rec.Plan.IPAM)
	late := !w.rec.UnansweredSince(w.rec.Plan.IPAM, w.rec.Plan.IfName).IsZero()
	switch {
	case len(w.rec.Started) < len(w.rec.Plan.Links):
		return nil // if a link was never begun, no bond was made either
	case w.pod == nil && (local || late):
		return nil
	case w.pod == nil:
		return w.startRelease(ctx, w.rec.Plan.IfName)()
	}
	b, there, err := w.findBond()
	switch {
	case err != nil || !there:
		return err
	case late:
		return w.pod.Delete(b.Index)
	case !local:
		refused := w.startRelease(ctx, w.rec.Plan.IfName)()
		return errors.Join(refused, w.pod.Delete(b.Index))
	}
	down := false
	if err := w.pod.Change(b.Index, bond.Change{Up: &down}); err != nil {
		return err
	}
	wait := w.startRelease(ctx, w.rec.Plan.IfName)
	deleted := w.pod.Delete(b.Index)
	return errors.Join(deleted, wait())
}

// findBond looks for the bond in the pod.
func (w *wayBack) findBond() (b bond.Link, there bool, err error) {
	links, err := w.pod.Links()
	if err != nil {
		return b, false, err
	}
	b, there = bond.Find(links, func(l bond.Link) bool { return l.Kind == "bond" && w.rec.Made(l, links) })
	return b, there, nil
}

// releaseLast releases the addresses, unless that was done with the bond.
func (w *wayBack) releaseLast(ctx context.Context) error {
	if w.asked {
		return nil
	}
	return w.startRelease(ctx, w.rec.Plan.IfName)()
}

// startRelease starts DEL of the IPAM plugin of an interface and returns a function that
// waits for its end. After a crash of the machine it is not known whether IPAM was asked for
// an address, so DEL is executed in any case.
func (w *wayBack) startRelease(ctx context.Context, ifName string) (wait func() error) {
	state := w.rec.IPAMOf(ifName)
	if w.rec.Plan.IPAMOf(ifName).Type == "" || !state.Asked && w.rec.BootID == w.BootID {
		return func() error { return nil }
	}
	w.asked = true
	ended := w.startDel(ctx, w.rec.IPAMCall("DEL", w.netns, ifName))
	return func() error {
		err := ended()
		switch {
		case err == nil:
			state.Asked = false
			w.rec.SetIPAM(ifName, state)
		case state.Refused:
			// IPAM was not executed, so there is no address to release.
			w.leave("ipam: %v", err)
			return nil
		default:
			return fmt.Errorf("ipam: %w", err)
		}
		return nil
	}
}

// restoreLink restores one link, and notes in the Record that it did.
func (w *wayBack) restoreLink(ctx context.Context, l plan.Link) error {
	var err error
	switch {
	case l.Source == netconf.FromPod:
		err = w.restorePodLink(l)
	case l.Source == netconf.FromConfig:
		err = w.restoreMade(ctx, l)
	case l.Device != "":
		err = w.restoreDevice(ctx, l)
	case l.Source == netconf.FromHost:
		err = w.restoreVirtual(l)
	}
	if err != nil {
		return fmt.Errorf("link %s (%s): %w", l.Name, cmp.Or(l.Device, string(l.Source)), err)
	}
	w.rec.Restored = append(w.rec.Restored, l.Name)
	return nil
}

// restoreMade executes DEL of the plugins that made a link in the pod. If the link is gone
// their refusal is only a warning.
func (w *wayBack) restoreMade(ctx context.Context, l plan.Link) error {
	failed := errors.Join(w.deletePlugins(ctx, w.netns, l), w.removeUnnamed(l))
	now, there, err := w.findInPod(l)
	switch {
	case err != nil:
		return errors.Join(failed, err)
	case there && now.Name != l.Name && now.Kind != "":
		// The application has renamed it, so its plugin did not find it.
		return errors.Join(failed, w.pod.Delete(now.Index))
	case there:
		return errors.Join(failed, errors.New("it is still in the pod"))
	case failed == nil || errors.Is(failed, errNoTime):
		return failed
	}
	gone, err := w.isGone(l)
	if err != nil || !gone {
		return errors.Join(failed, err)
	}
	w.leave("link %s: %v", l.Name, failed)
	return nil
}

// unnamed matches the random name under which CNI's macvlan, ipvlan and vlan make an
// interface in the pod, before they give it its own.
var unnamed = regexp.MustCompile(`^veth[0-9a-f]{8}$`)

// removeUnnamed deletes an interface to which its plugin had not given its name when it was
// killed. The plugin's DEL does not know it.
func (w *wayBack) removeUnnamed(l plan.Link) error {
	if _, attached := w.rec.Attached[l.Name]; attached || w.pod == nil {
		return nil
	}
	links, err := w.pod.Links()
	if err != nil {
		return err
	}
	var errs []error
	for _, x := range links {
		if x.Kind == l.Plugins[0].Type && unnamed.MatchString(x.Name) && !x.Up {
			errs = append(errs, w.pod.Delete(x.Index))
		}
	}
	return errors.Join(errs...)
}

// restoreVirtual moves a link without a device back to the host and restores it.
func (w *wayBack) restoreVirtual(l plan.Link) error {
	if err := w.bringHome(l); err != nil {
		return err
	}
	links, err := w.host.Links()
	if err != nil {
		return err
	}
	now, home := bond.Find(links, func(x bond.Link) bool { return w.rec.KnowsVirtual(l, x) })
	switch {
	case home:
		return w.explainName(l, now, bond.Restore(w.host, now, *l.Before, l.AddressesBefore))
	case l.Before.Kind == "":
		return errNowhere // it has a driver, so it comes back
	}
	w.leave("%s (%s) was deleted with the pod's network namespace, like every virtual interface", l.Name, l.Before.Kind)
	return nil
}

// restorePodLink restores a link that was in the pod before. If the bond could not be
// deleted, it takes the link out of the bond first.
func (w *wayBack) restorePodLink(l plan.Link) error {
	inPod, there, err := w.findInPod(l)
	if err != nil || !there {
		return err
	}
	if none := 0; inPod.Master != none {
		if err := w.pod.Change(inPod.Index, bond.Change{Master: &none}); err != nil {
			return fmt.Errorf("taking it out of the bond: %w", err)
		}
		if inPod, there, err = w.findInPod(l); err != nil || !there {
			return err
		}
	}
	return bond.Restore(w.pod, inPod, *l.Before, l.AddressesBefore)
}
