package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/delegate/strictjson"
)

// Add attaches what r asks for, or leaves nothing behind. If the container is attached
// already and verifies, Add returns the stored result.
func (h *Host) Add(ctx context.Context, r plan.Request) (result *current.Result, warnings []string, err error) {
	if err := r.Network.CheckAgent(); err != nil {
		return nil, nil, err
	}
	var out outcome
	recs, err := h.addAll(ctx, []plan.Request{r}, &out)
	if err != nil {
		return nil, out.warnings, err
	}
	result, err = invoke.DecodeResult(recs[0].Result)
	return result, out.warnings, err
}

// addAll attaches what rs ask for, all for one container, or leaves nothing behind.
// Each network comes after those that it needs, otherwise in the order of rs. addAll
// returns the Records in the order of rs. If all of it is attached already and
// verifies, it does nothing.
func (h *Host) addAll(ctx context.Context, rs []plan.Request, o *outcome) ([]*record.Record, error) {
	s, err := h.enter(rs[0].Netns)
	if err != nil {
		return nil, err
	}
	defer s.close()
	h.retryForgotten(ctx, "", networksOf(rs), o)
	locks, err := h.openLocks(ctx)
	if err != nil {
		return nil, err
	}
	defer locks.Close()
	earlier, wanted, err := h.lockAll(ctx, rs, s, locks, o)
	if err != nil {
		return nil, err
	}
	if recs, err := h.alreadyAttached(s, rs, o); recs != nil || err != nil {
		return recs, err
	}
	for _, k := range slices.Backward(earlier) {
		if err := h.restoreEarlier(ctx, k, rs[0].ContainerID, locks, o); err != nil {
			return nil, err
		}
	}
	if err := h.retry(ctx, h.listAside(o, wanted.in), wanted.devices, locks, o); err != nil {
		return nil, err
	}
	o.warnOfRefused()
	if err := h.Store.Tombstones(h.BootID).Drop(rs[0].Key()); err != nil {
		return nil, cnierror.With(types.ErrIOFailure, err)
	}
	all := together{rs, make([]*record.Record, len(rs)), wanted.locked}
	if err := h.prepareAll(ctx, all, s, o); err != nil {
		return nil, err
	}
	order := plan.Order(rs)
	if err := h.runAll(ctx, all, order, s, o); err != nil {
		return nil, h.undo(ctx, plan.InOrder(all.recs, order), err, o)
	}
	return all.recs, nil
}

// together is what one ADD does: its requests, and their Records.
type together struct {
	rs     []plan.Request
	recs   []*record.Record // nil if there is none yet
	locked []string         // devices
}

func networksOf(rs []plan.Request) (names []string) {
	for _, r := range rs {
		names = append(names, r.Network.Name)
	}
	return names
}

// lockAll locks the container and the devices of the requests, together with those of
// the earlier attachments that may be in their way, set aside or not. It returns those
// that were not: first those of the container, in the order in which they were made.
func (h *Host) lockAll(ctx context.Context, rs []plan.Request, s sandbox, locks *record.Locks, o *outcome) (earlier []plan.Key, wanted wantedLinks, err error) {
	containers := []string{rs[0].ContainerID}
	add := func(k plan.Key) {
		if !slices.Contains(earlier, k) {
			earlier, containers = append(earlier, k), append(containers, k.ContainerID)
		}
	}
	if head, err := h.load(rs[0].Key(), o); err != nil {
		return nil, wanted, err
	} else if head != nil {
		for _, k := range head.Members() {
			add(k)
		}
	}
	for _, r := range rs {
		add(r.Key())
	}
	if wanted, err = h.wantedBy(rs, s.host); err != nil {
		return nil, wanted, cnierror.With(cnierror.Kernel, err)
	}
	for _, device := range wanted.devices {
		holder, err := h.Store.Holder(device)
		if err != nil {
			return nil, wanted, cnierror.With(types.ErrIOFailure, err)
		}
		if holder != (plan.Key{}) {
			add(holder)
		}
	}
	devices := slices.Clone(wanted.devices)
	for _, k := range earlier {
		rec, err := h.load(k, o)
		if err != nil {
			return nil, wanted, err
		}
		if rec != nil {
			devices = append(devices, rec.Plan.Devices()...)
		}
	}
	for _, rec := range h.listAside(o, wanted.in) {
		containers, devices = append(containers, rec.Plan.ContainerID), append(devices, rec.Plan.Devices()...)
	}
	wanted.locked = devices
	if err := locks.Lock(ctx, "container", slices.Compact(slices.Sorted(slices.Values(containers)))...); err != nil {
		return nil, wanted, err
	}
	return earlier, wanted, locks.Lock(ctx, "device", devices...)
}

// wantedLinks are the links that requests take from the host.
type wantedLinks struct {
	devices []string // as in [plan.Plan.Devices]
	names   []string // on the host, of links without a device
	locked  []string // devices, also those of attachments that may be in the way
}

// wantedBy lists what requests take from the host.
func (h *Host) wantedBy(rs []plan.Request, host bond.Namespace) (w wantedLinks, err error) {
	if slices.ContainsFunc(rs, movesNIC) {
		nics, err := bond.SurveyNICs(h.Sys, host)
		if err != nil {
			return w, err
		}
		w.devices = movable(nics)
	}
	for _, r := range rs {
		if r.Network.Device != "" {
			w.devices = append(w.devices, r.Network.Device)
		}
		for _, l := range r.Network.Links {
			device := l.Device
			if l.Source == netconf.FromHost {
				found, _, err := bond.LinkIfThere(host, l.Name)
				if err != nil {
					return w, err
				}
				device = bond.Identity(found.Device, bond.PortOf(h.Sys, found))
			}
			switch {
			case device != "":
				w.devices = append(w.devices, device)
			case l.Source == netconf.FromHost:
				w.names = append(w.names, l.Name)
			}
		}
	}
	return w, nil
}

// in reports whether one of the links is not restored in a Record.
func (w wantedLinks) in(rec *record.Record) bool {
	return slices.ContainsFunc(rec.Unrestored(), func(l plan.Link) bool {
		switch {
		case l.Source == netconf.FromPod:
			return false
		case l.Device == "" && l.Before != nil:
			return slices.Contains(w.names, l.Before.Name)
		}
		return slices.Contains(w.devices, l.Holds())
	})
}

// alreadyAttached returns the Records of an earlier ADD that did the same for the
// same sandbox. It returns nil unless all of it is there and verifies.
func (h *Host) alreadyAttached(s sandbox, rs []plan.Request, o *outcome) ([]*record.Record, error) {
	var recs []*record.Record
	for _, r := range rs {
		rec, err := h.load(r.Key(), o)
		if err != nil {
			return nil, err
		}
		same := rec.Phase() == record.Complete && rec.BootID == h.BootID && rec.NetnsID == s.pod.ID() &&
			slices.Equal(rec.Plan.Group.IfNames, r.Group.IfNames)
		if !same || h.verify(s, rec, nil) != nil {
			return nil, nil
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// restoreEarlier restores an earlier attachment, so that this ADD finds the devices as
// they were. An attachment of another container is restored only if its sandbox is
// dead: its DEL is late, and would otherwise find the device in use by this one.
func (h *Host) restoreEarlier(ctx context.Context, k plan.Key, container string, locks *record.Locks, o *outcome) error {
	rec, err := h.load(k, o)
	if err != nil {
		return err
	}
	if rec == nil {
		return cnierror.With(types.ErrIOFailure, h.Store.Forget(k))
	}
	theirs, err := h.enterIfThere(rec.Plan.Netns, rec.NetnsID)
	if err != nil {
		return err
	}
	defer theirs.close()
	if k.ContainerID != container && theirs.pod != nil && rec.BootID == h.BootID {
		return nil
	}
	if err := locks.Lock(ctx, "device", rec.Plan.Devices()...); err != nil {
		return err
	}
	restored, err := h.restore(ctx, theirs, []*record.Record{rec}, nil)
	o.join(restored)
	return err
}

// prepareAll makes the Records of all requests before anything is done, so that all
// problems are reported at once. A request whose links are made by the networks before
// it is prepared later; its Record stays nil here.
func (h *Host) prepareAll(ctx context.Context, all together, s sandbox, o *outcome) error {
	var errs []error
	for i, r := range all.rs {
		if fromPod := func(l netconf.Link) bool { return l.Source == netconf.FromPod }; slices.ContainsFunc(r.Network.Links, fromPod) && i > 0 {
			continue
		}
		var err error
		all.recs[i], err = h.prepare(ctx, r, s, all, o)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, checkTogether(all.recs))...)
}

// prepare surveys the node and compiles the plan of one request of an ADD.
func (h *Host) prepare(ctx context.Context, r plan.Request, s sandbox, all together, o *outcome) (*record.Record, error) {
	began := time.Now()
	facts, err := h.survey(r, s)
	if err != nil {
		return nil, err
	}
	if r.Network.Chain == nil && r.Network.Attach != netconf.AttachEach {
		facts.Bonding = h.Kernel.EnableBonding(ctx)
	}
	all.addTo(&facts, r)
	surveyed := time.Now()
	plan, warnings, err := plan.Compile(r, facts)
	if err != nil {
		return nil, err
	}
	texts := r.Texts(warnings)
	o.warnings = append(o.warnings, texts...)
	rec := record.New(plan)
	rec.Release, rec.BootID, rec.NetnsID, rec.Created, rec.Warnings, rec.Steps = h.Release, h.BootID, s.pod.ID(), began, texts, slices.Clone(r.Steps)
	if plan.IsBond() {
		if rec.NSID, err = number(s); err != nil {
			o.warn("%v", err)
		}
	}
	rec.AddStep("survey", began, surveyed)
	rec.AddStep("compile", surveyed, time.Now())
	return rec, nil
}

// addTo adds to the facts about a request what the other networks of the ADD have. A NIC
// that has come to the host after the devices were locked cannot be moved: somebody else may
// choose it, too.
func (t together) addTo(f *plan.Facts, r plan.Request) {
	if movesNIC(r) {
		f.NICs = slices.DeleteFunc(f.NICs, func(n bond.NIC) bool {
			return n.Stays() == "" && !slices.Contains(t.locked, n.Link.Device)
		})
	}
	if r.Network.Attach == netconf.AttachEach {
		for _, other := range t.rs {
			f.Tables = append(f.Tables, other.Network.NamedTables()...)
		}
	}
	for _, rec := range t.recs {
		if rec == nil {
			continue
		}
		f.Tables = append(f.Tables, rec.Plan.Tables()...)
		for _, l := range rec.Plan.Links {
			if l.NIC != nil && r.Network.HasPool() {
				f.AddBeside(*l.NIC, l.Holds() != "")
			}
		}
	}
}

func movesNIC(r plan.Request) bool {
	return slices.ContainsFunc(r.Network.Links, netconf.Link.MovesNIC)
}

// checkTogether returns an error if two attachments of one pod take the same name in
// the pod, or the same device.
func checkTogether(recs []*record.Record) error {
	var problems bond.Problems
	names, devices := map[string]string{}, map[string]string{}
	claim := func(taken map[string]string, what, who string) {
		if other, twice := taken[what]; twice {
			problems.Add(code.TwoAttachments, "", "", "%s and %s both use %s", other, who, what)
		}
		taken[what] = who
	}
	for _, rec := range recs {
		if rec == nil {
			continue
		}
		network := "network " + rec.Plan.Network
		if rec.Plan.IsBond() {
			claim(names, rec.Plan.IfName, network)
		}
		for _, l := range rec.Plan.Links {
			if l.Source == netconf.FromPod {
				continue
			}
			claim(names, l.Name, network)
			if l.Holds() != "" {
				claim(devices, l.Holds(), fmt.Sprintf("link %s of %s", l.Name, network))
			}
		}
	}
	return cnierror.With(cnierror.Node, problems.Err())
}

// runAll carries out the plans, in order. All Records that exist are on disk before
// the first plan has an effect.
func (h *Host) runAll(ctx context.Context, all together, order []int, s sandbox, o *outcome) error {
	recs := all.recs
	if err := h.begin(slices.DeleteFunc(slices.Clone(recs), func(rec *record.Record) bool { return rec == nil })); err != nil {
		return err
	}
	for _, i := range order {
		if recs[i] == nil {
			var err error
			if recs[i], err = h.prepare(ctx, all.rs[i], s, all, o); err != nil {
				return err
			}
			if err := h.begin(recs[i : i+1]); err != nil {
				return err
			}
		}
		if err := h.run(ctx, s, recs[i], o); err != nil {
			return cnierror.With(cnierror.Code(err), fmt.Errorf("network %s: %w", recs[i].Plan.Network, err))
		}
	}
	return h.moveDefaultRoutes(s, recs, o)
}

// begin writes new Records to disk. The first one gets the time that this took.
func (h *Host) begin(recs []*record.Record) error {
	began := time.Now()
	err := cnierror.With(types.ErrIOFailure, h.Store.Begin(recs...))
	recs[0].AddStep("record", began, time.Now())
	return err
}

// undo restores all that was begun before an error.
func (h *Host) undo(ctx context.Context, recs []*record.Record, failure error, o *outcome) error {
	begun := slices.DeleteFunc(recs, func(rec *record.Record) bool { return rec == nil })
	s := h.enterToRestore(begun[0])
	defer s.close()
	// It has its own time: it must not end because ctx has ended.
	restored, err := h.restore(context.WithoutCancel(ctx), s, begun, nil)
	err = errors.Join(err, restored.takeRefused())
	o.join(restored)
	return notUndone(failure, err)
}

// notUndone adds to err that not everything could be undone, if undo is not nil.
func notUndone(err, undo error) error {
	if undo == nil {
		return err
	}
	return cnierror.With(cnierror.Code(err), fmt.Errorf("%w; not everything could be undone (the next DEL continues): %w", err, undo))
}

// step is one step of a plan.
type step struct {
	what string
	do   func() error
}

// run carries out the steps of a plan, in order.
func (h *Host) run(ctx context.Context, s sandbox, rec *record.Record, o *outcome) error {
	steps := h.bondSteps
	switch {
	case rec.Plan.IsChain():
		steps = h.chainSteps
	case rec.Plan.IsEach():
		steps = h.eachSteps
	}
	for _, one := range steps(ctx, s, rec, o) {
		if err := ctx.Err(); err != nil {
			return cnierror.Errorf(types.ErrTryAgainLater, "ADD ran out of time: %w", err)
		}
		began := time.Now()
		err := one.do()
		rec.AddStep(one.what, began, time.Now())
		if err != nil {
			return err
		}
	}
	warnOfUnapplied(rec, o)
	return cnierror.With(types.ErrIOFailure, h.Store.Update(rec))
}

// warnOfUnapplied warns of settings that the configuration of a VF asks for and that the
// VF does not have.
func warnOfUnapplied(rec *record.Record, o *outcome) {
	for _, l := range rec.Plan.Links {
		seen := rec.Attached[l.Name]
		if seen.VF == nil {
			continue
		}
		unapplied := l.Unapplied(seen.Link.MAC, *seen.VF)
		if len(unapplied) == 0 {
			continue
		}
		warning := fmt.Sprintf("network %s: %s did not set %s of VF %d of %s (%s): its release does not know the setting, or the driver of the PF ignores it",
			rec.Plan.Network, sriov, strings.Join(unapplied, ", "), l.VF, l.PF, l.Device)
		rec.Warnings = append(rec.Warnings, warning)
		o.warn("%s", warning)
	}
}

// attachSteps attach the links, in order.
func (h *Host) attachSteps(ctx context.Context, s sandbox, rec *record.Record) (steps []step) {
	for i, l := range rec.Plan.Links {
		steps = append(steps, step{"attach " + l.Name, func() error { return h.attach(ctx, s, rec, i) }})
	}
	return steps
}

func (h *Host) bondSteps(ctx context.Context, s sandbox, rec *record.Record, o *outcome) []step {
	steps := h.attachSteps(ctx, s, rec)
	var made bond.Link
	var result *current.Result
	steps = append(steps,
		step{"bond", func() (err error) {
			if slices.Contains(localIPAM, rec.Plan.IPAM) {
				made, result, err = h.buildBesideIPAM(ctx, s, rec)
			} else {
				made, err = h.build(s, rec)
			}
			return err
		}},
		step{"ipam", func() (err error) {
			if result == nil {
				result, err = h.askIPAM(ctx, rec, rec.Plan.IfName)
			}
			return err
		}},
		step{"configure", func() (err error) {
			made, err = h.configure(s, rec, made, result, o)
			if err == nil {
				finish(rec, result, made)
			}
			return err
		}})
	if rec.Plan.Bond.Options.AwaitsGateway() {
		steps = append(steps, step{"gateway", func() error { return watchGateways(s, rec, result, o) }})
	}
	if len(rec.Plan.After) > 0 {
		steps = append(steps, step{"plugins after", func() error { return h.callAfter(ctx, s, rec) }})
	}
	return steps
}

func (h *Host) chainSteps(ctx context.Context, s sandbox, rec *record.Record, _ *outcome) []step {
	return []step{{"attach " + rec.Plan.IfName, func() error { return h.attachChain(ctx, s, rec) }}}
}

// build makes the bond over the attached links.
func (h *Host) build(s sandbox, rec *record.Record) (bond.Link, error) {
	var links []bond.Link
	for _, l := range rec.Plan.Links {
		links = append(links, rec.Attached[l.Name].Link)
	}
	if rec.Plan.Bond.Options[bond.MTU] == "" {
		rec.MTU = bond.SmallestMTU(links)
	}
	made, err := bond.Build(s.pod, rec.Bond(), links)
	rec.BondIndex = made.Index
	if err != nil {
		return made, cnierror.With(cnierror.Kernel, err)
	}
	return made, nil
}

// configure gives the bond its addresses and announces them. It returns the bond as
// it is then.
func (h *Host) configure(s sandbox, rec *record.Record, made bond.Link, result *current.Result, o *outcome) (bond.Link, error) {
	var err error
	if rec.Addresses, err = addressesOf(result); err != nil {
		return made, cnierror.With(cnierror.Delegate, fmt.Errorf("IPAM plugin %s: %w", rec.Plan.IPAM, err))
	}
	if err := s.pod.Configure(made.Index, rec.Addresses); err != nil {
		return made, cnierror.With(cnierror.Kernel, fmt.Errorf("%s: %w", made.Name, err))
	}
	if err := bond.Activate(s.pod, rec.Bond()); err != nil {
		rec.Warnings = append(rec.Warnings, err.Error())
		o.warn("network %s: %v", rec.Plan.Network, err)
	}
	if err := bond.Announce(s.pod, rec.Bond(), rec.Addresses); err != nil {
		// Without it neighbours still find the address, only later.
		warning := fmt.Sprintf("network %s: %v", rec.Plan.Network, err)
		rec.Warnings = append(rec.Warnings, warning)
		o.warn("%s", warning)
	}
	return made, cnierror.With(cnierror.Kernel, awaitMAC(s, rec, &made))
}

// macWait bounds how long ADD waits for the primary, whose MAC the bond then takes. Links
// get their carriers within milliseconds of each other, and monitoring looks at intervals.
const macWait = 500 * time.Millisecond

// awaitMAC is lookAgain. If another link than the primary got its carrier first, and the bond
// takes the MAC of its active link, it waits for the primary: the bond's MAC would change
// right after the result has told it.
func awaitMAC(s sandbox, rec *record.Record, made *bond.Link) error {
	o := rec.Bond().Options
	for deadline := time.Now().Add(macWait); ; time.Sleep(5 * time.Millisecond) {
		err := lookAgain(s, rec, made)
		primary, there := rec.Attached[o[bond.Primary]]
		if err != nil || !there || o[bond.FailOverMac] != "active" || primary.MAC == made.MAC || time.Now().After(deadline) {
			return err
		}
	}
}

// lookAgain reads the bond and its links as they are at the end. Bonding has given
// them MACs, and the bond's MAC may have changed with its active link.
func lookAgain(s sandbox, rec *record.Record, made *bond.Link) error {
	links, err := s.pod.Links()
	if err != nil {
		return err
	}
	for _, now := range links {
		if now.Index == made.Index {
			*made = now
		}
		for name, seen := range rec.Attached {
			if now.Index == seen.Link.Index {
				seen.MAC = now.MAC
				rec.Attached[name] = seen
			}
		}
	}
	return nil
}

// finish turns the result of IPAM into that of the bond. The bond is the first
// interface, its links follow, and every address is on the bond.
func finish(rec *record.Record, result *current.Result, made bond.Link) {
	result.CNIVersion = current.ImplementedSpecVersion
	result.Interfaces = []*current.Interface{{Name: made.Name, Mac: made.MAC, Mtu: made.MTU, Sandbox: rec.Plan.Netns}}
	for _, l := range rec.Plan.Links {
		seen := rec.Attached[l.Name]
		result.Interfaces = append(result.Interfaces, &current.Interface{Name: l.Name, Mac: seen.MAC, Mtu: made.MTU, Sandbox: rec.Plan.Netns, PciID: seen.Link.Device})
	}
	for _, ip := range result.IPs {
		ip.Interface = current.Int(0)
	}
	rec.Result = strictjson.Encode(result)
}
