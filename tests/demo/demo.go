package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// demo is one run: what it works with and what it has found.
type demo struct {
	out    io.Writer
	guest  guest
	before []VF
	report Report
}

// parts goes through the demo, in the order in which it is told.
func (d *demo) parts(ctx context.Context) error {
	for _, part := range []func(context.Context) error{d.prepare, d.pfDown, d.cableOut, d.compare} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes what is there before any attachment, and looks at all VFs.
func (d *demo) prepare(ctx context.Context) error {
	release, err := d.guest.run(ctx, "uname", "-r")
	if err != nil {
		return err
	}
	d.report.Kernel = strings.TrimSpace(string(release))
	if err := d.guest.makeRouter(ctx); err != nil {
		return err
	}
	for _, pod := range []string{pod1, pod2} {
		script := `ip netns add "$0" && ip -n "$0" link set lo up`
		if _, err := d.guest.run(ctx, "sh", "-c", script, pod); err != nil {
			return err
		}
	}
	d.before, err = d.guest.snapshot(ctx)
	say(d.out, "kernel %s, %d VFs; PF 3 (%s) is the router, %s", d.report.Kernel, len(d.before), routerPF, routerAddress)
	return err
}

// pfDown is the first experiment. Both pods use PF 1, so both fail over.
func (d *demo) pfDown(ctx context.Context) error {
	pods := d.newPods(watchCarrier, link1, link1)
	heading(d.out, "Two pods, a bond each: active-backup over a VF of PF 1 and a VF of PF 2, carriers watched (miimon 100)")
	if err := d.attach(ctx, pods); err != nil {
		return err
	}
	if err := d.show(ctx, pods); err != nil {
		return err
	}
	if err := d.ping(ctx, pods); err != nil {
		return err
	}
	heading(d.out, "PF 1 goes down")
	x := experiment{title: "PF enp1s0 is set down", pods: pods, pf: "enp1s0", moves: []move{{pod1, link1, link2}, {pod2, link1, link2}}}
	x.fault = setDown(d.guest, x.pf)
	f, err := x.run(ctx, d.guest, d.out)
	if err != nil {
		return err
	}
	r := &d.report
	r.FailoverMS, r.PacketsSent, r.PacketsLost, r.PauseMS, r.Timeline = f.gap(), f.Sent, f.Lost, milliseconds(f.Pause), f.timeline
	d.printTimeline(f)
	if _, err := d.guest.run(ctx, "ip", "link", "set", x.pf, "up"); err != nil {
		return err
	}
	return d.back(ctx, pods, "PF 1 is up again")
}

// cableOut is the second. Pod 1 uses PF 2 and pod 2 PF 1, so that the cable is
// between them, and only pod 1 has to move: two VFs of PF 2 talk inside the NIC.
func (d *demo) cableOut(ctx context.Context) error {
	pods := d.newPods(watchPath, link2, link1)
	heading(d.out, "The same pods, attached again: the bonds ask the router by ARP (arpInterval 100, arpValidate all)")
	if err := d.attach(ctx, pods); err != nil {
		return err
	}
	heading(d.out, "PF 2's cable is pulled, which its VFs do not notice")
	x := experiment{title: "PF enp2s0 has no link: its cable is out", pods: pods, pf: "enp2s0", moves: []move{{pod1, link2, link1}, {pod2, link1, link1}}}
	x.fault = pullCable(d.guest, 1, x.pf)
	f, err := x.run(ctx, d.guest, d.out)
	if err != nil {
		return err
	}
	r := &d.report
	r.SilentFailoverMS, r.SilentPacketsSent, r.SilentPacketsLost, r.SilentPauseMS, r.SilentTimeline = f.gap(), f.Sent, f.Lost, milliseconds(f.Pause), f.timeline
	d.printTimeline(f)
	say(d.out, "no VF has lost its carrier: miimon would not have noticed")
	if err := d.guest.vm.Cable(1, true); err != nil {
		return err
	}
	return d.back(ctx, pods, "The cable is in again")
}

// newPods gives each pod a VF of PF 1 and one of PF 2, and a primary link.
func (d *demo) newPods(monitor func(config) config, primary1, primary2 string) []*attachment {
	return []*attachment{
		{guest: d.guest, pod: pod1, config: monitor(newConfig(primary1, "0000:01:10.0", "0000:02:10.0"))},
		{guest: d.guest, pod: pod2, config: monitor(newConfig(primary2, "0000:01:10.2", "0000:02:10.2"))},
	}
}

func (d *demo) attach(ctx context.Context, pods []*attachment) error {
	for _, a := range pods {
		took, err := a.add(ctx)
		if err != nil {
			return err
		}
		address, err := a.address()
		if err != nil {
			return err
		}
		d.report.AddsMS = append(d.report.AddsMS, took)
		say(d.out, "ADD %s: %.0f ms, %s", a.pod, took, address)
	}
	return d.settled(ctx, pods)
}

func (d *demo) settled(ctx context.Context, pods []*attachment) error {
	began := time.Now()
	for _, a := range pods {
		if err := a.settled(ctx); err != nil {
			return err
		}
	}
	say(d.out, "all links are up after %.1f s more; %s uses %s, %s uses %s", time.Since(began).Seconds(),
		pods[0].pod, pods[0].primary(), pods[1].pod, pods[1].primary())
	return nil
}

// back ends an experiment: once the links are back, the pods are detached.
func (d *demo) back(ctx context.Context, pods []*attachment, what string) error {
	heading(d.out, "%s; the pods are detached", what)
	if err := d.settled(ctx, pods); err != nil {
		return err
	}
	for _, a := range pods {
		took, err := a.del(ctx)
		if err != nil {
			return err
		}
		d.report.DelsMS = append(d.report.DelsMS, took)
		say(d.out, "DEL %s: %.0f ms", a.pod, took)
	}
	return nil
}

// show prints the pods' interfaces and notes the bonds' links.
func (d *demo) show(ctx context.Context, pods []*attachment) (err error) {
	for _, a := range pods {
		out, err := d.guest.run(ctx, in(a.pod, "ip", "a")...)
		if err != nil {
			return err
		}
		heading(d.out, "%s$ ip a", a.pod)
		fmt.Fprint(d.out, string(out))
		links, err := a.links(ctx, d.before)
		if err != nil {
			return err
		}
		for _, l := range links {
			say(d.out, "%s is VF %s of PF %s", l.Name, l.PCI, l.PF)
		}
		d.report.Links = append(d.report.Links, links...)
	}
	d.report.Mode, err = pods[0].mode(ctx)
	return err
}

func (d *demo) ping(ctx context.Context, pods []*attachment) error {
	address, err := pods[1].address()
	if err != nil {
		return err
	}
	heading(d.out, "%s$ ping -c 5 -i 0.2 %s", pods[0].pod, address)
	out, err := d.guest.run(ctx, in(pods[0].pod, "ping", "-c", "5", "-i", "0.2", "-W", "5", address)...)
	if err != nil {
		return fmt.Errorf("%s does not reach %s: %w", pods[0].pod, pods[1].pod, err)
	}
	d.report.PingBefore = true
	fmt.Fprint(d.out, string(out))
	return nil
}

// compare looks at everything that should be as before the first ADD.
func (d *demo) compare(ctx context.Context) error {
	after, err := d.guest.snapshot(ctx)
	if err != nil {
		return err
	}
	heading(d.out, "Every VF before the first ADD and after the last DEL")
	if err := printSnapshots(d.out, d.before, after); err != nil {
		return err
	}
	d.report.VFDifferences = differences(d.before, after)
	d.report.VFsRestored = len(d.report.VFDifferences) == 0
	left, err := d.guest.leftovers(ctx)
	if err != nil {
		return err
	}
	d.report.RecordsLeft, d.report.BondsLeft, d.report.AddressesLeft = len(left.records), left.bonds, left.addresses
	if all := slices.Concat(d.report.VFDifferences, left.records, left.bonds, left.addresses); len(all) > 0 {
		return fmt.Errorf("not everything is as before:\n  %s", strings.Join(all, "\n  "))
	}
	return nil
}

func (d *demo) printTimeline(f Failover) {
	for _, m := range f.timeline {
		say(d.out, "%-11s %s", m, m.Text)
	}
	if f.Pause > (100 * time.Millisecond).Nanoseconds() {
		say(d.out, "(the probe itself did not run for up to %.0f ms of that: the VF driver or the host kept the processors busy)", milliseconds(f.Pause))
	}
}

func (d *demo) summary(file string) {
	r := d.report
	heading(d.out, "Summary")
	say(d.out, "attach %.0f ms, detach %.0f ms (medians of %d, on an emulated processor)", median(r.AddsMS), median(r.DelsMS), len(r.AddsMS))
	say(d.out, "PF 1 down:          %.0f ms without an answer, %d of %d probes lost", r.FailoverMS, r.PacketsLost, r.PacketsSent)
	say(d.out, "PF 2's cable out:   %.0f ms without an answer, %d of %d probes lost", r.SilentFailoverMS, r.SilentPacketsLost, r.SilentPacketsSent)
	say(d.out, "after the last DEL: all %d VFs are as before; no record, bond or address is left", len(d.before))
	say(d.out, "%.0f s in all; report: %s", r.WallS, file)
}
