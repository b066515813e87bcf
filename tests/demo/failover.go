package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/multibond/multibond/tests/demo/event"
	"github.com/multibond/multibond/tests/lab"
)

const (
	// enough answers in a row before the fault, and after it, show that traffic flows.
	enough = 100
	// backTime is how long traffic may be away. It is no figure of any merit: a
	// busy machine with an emulated processor can be slow.
	backTime = 2 * time.Minute
)

// An experiment breaks something while pod 1 pings pod 2.
type experiment struct {
	title string        // the fault in words
	pods  []*attachment // pod 1 and pod 2
	pf    string        // its carrier is watched as well
	moves []move        // what has to happen
	fault
}

// fault is what an experiment breaks.
type fault struct {
	inject func(context.Context, *recorder) error
	began  func([]event.Event) (int64, bool) // finds its time in the events
	silent bool                              // it must leave the carriers of the pods' links alone
}

// move says which link of a pod is the active one before the fault, and which it
// has to be after it.
type move struct{ pod, from, to string }

// Failover is what an experiment showed.
type Failover struct {
	traffic
	timeline []Moment
}

// run carries an experiment out. The error says which part of it did not happen.
func (x experiment) run(ctx context.Context, g guest, out io.Writer) (Failover, error) {
	r := &recorder{}
	probes, err := x.start(ctx, g, r)
	if err != nil {
		return Failover{}, err
	}
	err = x.breakIt(ctx, r, out)
	// A probe that failed is why, where its events did not come.
	if err = errors.Join(err, stopAll(ctx, g, r, probes)); err != nil {
		return Failover{}, fmt.Errorf("%s: %w", x.title, err)
	}
	return x.result(r.all())
}

// start starts a probe in each pod and one on the host.
func (x experiment) start(ctx context.Context, g guest, r *recorder) ([]*lab.Process, error) {
	address, err := x.pods[1].address()
	if err != nil {
		return nil, err
	}
	// The carrier's file waits for the RTNL lock, which a driver can hold for
	// seconds, so the others are not read after it. The bond finds a link down
	// before it takes another, and that is the order to tell it in.
	bond := []string{
		"-watch", activeFile + "," + link1 + "/bonding_slave/mii_status," + link2 + "/bonding_slave/mii_status",
		"-watch", link1 + "/carrier", "-watch", link2 + "/carrier",
	}
	var probes []*lab.Process
	for where, args := range map[string][]string{
		x.pods[0].pod: append([]string{"-ping", address}, bond...),
		x.pods[1].pod: bond,
		hostNS:        {"-watch", x.pf + "/carrier"},
	} {
		p, err := g.vm.Start(ctx, lab.Cmd{Args: in(where, append([]string{probePath}, args...)...), Stdout: r.stream(where)})
		if err != nil {
			return nil, err
		}
		probes = append(probes, p)
	}
	return probes, nil
}

const activeFile = bondName + "/bonding/active_slave"

// breakIt makes the fault once traffic flows, and waits until it flows again.
func (x experiment) breakIt(ctx context.Context, r *recorder, out io.Writer) error {
	if err := await(ctx, r, out, x.notFlowing); err != nil {
		return fmt.Errorf("before anything was broken: %w", err)
	}
	say(out, "%s pings %s every 10 ms; now: %s", x.pods[0].pod, x.pods[1].pod, x.title)
	if err := x.inject(ctx, r); err != nil {
		return err
	}
	return await(ctx, r, out, x.missing)
}

// await waits until nothing is missing, and says what is.
func await(ctx context.Context, r *recorder, out io.Writer, missing func([]event.Event) string) error {
	for began := time.Now(); ; {
		err := r.wait(ctx, 10*time.Second, func(events []event.Event) bool { return missing(events) == "" })
		still := missing(r.all())
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > backTime:
			return fmt.Errorf("%s, after %.0f s: %w", still, time.Since(began).Seconds(), err)
		}
		say(out, "... still waiting: %s", still)
	}
}

// notFlowing says what is missing before the fault: all probes run, and there is
// traffic over the links that it should be on.
func (x experiment) notFlowing(events []event.Event) string {
	if n := len(readyPIDs(events)); n < 3 {
		return fmt.Sprintf("%d of 3 probes run", n)
	}
	for _, m := range x.moves {
		if active := latest(events, m.pod, activeFile); active != m.from {
			return fmt.Sprintf("the active link of %s is %q, not %s", m.pod, active, m.from)
		}
	}
	if n := answersAfter(events, 0); n < enough {
		return fmt.Sprintf("%s has %d answers from %s, not %d", x.pods[0].pod, n, x.pods[1].pod, enough)
	}
	return ""
}

// missing says what has not happened yet after the fault, "" if all has.
func (x experiment) missing(events []event.Event) string {
	from, ok := x.began(events)
	if !ok {
		return "the fault was not seen"
	}
	for _, m := range x.moves {
		if active := latest(events, m.pod, activeFile); active != m.to {
			return fmt.Sprintf("no failover was seen: the active link of %s is %q, not %s", m.pod, active, m.to)
		}
	}
	for _, e := range changes(events) {
		if e.What == activeFile {
			from = max(from, e.At)
		}
	}
	if n := answersAfter(events, from); n < enough {
		return fmt.Sprintf("traffic did not come back: %d answers since the last change of an active link", n)
	}
	return ""
}

func answersAfter(events []event.Event, from int64) (n int) {
	for _, e := range events {
		if e.Kind == event.Answered && e.At > from {
			n++
		}
	}
	return n
}

// result measures, after the probes have ended.
func (x experiment) result(events []event.Event) (Failover, error) {
	if x.silent {
		for _, e := range changes(events) {
			if e.Where != hostNS && path.Base(e.What) == "carrier" {
				return Failover{}, fmt.Errorf("%s: the fault was not silent: %s", x.title, describe(e))
			}
		}
	}
	fault, _ := x.began(events)
	t, ok := measure(events, fault)
	if !ok {
		return Failover{}, fmt.Errorf("%s: no two answers to measure between", x.title)
	}
	return Failover{t, timeline(events, fault, x.title, t)}, nil
}

// readyPIDs are the process ids of the probes that have begun.
func readyPIDs(events []event.Event) (pids []string) {
	for _, e := range events {
		if e.Kind == event.Ready {
			pids = append(pids, e.Value)
		}
	}
	return pids
}

// stopAll has the probes end by themselves, so that late answers are counted.
func stopAll(ctx context.Context, g guest, r *recorder, probes []*lab.Process) error {
	var errs []error
	if pids := readyPIDs(r.all()); len(pids) > 0 {
		_, err := g.run(ctx, append([]string{"kill", "-TERM"}, pids...)...)
		errs = append(errs, err)
	}
	for _, p := range probes {
		deadline := time.AfterFunc(time.Minute, func() { _ = p.Kill() })
		out, err := p.Wait()
		deadline.Stop()
		if err == nil && out.Exit != 0 {
			err = fmt.Errorf("a probe ended with exit status %d: %s", out.Exit, out.Stderr)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// setDown is the fault of a PF that is set down, at the moment before the command.
func setDown(g guest, pf string) fault {
	inject := func(ctx context.Context, r *recorder) error {
		_, err := g.do(ctx, lab.Cmd{
			Args:   []string{probePath, "ip", "link", "set", pf, "down"},
			Stdout: r.stream(hostNS), Timeout: time.Minute,
		})
		return err
	}
	began := func(events []event.Event) (int64, bool) {
		for _, e := range events {
			if e.Kind == event.Began {
				return e.At, true
			}
		}
		return 0, false
	}
	return fault{inject: inject, began: began}
}

// pullCable is the fault of a cable. The guest has no clock in common with who
// pulls it, so its moment is when the PF is first seen without a carrier.
func pullCable(g guest, number int, pf string) fault {
	inject := func(context.Context, *recorder) error { return g.vm.Cable(number, false) }
	began := func(events []event.Event) (int64, bool) {
		for _, e := range changes(events) {
			if e.Where == hostNS && e.What == pf+"/carrier" && e.Value != "1" {
				return e.At, true
			}
		}
		return 0, false
	}
	return fault{inject: inject, began: began, silent: true}
}
