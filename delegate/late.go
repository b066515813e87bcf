package delegate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// late is what a bond was asked for that was made with fewer links.
type late struct{ asked plan.Request }

// lateOf returns what the bond of a Record was asked for, or nil if it has all of that. If
// the subnets of its ipam are divided, the Record's configuration has the ranges already, so
// the number of the host is not needed.
func lateOf(rec *record.Record) *late {
	n, err := netconf.ParseNetwork(rec.Plan.Config.Raw, rec.Plan.IfName)
	if err != nil || n.MinLinks == 0 || n.HasPool() || len(n.Links) == len(rec.Plan.Links) {
		return nil // a Record of an earlier version may have what is not allowed any more
	}
	n.Options = withMTUOf(n.Options, rec)
	return &late{plan.Request{ContainerID: rec.Plan.ContainerID, IfName: rec.Plan.IfName, Netns: rec.Plan.Netns, Network: n, Group: rec.Plan.Group}}
}

// withMTUOf returns options with the MTU that a bond has.
func withMTUOf(o bond.Options, rec *record.Record) bond.Options {
	if mtu, err := strconv.Atoi(rec.Bond().Options[bond.MTU]); err == nil {
		return o.WithMTU(mtu)
	}
	return o
}

// has reports whether a device is one of a bond's that was made with fewer links.
func (a *late) has(device string) bool {
	return a != nil && device != "" && slices.ContainsFunc(a.asked.Network.Links, func(l netconf.Link) bool { return l.Device == device })
}

// settling is an interface that is new. udev may give it another name, which it has to keep
// for lateTime until it is attached: DEL gives it that name back.
type settling struct {
	name  string
	index int
	since time.Time
}

const lateTime = time.Second

// attachLate is the duty to add a VF to a bond that was made without it, as minLinks allows:
// its interface was not there. It is planned as an ADD would have planned it, now. What
// sriov-cni does for a VF keep can do itself; VFs of other plugins, and those whose MAC their
// PF has to set, stay missing.
func attachLate(k *keeper, rec *record.Record, now sight) (steps []errand, err error) {
	missing := k.records[rec.Plan.Key()].late
	if missing == nil || len(missing.asked.Network.Links) == len(rec.Plan.Links) {
		return nil, nil
	}
	facts, err := k.lateFacts(missing.asked, rec, now)
	if err != nil {
		return nil, err
	}
	p, _, err := plan.Compile(missing.asked, facts)
	if err != nil {
		return nil, fmt.Errorf("a link that %s was made without cannot be added: %w", rec.Plan.Bond.Name, err)
	}
	for _, l := range p.Links {
		known := slices.ContainsFunc(rec.Plan.Links, func(x plan.Link) bool { return x.Name == l.Name })
		if noted := k.netnsOf(l.Device); known || !isByKeep(l) || noted != "" && noted != rec.Plan.Netns || !k.hasSettled(rec.Plan.Key(), l) {
			continue
		}
		what := fmt.Sprintf("%s (%s) was missing when %s was made, and is there now", l.Name, l.Device, rec.Plan.Bond.Name)
		steps = append(steps, errand{what, func(ctx context.Context) error { return k.addLate(ctx, rec, l, p.Bond.LinkOptions[l.Name]) }})
	}
	return steps, nil
}

// isByKeep reports whether keep can do what the plugins of a link would do.
func isByKeep(l plan.Link) bool {
	return l.Source == netconf.FromDevice && l.VFBefore != nil && len(l.Plugins) == 1 && l.Plugins[0].Type == sriov && !l.HasMAC()
}

// hasSettled reports whether an interface has had its name for some time. If not, the Record
// is looked at when it may have.
func (k *keeper) hasSettled(key plan.Key, l plan.Link) bool {
	now, seen := k.new[l.Device]
	if !seen || now.name != l.Before.Name || now.index != l.Before.Index {
		now = settling{l.Before.Name, l.Before.Index, time.Now()}
		k.new[l.Device] = now
	}
	at := now.since.Add(lateTime)
	if time.Now().Before(at) {
		k.lookAt(key, at)
		return false
	}
	return true
}

// lateFacts are the facts for a bond that is there: those of its links, and what their PFs
// have set for them, are as before its ADD, but the PFs themselves are as they are.
func (k *keeper) lateFacts(r plan.Request, rec *record.Record, now sight) (plan.Facts, error) {
	f, err := k.survey(r, sandbox{host: k.host})
	if err != nil {
		return f, err
	}
	for plugin := range f.Plugins {
		f.Plugins[plugin] = true // they have done their work, and are not executed again
	}
	own := func(l bond.Link) bool {
		return l.Index == rec.BondIndex || slices.ContainsFunc(rec.Plan.Links, func(p plan.Link) bool { return rec.Is(p, l) })
	}
	f.Pod = slices.DeleteFunc(now.links(), own)
	for _, l := range rec.Plan.Links {
		switch {
		case l.Before == nil:
		case l.Source == netconf.FromPod:
			f.Pod = append(f.Pod, *l.Before)
		case l.Source == netconf.FromHost:
			f.Host[l.Name] = bond.HostLink{Link: *l.Before, Addresses: l.AddressesBefore, DevPort: l.DevPort}
		default:
			d := f.Devices[l.Device]
			d.Missing, d.Link, d.Driver, d.Others, d.Admin = false, l.Before, l.Driver, nil, l.VFBefore
			f.Devices[l.Device] = d
		}
	}
	return f, nil
}

// addLate adds a link to a Record. Then it is one that has to return to its bond, and
// bringBack holds its device.
func (k *keeper) addLate(ctx context.Context, rec *record.Record, l plan.Link, own bond.Options) error {
	locks, err := record.OpenLocks(k.Store.Dir, 0)
	if err != nil {
		return err
	}
	defer locks.Close()
	if err := locks.Lock(ctx, "device", l.Device); err != nil {
		return err
	}
	switch holder, err := k.Store.Holder(l.Device); {
	case err != nil:
		return err
	case holder != plan.Key{} && holder != rec.Plan.Key():
		return errBusy // somebody was quicker, and the next look finds that
	}
	byPF, mac := l.Configured(*l.VFBefore), l.Before.MAC
	if shared := rec.Plan.Bond.LinkMAC; shared != "" {
		mac = shared
	}
	l.Plugins = nil // there is nothing that they could undo
	rec.AddLate(l, byPF, mac, own, time.Now())
	delete(k.new, l.Device)
	return k.Store.Update(rec)
}
