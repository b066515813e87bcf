package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/delegate/strictjson"
)

// attachChain executes the plugins of a chain. The result of the last one is that of
// the attachment.
func (h *Host) attachChain(ctx context.Context, s sandbox, rec *record.Record) error {
	rec.Started = []string{rec.Plan.IfName}
	if err := errors.Join(h.Store.Update(rec), h.prepareDeviceInfo(rec.Plan.DeviceInfoFile)); err != nil {
		return cnierror.With(types.ErrIOFailure, err)
	}
	l := rec.Plan.Links[0]
	if err := makeWay(s, rec, l); err != nil {
		return cnierror.With(cnierror.Kernel, err)
	}
	var seen record.Attached
	var err error
	var done int
	if seen.Result, done, err = h.runPlugins(ctx, rec, l, nil, func() {}); err != nil {
		rec.RefusedBy, rec.Succeeded = done+2, done
		if errors.Is(err, invoke.ErrNotExecuted) {
			rec.RefusedBy = done + 1
		}
		return cnierror.With(cnierror.Delegate, err)
	}
	if seen.Link, err = h.identifyChain(s, l); err != nil {
		return cnierror.With(cnierror.Delegate, err)
	}
	if seen.VF, err = adminOf(s.host, l); err != nil {
		return cnierror.With(cnierror.Kernel, err)
	}
	rec.Attached[l.Name] = seen
	last := l.Plugins[len(l.Plugins)-1]
	result, err := invoke.ParseResult(seen.Result, last.Config.CNIVersion)
	if err != nil {
		return cnierror.With(cnierror.Delegate, fmt.Errorf("%s: %w", last.Type, err))
	}
	rec.DeviceInfo = readDeviceInfo(rec.Plan.DeviceInfoFile)
	complete(rec, result)
	return nil
}

// complete makes the result of the last plugin of a list that of the attachment.
func complete(rec *record.Record, result *current.Result) {
	result.CNIVersion = current.ImplementedSpecVersion
	rec.Result = strictjson.Encode(result)
}

// identifyChain looks for the interface of a chain. A chain need not make one. One with a
// device can leave it on the host and make another interface of it, as macvlan over a VF
// and virtio-vdpa do.
func (h *Host) identifyChain(s sandbox, l plan.Link) (bond.Link, error) {
	if l.Device != "" {
		found, err := h.identify(s, l)
		if !errors.Is(err, errNotInPod) {
			return found, err
		}
		links, failed := s.host.Links()
		if _, onHost := bond.Find(links, func(x bond.Link) bool { return x.Device == l.Device }); !onHost {
			return bond.Link{}, errors.Join(err, failed)
		}
	}
	found, _, err := bond.LinkIfThere(s.pod, l.Name)
	return found, err
}

// verifyChain checks that the interface of a chain is still the one that was attached.
func verifyChain(s sandbox, rec *record.Record) error {
	l := rec.Plan.Links[0]
	then := rec.Attached[l.Name].Link
	if then.Index == 0 {
		return nil
	}
	now, there, err := bond.LinkIfThere(s.pod, l.Name)
	switch {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("%s is no longer in the pod", l.Name)
	case now.Index != then.Index || then.Device != "" && now.Device != then.Device:
		return fmt.Errorf("%s is not the interface that was attached", l.Name)
	}
	return nil
}

// restoreChain executes DEL of the plugins of a chain, because only they know what they
// have made. If the chain has a VF, it is restored like the VFs of bonds.
func (w *wayBack) restoreChain(ctx context.Context) error {
	l := w.rec.Plan.Links[0]
	if len(w.rec.Started) == 0 || len(w.rec.Restored) > 0 {
		return nil
	}
	var err error
	switch {
	case l.Holds() != "" && w.rec.BootID != w.BootID:
		// After a reboot its VF may belong to somebody else. Only the plugins' own files remain.
		err = w.freePlugins(ctx, l)
	case l.Held != "":
		err = w.restoreHeld(ctx, l)
	case l.Device != "":
		err = w.restoreDevice(ctx, l)
	default:
		err = w.deleteChain(ctx, l)
	}
	if err != nil {
		return err
	}
	w.rec.Restored = []string{l.Name}
	return w.removeDeviceInfo(w.rec.Plan.DeviceInfoFile)
}

// deleteChain executes DEL of the plugins in reverse. The refusal of a plugin that ADD did
// not execute is only a warning. So is that of the first plugin, which made the
// interface, if that is gone, and that of any plugin after a reboot. Some plugins cannot
// do without the interface's namespace or its master, and would refuse for ever.
func (w *wayBack) deleteChain(ctx context.Context, l plan.Link) error {
	gone, err := w.isGone(l)
	if err != nil {
		return err
	}
	var errs []error
	for i, p := range w.inOrder(l) {
		failed := w.deletePlugin(ctx, w.netns, l, p)
		notExecuted := w.rec.RefusedBy > 0 && i+1 >= w.rec.RefusedBy
		switch {
		case failed == nil:
		case errors.Is(failed, errNoTime):
			errs = append(errs, failed)
		case notExecuted, w.rec.BootID != w.BootID, gone && i == 0:
			w.leave("%v", failed)
			if !notExecuted {
				errs = append(errs, w.releaseOf(ctx, l, p))
			}
		default:
			errs = append(errs, failed)
		}
	}
	return errors.Join(errs...)
}

// isGone reports whether what a plugin made in the pod cannot exist any more: its
// namespace is gone, or the interface was there and is not, because it goes with its
// master.
func (w *wayBack) isGone(l plan.Link) (bool, error) {
	if w.pod == nil {
		return true, nil
	}
	_, there, err := w.findInPod(l)
	return w.rec.Attached[l.Name].Link.Index != 0 && !there, err
}

// releaseFor releases the addresses of a link whose plugins have refused to.
func (w *wayBack) releaseFor(ctx context.Context, l plan.Link) error {
	var errs []error
	for _, p := range l.Plugins {
		errs = append(errs, w.releaseOf(ctx, l, p))
	}
	return errors.Join(errs...)
}

// releaseOf executes DEL of a plugin's IPAM, which the plugin has refused to do.
func (w *wayBack) releaseOf(ctx context.Context, l plan.Link, p netconf.Plugin) error {
	ipam, there := p.IPAM()
	if !there {
		return nil
	}
	if err := w.deletePlugin(ctx, w.netns, l, ipam); err != nil {
		return fmt.Errorf("ipam: %w", err)
	}
	return nil
}

// maxDeviceInfo is the most that is read of what a plugin wrote about its device, in
// bytes.
const maxDeviceInfo = 64 << 10

// readDeviceInfo reads what a plugin wrote about its device (NPWG Device Information
// Specification). It returns nil if there is nothing that can be read.
func readDeviceInfo(name string) json.RawMessage {
	if name == "" {
		return nil
	}
	raw, err := atomicfile.Read(name, maxDeviceInfo)
	if err != nil || !json.Valid(raw) {
		return nil
	}
	return raw
}

// prepareDeviceInfo makes the directory of the file and removes the file: some plugins
// fail if the directory is missing, others if the file exists.
func (h *Host) prepareDeviceInfo(name string) error {
	if name == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return h.removeDeviceInfo(name)
}

func (h *Host) removeDeviceInfo(name string) error {
	if name == "" {
		return nil
	}
	return h.Store.Files.Remove(name)
}
