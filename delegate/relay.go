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

// relayCarriers is the duty to end silent faults. If a PF has no carrier, or has lost LACP in a
// bond of the host of which it is the only link, and its VF in a bond keeps its carrier, a bond
// with miimon goes on using it, and loses everything. The PF then
// disables the VF's link, or in switchdev mode the VF's representor is set down, until the PF
// has its carrier back. If its driver can do neither, the link is set down in the pod, if Keep
// may enter it. A PF that was set down is left alone: some VFs go on working then.
func relayCarriers(k *keeper, rec *record.Record, now sight) (steps []errand, err error) {
	var errs []error
	for _, l := range rec.Plan.Links {
		// What the user has set stays: a link that is always up, or always down.
		if set := rec.Attached[l.Name].VF; set == nil || set.LinkState != bond.LinkAuto {
			continue
		}
		todo, err := k.relay(rec, l, now)
		if errs = append(errs, err); todo != nil {
			steps = append(steps, *todo)
		}
	}
	return steps, errors.Join(errs...)
}

// relay returns the errand that makes the VF of a link lose its carrier, or gives it back,
// or nil.
func (k *keeper) relay(rec *record.Record, l plan.Link, now sight) (*errand, error) {
	device, err := bond.ReadDevice(k.Sys, l.Device, l.DevPort)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // there is no VF at present
	}
	if err != nil || device.PFNetdev == "" {
		return nil, err
	}
	pf, there, err := bond.LinkIfThere(k.host, device.PFNetdev)
	if !there || err != nil {
		return nil, err
	}
	l.PF = pf.Name
	fault, err := k.faultOf(pf, rec.IsRelayed(l))
	if err != nil {
		return nil, err
	}
	in, there := bond.Find(now.links(), func(x bond.Link) bool { return rec.Is(l, x) && x.Master == rec.BondIndex })
	switch {
	case k.Yield && rec.IsRelayed(l):
		what := fmt.Sprintf("%s (%s) gets its own carrier back, as keep is to take none", l.Name, l.Device)
		return &errand{what, func(context.Context) error { return k.giveCarrier(rec, l, in) }}, nil
	case k.Yield:
		return nil, nil
	case fault != "" && pf.Up && there && in.Carrier:
		delete(k.back, pf.Name)
		return k.takeCarrier(rec, l, device, fault)
	case fault != "":
		delete(k.back, pf.Name)
		if fault == noPartner && rec.IsRelayed(l) {
			k.lookAt(rec.Plan.Key(), time.Now().Add(partnerLook))
		}
	case rec.IsRelayed(l) && k.isBack(rec.Plan.Key(), pf.Name):
		what := fmt.Sprintf("PF %s has a carrier again, and %s (%s) gets its own back", pf.Name, l.Name, l.Device)
		return &errand{what, func(context.Context) error { return k.giveCarrier(rec, l, in) }}, nil
	}
	return nil, nil
}

// The faults of a PF that its VFs need not notice.
const (
	noCarrier = "has no carrier"
	noPartner = "has lost its LACP partner"
)

// partnerLook is after how long to look again whether a PF has a partner. The kernel tells when
// one is lost, but not of the last step of an agreement: that the partner collects and
// distributes.
const partnerLook = time.Second

// faultOf returns the fault of a PF, or "". A PF that never had an LACP partner has none: the
// kernel passes its traffic on, and so does a switch port that speaks no LACP. So a partner is
// lost if this keep has seen it, or if an earlier one has relayed that.
func (k *keeper) faultOf(pf bond.Link, relayed bool) (string, error) {
	switch {
	case !pf.Carrier:
		return noCarrier, nil
	case pf.Master == 0:
		return "", nil
	}
	host, err := k.host.Observe(bond.OwnNamespace)
	if err != nil {
		return "", err
	}
	switch m, alone := bond.LoneInLACP(host, pf.Index); {
	case alone && m.HasPartner():
		k.partnered[pf.Device] = true
	case alone && (relayed || k.partnered[pf.Device]):
		return noPartner, nil
	}
	return "", nil
}

// isBack reports whether a PF has worked for the time of HoldOff. If not, the Record
// is looked at when it has.
func (k *keeper) isBack(key plan.Key, pf string) bool {
	if _, counting := k.back[pf]; !counting {
		k.back[pf] = time.Now()
	}
	at := k.back[pf].Add(k.HoldOff)
	if time.Now().Before(at) {
		k.lookAt(key, at)
		return false
	}
	return true
}

// takeCarrier returns the errand that takes the carrier from a VF, or nil if that is done,
// and the VF is about to notice.
func (k *keeper) takeCarrier(rec *record.Record, l plan.Link, device bond.Device, fault string) (*errand, error) {
	by, err := bond.Representor(k.Sys, device.PF, device.Number)
	if err != nil {
		return nil, err
	}
	if by != "" {
		if rep, there, err := bond.LinkIfThere(k.host, by); err != nil || !there || !rep.Up {
			return nil, err
		}
	}
	is, err := adminOf(k.host, l)
	if err != nil || is == nil || is.LinkState != bond.LinkAuto {
		return nil, err
	}
	what := fmt.Sprintf("PF %s %s, and %s (%s) loses its carrier, so that %s stops using it", l.PF, fault, l.Name, l.Device, rec.Plan.Bond.Name)
	return &errand{what, func(context.Context) error {
		rec.SetRelayed(l, by)
		if err := k.Store.Update(rec); err != nil {
			return err
		}
		if by != "" {
			return setRepresentor(k.host, by, false)
		}
		err := k.setLinkState(l, *is, bond.LinkDisabled)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return k.setDown(rec, l, err)
		}
		return err
	}}, nil
}

// setDown sets a link down in the pod, because its PF has refused to disable its VF.
func (k *keeper) setDown(rec *record.Record, l plan.Link, refused error) error {
	rec.NotRelayed(l)
	if k.Netns == "" {
		err := fmt.Errorf("the driver of %s cannot do that: %w (let the bond probe its router, arpIpTarget, or keep enter the pod, -netns)", l.PF, refused)
		return errors.Join(err, k.Store.Update(rec))
	}
	rec.Downed = append(rec.Downed, l.Name)
	if err := k.Store.Update(rec); err != nil {
		return err
	}
	return k.setInPod(rec, l, false)
}

// giveCarrier gives the VF of a link its carrier back, unless somebody has done so. in is the
// link in the pod.
func (k *keeper) giveCarrier(rec *record.Record, l plan.Link, in bond.Link) error {
	if slices.Contains(rec.Downed, l.Name) && in.Index != 0 && !in.Up {
		if err := k.setInPod(rec, l, true); err != nil {
			return err
		}
	}
	if _, byPF := rec.Relayed[l.Name]; byPF {
		if err := k.enable(rec, l); err != nil {
			return err
		}
	}
	rec.NotRelayed(l)
	return k.Store.Update(rec)
}

// enable undoes what was done to a VF on the host.
func (k *keeper) enable(rec *record.Record, l plan.Link) error {
	by := rec.Relayed[l.Name]
	if err := k.raiseRepresentor(k.host, rec, l); err != nil {
		return err
	}
	is, err := adminOf(k.host, l)
	if err != nil {
		return err
	}
	if by == "" && is != nil && is.LinkState == bond.LinkDisabled {
		return k.setLinkState(l, *is, bond.LinkAuto)
	}
	return nil
}

// setLinkState asks the PF once: one that is busy is asked again later.
func (k *keeper) setLinkState(l plan.Link, is bond.VF, state uint32) error {
	want := is
	want.LinkState = state
	return k.host.ChangeVF(l.PF, l.VF, is, want)
}

// raiseRepresentor sets the representor of a VF up if keep has set it down. It may have another
// name by now.
func (h *Host) raiseRepresentor(host bond.Namespace, rec *record.Record, l plan.Link) error {
	if rec.Relayed[l.Name] == "" {
		return nil
	}
	device, err := bond.ReadDevice(h.Sys, l.Device, l.DevPort)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its representor does not exist any more, either
	}
	if err != nil {
		return err
	}
	name, err := bond.Representor(h.Sys, device.PF, device.Number)
	if err != nil {
		return err
	}
	return setRepresentor(host, name, true)
}

// setRepresentor sets the representor of a VF up or down. "", or one that is gone, is none.
func setRepresentor(host bond.Namespace, name string, up bool) error {
	if name == "" {
		return nil
	}
	l, there, err := bond.LinkIfThere(host, name)
	if !there || err != nil || l.Up == up {
		return err
	}
	if err := host.Change(l.Index, bond.Change{Up: &up}); err != nil {
		return fmt.Errorf("representor %s: %w", name, err)
	}
	return nil
}

// Taken names the links of this node's bonds whose carrier Keep has taken and not yet given
// back, with their Records, and the routes to other hosts. Links whose DEL has begun are not
// among them: it restores them.
func (h *Host) Taken() (all []string, err error) {
	keys, err := h.Store.List()
	if err != nil {
		return nil, err
	}
	if all, err = h.routesLeft(); err != nil {
		return nil, err
	}
	for _, key := range keys {
		rec, err := h.Store.Load(key)
		if err != nil || !h.isKept(rec) {
			continue
		}
		for _, l := range rec.Plan.Links {
			if rec.IsRelayed(l) {
				all = append(all, fmt.Sprintf("%s (%s) of %s", l.Name, l.Device, key))
			}
		}
	}
	return all, nil
}
