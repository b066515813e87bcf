package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// deployKeep installs keep as its users do. The lab's PFs cannot disable the link of a VF, so
// it is the one that may enter pods.
func (d *clusterDemo) deployKeep(ctx context.Context) error {
	heading(d.out, "$ kubectl apply -k ../cluster: components [deploy/keep, deploy/keep-inside]")
	return d.DeployComponents(ctx, "keep", "keep-inside")
}

// silentCable pulls the cable of PF 1, which its VFs do not notice, while one pod pings the
// other. keep has the bonds stop using it, and the agent tells of it.
func (d *clusterDemo) silentCable(ctx context.Context) error {
	heading(d.out, "A pulled cable, which the VFs of PF 1 do not notice, but keep does")
	if _, err := d.Kubectl(ctx, "", "-n", "multibond-system", "rollout", "status", "daemonset/multibond-keep", "--timeout=3m"); err != nil {
		return err
	}
	if err := d.allLinks(ctx); err != nil {
		return err
	}
	if err := d.list(ctx); err != nil {
		return err
	}
	pull := func() (string, error) {
		at, err := d.On(ctx, "cut", "-d ", "-f1", "/proc/uptime")
		d.terminal.remark(d.out, "the cable of PF 1 is pulled, while bonded pings peer every 10 ms")
		return at, errors.Join(err, d.VM.Cable(0, false))
	}
	t, err := d.pingWhile(ctx, pingTime{before: 4 * time.Second, all: 10 * time.Second}, pull)
	if err != nil {
		logs, _ := d.Kubectl(ctx, "", "-n", "multibond-system", "logs", "daemonset/multibond-keep")
		return fmt.Errorf("%w\n%s", err, logs)
	}
	d.report.SilentFailoverMS, d.report.SilentPacketsSent, d.report.SilentPacketsLost = t.gap(), t.Sent, t.Lost
	d.terminal.remark(d.out, "traffic is back: %d of %d probes lost, %.0f ms without an answer", t.Lost, t.Sent, t.gap())
	for _, part := range []func(context.Context) error{
		d.kubectl("-n", "multibond-system", "logs", "daemonset/multibond-keep", "--tail=2"),
		d.metrics,
		d.multibond("describe", "bonded"),
		d.mendCable,
		d.awaitRestored,
		d.recorded(restoredEvents...),
		d.kubectl("get", "events", "--field-selector", "involvedObject.name=bonded,source=multibond-agent"),
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// list shows the bonds, once the agent has told of them: it looks at its node every 15 s.
func (d *clusterDemo) list(ctx context.Context) error {
	err := d.await(ctx, "no agent tells of the bonds", func() (bool, error) {
		out, _ := d.tool(ctx, "list").Output() // it ends with 2 until all agents have told
		return strings.Count(string(out), "enp1s0,enp2s0") == 2, nil
	})
	if err != nil {
		return err
	}
	return d.multibond("list")(ctx)
}

// await looks again and again until something has happened.
func (d *clusterDemo) await(ctx context.Context, without string, happened func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, linksTime)
	defer cancel()
	for {
		done, err := happened()
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", without, ctx.Err())
		}
	}
}

func (d *clusterDemo) mendCable(ctx context.Context) error {
	if err := d.VM.Cable(0, true); err != nil {
		return err
	}
	if err := d.allLinks(ctx); err != nil {
		return err
	}
	d.terminal.remark(d.out, "the cable is in again, and both links of both bonds work")
	return nil
}

// restoredEvents selects the event that tells that all links of the pod work again.
var restoredEvents = []string{"get", "events", "--field-selector", "involvedObject.name=bonded,reason=BondRestored"}

// awaitRestored waits for it: what a bond does within ten seconds is told of at their end.
func (d *clusterDemo) awaitRestored(ctx context.Context) error {
	return d.await(ctx, "no event tells that the bond of bonded is whole", func() (bool, error) {
		found, err := d.Kubectl(ctx, "", append(restoredEvents, "-o", "name")...)
		return found != "", err
	})
}

// bonds are the agent's metrics of the bonds of a pod: lines of text.
func (d *clusterDemo) bonds(ctx context.Context, pod string) (lines []string, err error) {
	page, err := d.On(ctx, "wget", "-qO-", "http://127.0.0.1:9476/metrics")
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "multibond_bond_") && strings.Contains(line, fmt.Sprintf("pod=%q", pod)) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines, err
}

// metrics shows those that tell of a failover.
func (d *clusterDemo) metrics(ctx context.Context) error {
	lines, err := d.bonds(ctx, "bonded")
	fmt.Fprintf(d.out, "\n   node$ wget -qO- http://127.0.0.1:9476/metrics\n")
	for _, line := range lines {
		if strings.HasPrefix(line, "multibond_bond_failovers_total") || strings.HasPrefix(line, "multibond_bond_links") {
			fmt.Fprintf(d.out, "     %s\n", line)
		}
	}
	return err
}

// allLinks waits until all links of both pods work.
func (d *clusterDemo) allLinks(ctx context.Context) error {
	for _, pod := range []string{"bonded", "peer"} {
		err := d.await(ctx, "not all links of "+pod+" work", func() (bool, error) {
			lines, err := d.bonds(ctx, pod)
			return strings.Contains(strings.Join(lines, "\n"), "multibond_bond_links_up{bond=\"bond0\",namespace=\"default\",pod=\""+pod+"\"} 2"), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
