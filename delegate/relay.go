package delegate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// relayCarriers is the duty to end silent faults. If a PF has no carrier, and its VF in a
// bond keeps its own, a bond with miimon goes on using it, and loses everything. The PF then
// disables the VF's link, until it has its carrier back.
func relayCarriers(k *keeper, rec *record.Record, now sight) (*errand, error) {
	for _, l := range rec.Plan.Links {
		// What the user has set stays: a link that is always up, or always down.
		if set := rec.Attached[l.Name].VF; set == nil || set.LinkState != bond.LinkAuto {
			continue
		}
		if todo, err := k.relay(rec, l, now); todo != nil || err != nil {
			return todo, err
		}
	}
	return nil, nil
}

// relay returns the errand that makes the VF of a link lose its carrier, or gives it back,
// or nil.
func (k *keeper) relay(rec *record.Record, l plan.Link, now sight) (*errand, error) {
	device, err := bond.ReadDevice(k.Sys, l.Device, l.DevPort)
	if err != nil || device.PFNetdev == "" {
		return nil, err
	}
	pf, err := k.host.Link(device.PFNetdev)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l.PF = pf.Name
	relayed := slices.Contains(rec.Relayed, l.Name)
	in, there := bond.Find(now.links(), func(x bond.Link) bool { return rec.Is(l, x) && x.Master == rec.BondIndex })
	switch {
	case !pf.Carrier && there && in.Carrier:
		delete(k.back, pf.Name)
		return k.takeCarrier(rec, l)
	case !pf.Carrier:
		delete(k.back, pf.Name)
	case relayed && k.isBack(rec.Plan.Key(), pf.Name):
		what := fmt.Sprintf("PF %s has a carrier again, and %s (%s) gets its own back", pf.Name, l.Name, l.Device)
		return &errand{what, func(context.Context) error { return k.giveCarrier(rec, l) }}, nil
	}
	return nil, nil
}

// isBack reports whether a PF has had its carrier for the time of holdOff. If not, the Record
// is looked at when it has.
func (k *keeper) isBack(key plan.Key, pf string) bool {
	if _, counting := k.back[pf]; !counting {
		k.back[pf] = time.Now()
	}
	at := k.back[pf].Add(k.holdOff)
	if time.Now().Before(at) {
		k.due[key] = at
		return false
	}
	return true
}

// takeCarrier returns the errand that has the PF disable the link of a VF, or nil if it is
// disabled, and its carrier is about to go.
func (k *keeper) takeCarrier(rec *record.Record, l plan.Link) (*errand, error) {
	is, err := adminOf(k.host, l)
	if err != nil || is == nil || is.LinkState != bond.LinkAuto {
		return nil, err
	}
	what := fmt.Sprintf("PF %s has no carrier, and %s (%s) loses its own, so that %s stops using it", l.PF, l.Name, l.Device, rec.Plan.Bond.Name)
	return &errand{what, func(context.Context) error {
		before := rec.Relayed
		if !slices.Contains(before, l.Name) {
			rec.Relayed = append(slices.Clone(before), l.Name)
		}
		if err := k.Store.Update(rec); err != nil {
			return err
		}
		err := k.setLinkState(l, *is, bond.LinkDisabled)
		if errors.Is(err, unix.EOPNOTSUPP) {
			rec.Relayed = before
			return errors.Join(fmt.Errorf("the driver of %s cannot do that: %w (let the bond probe its router: arpIpTarget)", l.PF, err), k.Store.Update(rec))
		}
		return err
	}}, nil
}

// giveCarrier has the PF enable the link of a VF again, unless somebody has done so.
func (k *keeper) giveCarrier(rec *record.Record, l plan.Link) error {
	is, err := adminOf(k.host, l)
	if err != nil {
		return err
	}
	if is != nil && is.LinkState == bond.LinkDisabled {
		if err := k.setLinkState(l, *is, bond.LinkAuto); err != nil {
			return err
		}
	}
	rec.Relayed = slices.DeleteFunc(slices.Clone(rec.Relayed), func(name string) bool { return name == l.Name })
	return k.Store.Update(rec)
}

// setLinkState asks the PF once: one that is busy is asked again later.
func (k *keeper) setLinkState(l plan.Link, is bond.VF, state uint32) error {
	want := is
	want.LinkState = state
	return k.host.ChangeVF(l.PF, l.VF, is, want)
}
