package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// returnLinks is the duty to bring a device back into its bond that is in the host's
// namespace again: its VF was made anew, or its driver was unbound and bound.
func returnLinks(k *keeper, rec *record.Record, now sight) (steps []errand, err error) {
	var errs []error
	for _, l := range rec.Plan.Links {
		if l.Device == "" || l.Before == nil || l.Source == netconf.FromPod {
			continue
		}
		var todo *errand
		if in, there := bond.Find(now.links(), func(x bond.Link) bool { return rec.Is(l, x) }); there {
			todo, err = k.noteReturn(rec, l, in)
		} else {
			todo, err = k.returnLink(rec, l, now)
		}
		if errs = append(errs, err); todo != nil {
			steps = append(steps, *todo)
		}
	}
	return steps, errors.Join(errs...)
}

// returnLink returns the errand that brings a link back, or nil if its device has no
// interface on the host, or if somebody else has it.
func (k *keeper) returnLink(rec *record.Record, l plan.Link, now sight) (*errand, error) {
	back, err := bond.SurveyDevice(k.Sys, k.host, l.Device, l.DevPort)
	if err != nil || back.Link == nil || back.Link.Master != 0 {
		return nil, err
	}
	if another, err := k.isAnothers(rec, l); another || err != nil {
		return nil, err
	}
	if l.VFBefore != nil && back.Admin == nil {
		return nil, fmt.Errorf("link %s (%s) is back on the host, but its PF %s reports no VFs yet", l.Name, l.Device, l.PF)
	}
	what := fmt.Sprintf("%s (%s) is back on the host as %s, and returns to %s", l.Name, l.Device, back.Link.Name, rec.Plan.Bond.Name)
	return &errand{what, func(context.Context) error { return k.bringBack(rec, l, back, now) }}, nil
}

// isAnothers reports whether another Record holds a link's device, or sriov-cni has noted it
// for another pod. A link that is returning may not be held yet: keep was killed before it
// was.
func (k *keeper) isAnothers(rec *record.Record, l plan.Link) (bool, error) {
	holder, err := k.Store.Holder(l.Holds())
	if err != nil {
		return false, err
	}
	_, returning := rec.Returning[l.Name]
	free := holder == plan.Key{} && returning
	noted := k.netnsOf(l.Device)
	return holder != rec.Plan.Key() && !free || noted != "" && noted != rec.Plan.Netns, nil
}

// bringBack gives a device that is back what its ADD gave it, moves it into the pod, and
// enslaves it. The last three are one request, because keep cannot change what is in the
// pod, or has to be allowed to.
func (k *keeper) bringBack(rec *record.Record, l plan.Link, back bond.DeviceFacts, now sight) error {
	if other, taken := bond.Taken(now.links(), l.Name); taken {
		return fmt.Errorf("the pod has another interface of that name: %s", plan.DescribeLink(other, l.Name))
	}
	rec.SetIndex(l, back.Link.Index)
	rec.Returns(l, time.Now())
	if err := k.Store.Update(rec); err != nil {
		return err
	}
	if err := k.Store.Hold(rec.Plan.Key(), l.Holds()); err != nil {
		return err
	}
	if err := k.host.Change(back.Link.Index, bond.Change{Up: new(false)}); err != nil {
		return fmt.Errorf("setting %s down: %w", back.Link.Name, err)
	}
	if err := k.setAsAttached(rec, l, back, now); err != nil {
		return err
	}
	// A driver that does not open the interface yet would do so only after the move, and
	// then nobody could enslave it.
	if err := bond.Bounce(k.host, *back.Link); err != nil {
		return err
	}
	return k.moveBack(rec, l, back.Link.Index, now)
}

// moveBack moves a device into the pod and enslaves it there, by one request. The kernel
// gives it no name that it has as an alternative one, and does not enslave it then, after it
// has moved it. udev may have given it such a name since keep has seen it.
func (k *keeper) moveBack(rec *record.Record, l plan.Link, index int, now sight) error {
	back, err := bond.SurveyDevice(k.Sys, k.host, l.Device, l.DevPort)
	if err != nil {
		return err
	}
	if back.Link == nil || back.Link.Index != index {
		return fmt.Errorf("%s was made anew meanwhile", l.Device)
	}
	name := k.arrivesAs(rec, l, index)
	return k.host.Change(index, bond.Change{
		DropAltNames: inTheWay(rec, back.Link.AltNames, now.links()),
		Number:       rec.NSID, Name: &name, Master: &rec.BondIndex,
	})
}

// arrivesAs returns the name under which a link is enslaved. The kernel has a link that is
// enslaved under the primary's name take the traffic once, whatever primary_reselect says
// (force_primary in drivers/net/bonding/bond_main.c), and one that is renamed to it not. So if
// that is not wanted, and Keep may rename it in the pod, it comes under another name. A link
// that shares its device with others is known by its name.
func (k *keeper) arrivesAs(rec *record.Record, l plan.Link, index int) string {
	if k.Netns != "" && !l.Siblings && rec.Plan.Bond.Options.LeavesActive(l.Name) {
		return fmt.Sprintf("mb%d", index)
	}
	return l.Name
}

// finishReturn returns the errand that gives a link that has returned what only somebody
// inside the pod can give it, or nil if it has that. Without its own options a link works, too.
func (k *keeper) finishReturn(rec *record.Record, l plan.Link, in bond.Link) (*errand, error) {
	inBond, named := in.Master == rec.BondIndex, in.Name == l.Name
	missing := rec.Plan.Bond.LinkOptions[l.Name].Differences(in.Options)
	switch {
	case inBond && named && (len(missing) == 0 || k.Netns == ""):
		return nil, nil
	case k.Netns == "" && inBond:
		return nil, fmt.Errorf("%s is in %s again as %s: keep would have to enter the pod to rename it (-netns)", l.Name, rec.Plan.Bond.Name, in.Name)
	case k.Netns == "":
		return nil, fmt.Errorf("%s is in the pod again, but the kernel did not add it to %s: add it there by hand, or start the pod anew", l.Name, rec.Plan.Bond.Name)
	}
	what := fmt.Sprintf("%s (%s) gets its place in %s, its name and its options", l.Name, l.Device, rec.Plan.Bond.Name)
	return &errand{what, func(context.Context) error {
		return k.insideLink(rec, l, func(pod bond.Namespace, in bond.Link) error { return settle(pod, rec, l, in) })
	}}, nil
}

// settle makes the first of what a link in the pod lacks.
func settle(pod bond.Namespace, rec *record.Record, l plan.Link, in bond.Link) error {
	inBond, named := in.Master == rec.BondIndex, in.Name == l.Name
	if inBond && named {
		return rec.Plan.Bond.SetLinkOptions(pod, in)
	}
	if err := pod.Change(in.Index, bond.Change{Up: new(false)}); err != nil {
		return err
	}
	if !inBond {
		return pod.Change(in.Index, bond.Change{Master: &rec.BondIndex})
	}
	return pod.Change(in.Index, bond.Change{Name: &l.Name, Up: new(true)})
}

// setAsAttached gives a device on the host the settings at its PF and the MAC that it had
// in the pod.
func (k *keeper) setAsAttached(rec *record.Record, l plan.Link, back bond.DeviceFacts, now sight) error {
	attached := rec.Attached[l.Name]
	if back.Admin == nil || attached.VF == nil {
		return nil
	}
	want := *attached.VF
	if !l.HasMAC() {
		want.MAC = back.Admin.MAC
	}
	if err := bond.SetVF(k.host, back.PFNetdev, back.Number, *back.Admin, want); err != nil {
		return err
	}
	mac := attached.Link.MAC
	if mac == back.Link.MAC || hasMoved(now, mac) {
		return nil
	}
	vf := bond.VFLink{Link: *back.Link, Pod: k.host, Host: k.host, PF: back.PFNetdev, Number: back.Number, Reported: back.Admin.MAC}
	return bond.GiveMAC(vf, mac)
}

// hasMoved reports whether the bond has given a link's MAC to another one, which now has
// the traffic (failOverMac follow). The link then keeps the MAC that it came with.
func hasMoved(now sight, mac string) bool {
	return now.bond.Link.Options[bond.FailOverMac] == "follow" && slices.ContainsFunc(now.pod, func(e bond.Event) bool {
		return e.Link.Master == now.bond.Link.Index && e.Link.MAC == mac
	})
}

// noteReturn returns the errand that writes into the Record what a link is that has
// returned, or nil if the Record has it.
func (k *keeper) noteReturn(rec *record.Record, l plan.Link, in bond.Link) (*errand, error) {
	if _, returning := rec.Returning[l.Name]; !returning {
		return nil, nil
	}
	if todo, err := k.finishReturn(rec, l, in); todo != nil || err != nil {
		return todo, err
	}
	return &errand{l.Name + " is back in " + rec.Plan.Bond.Name, func(context.Context) error {
		back, err := bond.SurveyDevice(k.Sys, k.host, l.Device, l.DevPort)
		if err != nil {
			return err
		}
		if l.VFBefore != nil && back.Admin == nil {
			return fmt.Errorf("its PF %s reports no VFs", l.PF)
		}
		a := rec.Attached[l.Name]
		a.Link.Index, a.Link.PermMAC, a.MAC, a.VF = in.Index, in.PermMAC, in.MAC, back.Admin
		rec.Attached[l.Name] = a
		delete(rec.Returning, l.Name)
		if err := k.Store.Update(rec); err != nil {
			return err
		}
		k.unseen = true // the agent knows the link by its index
		return nil
	}}, nil
}
