package delegate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// unlessMadeAnew returns the link as it has to be. That is as before, unless its
// interface is a new one with the same PCI address, which is left as it is.
func (w *wayBack) unlessMadeAnew(l plan.Link, now bond.DeviceFacts) plan.Link {
	if now.Link == nil || w.rec.Knows(l, *now.Link) {
		return l
	}
	w.leave("%s was recreated after the ADD (its own MAC is %s, was %s) and is left as it is", l.Device, now.Link.PermMAC, l.Before.PermMAC)
	return madeAnew(w.rec, l, now)
}

// madeAnew returns the link as it has to be if its interface is a new one. If the VF was
// only bound to its driver again, its PF still keeps what the ADD has set. That has to
// go.
func madeAnew(rec *record.Record, l plan.Link, now bond.DeviceFacts) plan.Link {
	if now.Admin != nil && l.VFBefore != nil {
		admin := *l.VFBefore // the ADD was killed: it may have set anything
		if set := rec.SetByPF(l); set != nil {
			admin = now.Admin.Without(*set, *l.VFBefore)
		}
		admin.MAC = now.Admin.MAC
		now.Admin = &admin
	}
	l.Before, l.AddressesBefore, l.VFBefore = now.Link, bond.Addresses{}, now.Admin
	return l
}

// repairDevice makes a VF what it was before the ADD: on the host, with its name, MAC,
// MTU, state and everything that its PF keeps for it. It changes only what differs, and
// looks again afterwards. what describes what has become of the VF.
func (w *wayBack) repairDevice(l plan.Link) (what string, err error) {
	if err := w.bringHome(l); err != nil {
		return "", err
	}
	if err := w.raiseRepresentor(w.host, w.rec, l); err != nil {
		return "", err
	}
	now, err := w.awaitOnHost(l)
	if err != nil {
		return "", err
	}
	switch {
	case now.Missing:
		w.leave("%s no longer exists; there is nothing to restore", l.Device)
		return "it no longer exists", nil
	case now.Link != nil:
		return "VF " + l.Device + " was restored nevertheless", w.repairHome(l, now)
	}
	if err := w.repairAdmin(l, now); err != nil {
		return "", err
	}
	w.leaveWithoutLink(l, now)
	return pfRestored, nil
}

// leaveWithoutLink warns of a VF of which only the PF's settings were restored.
func (w *wayBack) leaveWithoutLink(l plan.Link, now bond.DeviceFacts) {
	w.leave("%s has no interface on the host; its driver is now %s; its PF's settings are as before", l.Holds(), cmp.Or(now.Driver, "none"))
}

// repairAdmin takes back what the ADD has set at the PF of a VF that has no interface:
// the next pod would get it. What somebody has changed since stays. A program that has
// the VF by now may be another pod's, unless an ADD has the VF to itself.
func (w *wayBack) repairAdmin(l plan.Link, now bond.DeviceFacts) error {
	if l.VFBefore == nil {
		return nil
	}
	if now.Admin == nil {
		return errNoPF(l)
	}
	want := withoutAdd(w.rec, l, *now.Admin)
	left := now.Admin.Differences(want)
	switch {
	case len(left) == 0:
		return nil
	case now.Userspace() && now.Driver != l.Driver && !slices.Contains(w.own, l.Holds()):
		return later{fmt.Errorf("its driver is now %s, so a program may have it, and its PF keeps its settings: %s", now.Driver, strings.Join(left, ", "))}
	}
	if err := bond.SetVF(w.host, now.PFNetdev, now.Number, *now.Admin, want); err != nil {
		return err
	}
	again, err := bond.SurveyDevice(w.Sys, w.host, now.Address, l.DevPort)
	if err != nil || again.Admin == nil {
		return err
	}
	if left := again.Admin.Differences(want); len(left) > 0 {
		return fmt.Errorf("is not as before: %s", strings.Join(left, ", "))
	}
	return nil
}

// withoutAdd returns what a PF has to keep for a VF without an interface: what it keeps
// now, without what the ADD has set. If the PF has set a MAC in place of one that the VF
// had chosen, it has to have none.
func withoutAdd(rec *record.Record, l plan.Link, now bond.VF) bond.VF {
	set := rec.SetByPF(l)
	if set == nil {
		before := *l.VFBefore // the ADD was killed: it may have set anything
		before.MAC = now.MAC
		return before
	}
	want := now.Without(*set, *l.VFBefore)
	if now.MAC == set.MAC && set.MAC != l.VFBefore.MAC {
		want.MAC = l.VFBefore.MAC
		if l.Before != nil && l.Before.MAC == l.VFBefore.MAC {
			want.MAC = bond.NoMAC
		}
	}
	return want
}

// repairHome is repairDevice for a VF whose interface is on the host.
func (w *wayBack) repairHome(l plan.Link, now bond.DeviceFacts) (err error) {
	if len(l.AddressesBefore.IPs) == 0 && len(l.AddressesBefore.Routes) == 0 && differsFrom(l, now) == nil {
		return nil
	}
	if err := w.repairBoth(l, now); err != nil {
		if err := w.repairMAC(l, err); err != nil {
			return w.explainName(l, *now.Link, err)
		}
	}
	if now, err = w.survey(l); err != nil {
		return err
	}
	return differsFrom(w.unlessUnheard(l, now), now)
}

// unlessUnheard returns the link as it has to be. That is as before, unless its PF did
// not hear its MAC; then the PF has none for it. The PF must not be made to set the MAC:
// a VF may not change a MAC that its PF has set.
func (w *wayBack) unlessUnheard(l plan.Link, now bond.DeviceFacts) plan.Link {
	if l.VFBefore == nil || now.Admin == nil || now.Admin.MAC != bond.NoMAC || l.VFBefore.MAC != l.Before.MAC {
		return l
	}
	w.leave("the PF %s did not receive the MAC of VF %s; it will when the VF is next set up and down", l.PF, l.Device)
	before := *l.VFBefore
	before.MAC = bond.NoMAC
	l.VFBefore = &before
	return l
}

// explainName adds to an error who has the name of a link by now.
func (w *wayBack) explainName(l plan.Link, now bond.Link, failed error) error {
	other, taken, err := bond.LinkIfThere(w.host, l.Before.Name)
	if failed == nil || err != nil || !taken || other.Index == now.Index {
		return failed
	}
	return fmt.Errorf("%w; its name %s is now that of %s", failed, l.Before.Name, plan.DescribeLink(other, l.Before.Name))
}

// repairBoth repairs the interface and what the PF keeps. Each can depend on
// the other: a VF that is not trusted any more refuses its MAC, one with an
// admin MAC does too, and an igb VF hears nothing after its PF's entry was
// changed until it is set up again. So the interface comes first, down, then
// the PF's part, then the interface once more.
//
// A loop over a table of differences that looks again after each repair does not do:
// a PF that does not hear its VF looks the same before and after the VF has told it
// the MAC, so the VF would tell it for twice as long; and a VF that needs trust to
// take its MAC is trusted for a moment, which is neither what was nor what is.
func (w *wayBack) repairBoth(l plan.Link, now bond.DeviceFacts) error {
	if l.VFBefore == nil || now.Admin == nil || now.Link.MAC == l.Before.MAC && len(now.Admin.Differences(*l.VFBefore)) == 0 {
		return bond.Restore(w.host, *now.Link, *l.Before, l.AddressesBefore)
	}
	down := *l.Before
	down.Up = false
	first := bond.Restore(w.host, *now.Link, down, bond.Addresses{})
	again, err := w.survey(l)
	if err != nil || again.Admin == nil || again.Link == nil {
		return errors.Join(first, err)
	}
	want, own := *l.VFBefore, l.VFBefore.MAC == l.Before.MAC
	if own {
		want.MAC = again.Admin.MAC // the VF tells its PF
	}
	err = bond.SetVF(w.host, again.PFNetdev, again.Number, *again.Admin, want)
	if own && err == nil {
		vf := bond.VFLink{Link: *again.Link, Pod: w.host, Host: w.host, PF: again.PFNetdev, Number: again.Number, Reported: l.VFBefore.MAC}
		err = bond.RestoreMAC(vf, l.Before.MAC, l.HasMAC())
	}
	again, unknown := w.survey(l)
	if unknown != nil || again.Link == nil {
		return errors.Join(first, err, unknown)
	}
	return errors.Join(err, bond.Restore(w.host, *again.Link, *l.Before, l.AddressesBefore))
}

// repairMAC gives a VF its own MAC back if it refused the MAC because its plugin has
// taken its trust away first. The VF is trusted for as long as that takes. If something
// else has failed, repairMAC returns failed.
func (w *wayBack) repairMAC(l plan.Link, failed error) error {
	now, err := w.survey(l)
	if err != nil || now.Link == nil || now.Admin == nil || now.Link.MAC == l.Before.MAC || now.Admin.Trust == nil || *now.Admin.Trust {
		return errors.Join(failed, err)
	}
	trusted, yes := *now.Admin, true
	trusted.Trust = &yes
	if err := bond.SetVF(w.host, now.PFNetdev, now.Number, *now.Admin, trusted); err != nil {
		return errors.Join(failed, err)
	}
	again := bond.Restore(w.host, *now.Link, *l.Before, bond.Addresses{})
	if err := errors.Join(again, bond.SetVF(w.host, now.PFNetdev, now.Number, trusted, *now.Admin)); err != nil {
		return errors.Join(failed, err)
	}
	if now, err = w.survey(l); err != nil || now.Link == nil {
		return errors.Join(failed, err)
	}
	return w.repairBoth(l, now)
}

// differsFrom returns an error that lists the differences between a device and what it
// was. It returns nil if the device is as before.
func differsFrom(l plan.Link, now bond.DeviceFacts) error {
	if now.Link == nil {
		return fmt.Errorf("its interface has left the host")
	}
	if l.VFBefore != nil && now.Admin == nil {
		return errNoPF(l)
	}
	differences := now.Link.Differences(*l.Before)
	if l.VFBefore != nil {
		differences = append(differences, now.Admin.Differences(*l.VFBefore)...)
	}
	if len(differences) > 0 {
		return fmt.Errorf("is not as before: %s", strings.Join(differences, ", "))
	}
	return nil
}

func errNoPF(l plan.Link) error {
	return fmt.Errorf("its PF %s is not on the host, so its settings at the PF cannot be restored", l.PF)
}
