package delegate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// check compares an attachment with its Record, then executes CHECK of the plugins. If
// something differs, the error's code is 104. left is the result of the runtime's list, or
// nil. If the network's configuration has disableCheck, check does nothing.
func (h *Host) check(ctx context.Context, k plan.Key, left *current.Result, o *outcome) error {
	rec, err := h.load(k, o)
	if err != nil {
		return err
	}
	if rec == nil {
		return cnierror.Errorf(types.ErrUnknownContainer, "container %s has no attachment %s on this node", k.ContainerID, k.IfName)
	}
	if rec.Plan.Config.DisableCheck {
		return nil
	}
	if rec.Phase() != record.Complete {
		return cnierror.Errorf(cnierror.Check, "network %s: its ADD or DEL was interrupted; the next DEL finishes it", rec.Plan.Network)
	}
	if err := h.endOverdueDrill(ctx, rec); err != nil {
		return err
	}
	s, err := h.enterIfThere(rec.Plan.Netns, rec.NetnsID)
	if err != nil {
		return err
	}
	defer s.close()
	switch {
	case s.netns == netnsNowhere:
		return cnierror.Errorf(cnierror.Check, "network %s: another network namespace now has the path %s", rec.Plan.Network, rec.Plan.Netns)
	case s.pod == nil:
		return cnierror.Errorf(cnierror.Check, "network %s: the network namespace %s is gone", rec.Plan.Network, rec.Plan.Netns)
	}
	err = h.verify(s, rec, left)
	if rec.Plan.IsBond() {
		err = errors.Join(err, verifyHealth(ctx, s, rec))
	}
	if err != nil {
		return cnierror.With(cnierror.Check, fmt.Errorf("network %s: %w", rec.Plan.Network, err))
	}
	return h.checkPlugins(ctx, rec)
}

// Runtimes call CHECK right after ADD. A VF gets its carrier some time after it was set up, and
// the bond when monitoring has noticed that. So CHECK of an attachment that was just made waits.
// On a busy node the ADD itself may take long, and that of other networks follows it.
const (
	justMade    = 2 * time.Minute // after the begin of its ADD
	carrierWait = 3 * time.Second
)

// verifyHealth returns an error if the bond has no carrier.
func verifyHealth(ctx context.Context, s sandbox, rec *record.Record) error {
	isNew, began := time.Since(rec.Created) < justMade, time.Now()
	for {
		err := bond.VerifyHealth(s.pod, rec.BondIndex)
		if err == nil || ctx.Err() != nil || !isNew || time.Since(began) > carrierWait {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// verify is Verify(Record, Facts). It returns nil if everything is as the ADD left it, and
// then the plugins after it in the runtime's list, whose result is left. If the plugins
// after the bond are the network's own, the Record has their result.
func (h *Host) verify(s sandbox, rec *record.Record, left *current.Result) error {
	switch {
	case rec.Plan.IsChain():
		return verifyChain(s, rec)
	case rec.Plan.IsEach():
		return h.verifyEach(s, rec)
	}
	devices := map[string]string{}
	for _, l := range rec.Plan.Links {
		devices[l.Name] = l.Device
	}
	if len(rec.Plan.After) > 0 {
		var err error
		if left, err = invoke.DecodeResult(rec.Result); err != nil {
			return err
		}
	}
	spec, err := asLeft(s, rec.Bond(), left)
	if err != nil {
		return err
	}
	problems, err := bond.Verify(s.pod, spec, rec.BondIndex, devices, rec.Downed)
	if err != nil {
		return err
	}
	if err := problems.Err(); err != nil {
		return err
	}
	if err := verifyAddresses(&problems, s, rec.Plan.Bond.Name, rec.BondIndex, rec.Addresses); err != nil {
		return err
	}
	if err := h.verifyVFs(&problems, s, rec); err != nil {
		return err
	}
	return problems.Err()
}

// verifyAddresses looks for the addresses and routes of a link.
func verifyAddresses(problems *bond.Problems, s sandbox, name string, index int, want bond.Addresses) error {
	now, err := s.pod.Addresses(index)
	if err != nil {
		return err
	}
	for _, ip := range want.IPs {
		if !slices.Contains(now.IPs, ip) {
			problems.Add(code.AddressDiffers, name, "", "address %s is missing", ip)
		}
	}
	for _, r := range want.Routes {
		same := func(is bond.Route) bool {
			return is.Dst == r.Dst.Masked() && is.Gateway == r.Gateway && (r.Table == 0 || is.Table == r.Table)
		}
		if !slices.ContainsFunc(now.Routes, same) {
			problems.Add(code.AddressDiffers, name, "", "route %s is missing%s", r, inTable(r.Table))
		}
	}
	return nil
}

func inTable(table int) string {
	if bond.IsOwnTable(table) {
		return ""
	}
	return fmt.Sprintf(" in table %d", table)
}

// asLeft returns a bond with the MAC and the MTU that it has in the result of its
// list: a plugin that follows, such as tuning, may have changed them. Before CNI 1.1.0 a
// result has no MTU. Then the bond's own is right, and its links must have the same.
func asLeft(s sandbox, spec bond.Spec, left *current.Result) (bond.Spec, error) {
	if left == nil {
		return spec, nil
	}
	i := slices.IndexFunc(left.Interfaces, func(i *current.Interface) bool { return i.Name == spec.Name && i.Sandbox != "" })
	if i < 0 {
		return spec, nil
	}
	mtu, mac := left.Interfaces[i].Mtu, left.Interfaces[i].Mac
	if mtu == 0 {
		now, _, err := bond.LinkIfThere(s.pod, spec.Name)
		if err != nil {
			return spec, err
		}
		mtu = now.MTU
	}
	spec.Options = spec.Options.WithMTU(mtu)
	if spec.Options[bond.MAC] != "" && mac != "" {
		spec.Options[bond.MAC] = mac
	}
	return spec, nil
}

// verifyVFs compares what the PFs keep for the VFs with what they kept after the ADD. A PF
// may have another name by now.
func (h *Host) verifyVFs(problems *bond.Problems, s sandbox, rec *record.Record) error {
	for _, l := range rec.Plan.Links {
		then := rec.Attached[l.Name].VF
		if then == nil {
			continue
		}
		device, err := bond.ReadDevice(h.Sys, l.Device, l.DevPort)
		if err != nil {
			return err
		}
		if l.PF = device.PFNetdev; l.PF == "" {
			problems.Add(code.VFDiffers, l.Name, "", "the PF of %s is not on the host", l.Device)
			continue
		}
		now, err := adminOf(s.host, l)
		if err != nil {
			return err
		}
		// Some PFs, such as igb's, report the MAC that the VF itself has set, and a
		// bond may set it at any failover.
		now.MAC = then.MAC
		if _, relayed := rec.Relayed[l.Name]; relayed {
			now.LinkState = then.LinkState // keep has disabled it, for as long as its PF has no carrier
		}
		for _, d := range now.Differences(*then) {
			problems.Add(code.VFDiffers, l.Name, "", "VF %d of %s: %s", l.VF, l.PF, d)
		}
	}
	return nil
}

// checkPlugins executes CHECK of every plugin whose configuration has a version with
// CHECK (CNI 0.4.0 and later).
func (h *Host) checkPlugins(ctx context.Context, rec *record.Record) error {
	var errs []error
	check := func(ifName string, p netconf.Plugin, prevResult json.RawMessage) {
		if p.Config.HasVersion("0.4.0") && !bool(p.DisableCheck) {
			_, err := h.execute(ctx, rec.Call("CHECK", rec.Plan.Netns, ifName, p, prevResult))
			errs = append(errs, err)
		}
	}
	for _, l := range rec.Plan.Links {
		for _, p := range l.Plugins {
			if prev := rec.Attached[l.Name].Result; !rec.Plan.IsChain() {
				check(l.Name, p, prev)
			} else {
				check(l.Name, p, resultFor(rec, p.Config))
			}
		}
	}
	for _, a := range rec.Plan.IPAMs() {
		if a.Type != "whereabouts" { // which answers every CHECK with an error
			check(a.IfName, a.Plugin, resultFor(rec, rec.Plan.Config))
		}
	}
	for _, p := range rec.Plan.After {
		check(rec.Plan.IfName, p, resultFor(rec, p.Config))
	}
	return cnierror.With(cnierror.Delegate, errors.Join(errs...))
}

// resultFor returns the attachment's result in the version of a configuration, or nil
// if that version cannot express it.
func resultFor(rec *record.Record, config netconf.Config) json.RawMessage {
	var out bytes.Buffer
	result, err := invoke.DecodeResult(rec.Result)
	if err != nil || invoke.PrintResult(&out, result, config.CNIVersion) != nil {
		return nil
	}
	return out.Bytes()
}

// CheckPod checks all that one ADD has attached. prev is the prevResult of the runtime's
// configuration, or nil.
func (h *Host) CheckPod(ctx context.Context, k plan.Key, prev json.RawMessage) (warnings []string, err error) {
	var out outcome
	rec, err := h.load(k, &out)
	if err != nil {
		return out.warnings, err
	}
	var left *current.Result
	if prev != nil && string(prev) != "null" {
		if left, err = invoke.ParseResult(prev, ""); err != nil {
			return out.warnings, cnierror.With(types.ErrDecodingFailure, fmt.Errorf("prevResult: %w", err))
		}
	}
	members := []plan.Key{k}
	if rec != nil {
		members = rec.Members()
	}
	var errs []error
	for _, k := range members {
		errs = append(errs, h.check(ctx, k, left, &out))
	}
	return out.warnings, errors.Join(errs...)
}

// Status returns why an ADD would fail now, as one error with the code 50. It only
// looks: it executes no plugin, loads no module and asks nobody. An agent that is away is
// no reason, as in StatusPod.
func (h *Host) Status(n netconf.Network) error {
	if n.Attach != netconf.AttachEach {
		if err := h.Kernel.HasBonding(); err != nil {
			return cnierror.With(types.ErrPluginNotAvailable, err)
		}
	}
	for _, plugin := range n.PluginTypes() {
		if _, err := h.Runner.Find(plugin, h.Path); err != nil {
			return cnierror.With(types.ErrPluginNotAvailable, err)
		}
	}
	if err := writable(h.Store.Dir); err != nil {
		return cnierror.With(types.ErrPluginNotAvailable, fmt.Errorf("state directory: %w", err))
	}
	return nil
}

func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fmt.Errorf("writing to %s: %w", dir, err)
	}
	return nil
}
