package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/multibond/multibond/tests/lab"
)

// hostNS is the name that the guest's own namespace has in the report.
const hostNS = "host"

// probePath is the probe in the guest, copied there from the share's bin/.
const probePath = "/opt/cni/bin/demo-probe"

// guest runs commands in the VM; every error says what was run and what it printed.
type guest struct{ vm *lab.VM }

// run runs a command that must end with status 0, and returns its output.
func (g guest) run(ctx context.Context, args ...string) ([]byte, error) {
	return g.do(ctx, lab.Cmd{Args: args, Timeout: time.Minute})
}

func (g guest) do(ctx context.Context, c lab.Cmd) ([]byte, error) {
	out, err := g.vm.Run(ctx, c)
	if err == nil && out.Exit != 0 {
		err = fmt.Errorf("%s: exit status %d", c, out.Exit)
	}
	if err != nil {
		return out.Stdout, fmt.Errorf("%w\n%s%s", err, out.Stdout, out.Stderr)
	}
	return out.Stdout, nil
}

// in is a command line for a network namespace.
func in(netns string, args ...string) []string {
	if netns == hostNS {
		return args
	}
	return append([]string{"ip", "netns", "exec", netns}, args...)
}

// buildProbe compiles the probe for the guest, which has no C library to speak of.
func buildProbe(ctx context.Context, dir string) (string, error) {
	file := filepath.Join(dir, "probe")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./tests/demo/probe")
	cmd.Dir = lab.Root()
	cmd.Env = lab.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return file, nil
}

// vfsOfPF is how many VFs each PF has.
const vfsOfPF = 3

// guestTime is generous: all modes and faults, without keep and with it, take 15 minutes and more.
const guestTime = 90 * time.Minute

// boot starts the VM with three PFs: two for the bonds, and one that is the
// router which the pods ask for with ARP.
func boot(ctx context.Context, kernel, plugin, probe string, log io.Writer) (guest, error) {
	vm, err := lab.Boot(ctx, lab.Options{
		Kernel: kernel, PFs: 3, VFs: vfsOfPF, Log: log, Timeout: guestTime,
		Files: map[string]string{"bin/multibond": plugin, "bin/" + filepath.Base(probePath): probe},
	})
	return guest{vm}, err
}

// makeRouter gives PF 3 the address that the pods' ARP asks for. It is beyond the
// switch for the VFs of PF 1 and PF 2, as a router is. By default Linux answers
// ARP for any of its addresses on any interface, so PF 2 would answer its own VFs
// for PF 3, inside the NIC, and no cable would be asked; arp_ignore=1 ends that.
func (g guest) makeRouter(ctx context.Context) error {
	_, err := g.run(ctx, "sh", "-c", `set -e
		echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
		ip address add `+routerAddress+`/24 dev `+routerPF)
	return err
}

// snapshot looks at every VF, wherever it is.
func (g guest) snapshot(ctx context.Context) ([]VF, error) {
	out, err := g.run(ctx, "sh", "-c", `
		for vf in /sys/class/net/*/device/virtfn*; do
			pf=${vf#/sys/class/net/}
			echo "${pf%%/*} ${vf##*virtfn} $(basename "$(readlink "$vf")")"
		done`)
	if err != nil {
		return nil, err
	}
	devices, err := parseDevices(out)
	if err != nil {
		return nil, err
	}
	namespaces := map[string][]ipLink{}
	for _, ns := range []string{hostNS, pod1, pod2} {
		if namespaces[ns], err = g.links(ctx, ns); err != nil {
			return nil, err
		}
	}
	return snapshot(devices, namespaces), nil
}

// links lists a namespace's interfaces; more are arguments of ip link show.
func (g guest) links(ctx context.Context, netns string, more ...string) ([]ipLink, error) {
	out, err := g.run(ctx, in(netns, append([]string{"ip", "-json", "-details", "link", "show"}, more...)...)...)
	if err != nil {
		return nil, err
	}
	return parseLinks(out)
}
