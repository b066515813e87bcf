package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
)

// floor returns a function that executes the delegates of a pod with n networks
// one after the other.
func floor(n int) floorOf {
	return func(ctx context.Context, command string, s sandbox) (total time.Duration, err error) {
		for i := range n + 1 {
			took, _, err := execute(ctx, "noop", command, fmt.Sprint("net", i), noop, s)
			if err != nil {
				return total, err
			}
			total += took
		}
		return total, nil
	}
}

// floor executes the delegates of a pod in the lab one after the other, and
// creates the bond over one netlink connection.
func (p labPod) floor(ctx context.Context, command string, s sandbox) (total time.Duration, err error) {
	call := func(plugin, ifName string, config map[string]any) func() error {
		return func() error {
			took, _, err := execute(ctx, plugin, command, ifName, config, s)
			total += took
			return err
		}
	}
	steps := []func() error{call("bridge", "eth0", bridgeNetwork)}
	for i := range p.VFs {
		steps = append(steps, call("sriov", p.link(i), sriovNetwork(i)))
	}
	switch {
	case command == "DEL":
		slices.Reverse(steps)
		if p.Bond {
			steps = append([]func() error{func() error { return p.removeBond(s, &total) }, call("host-local", "bond0", p.ipamCall())}, steps...)
		}
	case p.Bond:
		steps = append(steps, func() error { return p.makeBond(ctx, s, &total) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return total, err
		}
	}
	return total, nil
}

func (p labPod) link(i int) string { return fmt.Sprint("net", i+1) }

func (p labPod) ipamCall() map[string]any {
	return map[string]any{"cniVersion": "0.3.1", "name": p.Name, "ipam": bondIPAM}
}

// makeBond asks IPAM for an address, then creates the bond and configures it.
func (p labPod) makeBond(ctx context.Context, s sandbox, total *time.Duration) error {
	took, out, err := execute(ctx, "host-local", "ADD", "bond0", p.ipamCall(), s)
	*total += took
	if err != nil {
		return err
	}
	var result current.Result
	if err := json.Unmarshal(out, &result); err != nil || len(result.IPs) != 1 {
		return fmt.Errorf("host-local printed %s: %w", out, err)
	}
	address, err := netip.ParsePrefix(result.IPs[0].Address.String())
	if err != nil {
		return err
	}
	began := time.Now()
	defer func() { *total += time.Since(began) }()
	pod, err := bond.System{}.Open(s.netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	made, err := pod.CreateBond("bond0", bond.Options{bond.Mode: "active-backup", "miimon": "100", "failOverMac": "active"})
	if err != nil {
		return err
	}
	down, up := false, true
	for i := range p.VFs {
		link, err := pod.Link(p.link(i))
		if err != nil {
			return err
		}
		if err := pod.Change(link.Index, bond.Change{Up: &down, Master: &made.Index}); err != nil {
			return err
		}
	}
	if err := pod.Change(made.Index, bond.Change{Up: &up}); err != nil {
		return err
	}
	return pod.Configure(made.Index, bond.Addresses{IPs: []netip.Prefix{address}})
}

func (p labPod) removeBond(s sandbox, total *time.Duration) error {
	began := time.Now()
	defer func() { *total += time.Since(began) }()
	pod, err := bond.System{}.Open(s.netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	made, err := pod.Link("bond0")
	if err != nil {
		return err
	}
	return pod.Delete(made.Index)
}
