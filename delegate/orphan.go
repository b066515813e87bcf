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

// reclaim is DEL where there is no Record, or none that can be read. What can be
// known without one is what the pod's namespace shows. A bond is taken for ours
// where a VF in it has the name that links of ours have by default, bond0-1 in
// bond0. Such a VF goes back to the host, where sriov-cni, if it was that, gives
// it back from what it keeps itself. Its links of other names may be another
// plugin's, and stay in the pod; a VF of which there is a Record is that's. only
// is the one bond to look at, "" for all.
func (h *Host) reclaim(ctx context.Context, r plan.Request, only string, o *outcome) error {
	locks, err := record.OpenLocks(h.Store.Dir, h.LockTimeout)
	if err != nil {
		return err
	}
	defer locks.Close()
	if err := locks.Lock(ctx, "container", r.ContainerID); err != nil {
		return err
	}
	s, err := h.enterIfThere(r.Netns, "")
	if err != nil {
		return err
	}
	defer s.close()
	return h.reclaimIn(ctx, s, r, only, locks, o)
}

// reclaimUnrecorded is GC where there are no Records: it reclaims what is in the
// namespaces that are no Record's. The runtime does not say which namespace a
// container has, so nothing is done where it has one that there is no Record of:
// that namespace could be its.
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

// reclaimUnless is reclaim in one namespace, unless its ID is known. sriov-cni
// can't help there: it knows VFs by their containers.
func (h *Host) reclaimUnless(ctx context.Context, known map[string]bool, netns string, o *outcome) error {
	s, err := h.enterIfThere(netns, "")
	if err != nil {
		return err
	}
	defer s.close()
	if s.pod == nil || known[s.pod.ID()] {
		return nil
	}
	locks, err := record.OpenLocks(h.Store.Dir, h.LockTimeout)
	if err != nil {
		return err
	}
	defer locks.Close()
	return h.reclaimIn(ctx, s, plan.Request{Netns: netns}, "", locks, o)
}

// reclaimIn is reclaim in one namespace. r names no container where nobody knows
// whose it is.
func (h *Host) reclaimIn(ctx context.Context, s sandbox, r plan.Request, only string, locks *record.Locks, o *outcome) error {
	if s.pod == nil || s.pod.ID() == s.host.ID() {
		return nil // the kernel has given back what has a driver
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
		o.leave("there is no Record of %s in %s; it is taken for ours by the names of its links", b.Name, r.Netns)
		errs = append(errs, s.pod.Delete(b.Index))
		for _, l := range vfs {
			if err := h.reclaimVF(ctx, s, r, l, o); err != nil {
				errs = append(errs, fmt.Errorf("link %s (%s): %w", l.Name, l.Device, err))
			}
		}
	}
	return cnierror.With(cnierror.Restore, errors.Join(errs...))
}

// isRecorded says whether one of the VFs is in a Record.
func (h *Host) isRecorded(vfs []bond.Link) (bool, error) {
	for _, l := range vfs {
		if holder, err := h.Store.Holder(l.Device); err != nil || holder != (plan.Key{}) {
			return true, err
		}
	}
	return false, nil
}

// namedByUs says whether l is a VF in the bond b under its default name.
func namedByUs(l, b bond.Link) bool {
	number, is := strings.CutPrefix(l.Name, b.Name+"-")
	return b.Kind == "bond" && l.Master == b.Index && l.Device != "" && is &&
		number != "" && strings.Trim(number, "0123456789") == ""
}

// reclaimVF has sriov-cni give a VF back, and takes it home where it does not.
// How it was before nobody knows: it is left down, by the name that VFs of its PF
// have, and what its PF keeps for it stays where sriov-cni has not taken it back,
// and is said.
func (h *Host) reclaimVF(ctx context.Context, s sandbox, r plan.Request, l bond.Link, o *outcome) error {
	if r.ContainerID != "" { // by which sriov-cni knows it
		config := strictjson.Encode(map[string]string{"cniVersion": netconf.DefaultVersion, "name": "multibond", "type": "sriov", "deviceID": l.Device})
		_, err := h.execute(ctx, invoke.Call{
			Command: "DEL", ContainerID: r.ContainerID, Netns: r.Netns, IfName: l.Name, Args: r.Args, Type: "sriov", Config: config,
		})
		if err != nil {
			o.leave("link %s: %v", l.Name, err)
		}
	}
	d, err := bond.SurveyDevice(h.Sys, s.host, l.Device)
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
	return moveHome(s, inPod, plan.Link{Name: l.Name, Device: l.Device, Before: &home})
}

// warnOfRemains says what a PF still keeps for a VF that may be of its last pod:
// the next one would have it too.
func warnOfRemains(d bond.DeviceFacts, o *outcome) {
	if d.Admin == nil || d.Admin.VLAN == 0 && (d.Admin.Trust == nil || !*d.Admin.Trust) {
		return
	}
	o.leave("%s may still be as its last pod had it, and the next one will have it so: see ip link show %s; as new: ip link set %s vf %d vlan 0 trust off", d.Address, d.PFNetdev, d.PFNetdev, d.Number)
}
