package delegate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/delegate/strictjson"
)

// reclaim is DEL without a Record, or with one that cannot be read. All that is known
// then is what the pod's namespace shows. A bond is taken for ours if a VF in it has
// the default name of our links, such as bond0-1 in bond0. Such VFs go back to the host;
// sriov-cni restores them from its own files, if it attached them. Links with other
// names may belong to another plugin and stay in the pod, and so do VFs that are in a
// Record. If only is not "", reclaim looks at the bond of that name alone.
func (h *Host) reclaim(ctx context.Context, r plan.Request, only string, o *outcome) error {
	locks, err := h.lockContainer(ctx, r.ContainerID)
	if err != nil {
		return err
	}
	defer locks.Close()
	s, err := h.enterOrLeave(r.Netns, o)
	if err != nil {
		return err
	}
	defer s.close()
	return h.reclaimIn(ctx, s, r, only, locks, o)
}

// reclaimUnrecorded is GC without Records: it reclaims what is in namespaces that no
// Record knows. The runtime does not say which namespace a container has. Therefore
// reclaimUnrecorded does nothing if the runtime has a container without a Record: one of
// the namespaces could be that container's.
func (h *Host) reclaimUnrecorded(ctx context.Context, valid []netconf.GCAttachment, o *outcome) error {
	keys, err := h.Store.List()
	if err != nil {
		return cnierror.With(types.ErrIOFailure, err)
	}
	known := map[string]bool{}
	for _, k := range keys {
		rec, err := h.load(k, o)
		if err != nil {
			return err
		}
		if rec != nil && rec.BootID == h.BootID {
			known[rec.NetnsID] = true
		}
	}
	for _, rec := range h.listAside(o, func(rec *record.Record) bool { return rec.BootID == h.BootID }) {
		known[rec.NetnsID] = true
	}
	unknown := func(a netconf.GCAttachment) bool { return !slices.Contains(keys, plan.Key(a)) }
	if slices.ContainsFunc(valid, unknown) {
		return nil
	}
	entries, err := os.ReadDir(h.Namespaces)
	if err != nil {
		return cnierror.With(types.ErrIOFailure, atomicfile.Ignore(fs.ErrNotExist, err))
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, h.reclaimUnless(ctx, known, filepath.Join(h.Namespaces, e.Name()), o))
	}
	return errors.Join(errs...)
}

// reclaimUnless is reclaim in one namespace, unless its ID is known. sriov-cni cannot
// help here: it knows VFs by their containers.
func (h *Host) reclaimUnless(ctx context.Context, known map[string]bool, netns string, o *outcome) error {
	s, err := h.enterOrLeave(netns, o)
	if err != nil {
		return err
	}
	defer s.close()
	if s.pod == nil || known[s.pod.ID()] {
		return nil
	}
	locks, err := h.openLocks(ctx)
	if err != nil {
		return err
	}
	defer locks.Close()
	return h.reclaimIn(ctx, s, plan.Request{Netns: netns}, "", locks, o)
}

// reclaimIn is reclaim in one namespace. r has no container if it is not known.
func (h *Host) reclaimIn(ctx context.Context, s sandbox, r plan.Request, only string, locks *record.Locks, o *outcome) error {
	if s.pod == nil {
		return nil // the kernel has returned the links that have a driver
	}
	links, err := s.pod.Links()
	if err != nil {
		return cnierror.With(cnierror.Kernel, err)
	}
	bonds := map[string][]bond.Link{} // the VFs of each that is taken for ours
	var devices []string
	for _, b := range links {
		vfs := slices.DeleteFunc(slices.Clone(links), func(l bond.Link) bool { return !namedByUs(l, b) })
		if len(vfs) == 0 || only != "" && b.Name != only {
			continue
		}
		bonds[b.Name] = vfs
		for _, l := range vfs {
			devices = append(devices, l.Device)
		}
	}
	if err := locks.Lock(ctx, "device", devices...); err != nil {
		return err
	}
	var errs []error
	for _, b := range links {
		vfs, ours := bonds[b.Name]
		if !ours {
			continue
		}
		if recorded, err := h.isRecorded(vfs); recorded || err != nil {
			errs = append(errs, err)
			continue
		}
		o.leave("there is no Record of %s in %s; the names of its links show that Multibond made it", b.Name, r.Netns)
		errs = append(errs, s.pod.Delete(b.Index))
		for _, l := range vfs {
			err := h.reclaimVF(ctx, s, r, l, shareOf(ctx, len(devices)), o)
			if err == nil {
				err = h.removeNote(ctx, s.host, plan.Link{Device: l.Device}, r.Netns)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("link %s (%s): %w", l.Name, l.Device, err))
			}
		}
	}
	return cnierror.With(cnierror.Restore, errors.Join(errs...))
}

// isRecorded reports whether one of the VFs is in a Record.
func (h *Host) isRecorded(vfs []bond.Link) (bool, error) {
	for _, l := range vfs {
		if holder, err := h.Store.Holder(l.Device); err != nil || holder != (plan.Key{}) {
			return true, err
		}
	}
	return false, nil
}

// namedByUs reports whether l is a VF in the bond b under its default name.
func namedByUs(l, b bond.Link) bool {
	number, is := strings.CutPrefix(l.Name, b.Name+"-")
	return b.Kind == "bond" && l.Master == b.Index && l.Device != "" && is &&
		number != "" && strings.Trim(number, "0123456789") == ""
}

// reclaimVF executes DEL of sriov-cni for a VF, and moves the VF to the host if it is
// still in the pod. The VF's original state is unknown: it is left down, under the usual
// name of VFs of its PF. If sriov-cni has not reset what the PF keeps for the VF, a
// warning says so. It may take as long as timeout.
func (h *Host) reclaimVF(ctx context.Context, s sandbox, r plan.Request, l bond.Link, timeout time.Duration, o *outcome) error {
	if r.ContainerID != "" { // by which sriov-cni knows it
		config := strictjson.Encode(map[string]string{"cniVersion": netconf.DefaultVersion, "name": "multibond", "type": "sriov", "deviceID": l.Device})
		_, err := h.execute(ctx, invoke.Call{
			Command: "DEL", ContainerID: r.ContainerID, Netns: r.Netns, IfName: l.Name, Args: r.Args, Type: "sriov", Config: config, Timeout: timeout,
		})
		if err != nil {
			o.leave("link %s: %v", l.Name, err)
		}
	}
	d, err := bond.SurveyDevice(h.Sys, s.host, l.Device, "")
	if err != nil {
		return err
	}
	warnOfRemains(d, o)
	links, err := s.pod.Links()
	if err != nil {
		return err
	}
	inPod, there := bond.Find(links, func(x bond.Link) bool { return x.Device == l.Device })
	if !there {
		return nil
	}
	down := false
	if err := s.pod.Change(inPod.Index, bond.Change{Up: &down}); err != nil {
		return err
	}
	home := bond.Link{Name: fmt.Sprintf("%sv%d", cmp.Or(d.PFNetdev, "mb"), d.Number)}
	_, err = moveHome(s, inPod, home)
	return err
}

// warnOfRemains warns if a PF keeps settings for a VF that may be those of its last pod:
// the next pod would have them too.
func warnOfRemains(d bond.DeviceFacts, o *outcome) {
	if d.Admin == nil || d.Admin.VLAN == 0 && (d.Admin.Trust == nil || !*d.Admin.Trust) {
		return
	}
	o.leave("%s may still have the settings of its last pod, which the next pod would get: see ip link show %s; to clear them: ip link set %s vf %d vlan 0 trust off", d.Address, d.PFNetdev, d.PFNetdev, d.Number)
}
