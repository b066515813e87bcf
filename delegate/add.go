package delegate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
)

// Add attaches what r asks for, or leaves nothing behind. A container that is
// attached and verifies gets the stored result once more.
func (h *Host) Add(ctx context.Context, r Request) (*current.Result, error) {
	s, err := h.enter(r.Netns)
	if err != nil {
		return nil, err
	}
	defer s.close()
	locks, err := openLocks(h.Store.Dir, h.LockTimeout)
	if err != nil {
		return nil, err
	}
	defer locks.Close()
	earlier, err := h.lockAll(ctx, r, s, locks)
	if err != nil {
		return nil, err
	}
	for _, k := range earlier {
		if result, err := h.settle(ctx, k, r, s, locks); result != nil || err != nil {
			return result, err
		}
	}
	began := time.Now()
	facts, err := h.survey(ctx, r, s)
	if err != nil {
		return nil, err
	}
	surveyed := time.Now()
	plan, warnings, err := Compile(r, facts)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		h.warn("%s", w)
	}
	rec := &Record{Version: recordVersion, BootID: h.BootID, NetnsID: s.pod.ID(), Created: began, Plan: plan, Warnings: warnings, Attached: map[string]Seen{}}
	rec.took("survey", began, surveyed)
	rec.took("compile", surveyed, time.Now())
	return h.carryOut(ctx, s, rec)
}

// lockAll locks the container and the devices of a request, together with
// those of the attachments that may be in its way, which it returns.
func (h *Host) lockAll(ctx context.Context, r Request, s sandbox, locks *Locks) (earlier []Key, err error) {
	devices, err := r.devices(s.host)
	if err != nil {
		return nil, WithCode(CodeKernel, err)
	}
	earlier, containers := []Key{r.Key()}, []string{r.ContainerID}
	for _, device := range devices {
		holder, err := h.Store.Holder(device)
		if err != nil {
			return nil, WithCode(types.ErrIOFailure, err)
		}
		if holder != (Key{}) && !slices.Contains(earlier, holder) {
			earlier, containers = append(earlier, holder), append(containers, holder.ContainerID)
		}
	}
	for _, k := range earlier {
		rec, err := h.load(k)
		if err != nil {
			return nil, err
		}
		if rec != nil {
			devices = append(devices, rec.Plan.Devices()...)
		}
	}
	if err := locks.Lock(ctx, "container", containers...); err != nil {
		return nil, err
	}
	return earlier, locks.Lock(ctx, "device", devices...)
}

// devices lists the PCI addresses that the request takes from the host.
func (r Request) devices(host bond.Namespace) ([]string, error) {
	var out []string
	for _, l := range r.Network.Links {
		device := l.Device
		if l.Source == FromHost {
			found, _, err := linkIfThere(host, l.Name)
			if err != nil {
				return nil, err
			}
			device = found.Device
		}
		if device != "" {
			out = append(out, device)
		}
	}
	return out, nil
}

// settle ends what an earlier attachment has left, so that this ADD finds the
// devices as they were. One of the same container and name is the result, if
// it is complete, and is restored if it is not. One that holds a device is
// restored if its sandbox is dead: its DEL is late, and would otherwise find
// the device in new hands.
func (h *Host) settle(ctx context.Context, k Key, r Request, s sandbox, locks *Locks) (*current.Result, error) {
	rec, err := h.load(k)
	if err != nil {
		return nil, err
	}
	if rec == nil {
		return nil, WithCode(types.ErrIOFailure, h.Store.Forget(k))
	}
	if k == r.Key() {
		if rec.Result != nil && rec.BootID == h.BootID && rec.NetnsID == s.pod.ID() && h.verify(s, rec) == nil {
			return decodeResult(rec.Result)
		}
		return nil, h.lockAndRestore(ctx, rec, locks)
	}
	theirs, err := h.enterIfThere(rec.Plan.Netns, rec.NetnsID)
	if err != nil {
		return nil, err
	}
	defer theirs.close()
	if theirs.pod != nil && rec.BootID == h.BootID {
		return nil, nil
	}
	return nil, h.lockAndRestore(ctx, rec, locks)
}

// carryOut does what the plan of rec says, or undoes it.
func (h *Host) carryOut(ctx context.Context, s sandbox, rec *Record) (*current.Result, error) {
	began := time.Now()
	err := WithCode(types.ErrIOFailure, h.Store.Begin(rec))
	rec.took("record", began, time.Now())
	var result *current.Result
	if err == nil {
		result, err = h.run(ctx, s, rec)
	}
	if err == nil {
		return result, nil
	}
	err = WithCode(Code(err), fmt.Errorf("network %s: %w", rec.Plan.Network, err))
	// The way back has its own time: what ended ctx must not end it too.
	if undo := h.restore(context.WithoutCancel(ctx), rec); undo != nil {
		return nil, WithCode(Code(err), fmt.Errorf("%w; and not everything could be undone, DEL goes on: %w", err, undo))
	}
	return nil, err
}

func (rec *Record) took(what string, from, to time.Time) {
	rec.Steps = append(rec.Steps, Step{What: what, Milliseconds: float64(to.Sub(from).Microseconds()) / 1000})
}

// run takes the steps of a plan, in order.
func (h *Host) run(ctx context.Context, s sandbox, rec *Record) (*current.Result, error) {
	step := func(what string, do func() error) func() error {
		return func() error {
			began := time.Now()
			err := do()
			rec.took(what, began, time.Now())
			return err
		}
	}
	var steps []func() error
	for i := range rec.Plan.Links {
		steps = append(steps, step("attach "+rec.Plan.Links[i].Name, func() error { return h.attach(ctx, s, rec, i) }))
	}
	var made bond.Link
	var result *current.Result
	steps = append(steps, step("bond", func() (err error) {
		made, err = h.build(s, rec)
		return err
	}))
	steps = append(steps, step("ipam", func() (err error) {
		result, err = h.askIPAM(ctx, rec)
		return err
	}))
	steps = append(steps, step("configure", func() (err error) {
		made, err = h.configure(s, rec, made, result)
		return err
	}))
	for _, take := range steps {
		if err := ctx.Err(); err != nil {
			return nil, errorf(types.ErrTryAgainLater, "the time for ADD is up: %w", err)
		}
		if err := take(); err != nil {
			return nil, err
		}
	}
	rec.complete(result, made)
	return result, WithCode(types.ErrIOFailure, h.Store.Update(rec))
}

// build makes the bond over the attached links.
func (h *Host) build(s sandbox, rec *Record) (bond.Link, error) {
	var links []bond.Link
	for _, l := range rec.Plan.Links {
		links = append(links, rec.Attached[l.Name].Link)
	}
	if rec.Plan.Bond.Options[bond.MTU] == "" {
		rec.Plan.Bond.Options = bond.WithSmallestMTU(rec.Plan.Bond.Options, links)
	}
	made, err := bond.Build(s.pod, rec.Plan.Bond, links)
	rec.BondIndex = made.Index
	if err != nil {
		return made, WithCode(CodeKernel, err)
	}
	return made, nil
}

// configure gives the bond its addresses and tells the network. It returns the
// bond as it is then.
func (h *Host) configure(s sandbox, rec *Record, made bond.Link, result *current.Result) (bond.Link, error) {
	var err error
	if rec.Addresses, err = addressesOf(result); err != nil {
		return made, WithCode(CodeDelegate, fmt.Errorf("IPAM plugin %s: %w", rec.Plan.IPAM, err))
	}
	if err := s.pod.Configure(made.Index, rec.Addresses); err != nil {
		return made, WithCode(CodeKernel, fmt.Errorf("%s: %w", made.Name, err))
	}
	if err := bond.Announce(s.pod, rec.Plan.Bond, rec.Addresses); err != nil {
		// Neighbours find the address without it, only later.
		rec.Warnings = append(rec.Warnings, err.Error())
		h.warn("network %s: %v", rec.Plan.Network, err)
	}
	return made, WithCode(CodeKernel, rec.lookAgain(s, &made))
}

// lookAgain reads the bond and its links as they are at the end: bonding has
// given them MACs, and the bond's can have changed with its active link.
func (rec *Record) lookAgain(s sandbox, made *bond.Link) error {
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

// complete turns IPAM's result into the attachment's: the bond is the first
// interface, its links follow, and every address is the bond's.
func (rec *Record) complete(result *current.Result, made bond.Link) {
	result.CNIVersion = current.ImplementedSpecVersion
	result.Interfaces = []*current.Interface{{Name: made.Name, Mac: made.MAC, Mtu: made.MTU, Sandbox: rec.Plan.Netns}}
	for _, l := range rec.Plan.Links {
		seen := rec.Attached[l.Name]
		result.Interfaces = append(result.Interfaces, &current.Interface{Name: l.Name, Mac: seen.MAC, Mtu: made.MTU, Sandbox: rec.Plan.Netns, PciID: seen.Link.Device})
	}
	for _, ip := range result.IPs {
		ip.Interface = current.Int(0)
	}
	rec.Result = Encode(result)
}

func decodeResult(raw json.RawMessage) (*current.Result, error) {
	result, err := current.NewResult(raw)
	if err != nil {
		return nil, fmt.Errorf("stored result: %w", err)
	}
	return current.GetResult(result)
}
