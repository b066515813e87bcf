package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/multibond/multibond/tests/cluster"
	"github.com/multibond/multibond/tests/demo/event"
	"github.com/multibond/multibond/tests/lab"
)

// clusterDemo is the main job whole: Multibond installed on a real cluster by its
// manifest, pods with one annotation, a failover, and everything as before.
type clusterDemo struct {
	*cluster.Cluster
	out      io.Writer
	report   clusterReport
	terminal Terminal
}

// clusterReport is build/report/demo.json.
type clusterReport struct {
	Error       string  `json:"error,omitempty"`
	WallS       float64 `json:"wall_s"`
	PodReadyS   float64 `json:"pod_ready_s"`  // both pods, from kubectl apply to Ready
	PodGoneS    float64 `json:"pod_gone_s"`   // both pods, from kubectl delete to gone
	FailoverMS  float64 `json:"failover_ms"`  // without an answer, after PF 1 went down
	PacketsSent int     `json:"packets_sent"` // one each 10 ms
	PacketsLost int     `json:"packets_lost"` // without an answer
	VFsRestored bool    `json:"vfs_restored"` // the node is as it was

	SilentFailoverMS  float64 `json:"silent_failover_ms"` // the same for PF 1's cable, which its VFs do not notice: keep ends it
	SilentPacketsSent int     `json:"silent_packets_sent"`
	SilentPacketsLost int     `json:"silent_packets_lost"`
}

// runCluster goes through the demo, and writes its report in any case.
func runCluster(ctx context.Context, kernel, file string, out io.Writer) error {
	began := time.Now()
	d := &clusterDemo{out: out}
	err := d.run(ctx, kernel)
	d.report.WallS = time.Since(began).Seconds()
	if err != nil {
		d.report.Error = err.Error()
	}
	text, failed := json.MarshalIndent(d.report, "", "  ")
	dir := filepath.Dir(file)
	failed = errors.Join(failed, os.MkdirAll(dir, 0o755), os.WriteFile(file, append(text, '\n'), 0o644), d.terminal.write(dir))
	if err = errors.Join(err, failed); err == nil {
		heading(out, "Done in %.0f s: %s, and what was shown: %s", d.report.WallS, file, filepath.Join(dir, "demo.svg"))
	}
	return err
}

func (d *clusterDemo) run(ctx context.Context, kernel string) error {
	heading(d.out, "A cluster: API server, scheduler, kubelet, containerd, SR-IOV device plugin; two PFs with seven VFs each")
	var err error
	if d.Cluster, err = cluster.Start(ctx, cluster.Options{Kernel: kernel, Log: d.out}); err != nil {
		return err
	}
	defer d.Close()
	before, err := d.State(ctx)
	if err != nil {
		return err
	}
	heading(d.out, "$ kubectl apply -k deploy")
	if err := d.Deploy(ctx); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{
		d.deployKeep, d.kubectl("-n", "multibond-system", "get", "pods"), d.start, d.show, d.silentCable, d.failover, d.remove,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return d.compare(ctx, before)
}

// kubectl shows a command and what it prints.
func (d *clusterDemo) kubectl(args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		out, err := d.Kubectl(ctx, "", args...)
		printCommand(d.out, "kubectl "+strings.Join(args, " "), out)
		return err
	}
}

// recorded is as kubectl, and part of the picture.
func (d *clusterDemo) recorded(args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		out, err := d.Kubectl(ctx, "", args...)
		d.terminal.command(d.out, "kubectl "+strings.Join(args, " "), out)
		return err
	}
}

// tool is kubectl multibond, with the cluster's administrator.
func (d *clusterDemo) tool(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(lab.Root(), "build", "kubectl-multibond"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.Kubeconfig)
	return cmd
}

// multibond runs kubectl multibond, and records it. It ends with 1 while something is wrong,
// which is no error here.
func (d *clusterDemo) multibond(args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		cmd := d.tool(ctx, args...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 1 {
			err = nil
		}
		d.terminal.command(d.out, "kubectl multibond "+strings.Join(args, " "), string(out))
		return err
	}
}

// annotation shows the one that makes the bond.
func (d *clusterDemo) annotation(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "grep", "networks:", bondExample)
	cmd.Dir = lab.Root()
	out, err := cmd.Output()
	d.terminal.command(d.out, strings.Join(cmd.Args, " "), string(out))
	return err
}

const bondExample = "deploy/examples/bond.yaml"

// start applies the example, and the same pod once more under another name.
func (d *clusterDemo) start(ctx context.Context) error {
	heading(d.out, "One network, one annotation, two pods: deploy/examples/bond.yaml")
	example, err := os.ReadFile(filepath.Join(lab.Root(), bondExample))
	if err != nil {
		return err
	}
	if err := d.annotation(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := d.recorded("apply", "-f", bondExample)(ctx); err != nil {
		return err
	}
	if _, err := d.Kubectl(ctx, strings.ReplaceAll(string(example), "name: bonded", "name: peer"), "apply", "-f", "-"); err != nil {
		return err
	}
	_, err = d.Kubectl(ctx, "", "wait", "--for=condition=Ready", "pod/bonded", "pod/peer", "--timeout=3m")
	d.report.PodReadyS = time.Since(began).Seconds()
	say(d.out, "both are Ready after %.1f s", d.report.PodReadyS)
	return err
}

func (d *clusterDemo) show(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		d.kubectl("get", "events", "--field-selector", "involvedObject.name=bonded,reason=NetworksAttached"),
		d.kubectl("get", "pod", "bonded", "-o", `jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}`),
		d.kubectl("exec", "bonded", "--", "ip", "addr", "show", "bond0"),
		d.kubectl("exec", "bonded", "--", "cat", "/proc/net/bonding/bond0"),
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// failover takes PF 1 down while one pod pings the other every 10 ms.
func (d *clusterDemo) failover(ctx context.Context) error {
	heading(d.out, "PF 1 goes down; bonded pings peer every 10 ms")
	t, err := d.pingWhile(ctx, pingTime{before: 5 * time.Second, all: 13 * time.Second}, func() (string, error) {
		return d.On(ctx, "sh", "-c", "read up rest </proc/uptime; ip link set enp1s0 down; echo $up")
	})
	if err != nil {
		return err
	}
	d.report.FailoverMS, d.report.PacketsSent, d.report.PacketsLost = t.gap(), t.Sent, t.Lost
	say(d.out, "traffic is back: %d of %d probes lost, %.0f ms without an answer", t.Lost, t.Sent, t.gap())
	if err := d.kubectl("exec", "bonded", "--", "cat", "/sys/class/net/bond0/bonding/active_slave")(ctx); err != nil {
		return err
	}
	_, err = d.On(ctx, "ip", "link", "set", "enp1s0", "up")
	return err
}

// pingTime is how long a pod pings: before a fault, and in all.
type pingTime struct{ before, all time.Duration }

// pingWhile has bonded ping peer every 10 ms while something is broken, and measures. The
// fault returns the seconds since the node's start at which it began.
func (d *clusterDemo) pingWhile(ctx context.Context, how pingTime, fault func() (string, error)) (t traffic, err error) {
	address, err := d.Kubectl(ctx, "", "exec", "peer", "--", "sh", "-c", "ip -4 addr show bond0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'")
	if err != nil {
		return t, err
	}
	pinged := make(chan error, 1)
	var lines string
	go func() {
		var err error
		lines, err = d.Kubectl(ctx, "", "exec", "bonded", "--", "timeout", "-s", "TERM", fmt.Sprint(how.all.Seconds()), "/bin/probe", "-ping", strings.TrimSpace(address))
		pinged <- err
	}()
	time.Sleep(how.before)
	began, err := fault()
	if err != nil {
		return t, err
	}
	if err := <-pinged; err != nil && lines == "" {
		return t, err
	}
	var at float64
	if _, err := fmt.Sscan(began, &at); err != nil {
		return t, err
	}
	events := probeEvents(lines)
	t, ok := measure(events, int64(at*1e9))
	if !ok || answersAfter(events, t.Back) < 20 {
		return t, fmt.Errorf("there was no traffic, or it did not come back: %d of %d probes lost", t.Lost, t.Sent)
	}
	return t, nil
}

func probeEvents(lines string) (events []event.Event) {
	for line := range strings.Lines(lines) {
		var e event.Event
		if json.Unmarshal(bytes.TrimSpace([]byte(line)), &e) == nil {
			events = append(events, e)
		}
	}
	return events
}

func (d *clusterDemo) remove(ctx context.Context) error {
	heading(d.out, "The pods are deleted")
	began := time.Now()
	_, err := d.Kubectl(ctx, "", "delete", "pod", "bonded", "peer", "--timeout=3m")
	d.report.PodGoneS = time.Since(began).Seconds()
	say(d.out, "both are gone after %.1f s", d.report.PodGoneS)
	return err
}

// compare waits until the node is as before; the kubelet may still be at it.
func (d *clusterDemo) compare(ctx context.Context, before []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		now, err := d.State(ctx)
		if err != nil {
			return err
		}
		diff := cmp.Diff(before, now)
		if diff == "" {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("the node is not as before (-before +after):\n%s", diff)
		}
	}
	d.report.VFsRestored = true
	heading(d.out, "Every VF of the node, as before the first pod")
	for _, line := range before {
		say(d.out, "%s", line)
	}
	return nil
}
