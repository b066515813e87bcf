package delegate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// attach brings link i of the plan into the pod. It identifies the link by its PCI
// address, if it has one, whatever name it came with.
func (h *Host) attach(ctx context.Context, s sandbox, rec *record.Record, i int) error {
	rec.Started = append(rec.Started, rec.Plan.Links[i].Name)
	if err := h.Store.Update(rec); err != nil {
		return cnierror.With(types.ErrIOFailure, err)
	}
	l := rec.Plan.Links[i]
	if err := makeWay(s, rec, l); err != nil {
		return cnierror.With(cnierror.Kernel, fmt.Errorf("links[%d]: %w", i, err))
	}
	var seen record.Attached
	var lent json.RawMessage
	var err error
	switch l.Source {
	case netconf.FromHost:
		c := bond.Change{Name: &l.Name, Namespace: s.pod, Up: new(false)}
		if err := s.host.Change(l.Before.Index, c); err != nil {
			return cnierror.With(cnierror.Kernel, fmt.Errorf("links[%d]: moving %s into the pod: %w", i, l.Name, err))
		}
	case netconf.FromDevice, netconf.FromConfig:
		if lent, err = lend(rec, l); err != nil {
			return cnierror.With(cnierror.Delegate, fmt.Errorf("links[%d]: %w", i, err))
		}
		if seen.Result, _, err = h.runPlugins(ctx, rec, l, lent, func() { preparePrevious(s, rec, i) }); err != nil {
			return cnierror.With(cnierror.Delegate, fmt.Errorf("links[%d]: attaching %s: %w", i, cmp.Or(l.Device, l.Name), err))
		}
	}
	if seen.Link, err = h.identify(s, l); err != nil {
		return cnierror.With(cnierror.Delegate, fmt.Errorf("links[%d]: %w", i, err))
	}
	if lent != nil {
		if seen, err = takeBack(s, seen); err != nil {
			return cnierror.With(cnierror.Kernel, fmt.Errorf("links[%d]: %w", i, err))
		}
	}
	if seen.Link, err = shareMAC(s, rec, l, seen.Link); err != nil {
		return cnierror.With(cnierror.Kernel, fmt.Errorf("links[%d]: %w", i, err))
	}
	if seen.VF, err = adminOf(s.host, l); err != nil {
		return cnierror.With(cnierror.Kernel, fmt.Errorf("links[%d]: %w", i, err))
	}
	rec.Attached[l.Name] = seen
	return nil
}

// makeWay gives a link of the host names and an index with which it can move into the pod.
func makeWay(s sandbox, rec *record.Record, l plan.Link) error {
	if err := freeNames(s, rec, l); err != nil {
		return err
	}
	return freeIndex(s, rec, l)
}

// freeNames takes from a link of the host those of its alternative names that another
// link of the pod has or will have, or that it will have itself as its name there: the
// kernel refuses a name that is taken as an alternative one. DEL gives them back.
func freeNames(s sandbox, rec *record.Record, l plan.Link) error {
	if l.Before == nil || len(l.Before.AltNames) == 0 || l.Source == netconf.FromPod {
		return nil
	}
	links, err := s.pod.Links()
	if err != nil {
		return err
	}
	drop := inTheWay(rec, l.Before.AltNames, links)
	if len(drop) == 0 {
		return nil
	}
	if err := s.host.Change(rec.IndexOf(l), bond.Change{DropAltNames: drop}); err != nil {
		return fmt.Errorf("taking its alternative names %v away: %w", drop, err)
	}
	return nil
}

// inTheWay returns those of the alternative names that another link of the pod has or will
// have.
func inTheWay(rec *record.Record, altNames []string, pod []bond.Link) (drop []string) {
	needed := append(slices.Clone(rec.Plan.Group.IfNames), rec.Plan.IfName)
	for _, l := range rec.Plan.Links {
		needed = append(needed, l.Name)
	}
	for _, alt := range altNames {
		if _, taken := bond.Taken(pod, alt); taken || slices.Contains(needed, alt) {
			drop = append(drop, alt)
		}
	}
	return drop
}

// freeIndex gives a VF an index that is free in the pod. If the index is taken there,
// the kernel gives the VF another one, and sriov-cni 2.1.0 then renames and sets up
// the link that has the VF's index of the host. Moved into the pod and back, the VF
// gets an index that was free in the pod.
func freeIndex(s sandbox, rec *record.Record, l plan.Link) error {
	const tries = 8
	if l.Source != netconf.FromDevice {
		return nil
	}
	for range tries {
		links, err := s.pod.Links()
		if err != nil {
			return err
		}
		if _, taken := bond.Find(links, func(x bond.Link) bool { return x.Index == rec.IndexOf(l) }); !taken {
			return nil
		}
		index, err := roundTrip(s, l, rec.IndexOf(l))
		if err != nil {
			return fmt.Errorf("giving it a free index: %w", err)
		}
		rec.SetIndex(l, index)
	}
	return fmt.Errorf("each of the %d indexes that were tried is taken in the pod", tries)
}

// roundTrip moves a VF into the pod and back and returns its new index. The VF is down
// and has its own name then.
func roundTrip(s sandbox, l plan.Link, index int) (int, error) {
	down, spare := false, fmt.Sprintf("mb%d", index)
	if err := s.host.Change(index, bond.Change{Namespace: s.pod, Name: &spare, Up: &down}); err != nil {
		return 0, err
	}
	ours := func(x bond.Link) bool { return x.Device == l.Device }
	links, err := s.pod.Links()
	inPod, there := bond.Find(links, ours)
	if err != nil || !there {
		return 0, errors.Join(err, fmt.Errorf("%s is not in the pod", l.Device))
	}
	if err := bond.MoveHome(s.pod, inPod, s.host, *l.Before); err != nil {
		return 0, err
	}
	home, err := s.host.Link(l.Before.Name)
	return home.Index, err
}

// preparePrevious makes the link before link i ready for the bond while the plugin of
// link i runs: a third of a plugin's time is the time that a driver takes to set a VF
// down. If this fails it fails again when the bond is made, which reports it.
func preparePrevious(s sandbox, rec *record.Record, i int) {
	if i > 0 && rec.Plan.IsBond() {
		_ = bond.Prepare(s.pod, rec.Attached[rec.Plan.Links[i-1].Name].Link)
	}
}

// runPlugins executes the plugins of a link in order, each with the result of the one
// before it, the first one with prev. It returns the last result and how many plugins have succeeded. It calls
// meanwhile while the first plugin runs.
func (h *Host) runPlugins(ctx context.Context, rec *record.Record, l plan.Link, prev json.RawMessage, meanwhile func()) (result json.RawMessage, done int, err error) {
	result = prev
	for i, p := range l.Plugins {
		if result, err = h.runPlugin(ctx, rec, l.Name, p, result, meanwhile); err != nil {
			return nil, i, err
		}
		meanwhile = func() {}
	}
	return result, len(l.Plugins), nil
}

// runPlugin executes one plugin of a list, with the result of the one before it. It
// returns its result in the version of the list, and calls meanwhile while the plugin runs.
func (h *Host) runPlugin(ctx context.Context, rec *record.Record, ifName string, p netconf.Plugin, prev json.RawMessage, meanwhile func()) (json.RawMessage, error) {
	wait := h.start(ctx, rec.Call("ADD", rec.Plan.Netns, ifName, p, prev))
	meanwhile()
	out, err := wait()
	if err != nil {
		return nil, err
	}
	result, err := invoke.InVersion(out, p.Config.CNIVersion)
	if err != nil {
		return nil, fmt.Errorf("%s ADD: %w", p.Type, err)
	}
	return result, nil
}

// errNotInPod is returned for a link that its plugin has attached, and that is not in the
// pod.
var errNotInPod = errors.New("no interface of the pod is this link")

// identify finds the link in the pod. If the plugin gave it another name, identify
// gives it its planned one.
func (h *Host) identify(s sandbox, l plan.Link) (bond.Link, error) {
	links, err := s.pod.Links()
	if err != nil {
		return bond.Link{}, err
	}
	found, there := bond.Find(links, func(x bond.Link) bool {
		return (l.Device == "" || x.Device == l.Device) && (l.Device != "" && !l.Siblings || x.Name == l.Name)
	})
	if !there {
		return bond.Link{}, fmt.Errorf("%s was attached, but %w", cmp.Or(l.Device, l.Name), errNotInPod)
	}
	if found.Name == l.Name {
		return found, nil
	}
	if err := rename(s.pod, found, l.Name); err != nil {
		return bond.Link{}, err
	}
	found.Name = l.Name
	return found, nil
}

// rename sets the link down first: kernels before 6.2 rename no link that is up.
func rename(n bond.Namespace, l bond.Link, name string) error {
	down := false
	if err := n.Change(l.Index, bond.Change{Up: &down}); err != nil {
		return fmt.Errorf("setting %s down: %w", l.Name, err)
	}
	if err := n.Change(l.Index, bond.Naming(l, name)); err != nil {
		return fmt.Errorf("renaming %s to %s: %w", l.Name, name, err)
	}
	return nil
}

// adminOf reads what the PF keeps for a link. It returns nil if the link is not a VF.
func adminOf(host bond.Namespace, l plan.Link) (*bond.VF, error) {
	if l.VFBefore == nil {
		return nil, nil
	}
	vfs, err := host.VFs(l.PF)
	if err != nil {
		return nil, err
	}
	vf, there := vfs[l.VF]
	if !there {
		return nil, fmt.Errorf("PF %s no longer reports VF %d", l.PF, l.VF)
	}
	return &vf, nil
}

// shareMAC gives a link that was just attached the MAC that all links of the bond have.
func shareMAC(s sandbox, rec *record.Record, l plan.Link, now bond.Link) (bond.Link, error) {
	mac := rec.Plan.Bond.LinkMAC
	if mac == "" || now.MAC == mac {
		return now, nil
	}
	vf := bond.VFLink{Link: now, Pod: s.pod, Host: s.host, PF: l.PF, Number: l.VF, Reported: l.VFBefore.MAC}
	if err := bond.GiveMAC(vf, mac); err != nil {
		return now, fmt.Errorf("macPolicy shared: %w", err)
	}
	now.MAC, now.Up, now.Carrier = mac, false, false
	return now, nil
}
