package delegate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/delegate/strictjson"
)

// GCPod is GC of the cluster's configuration, which all pods of the node have. It also
// reclaims VFs from namespaces that no Record knows.
func (h *Host) GCPod(ctx context.Context, c netconf.Cluster) (warnings []string, err error) {
	warnings, err = h.GC(ctx, c.Name, c.Valid)
	if c.Valid == nil {
		return warnings, err
	}
	var out outcome
	err = errors.Join(err, h.reclaimUnrecorded(ctx, c.Valid, &out))
	return append(warnings, out.warnings...), err
}

// GC restores the attachments of a network that the runtime no longer has, and tries
// those again that were given up. Then it executes GC of their plugins that know it,
// with the attachments that are left to each (CNI specification 1.1, section "GC"), unless a
// Record cannot be read: what it names would be missing in the list, and an IPAM plugin would
// free the addresses of a pod that lives. It continues after an error and joins all errors.
func (h *Host) GC(ctx context.Context, network string, valid []netconf.GCAttachment) (warnings []string, err error) {
	if valid == nil {
		return nil, cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: %s: is missing; without it every attachment would count as stale", network, netconf.ValidKey)
	}
	began := time.Now()
	keys, err := h.Store.List()
	if err != nil {
		return nil, err
	}
	var out outcome
	all, unread, err := h.loadAll(keys, &out)
	errs := []error{err}
	// Those whose plugins hung come last, so that they do not keep the others.
	slices.SortStableFunc(all, func(a, b *record.Record) int { return cmp.Compare(len(a.Unanswered), len(b.Unanswered)) })
	for _, rec := range all {
		if ctx.Err() != nil {
			return out.warnings, errors.Join(append(errs, cnierror.With(types.ErrTryAgainLater, errGCTime))...)
		}
		if rec.Network() == network && !stillValid(rec, valid) {
			_, ended, err := h.del(ctx, rec.Plan.Key())
			out.join(ended)
			errs = append(errs, err)
			continue
		}
		errs = append(errs, h.endOverdueDrill(ctx, rec))
	}
	errs = append(errs, h.gcAside(ctx, network, began, &out))
	errs = append(errs, h.Store.RemoveUnstarted(ctx, h.LockTimeout), h.Store.RemoveStaleHolds(ctx, h.LockTimeout))
	if len(unread) > 0 {
		out.warn("network %s: plugins are not told which attachments are left: %s cannot be read, and its pod may live", network, strings.Join(unread, ", "))
		return out.warnings, errors.Join(errs...)
	}
	for _, c := range h.collect(all, network, valid) {
		errs = append(errs, h.forwardGC(ctx, c))
	}
	return out.warnings, errors.Join(errs...)
}

// loadAll reads Records. It also returns the files of those that are there and cannot be read.
func (h *Host) loadAll(keys []plan.Key, o *outcome) (all []*record.Record, unread []string, err error) {
	var errs []error
	for _, k := range keys {
		rec, err := h.load(k, o)
		switch {
		case rec != nil:
			all = append(all, rec)
		case h.Store.Has(k):
			unread = append(unread, h.Store.File(k))
		}
		errs = append(errs, err)
	}
	return all, unread, errors.Join(errs...)
}

// errGCTime is returned by a GC that could not look at everything.
var errGCTime = errors.New("the time of this GC is over; the next one continues")

// stillValid reports whether the runtime still has the attachment. Of a group the
// runtime knows only the first attachment.
func stillValid(rec *record.Record, valid []netconf.GCAttachment) bool {
	head := rec.Members()[0]
	return slices.Contains(valid, netconf.GCAttachment{ContainerID: head.ContainerID, IfName: head.IfName})
}

// collection is one plugin of one network, and the attachments that it keeps.
type collection struct {
	plugin netconf.Plugin
	path   []string // CNI_PATH of its last ADD
	keep   []netconf.GCAttachment
}

// collect lists the plugins that the Records of a network name, each once for each
// network of its own, with the attachments that are left under the names that the
// plugin was called with. The plugins of a container's first network also get what the
// runtime lists: they may have attached some of it before this plugin was installed.
func (h *Host) collect(all []*record.Record, network string, valid []netconf.GCAttachment) (out []collection) {
	find := func(p netconf.Plugin) int {
		return slices.IndexFunc(out, func(c collection) bool { return c.plugin.Type == p.Type && c.plugin.Config.Name == p.Config.Name })
	}
	for _, rec := range all {
		if rec.Network() != network {
			continue
		}
		for _, c := range collected(rec) {
			i := find(c.plugin)
			if i < 0 {
				out, i = append(out, collection{plugin: c.plugin, keep: []netconf.GCAttachment{}}), len(out)
			}
			out[i].path = rec.Plan.Path
			if rec.Plan.IsChain() && rec.Plan.Key() == rec.Members()[0] {
				out[i].keep = slices.Clone(valid)
			}
		}
	}
	for _, rec := range all { // of any network: plugins know only their own names
		if !h.Store.Has(rec.Plan.Key()) {
			continue
		}
		for _, c := range collected(rec) {
			if i := find(c.plugin); i >= 0 && !slices.Contains(out[i].keep, c.keep[0]) {
				out[i].keep = append(out[i].keep, c.keep[0])
			}
		}
	}
	return out
}

// collected lists the plugins of a Record that know GC, each with the one attachment
// that it has made. There are none if the network's configuration has disableGC.
func collected(rec *record.Record) (out []collection) {
	if rec.Plan.Config.DisableGC {
		return nil
	}
	for p, ifName := range rec.Plugins() {
		if p.Config.HasVersion("1.1.0") && !bool(p.DisableGC) {
			out = append(out, collection{plugin: p, keep: []netconf.GCAttachment{{ContainerID: rec.Plan.ContainerID, IfName: ifName}}})
		}
	}
	return out
}

// forwardGC executes GC of one plugin. The list is under both names that it has had in
// versions of the specification.
func (h *Host) forwardGC(ctx context.Context, c collection) error {
	keep := strictjson.Encode(c.keep)
	config := c.plugin.Config.With(map[string]json.RawMessage{netconf.ValidKey: keep, netconf.AttachmentsKey: keep})
	_, err := h.execute(ctx, invoke.Call{Command: "GC", Path: unite(h.Path, c.path), Type: c.plugin.Type, Config: config})
	if err != nil {
		return cnierror.With(cnierror.Delegate, fmt.Errorf("network %s: %w", c.plugin.Config.Name, err))
	}
	return nil
}
