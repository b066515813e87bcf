package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// LabPeer compares the contenders for a pod with VFs VFs.
type LabPeer struct {
	Bond  bool             `json:"bond"` // of all VFs; otherwise each VF is a network of its own
	VFs   int              `json:"vfs"`
	ADD   map[string]Stats `json:"add"`
	DEL   map[string]Stats `json:"del"`
	Again map[string]Stats `json:"delAgain"`

	Ratios   Ratios          `json:"ratios"`
	Cost     map[string]Cost `json:"cost"`
	Timeline []Bar           `json:"timeline,omitempty"` // of one ADD of a bond
}

// Cost is what one ADD and one DEL take of the machine, without their time.
type Cost struct {
	ADD  int `json:"addPrograms"` // executed, with the plugin and all delegates
	DEL  int `json:"delPrograms"`
	Peak int `json:"peakKiB"` // maximum of the private memory of all processes together
}

// String is a part of the table.
func (p LabPeer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lab, %d VFs", p.VFs)
	if p.Bond {
		b.WriteString(" in a bond")
	}
	line := func(what string, by map[string]Stats) {
		fmt.Fprintf(&b, "\n  %-9s %5.0f ms, %s", what, by["multibond"].Median, p.Ratios.of(what))
	}
	line("ADD", p.ADD)
	line("DEL", p.DEL)
	line("DEL again", p.Again)
	for _, name := range slices.Sorted(maps.Keys(p.Cost)) {
		fmt.Fprintf(&b, "\n  %-12s executes %2d programs in ADD, %2d in DEL; at most %d KiB", name, p.Cost[name].ADD, p.Cost[name].DEL, p.Cost[name].Peak)
	}
	return b.String()
}

// uplink connects the guest to the API server, puts Multus's credentials where a
// container has them, and lets the kernel trace.
const uplink = `
echo "root:x:0:0:root:/root:/bin/sh" >/etc/passwd
for dev in /sys/class/net/*; do
	case $(readlink $dev/device/driver) in */virtio_net) uplink=${dev##*/} ;; esac
done
ip link set $uplink up
ip addr add 10.0.2.15/24 dev $uplink
ip route add default via 10.0.2.2
mkdir -p /etc/cni/net.d /var/lib/cni ` + serviceAccount + `
cp ` + guestDir + `/token ` + guestDir + `/ca.crt ` + serviceAccount + `
mount -t tracefs tracefs ` + tracing

// inGuest is the part of inLab that runs in the guest. It prints its report.
func inGuest(ctx context.Context) error {
	text, err := os.ReadFile(guestTask)
	if err != nil {
		return err
	}
	var task labTask
	if err := json.Unmarshal(text, &task); err != nil {
		return err
	}
	if _, err := shell(ctx, uplink); err != nil {
		return err
	}
	network, _ := json.Marshal(map[string]any{"cniVersion": "0.3.1", "name": "cbr0", "plugins": []any{bridgeNetwork}})
	if err := os.WriteFile(filepath.Join(confDir, "10-cbr0.conflist"), network, 0o644); err != nil {
		return err
	}
	m := &machine{kubeconfig: guestDir + "/kubeconfig", other: task.Other}
	defer m.close()
	if err := m.startDaemons([]string{"KUBERNETES_SERVICE_HOST=" + task.Host, "KUBERNETES_SERVICE_PORT=" + task.Port}); err != nil {
		return errors.Join(err, m.logs())
	}
	var peers []LabPeer
	for _, p := range task.Pods {
		one, err := task.measure(ctx, p, m.contenders(bridgeNetwork))
		if err != nil {
			return errors.Join(err, m.logs())
		}
		peers = append(peers, one)
	}
	text, _ = json.Marshal(peers)
	_, err = os.Stdout.Write(text)
	return err
}

// measure has the contenders attach and detach one pod.
func (task labTask) measure(ctx context.Context, p labPod, all []contender) (one LabPeer, err error) {
	if p.Bond && !task.BondCNI {
		all = slices.DeleteFunc(all, contender.ofMultus)
	}
	next := func(c contender) (sandbox, error) {
		if p.Bond && c.ofMultus() {
			return task.sandbox(ctx, p.bondCNI())
		}
		return task.sandbox(ctx, p.Name)
	}
	t, err := rounds(task.Rounds, func(t times, round int) error { return t.round(ctx, all, p.floor, round, next) })
	if err != nil {
		return one, err
	}
	one = LabPeer{Bond: p.Bond, VFs: p.VFs, ADD: t.stats("ADD"), DEL: t.stats("DEL"), Again: t.stats("DEL again"), Ratios: t.ratios(), Cost: map[string]Cost{}}
	for _, c := range all {
		if one.Cost[c.name], err = p.cost(ctx, c, next); err != nil {
			return one, err
		}
	}
	fmt.Fprintln(os.Stderr, one)
	if p.Bond {
		one.Timeline, err = multibond(agentDir).timeline(ctx, next)
		printTimeline(os.Stderr, one.Timeline)
	}
	return one, err
}

// sandbox returns the sandbox of a pod with a new namespace, as a runtime does. In
// a namespace that is used again, sriov-cni 2.1.0 takes another interface for its
// VF.
func (task labTask) sandbox(ctx context.Context, pod string) (sandbox, error) {
	_, err := shell(ctx, "ip netns del bench 2>/dev/null || true; ip netns add bench")
	return sandbox{"bench-" + pod, "/run/netns/bench", pod, task.UIDs[pod]}, err
}

// cost attaches and detaches a pod while it watches processes. It also checks that
// the pod has what it asked for.
func (p labPod) cost(ctx context.Context, c contender, next func(contender) (sandbox, error)) (cost Cost, err error) {
	s, err := next(c)
	if err != nil {
		return cost, err
	}
	call := func(command string) (n int, err error) {
		return executed(func() error {
			_, err := c.call(ctx, command, s)
			return err
		})
	}
	peak := peakMemory(append([]string{"bridge", "host-local", "sriov", "bond"}, c.processes...)...)
	cost.ADD, err = call("ADD")
	cost.Peak = peak()
	if err != nil {
		return cost, err
	}
	if err := p.check(ctx); err != nil {
		return cost, fmt.Errorf("%s: %w", c.name, err)
	}
	cost.DEL, err = call("DEL")
	return cost, err
}

// check fails unless the pod has all VFs, and in a bond with an address if they
// are a bond's.
func (p labPod) check(ctx context.Context) error {
	script := "for i in $(seq 1 $VFS); do ip -n bench link show net$i; done"
	if p.Bond {
		script = `test $(ip -n bench -o link show master bond0 | wc -l) = $VFS; ip -n bench -4 addr show dev bond0 | grep -q "inet 10.56.217."`
	}
	out, err := shell(ctx, fmt.Sprintf("VFS=%d; %s", p.VFs, script))
	if err != nil {
		links, _ := shell(ctx, "ip -n bench addr")
		err = fmt.Errorf("the pod does not have what it asked for: %w: %s\n%s", err, out, links)
	}
	return err
}

const tracing = "/sys/kernel/tracing"

// executed counts the programs that are executed while a function runs, in all
// processes (events/sched of the kernel's trace).
func executed(do func() error) (int, error) {
	const event = "sched_process_exec"
	trace := filepath.Join(tracing, "trace")
	if err := errors.Join(os.WriteFile(filepath.Join(tracing, "events/sched", event, "enable"), []byte("1"), 0), os.WriteFile(trace, nil, 0)); err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(trace)
	return bytes.Count(text, []byte(event+": ")), err
}

// shell runs a script and returns its output.
func shell(ctx context.Context, script string) (string, error) {
	out, err := command(ctx, "sh", "-euc", script).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return strings.TrimSpace(string(out)), err
}
