package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// GCPod is GC of the cluster's configuration, of which all pods of the node are:
// it also takes home what is in namespaces that are nobody's.
func (h *Host) GCPod(ctx context.Context, c netconf.Cluster, path []string) error {
	err := h.GC(ctx, c.Name, c.Valid, path)
	if c.Valid == nil {
		return err
	}
	return errors.Join(err, h.salvageUnrecorded(ctx, c.Valid))
}

// GC undoes the attachments of a network that the runtime no longer has, and
// then has each of their plugins that knows GC free what it keeps for no
// attachment of its own (CNI specification 1.1, section "GC"). path is
// CNI_PATH. It goes on after an error and joins them.
func (h *Host) GC(ctx context.Context, network string, valid []netconf.GCAttachment, path []string) error {
	if valid == nil {
		return cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: %s: is missing; without it every attachment would count as gone", network, netconf.ValidKey)
	}
	keys, err := h.Store.List()
	if err != nil {
		return err
	}
	var errs []error
	var all []*Record
	for _, k := range keys {
		rec, err := h.load(k)
		if rec != nil {
			all = append(all, rec)
		}
		errs = append(errs, err)
	}
	for _, rec := range all {
		if rec.network() == network && !stillValid(rec, valid) {
			errs = append(errs, h.Del(ctx, rec.Plan.Key()))
		}
	}
	errs = append(errs, h.forgetUnborn(ctx), h.forgetHolds(ctx))
	for _, c := range h.collect(all, network, valid) {
		errs = append(errs, h.forwardGC(ctx, c, path))
	}
	return errors.Join(errs...)
}

// stillValid says whether the runtime still has the attachment, of which it
// knows the first of its group.
func stillValid(rec *Record, valid []netconf.GCAttachment) bool {
	head := rec.members()[0]
	return slices.Contains(valid, netconf.GCAttachment{ContainerID: head.ContainerID, IfName: head.IfName})
}

// collection is what one plugin of one network is to keep.
type collection struct {
	plugin netconf.Plugin
	path   []string // CNI_PATH of its last ADD
	keep   []netconf.GCAttachment
}

// collect lists the plugins that Records of a network name, each once for each
// of its own networks, with the attachments that are left by the names that it
// was called with. What the runtime lists is for the plugins of a container's
// first network: those may have attached some before this plugin was installed.
func (h *Host) collect(all []*Record, network string, valid []netconf.GCAttachment) (out []collection) {
	find := func(p netconf.Plugin) int {
		return slices.IndexFunc(out, func(c collection) bool { return c.plugin.Type == p.Type && nameOf(c.plugin) == nameOf(p) })
	}
	for _, rec := range all {
		if rec.network() != network {
			continue
		}
		for _, c := range rec.collected() {
			i := find(c.plugin)
			if i < 0 {
				out, i = append(out, collection{plugin: c.plugin, keep: []netconf.GCAttachment{}}), len(out)
			}
			out[i].path = rec.Plan.Path
			if rec.Plan.IsChain() && rec.Plan.Key() == rec.members()[0] {
				out[i].keep = slices.Clone(valid)
			}
		}
	}
	for _, rec := range all { // of any network: plugins know their own names only
		if _, err := os.Stat(h.Store.file(rec.Plan.Key())); err != nil {
			continue
		}
		for _, c := range rec.collected() {
			if i := find(c.plugin); i >= 0 && !slices.Contains(out[i].keep, c.keep[0]) {
				out[i].keep = append(out[i].keep, c.keep[0])
			}
		}
	}
	return out
}

// collected are the plugins of a Record that know GC, with the one attachment
// that each has made.
func (rec *Record) collected() (out []collection) {
	add := func(p netconf.Plugin, ifName string) {
		var head struct{ CNIVersion string }
		_ = json.Unmarshal(p.Config, &head)
		if knows, err := version.GreaterThanOrEqualTo(head.CNIVersion, "1.1.0"); err == nil && knows {
			out = append(out, collection{plugin: p, keep: []netconf.GCAttachment{{ContainerID: rec.Plan.ContainerID, IfName: ifName}}})
		}
	}
	for _, l := range rec.Plan.Links {
		for _, p := range l.Plugins {
			add(p, l.Name)
		}
	}
	if rec.Plan.IPAM != "" {
		add(netconf.Plugin{Type: rec.Plan.IPAM, Config: rec.Plan.Config}, rec.Plan.IfName)
	}
	return out
}

func nameOf(p netconf.Plugin) string {
	var head struct{ Name string }
	_ = json.Unmarshal(p.Config, &head)
	return head.Name
}

// forwardGC calls one plugin, with the list under both names that it has had.
func (h *Host) forwardGC(ctx context.Context, c collection, path []string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(c.plugin.Config, &fields); err != nil {
		return cnierror.With(types.ErrDecodingFailure, err)
	}
	fields[netconf.ValidKey], fields[netconf.AttachmentsKey] = strictjson.Encode(c.keep), strictjson.Encode(c.keep)
	for _, dir := range c.path {
		if !slices.Contains(path, dir) {
			path = append(slices.Clone(path), dir)
		}
	}
	_, err := h.execute(ctx, invoke.Call{Command: "GC", Path: path, Type: c.plugin.Type, Config: strictjson.Encode(fields)})
	if err != nil {
		return cnierror.With(cnierror.Delegate, fmt.Errorf("network %s: %w", nameOf(c.plugin), err))
	}
	return nil
}

// forgetUnborn removes what a process has left that was killed before its
// Record was there, which is before its first effect.
func (h *Host) forgetUnborn(ctx context.Context) error {
	entries, err := os.ReadDir(h.Store.Dir)
	if err != nil {
		return cnierror.With(types.ErrIOFailure, atomicfile.Ignore(os.ErrNotExist, err))
	}
	locks, err := openLocks(h.Store.Dir, h.LockTimeout)
	if err != nil {
		return err
	}
	defer locks.Close()
	var errs []error
	for _, e := range entries {
		name, unborn := strings.CutSuffix(e.Name(), recordEnd+begunEnd)
		id, ifName, two := strings.Cut(name, ":")
		if !unborn || !two {
			continue
		}
		k := plan.Key{ContainerID: id, IfName: ifName}
		if _, err := os.Stat(h.Store.file(k)); !errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := locks.Lock(ctx, "container", id); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := os.Stat(h.Store.file(k)); errors.Is(err, os.ErrNotExist) {
			errs = append(errs, cnierror.With(types.ErrIOFailure, h.Store.Forget(k)))
		}
	}
	return errors.Join(errs...)
}

// forgetHolds removes the holds on devices that are nobody's, as those of a
// Record are that was damaged.
func (h *Host) forgetHolds(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(h.Store.Dir, devicesDir))
	if err != nil {
		return cnierror.With(types.ErrIOFailure, atomicfile.Ignore(os.ErrNotExist, err))
	}
	locks, err := openLocks(h.Store.Dir, h.LockTimeout)
	if err != nil {
		return err
	}
	defer locks.Close()
	nobodys := func(device string) bool {
		holder, err := h.Store.Holder(device)
		return err == nil && holder == plan.Key{}
	}
	var errs []error
	for _, e := range entries {
		device := e.Name()
		if !nobodys(device) {
			continue
		}
		if err := locks.Lock(ctx, "device", device); err != nil {
			errs = append(errs, err)
		} else if nobodys(device) { // still, now that nobody is at work on it
			errs = append(errs, cnierror.With(types.ErrIOFailure, atomicfile.Remove(h.Store.hold(device))))
		}
	}
	return errors.Join(errs...)
}
