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
	heading(d.out, "The cable of PF 1 is pulled, which its VFs do not notice, but keep does; bonded pings peer every 10 ms")
	if _, err := d.Kubectl(ctx, "", "-n", "multibond-system", "rollout", "status", "daemonset/multibond-keep", "--timeout=3m"); err != nil {
		return err
	}
	if err := d.allLinks(ctx); err != nil {
		return err
	}
	pull := func() (string, error) {
		at, err := d.On(ctx, "cut", "-d ", "-f1", "/proc/uptime")
		return at, errors.Join(err, d.VM.Cable(0, false))
	}
	t, err := d.pingWhile(ctx, pingTime{before: 4 * time.Second, all: 10 * time.Second}, pull)
	if err != nil {
		logs, _ := d.Kubectl(ctx, "", "-n", "multibond-system", "logs", "daemonset/multibond-keep")
		return fmt.Errorf("%w\n%s", err, logs)
	}
	d.report.SilentFailoverMS, d.report.SilentPacketsSent, d.report.SilentPacketsLost = t.gap(), t.Sent, t.Lost
	say(d.out, "traffic is back: %d of %d probes lost, %.0f ms without an answer", t.Lost, t.Sent, t.gap())
	for _, part := range []func(context.Context) error{
		d.kubectl("-n", "multibond-system", "logs", "daemonset/multibond-keep", "--tail=2"),
		d.metrics,
		d.mendCable,
		d.kubectl("get", "events", "--field-selector", "involvedObject.name=bonded,source=multibond-agent"),
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *clusterDemo) mendCable(ctx context.Context) error {
	if err := d.VM.Cable(0, true); err != nil {
		return err
	}
	if err := d.allLinks(ctx); err != nil {
		return err
	}
	heading(d.out, "The cable is in again, and both links of both bonds work")
	return nil
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
	ctx, cancel := context.WithTimeout(ctx, linksTime)
	defer cancel()
	for _, pod := range []string{"bonded", "peer"} {
		for {
			lines, err := d.bonds(ctx, pod)
			if err != nil {
				return err
			}
			if strings.Contains(strings.Join(lines, "\n"), "multibond_bond_links_up{bond=\"bond0\",namespace=\"default\",pod=\""+pod+"\"} 2") {
				break
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("not all links of %s work: %w\n%s", pod, ctx.Err(), strings.Join(lines, "\n"))
			}
		}
	}
	return nil
}
