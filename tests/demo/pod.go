package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/multibond/multibond/tests/lab"
)

// The two "pods": namespaces, as a runtime makes them.
const (
	pod1 = "pod1"
	pod2 = "pod2"
)

const (
	bondName = "bond0" // CNI_IFNAME
	link1    = "bond0-1"
	link2    = "bond0-2"

	routerPF      = "enp3s0"
	routerAddress = "10.56.217.1" // host-local's gateway: no pod gets it
	subnet        = "10.56.217.0/24"
)

// linksTime is how long links may take to be found up. A VF has its carrier one
// to three seconds after it is set up, in a VM that has its processors to itself.
const linksTime = 2 * time.Minute

// config is the network configuration that the plugin reads.
type config map[string]any

// newConfig has no monitoring yet. The primary link is named because the first
// VF with a carrier becomes the active one otherwise, and that is either.
func newConfig(primary string, devices ...string) config {
	var links []any
	for _, d := range devices {
		links = append(links, map[string]any{"deviceID": d})
	}
	return config{
		"cniVersion": "1.1.0", "name": "bond-net1", "type": "multibond", "mode": "active-backup", "primary": primary, "links": links,
		"ipam": map[string]any{"type": "host-local", "subnet": subnet},
	}
}

// watchCarrier has the bond look at its links' carriers.
func watchCarrier(c config) config {
	c["miimon"] = 100
	return c
}

// watchPath has the bond ask the router over its links, in place of looking at
// carriers (the kernel takes only one of the two).
//
// With arpValidate "none", the default, any frame is a sign of life. Where a NIC
// goes on switching between its VFs without a cable, a link over a dead path would
// then be believed as soon as another pod of its PF said something. "all" counts
// the router's answers on the active link, and on the other the active link's own
// requests, which the switch brought round. The lab's NIC stops switching with
// the cable (seen: two VFs of one PF no longer reach each other), so any value
// works there; this is the one to use on hardware.
//
// The router is the target, and not the other pod: if each asked the other, both
// would find the other silent at the same time, and neither could tell whose
// link is dead.
func watchPath(c config) config {
	c["arpInterval"], c["arpIpTarget"], c["arpValidate"] = 100, routerAddress, "all"
	return c
}

// attachment is one bond of a pod.
type attachment struct {
	guest  guest
	pod    string
	config config
	result json.RawMessage
}

// add attaches and returns the milliseconds it took.
func (a *attachment) add(ctx context.Context) (float64, error) {
	result, took, err := a.call(ctx, "ADD", a.config)
	a.result = result
	return took, err
}

// del detaches, with the result in the configuration as libcni has it there.
func (a *attachment) del(ctx context.Context) (float64, error) {
	c := maps.Clone(a.config)
	c["prevResult"] = a.result
	_, took, err := a.call(ctx, "DEL", c)
	return took, err
}

// call runs the plugin as a runtime does (CNI specification, section 2).
func (a *attachment) call(ctx context.Context, command string, c config) ([]byte, float64, error) {
	stdin, err := json.Marshal(c)
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	out, err := a.guest.do(ctx, lab.Cmd{
		Args: []string{"/opt/cni/bin/multibond"},
		Env: []string{
			"CNI_COMMAND=" + command, "CNI_CONTAINERID=demo-" + a.pod, "CNI_NETNS=/run/netns/" + a.pod,
			"CNI_IFNAME=" + bondName, "CNI_PATH=/opt/cni/bin",
		},
		Stdin: stdin, Timeout: 2 * time.Minute,
	})
	took := milliseconds(time.Since(began).Nanoseconds())
	if err != nil {
		return nil, took, fmt.Errorf("%s of %s with %s: %w", command, a.pod, stdin, err)
	}
	return out, took, nil
}

// address is the bond's, without the length of its prefix.
func (a *attachment) address() (string, error) {
	var result struct{ IPs []struct{ Address string } }
	if err := json.Unmarshal(a.result, &result); err != nil {
		return "", fmt.Errorf("result of %s: %w: %s", a.pod, err, a.result)
	}
	if len(result.IPs) == 0 {
		return "", fmt.Errorf("result of %s has no address: %s", a.pod, a.result)
	}
	address, _, _ := strings.Cut(result.IPs[0].Address, "/")
	return address, nil
}

// primary is the link that is to be the active one; "" of a mode that has none.
func (a *attachment) primary() string {
	name, _ := a.config["primary"].(string)
	return name
}

// settled waits until both links are up and the primary one is the active one.
func (a *attachment) settled(ctx context.Context) error {
	script := `cd /sys/class/net
		until [ -z "$1" -o "$(cat "$0/bonding/active_slave")" = "$1" ] && [ "$(cat "$2/bonding_slave/mii_status" "$3/bonding_slave/mii_status" | sort -u)" = up ]
		do sleep 0.2; done`
	_, err := a.guest.do(ctx, lab.Cmd{
		Args:    in(a.pod, "sh", "-c", script, bondName, a.primary(), link1, link2),
		Timeout: linksTime,
	})
	if err != nil {
		state, _ := a.guest.run(ctx, in(a.pod, "cat", "/proc/net/bonding/"+bondName)...)
		return fmt.Errorf("not all links of %s are up, or %s is not the active one: %w\n%s", a.pod, a.primary(), err, state)
	}
	return nil
}

// mode is the bond's, as the kernel has it.
func (a *attachment) mode(ctx context.Context) (string, error) {
	out, err := a.guest.run(ctx, in(a.pod, "cat", "/sys/class/net/"+bondName+"/bonding/mode")...)
	name, _, _ := strings.Cut(string(out), " ") // its number follows
	return name, err
}

// links are the bond's as the kernel has them in the pod, not as they were asked for.
func (a *attachment) links(ctx context.Context, vfs []VF) ([]Link, error) {
	links, err := a.guest.links(ctx, a.pod, "master", bondName)
	if err != nil {
		return nil, err
	}
	var out []Link
	for _, l := range links {
		link := Link{Pod: a.pod, Name: l.IfName, PCI: l.ParentDev}
		for _, v := range vfs {
			if v.PCI == l.ParentDev {
				link.PF = v.PF
			}
		}
		out = append(out, link)
	}
	return out, nil
}
