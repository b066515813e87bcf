package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/strictjson"
)

// plugins are CNI plugins over the fake kernel. They keep state like the real ones, with
// their defects, which were observed in the lab.
type plugins struct {
	kernel  *bondfake.Kernel
	edges   *edges
	calls   []invoke.Call
	seen    func(invoke.Call) // hears of each call
	missing map[string]bool   // programs that are not installed
	refuse  map[string]string
	hang    map[string]bool   // calls that do not end by themselves
	write   map[string]string // files that a plugin writes about its device
	answer  map[string]string // what a plugin that changes nothing prints
	orphans map[string]func() // what outlives a killed call, by container, and the rest of its work

	vfs     map[string]sriovCache // by container and interface
	pool    map[string]string     // addresses by container and interface
	given   int
	release string // of sriov-cni: "old" fails a DEL that it knows nothing of
	notes   string // the directory in which sriov-cni keeps notes, as its newest releases; "": it keeps none
}

// sriovCache is what sriov-cni remembers of an attachment.
type sriovCache struct {
	device, name, mac string
	netns             string
	pf                string
	vf                int
	admin             bond.VF
}

func newPlugins(k *bondfake.Kernel, e *edges) *plugins {
	return &plugins{
		kernel: k, edges: e, vfs: map[string]sriovCache{}, pool: map[string]string{},
		missing: map[string]bool{}, refuse: map[string]string{}, hang: map[string]bool{}, orphans: map[string]func(){}, seen: func(invoke.Call) {},
	}
}

func (p *plugins) Find(plugin string, path []string) (string, error) {
	if p.missing[plugin] {
		return "", fmt.Errorf("CNI plugin %s is not in %v: %w", plugin, path, fs.ErrNotExist)
	}
	return path[0] + "/" + plugin, nil
}

// Start executes a plugin at once, so that what runs beside it always comes after it.
func (p *plugins) Start(ctx context.Context, c invoke.Call) func() (json.RawMessage, error) {
	out, err := p.run(ctx, c)
	return func() (json.RawMessage, error) { return out, err }
}

func (p *plugins) EndOrphans(_ context.Context, containerID string) error {
	delete(p.orphans, containerID)
	return nil
}

// passOrOutlive passes the edge before a plugin's work. If the call is killed there, IPAM
// outlives it.
func (p *plugins) passOrOutlive(c invoke.Call, what string) error {
	if c.Type != "host-local" || c.Command != "ADD" {
		return p.edges.pass(what)
	}
	p.orphans[c.ContainerID] = func() { p.hostLocalAdd(c, pluginConfig{}) }
	err := p.edges.pass(what)
	delete(p.orphans, c.ContainerID)
	return err
}

// finishOrphans has what outlived a killed call, and was not ended, do the rest of its
// work.
func (p *plugins) finishOrphans() {
	for _, finish := range p.orphans {
		finish()
	}
	clear(p.orphans)
}

// run executes a plugin in this process. With refuse["sriov DEL bond0-1"] = "no" that
// plugin answers with the error "no" and does nothing.
func (p *plugins) run(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
	if _, err := p.Find(c.Type, c.Path); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %w", c.Type, c.Command, invoke.ErrNotExecuted, err)
	}
	p.calls = append(p.calls, c)
	p.seen(c)
	what := c.Type + " " + c.Command + " " + c.IfName
	if err := p.passOrOutlive(c, what); err != nil {
		return nil, said(c, err)
	}
	if p.hang[what] {
		return nil, hang(ctx, c)
	}
	if why := p.refuse[what]; why != "" {
		return nil, said(c, fmt.Errorf("%s", why))
	}
	if file := p.write[what]; file != "" {
		if err := os.WriteFile(file, []byte(`{"type":"written"}`), 0o600); err != nil {
			return nil, said(c, err)
		}
	}
	var config pluginConfig
	if err := json.Unmarshal(c.Config, &config); err != nil {
		return nil, said(c, err)
	}
	do, known := map[string]func(invoke.Call, pluginConfig) (any, error){
		"sriov ADD": p.sriovAdd, "sriov DEL": p.sriovDel,
		"host-device ADD": p.hostDeviceAdd, "host-device DEL": p.hostDeviceDel,
		"bridge ADD": p.bridgeAdd, "bridge DEL": p.bridgeDel,
		"macvlan ADD": p.macvlanAdd, "macvlan DEL": p.macvlanDel,
		"vlan ADD": p.vlanAdd, "vlan DEL": p.vlanDel,
		"bandwidth ADD": p.bandwidthAdd, "bandwidth DEL": p.bandwidthDel,
		"host-local ADD": p.hostLocalAdd, "host-local DEL": p.hostLocalDel,
	}[strings.Replace(c.Type, "ipvlan", "macvlan", 1)+" "+c.Command]
	if !known { // CHECK, and plugins that change nothing
		if out := p.answer[what]; out != "" {
			return json.RawMessage(out), p.edges.pass(what + ", done")
		}
		return config.PrevResult, p.edges.pass(what + ", done")
	}
	result, err := do(c, config)
	if err == nil {
		err = p.edges.pass(what + ", done")
	}
	if err != nil {
		return nil, said(c, err)
	}
	if result == nil {
		return nil, nil
	}
	return strictjson.Encode(result), nil
}

// hang returns when a plugin that does not end is killed, as invoke.Exec does.
func hang(ctx context.Context, c invoke.Call) error {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	<-ctx.Done()
	return fmt.Errorf("%s %s did not finish and was killed: %w", c.Type, c.Command, ctx.Err())
}

// said returns an error of a plugin as invoke.Exec does.
func said(c invoke.Call, err error) error {
	return fmt.Errorf("%s %s: %w", c.Type, c.Command, &types.Error{Code: 999, Msg: err.Error()})
}

// count returns how often a plugin was executed.
func (p *plugins) count(plugin, command string) int {
	return len(slices.DeleteFunc(slices.Clone(p.calls), func(c invoke.Call) bool { return c.Type != plugin || c.Command != command }))
}

type pluginConfig struct {
	CNIVersion string
	DeviceID   string
	PCIBusID   string
	VLAN       *int
	Master     string
	PrevResult json.RawMessage
}

type values = map[string]any

func keyOf(c invoke.Call) string { return c.ContainerID + "/" + c.IfName }

func (p *plugins) sriovAdd(c invoke.Call, config pluginConfig) (any, error) {
	if _, there := p.vfs[keyOf(c)]; there && p.notes == "" {
		return nil, fmt.Errorf("%s is already allocated", config.DeviceID)
	}
	host, pod, err := p.open(c.Netns)
	if err != nil {
		return nil, err
	}
	if p.isNoted(config.DeviceID) {
		return nil, fmt.Errorf("pci address %s is already allocated", config.DeviceID)
	}
	d, err := bond.SurveyDevice(p.kernel.Sys(), host, config.DeviceID, "")
	if err != nil {
		return nil, err
	}
	if d.Link == nil && !d.Userspace() {
		return nil, fmt.Errorf("VF %s has no interface", config.DeviceID)
	}
	cache := sriovCache{device: config.DeviceID, netns: c.Netns, pf: d.PFNetdev, vf: d.Number, admin: *d.Admin}
	if config.VLAN != nil {
		want := *d.Admin
		want.VLAN = *config.VLAN
		if err := host.ChangeVF(d.PFNetdev, d.Number, *d.Admin, want); err != nil {
			return nil, err
		}
		if err := p.edges.pass("sriov has set the vlan"); err != nil {
			return nil, err
		}
	}
	if d.Link == nil { // a program has it
		p.vfs[keyOf(c)] = cache
		return values{"cniVersion": config.CNIVersion, "interfaces": []values{{"name": c.IfName, "sandbox": c.Netns}}}, p.note(cache)
	}
	cache.name, cache.mac = d.Link.Name, d.Link.MAC
	down := false
	if err := host.Change(d.Link.Index, bond.Change{Up: &down}); err != nil {
		return nil, err
	}
	name := d.Link.Name + "-moved" // it changes the index where that is taken
	if err := host.Change(d.Link.Index, bond.Change{Namespace: pod, Name: &name}); err != nil {
		return nil, err
	}
	if err := pod.Change(d.Link.Index, bond.Change{Name: &c.IfName}); err != nil {
		return nil, err
	}
	if err := p.edges.pass("sriov has moved the VF"); err != nil {
		return nil, err
	}
	l, err := pod.Link(c.IfName)
	if err != nil {
		return nil, err
	}
	up := true
	if err := pod.Change(l.Index, bond.Change{Up: &up}); err != nil {
		return nil, err
	}
	p.vfs[keyOf(c)] = cache
	if err := p.note(cache); err != nil {
		return nil, err
	}
	return values{"cniVersion": config.CNIVersion, "interfaces": []values{{"name": c.IfName, "mac": l.MAC, "sandbox": c.Netns}}}, nil
}

// sriovDel forgets the attachment first, so that a second DEL does nothing,
// and takes any interface that has the name.
func (p *plugins) sriovDel(c invoke.Call, _ pluginConfig) (any, error) {
	cache, there := p.vfs[keyOf(c)]
	if !there && p.release == "old" {
		return nil, fmt.Errorf("cannot find the cache of %s", keyOf(c))
	}
	if !there {
		return nil, nil
	}
	delete(p.vfs, keyOf(c))
	if c.Netns == "" {
		return nil, nil
	}
	host, pod, err := p.open(c.Netns)
	if host == nil {
		return nil, err
	}
	vfs, failed := host.VFs(cache.pf)
	if failed != nil {
		return nil, failed
	}
	have, want := vfs[cache.vf], cache.admin
	if p.notes == "" {
		want.MAC = have.MAC
	} else {
		have.MAC = "" // it is set even if it is the same
	}
	if err := host.ChangeVF(cache.pf, cache.vf, have, want); err != nil {
		return nil, err
	}
	if err := p.edges.pass("sriov has reset the VF"); err != nil {
		return nil, err
	}
	if err != nil || cache.name == "" { // the namespace is gone, or a program has the VF
		return nil, nil
	}
	l, err := pod.Link(c.IfName)
	if err != nil {
		return nil, err
	}
	down := false
	if err := pod.Change(l.Index, bond.Change{Up: &down}); err != nil {
		return nil, err
	}
	if err := pod.Change(l.Index, bond.Change{Name: &cache.name}); err != nil {
		return nil, err
	}
	if err := pod.Change(l.Index, bond.Change{Namespace: host}); err != nil {
		return nil, err
	}
	if err := p.edges.pass("sriov has taken the VF back"); err != nil {
		return nil, err
	}
	l, err = host.Link(cache.name)
	if err != nil {
		return nil, err
	}
	if err := host.Change(l.Index, bond.Change{MAC: &cache.mac}); err != nil || p.notes == "" {
		return nil, err
	}
	return nil, os.Remove(filepath.Join(p.notes, cache.device))
}

// hostDeviceAdd moves an interface into the pod. Its alias is then the name that it had, as
// of the release 1.9.1.
func (p *plugins) hostDeviceAdd(c invoke.Call, config pluginConfig) (any, error) {
	host, pod, err := p.open(c.Netns)
	if err != nil {
		return nil, err
	}
	d, err := bond.SurveyDevice(p.kernel.Sys(), host, config.PCIBusID, "")
	if err != nil || d.Link == nil {
		return nil, errors.Join(err, errors.New("failed to find host device"))
	}
	if err := host.Change(d.Link.Index, bond.Change{Namespace: pod, Name: &c.IfName, Alias: &d.Link.Name}); err != nil {
		return nil, err
	}
	l, err := pod.Link(c.IfName)
	if err != nil {
		return nil, err
	}
	if err := p.edges.pass("host-device has moved the interface"); err != nil {
		return nil, err
	}
	return values{"cniVersion": config.CNIVersion, "interfaces": []values{{"name": c.IfName, "mac": l.MAC, "sandbox": c.Netns}}},
		pod.Change(l.Index, bond.Change{Up: new(true)})
}

// hostDeviceDel moves whatever has the name to the host.
func (p *plugins) hostDeviceDel(c invoke.Call, _ pluginConfig) (any, error) {
	if c.Netns == "" {
		return nil, nil
	}
	host, pod, err := p.open(c.Netns)
	if err != nil {
		return nil, fmt.Errorf("failed to open netns: %w", err)
	}
	l, err := pod.Link(c.IfName)
	if err != nil || *l.Alias == "" {
		return nil, errors.Join(err, errors.New("failed to find original ifname"))
	}
	return nil, pod.Change(l.Index, bond.Change{Namespace: host, Name: l.Alias, Alias: new("")})
}

func (p *plugins) open(netns string) (host, pod bond.Namespace, err error) {
	if host, err = p.kernel.Host(); err != nil {
		return nil, nil, err
	}
	pod, err = p.kernel.Open(netns)
	return host, pod, err
}

func (p *plugins) macvlanAdd(c invoke.Call, config pluginConfig) (any, error) {
	if c.Type == "ipvlan" {
		return p.ipvlanAdd(c, config)
	}
	_, pod, err := p.open(c.Netns)
	if err != nil {
		return nil, err
	}
	if _, err := pod.Link(c.IfName); err == nil {
		return nil, fmt.Errorf("%s exists", c.IfName)
	}
	l := p.kernel.AddVirtual(c.Netns, "macvlan", c.IfName)
	return values{"cniVersion": config.CNIVersion, "interfaces": []values{{"name": c.IfName, "mac": l.MAC, "sandbox": c.Netns}}}, nil
}

// ipvlanAdd makes an interface with the addresses of a result before it. Without one, the
// release 1.9.1 executes its IPAM plugin, whose name is missing.
func (p *plugins) ipvlanAdd(c invoke.Call, config pluginConfig) (any, error) {
	var prev struct {
		IPs []struct{ Address netip.Prefix }
	}
	if len(config.PrevResult) > 0 {
		if err := json.Unmarshal(config.PrevResult, &prev); err != nil {
			return nil, err
		}
	}
	if len(prev.IPs) == 0 {
		return nil, errors.New("no plugin name provided")
	}
	_, pod, err := p.open(c.Netns)
	if err != nil {
		return nil, err
	}
	l := p.kernel.AddVirtual(c.Netns, "ipvlan", c.IfName)
	ip := prev.IPs[0].Address
	made := values{"cniVersion": config.CNIVersion, "interfaces": []values{{"name": c.IfName, "mac": l.MAC, "sandbox": c.Netns}}, "ips": []values{{"address": ip.String(), "interface": 0}}}
	return made, errors.Join(pod.Configure(l.Index, bond.Addresses{IPs: []netip.Prefix{ip}}), pod.Change(l.Index, bond.Change{Up: new(true)}))
}

// vlanAdd makes an interface over one of the pod, with an address.
func (p *plugins) vlanAdd(c invoke.Call, config pluginConfig) (any, error) {
	if err := p.findMaster(c, config); err != nil {
		return nil, err
	}
	return p.bridgeAdd(c, config)
}

// vlanDel looks for its master before anything else, as the release 1.9.1 does.
func (p *plugins) vlanDel(c invoke.Call, config pluginConfig) (any, error) {
	if err := p.findMaster(c, config); err != nil {
		return nil, err
	}
	return p.bridgeDel(c, config)
}

func (p *plugins) findMaster(c invoke.Call, config pluginConfig) error {
	_, pod, err := p.open(c.Netns)
	if err != nil {
		return fmt.Errorf("failed to open netns: %w", err)
	}
	if _, err := pod.Link(config.Master); err != nil {
		return errors.New("Link not found")
	}
	return nil
}

// bandwidthAdd makes an interface on the host that belongs to one of the pod.
func (p *plugins) bandwidthAdd(c invoke.Call, config pluginConfig) (any, error) {
	host, pod, err := p.open(c.Netns)
	if err != nil {
		return nil, err
	}
	if _, err := pod.Link(c.IfName); err != nil {
		return nil, err
	}
	if _, err := host.Link("ifb-" + c.ContainerID); err == nil {
		return nil, fmt.Errorf("ifb-%s exists", c.ContainerID)
	}
	p.kernel.AddVirtual("", "ifb", "ifb-"+c.ContainerID)
	return config.PrevResult, nil
}

func (p *plugins) bandwidthDel(c invoke.Call, _ pluginConfig) (any, error) {
	host, err := p.kernel.Host()
	if err != nil {
		return nil, err
	}
	l, err := host.Link("ifb-" + c.ContainerID)
	if err != nil {
		return nil, nil
	}
	return nil, host.Delete(l.Index)
}

// bridgeAdd makes an interface with an address and a default route, as a
// cluster's default network does.
func (p *plugins) bridgeAdd(c invoke.Call, config pluginConfig) (any, error) {
	result, err := p.hostLocalAdd(c, config)
	if err != nil {
		return nil, err
	}
	made, err := p.macvlanAdd(c, config)
	if err != nil {
		delete(p.pool, keyOf(c))
		return nil, err
	}
	_, pod, err := p.open(c.Netns)
	if err != nil {
		return nil, err
	}
	l, err := pod.Link(c.IfName)
	if err != nil {
		return nil, err
	}
	up := true
	ip := netip.MustParsePrefix(p.pool[keyOf(c)] + "/24")
	gateway := netip.MustParseAddr("10.56.217.1")
	out := result.(values)
	out["interfaces"] = made.(values)["interfaces"]
	out["ips"] = []values{{"address": ip.String(), "gateway": gateway.String(), "interface": 0}}
	return out, errors.Join(pod.Change(l.Index, bond.Change{Up: &up}), pod.Configure(l.Index, bond.Addresses{
		IPs: []netip.Prefix{ip}, Routes: []bond.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gateway}},
	}))
}

func (p *plugins) bridgeDel(c invoke.Call, config pluginConfig) (any, error) {
	if _, err := p.hostLocalDel(c, config); err != nil {
		return nil, err
	}
	return p.macvlanDel(c, config)
}

func (p *plugins) macvlanDel(c invoke.Call, _ pluginConfig) (any, error) {
	_, pod, err := p.open(c.Netns)
	if err != nil {
		return nil, nil
	}
	l, err := pod.Link(c.IfName)
	if err != nil {
		return nil, nil
	}
	return nil, pod.Delete(l.Index)
}

func (p *plugins) hostLocalAdd(c invoke.Call, config pluginConfig) (any, error) {
	if _, there := p.pool[keyOf(c)]; there {
		return nil, fmt.Errorf("%s has an address already", keyOf(c))
	}
	p.given++
	ip := fmt.Sprintf("10.56.217.%d", p.given+1)
	p.pool[keyOf(c)] = ip
	return values{
		"cniVersion": config.CNIVersion,
		"ips":        []values{{"address": ip + "/24", "gateway": "10.56.217.1"}},
		"routes":     []values{{"dst": "0.0.0.0/0"}},
	}, nil
}

func (p *plugins) hostLocalDel(c invoke.Call, _ pluginConfig) (any, error) {
	delete(p.pool, keyOf(c))
	return nil, nil
}
