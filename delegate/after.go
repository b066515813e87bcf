package delegate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/record"
)

// A bond can be the first plugin of a list. Those after it get the bond's result as their
// prevResult, one after the other, and work on the bond. At DEL they come before it.

// callAfter executes the plugins after a bond, in order. Each is in the Record before it is
// executed. The result of the last one replaces that of the bond.
func (h *Host) callAfter(ctx context.Context, s sandbox, rec *record.Record) error {
	own, err := invoke.DecodeResult(rec.Result)
	if err != nil {
		return err
	}
	made := rec.Plan.Made()
	result := resultFor(rec, made.Plugins[0].Config)
	rec.Result = nil // until all of them have succeeded
	for i, p := range made.Plugins {
		rec.After = append(rec.After, i)
		if err := h.Store.Update(rec); err != nil {
			return cnierror.With(types.ErrIOFailure, err)
		}
		if result, err = h.runPlugin(ctx, rec, made.Name, p, result, func() {}); err != nil {
			if errors.Is(err, invoke.ErrNotExecuted) {
				rec.After = rec.After[:i]
			} else {
				rec.RefusedBy = i + 2
			}
			return cnierror.With(cnierror.Delegate, fmt.Errorf("plugins[%d]: %w", i+1, err))
		}
	}
	rec.Attached[made.Name] = record.Attached{Result: result}
	last := made.Plugins[len(made.Plugins)-1]
	all, err := invoke.ParseResult(result, last.Config.CNIVersion)
	if err != nil {
		return cnierror.With(cnierror.Delegate, fmt.Errorf("plugins[%d]: %s: %w", len(made.Plugins), last.Type, err))
	}
	if err := addUntold(s, all.Interfaces, own.Interfaces); err != nil {
		return cnierror.With(cnierror.Kernel, err)
	}
	complete(rec, all)
	return nil
}

// addUntold adds to the interfaces of a result what versions before CNI 1.1.0 cannot tell:
// the PCI address, as the bond's own result has it, and the MTU, as it is now.
func addUntold(s sandbox, interfaces, own []*current.Interface) error {
	links, err := s.pod.Links()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		at := slices.IndexFunc(own, func(o *current.Interface) bool { return o.Name == i.Name && o.Sandbox == i.Sandbox })
		now, there := bond.Find(links, func(l bond.Link) bool { return l.Name == i.Name })
		if at < 0 || !there {
			continue
		}
		i.PciID, i.Mtu = cmp.Or(i.PciID, own[at].PciID), cmp.Or(i.Mtu, now.MTU)
	}
	return nil
}

// deleteAfter executes DEL of the plugins after a bond that ADD has executed, in reverse. As
// in a chain, the refusal of one is an error also if the bond or its namespace is gone: it
// can have made something on the host. After a reboot it is only a warning.
func (w *wayBack) deleteAfter(ctx context.Context) error {
	made := w.rec.Plan.Made()
	var errs []error
	for i, p := range w.inOrder(made) {
		if !slices.Contains(w.rec.After, i) {
			continue
		}
		failed := w.deletePlugin(ctx, w.netns, made, p)
		if failed != nil && w.rec.BootID != w.BootID && !errors.Is(failed, errNoTime) {
			w.leave("plugins[%d]: %v", i+1, failed)
			failed = w.releaseOf(ctx, made, p)
		}
		if failed != nil {
			errs = append(errs, fmt.Errorf("plugins[%d]: %w", i+1, failed))
			continue
		}
		w.rec.After = slices.DeleteFunc(w.rec.After, func(executed int) bool { return executed == i })
	}
	return errors.Join(errs...)
}
