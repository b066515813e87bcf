package delegate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// standardResult is what the standard network's ADD prints.
const standardResult = `{
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "bond0", "mac": "02:00:00:00:00:03", "mtu": 1500, "sandbox": "/run/netns/p1"},
        {"name": "bond0-1", "mac": "02:00:00:00:00:03", "mtu": 1500, "sandbox": "/run/netns/p1", "pciID": "0000:3b:02.0"},
        {"name": "bond0-2", "mac": "02:00:00:00:00:06", "mtu": 1500, "sandbox": "/run/netns/p1", "pciID": "0000:5e:02.0"}
    ],
    "ips": [{"interface": 0, "address": "10.56.217.2/24", "gateway": "10.56.217.1"}],
    "routes": [{"dst": "0.0.0.0/0"}]
}`

// sameJSON compares two texts as JSON.
func sameJSON(t *testing.T, want string, got []byte) {
	t.Helper()
	assert.JSONEq(t, want, string(got))
}

func TestAdd(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	r := request(t, standard)
	result, err := m.Add(t.Context(), r)
	require.NoError(t, err)
	var printed bytes.Buffer
	require.NoError(t, invoke.PrintResult(&printed, result, "1.1.0"))
	sameJSON(t, standardResult, printed.Bytes())
	const want = `/run/netns/p1 bond0  mac=02:00:00:00:00:03 mtu=1500 up=true master="" kind="bond" ips=[10.56.217.2/24] routes=[0.0.0.0/0 via 10.56.217.1]
/run/netns/p1 bond0-1 0000:3b:02.0 mac=02:00:00:00:00:03 mtu=1500 up=true master="bond0" kind="" ips=[] routes=[]
/run/netns/p1 bond0-2 0000:5e:02.0 mac=02:00:00:00:00:06 mtu=1500 up=true master="bond0" kind="" ips=[] routes=[]`
	assert.Equal(t, strings.Split(want, "\n"), slices.Sorted(slices.Values(m.linesOf(pod1))), "the pod")
	vfs, _ := m.namespace("").VFs("enp1s0")
	assert.Equal(t, 100, vfs[0].VLAN)
	assert.Zero(t, vfs[1].VLAN)
	m.mustDel(c1)
	m.wantState(before)
	assert.Empty(t, m.plugins.vfs)
	assert.Empty(t, m.log.String())
}

// TestAddAcceptsNoRouter: a bond whose IPAM gives only an IPv4 address hears no router.
func TestAddAcceptsNoRouter(t *testing.T) {
	for fields, want := range map[string]string{"": "0", `"acceptRA": true, `: "1"} {
		m := newMachine(t)
		m.mustAdd(request(t, strings.Replace(standard, `"delegate"`, fields+`"delegate"`, 1)))
		assert.Equal(t, want, m.AcceptRA(pod1, "bond0"), fields)
	}
}

// TestAddRecord: the Record says what was planned, what was there before, and
// what was done.
func TestAddRecord(t *testing.T) {
	m := newMachine(t)
	mtu := 9000
	m.change("", "enp1s0v0", bond.Change{MTU: &mtu})
	r := request(t, strings.Replace(standard, `"delegate"`, `"nonsense": 1, "delegate"`, 1))
	r.Args = "K8S_POD_NAME=p"
	m.mustAdd(r)
	rec := m.readRecord(c1)
	trust := false
	admin := func(mac string, vlan int) *bond.VF {
		return &bond.VF{MAC: mac, VLAN: vlan, Proto: 0x8100, SpoofChk: true, Trust: &trust}
	}
	plugin := func(device string) []netconf.Plugin {
		return []netconf.Plugin{{Type: "sriov", Config: netconf.NewConfig([]byte(`{"cniVersion":"0.3.1","deviceID":"` + device + `","name":"net1","pciBusID":"` + device + `","type":"sriov","vlan":100}`))}}
	}
	a, b := rec.Plan.Links[0], rec.Plan.Links[1]
	want := plan.Plan{
		ContainerID: "c1", IfName: "bond0", Netns: pod1, Args: "K8S_POD_NAME=p", Path: []string{"/opt/cni/bin"}, Network: "net1", IPAM: "host-local",
		Links: []plan.Link{
			{Name: "bond0-1", Source: netconf.FromDevice, Device: vfA, Driver: "igbvf", Plugins: plugin(vfA), PF: "enp1s0", VF: 0, VFBefore: admin("02:00:00:00:00:03", 0), Before: a.Before},
			{Name: "bond0-2", Source: netconf.FromDevice, Device: vfB, Driver: "igbvf", Plugins: plugin(vfB), PF: "enp2s0", VF: 0, VFBefore: admin("02:00:00:00:00:06", 0), Before: b.Before},
		},
		Bond: bond.Spec{Name: "bond0", Links: []string{"bond0-1", "bond0-2"}, Options: bond.Options{"mode": "active-backup", "acceptRA": "0", "numGratArp": "5", "miimon": "100", "failOverMac": "active", "mtu": "1500", "primary": "bond0-1"}},
	}
	sameJSON(t, string(r.Network.Config.Raw), rec.Plan.Config.Raw)
	rec.Plan.Config = netconf.Config{}
	assert.Empty(t, cmp.Diff(want, rec.Plan), "plan: -want +got")
	assert.Equal(t, "enp1s0v0", a.Before.Name)
	assert.Equal(t, 9000, a.Before.MTU)
	assert.Equal(t, "02:00:00:00:00:03", a.Before.MAC)
	assert.False(t, a.Before.Up)
	seen := rec.Attached["bond0-1"]
	assert.Equal(t, "bond0-1", seen.Link.Name)
	assert.Equal(t, vfA, seen.Link.Device)
	assert.Equal(t, admin("02:00:00:00:00:03", 100), seen.VF)
	sameJSON(t, `{"cniVersion": "0.3.1", "interfaces": [{"name": "bond0-1", "mac": "02:00:00:00:00:03", "sandbox": "/run/netns/p1"}]}`, seen.Result)
	sameJSON(t, standardResult, rec.Result)
	var steps []string
	for _, s := range rec.Steps {
		steps = append(steps, s.What)
	}
	assert.Equal(t, []string{"survey", "compile", "record", "attach bond0-1", "attach bond0-2", "bond", "ipam", "configure"}, steps, "steps")
	assert.Equal(t, []string{"network net1: these keys are ignored: nonsense [MB105]"}, rec.Warnings, "warnings")
	assert.Equal(t, 1, rec.Version)
	assert.Equal(t, "v0.3.0", rec.Release)
	assert.Equal(t, "boot1", rec.BootID)
	assert.Equal(t, m.namespace(pod1).ID(), rec.NetnsID)
	assert.Equal(t, m.link(pod1, "bond0").Index, rec.BondIndex)
	assert.True(t, rec.IPAMAsked)
	assert.Nil(t, rec.Restored)
	for _, device := range []string{vfA, vfB} {
		holder, err := m.Store.Holder(device)
		assert.NoError(t, err, device)
		assert.Equal(t, c1, holder, device)
	}
}

// TestAddCalls: which plugins are executed, in which order, and with what.
func TestAddCalls(t *testing.T) {
	m := newMachine(t)
	r := request(t, scenarioConfig("links that plugins make"))
	r.Args = "A=b"
	m.mustAdd(r)
	m.mustDel(c1)
	var got []string
	for _, c := range m.plugins.calls {
		assert.Equal(t, "c1", c.ContainerID)
		assert.Equal(t, pod1, c.Netns)
		assert.Equal(t, "A=b", c.Args)
		assert.Equal(t, m.Path, c.Path)
		got = append(got, c.Type+" "+c.Command+" "+c.IfName)
	}
	want := []string{
		"macvlan ADD bond0-1", "macvlan ADD bond0-2", "tuning ADD bond0-2", "host-local ADD bond0",
		"host-local DEL bond0", "tuning DEL bond0-2", "macvlan DEL bond0-2", "macvlan DEL bond0-1",
	}
	assert.Equal(t, want, got)
	const result = `{"cniVersion": "1.0.0", "interfaces": [{"name": "bond0-2", "mac": "02:00:00:00:00:0b", "sandbox": "/run/netns/p1"}]}`
	sameJSON(t, `{"cniVersion": "1.0.0", "name": "net1", "type": "tuning", "prevResult": `+result+`}`, m.plugins.calls[2].Config)
	sameJSON(t, `{"cniVersion": "1.0.0", "name": "net1", "type": "tuning", "prevResult": `+result+`}`, m.plugins.calls[5].Config)
	sameJSON(t, string(r.Network.Config.Raw), m.plugins.calls[3].Config)
}

func scenarioConfig(name string) string { return scenarioNamed(name).config }

// TestAddTwice: a second ADD returns the stored result and changes nothing.
func TestAddTwice(t *testing.T) {
	m := newMachine(t)
	r := request(t, standard)
	m.mustAdd(r)
	attached, calls := m.state(), len(m.plugins.calls)
	result, err := m.Add(t.Context(), r)
	require.NoError(t, err)
	sameJSON(t, standardResult, strictjson.Encode(result))
	m.wantState(attached)
	assert.Len(t, m.plugins.calls, calls)
}

// TestAddAfterBroken: if an attachment of the container is broken, ADD restores it and
// makes it again.
func TestAddAfterBroken(t *testing.T) {
	for name, breakIt := range map[string]func(m *machine){
		"bond deleted": func(m *machine) {
			require.NoError(m.t, m.namespace(pod1).Delete(m.link(pod1, "bond0").Index))
		},
		"vlan lost": func(m *machine) { m.changeVF("enp1s0", func(vf *bond.VF) { vf.VLAN = 0 }) },
		"DEL cut off": func(m *machine) {
			m.plugins.refuse["host-local DEL bond0"] = "no"
			m.Del(m.t.Context(), c1)
			clear(m.plugins.refuse)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			r := request(t, standard)
			m.mustAdd(r)
			breakIt(m)
			m.mustAdd(r)
			ips, _ := m.namespace(pod1).Addresses(m.link(pod1, "bond0").Index)
			require.Len(t, ips.IPs, 1)
			assert.Equal(t, "10.56.217.3/24", ips.IPs[0].String())
			m.mustDel(c1)
			m.wantState(before)
		})
	}
}

// TestAddAfterDeadSandbox: the VFs of a sandbox that is gone, and whose DEL has not come
// yet, are restored before a new sandbox gets them.
func TestAddAfterDeadSandbox(t *testing.T) {
	m := newMachine(t)
	r := request(t, standard)
	fresh := m.state()
	m.mustAdd(r)
	m.RemoveNamespace(pod1)
	m.mustAdd(other(r))
	assert.False(t, hasRecord(m), "the old Record is still there")
	rec := m.readRecord(c2)
	l := rec.Plan.Links[0]
	assert.Equal(t, "enp1s0v0", l.Before.Name)
	assert.Zero(t, l.VFBefore.VLAN)
	attached := m.state()
	m.mustDel(c1)
	m.wantState(attached)
	m.mustDel(c2)
	m.AddNamespace(pod1)
	m.wantState(fresh)
}

// TestAddWhileHeld: the devices of a living sandbox are not touched, wherever they are
// looked for.
func TestAddWhileHeld(t *testing.T) {
	m := newMachine(t)
	r := request(t, standard)
	m.mustAdd(r)
	attached := m.state()
	_, err := m.Add(t.Context(), other(r))
	wantError(t, err, cnierror.Node, "network net1: links[0].deviceID: VF 0000:3b:02.0 is in use by container c1, as a link of bond0 (delete that pod, or use another VF); "+
		"links[1].deviceID: VF 0000:5e:02.0 is in use by container c1, as a link of bond0 (delete that pod, or use another VF)")
	m.wantState(attached)
}

func TestAddNamespaces(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	r := request(t, standard)
	r.Netns = "/run/netns/none"
	_, err := m.Add(t.Context(), r)
	wantError(t, err, types.ErrInvalidNetNS, `there is no network namespace at "/run/netns/none" (CNI_NETNS)`)
	r.Netns = ""
	_, err = m.Add(t.Context(), r)
	wantError(t, err, types.ErrInvalidNetNS, `there is no network namespace at "" (CNI_NETNS)`)
	m.Host.Kernel = hostOnly{m.Kernel}
	r.Netns = "/proc/1/ns/net"
	_, err = m.Add(t.Context(), r)
	wantError(t, err, types.ErrInvalidNetNS, `CNI_NETNS is /proc/1/ns/net, which is the host's own network namespace`)
	m.wantState(before)
}

// hostOnly is a kernel where every path leads to the host's namespace.
type hostOnly struct{ bond.Kernel }

func (k hostOnly) Open(string) (bond.Namespace, error) { return k.Host() }

// TestAddErrors: an error has the network, the place, the cause and its code, and wraps
// the error of a plugin.
func TestAddErrors(t *testing.T) {
	for _, test := range []struct {
		name, config string
		spoil        func(m *machine)
		code         uint
		text         string
		said         bool
	}{
		{"a plugin fails", standard, func(m *machine) { m.plugins.refuse["sriov ADD bond0-2"] = "cursed" }, cnierror.Delegate,
			"network net1: links[1]: attaching 0000:5e:02.0: sriov ADD: cursed", true},
		{"a plugin that makes links fails", scenarioConfig("links that plugins make"), func(m *machine) { m.plugins.refuse["macvlan ADD bond0-2"] = "cursed" }, cnierror.Delegate,
			"network net1: links[1]: attaching bond0-2: macvlan ADD: cursed", true},
		{"IPAM fails", standard, func(m *machine) { m.plugins.refuse["host-local ADD bond0"] = "no more" }, cnierror.Delegate,
			"network net1: ipam: host-local ADD: no more", true},
		{"IPAM is not executed", standard, func(m *machine) {
			m.plugins.seen = func(c invoke.Call) { m.plugins.missing["host-local"] = true }
		}, cnierror.Delegate, "network net1: ipam: host-local ADD: it was not executed: CNI plugin host-local is not in [/opt/cni/bin]: file does not exist", false},
		{"the VF does not take the bond's MAC", scenarioConfig("VFs of which the bond changes the MAC"), func(m *machine) {
			mac := m.link("", "enp2s0v0").MAC
			m.changeVF("enp2s0", func(vf *bond.VF) { vf.MAC = "02:00:00:00:00:aa" })
			m.changeVF("enp2s0", func(vf *bond.VF) { vf.MAC = mac })
		}, cnierror.Kernel, "network net1: enslaving bond0-2 (0000:5e:02.0, MAC 02:00:00:00:00:06) to bond0 (balance-rr): cannot assign requested address (an untrusted VF keeps the MAC that its PF has set: use mode active-backup with failOverMac active, or trust the VF)", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			test.spoil(m)
			before := m.state()
			_, err := m.Add(t.Context(), request(t, test.config))
			wantError(t, err, test.code, test.text)
			assert.Equal(t, test.said, isSaid(err))
			m.wantState(before)
		})
	}
}

// TestAddNotUndone: if restoring fails too, the error has both errors and the code of the
// first one, and DEL continues.
func TestAddNotUndone(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	configured := false
	m.Runner = runnerFunc{m.plugins, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
		out, err := m.plugins.run(ctx, c)
		if c.Type == "host-local" && !configured {
			return nil, errors.New("host-local ADD: signal: segmentation fault: it printed nothing")
		}
		return out, err
	}}
	m.plugins.refuse["host-local DEL bond0"] = "on fire"
	_, err := m.Add(t.Context(), request(t, standard))
	wantError(t, err, cnierror.Delegate, "network net1: ipam: host-local ADD: signal: segmentation fault: it printed nothing; "+
		"not everything could be undone (the next DEL continues): network net1: ipam: host-local ADD: signal: segmentation fault: it printed nothing")
	require.Len(t, m.aside(), 1)
	rec := m.aside()[0]
	assert.Equal(t, []string{"bond0-2", "bond0-1"}, rec.Restored)
	assert.True(t, rec.IPAMAsked)
	configured = true
	clear(m.plugins.refuse)
	m.mustDel(c1)
	m.wantState(before)
}

// runnerFunc is a Runner that executes plugins by a function.
type runnerFunc struct {
	invoke.Runner
	run func(context.Context, invoke.Call) (json.RawMessage, error)
}

func (r runnerFunc) Start(ctx context.Context, c invoke.Call) func() (json.RawMessage, error) {
	out, err := r.run(ctx, c)
	return func() (json.RawMessage, error) { return out, err }
}

// TestAddCancelled: when the time is up nothing new is begun, and restoring has a time of
// its own.
func TestAddCancelled(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	ctx, cancel := context.WithCancel(t.Context())
	m.Runner = runnerFunc{m.plugins, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
		if c.Command == "DEL" {
			assert.NoError(t, ctx.Err(), "the way back has no time")
		}
		if c.IfName == "bond0-2" {
			cancel()
		}
		return m.plugins.run(ctx, c)
	}}
	_, err := m.Add(ctx, request(t, standard))
	wantError(t, err, types.ErrTryAgainLater, "network net1: ADD ran out of time: context canceled")
	m.wantState(before)
}

// TestAddResults: plugins that print something other than a result.
func TestAddResults(t *testing.T) {
	for _, test := range []struct{ name, plugin, output, text string }{
		{"nothing", "sriov", "", `network net1: links[0]: attaching 0000:3b:02.0: sriov ADD: it printed no result: ""`},
		{"garbage", "sriov", strings.Repeat("x", 200), `network net1: links[0]: attaching 0000:3b:02.0: sriov ADD: it printed no result: "` + strings.Repeat("x", 100) + `"`},
		{"a number", "sriov", "7", `network net1: links[0]: attaching 0000:3b:02.0: sriov ADD: it printed no result: "7"`},
		{"nothing from IPAM", "host-local", "", `network net1: ipam: host-local: it printed no result: ""`},
		{"no address", "host-local", `{}`, `network net1: ipam: host-local returned no address`},
		{"an address without a prefix", "host-local", `{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1"}]}`, `network net1: ipam: host-local: invalid CIDR address: 10.0.0.1`},
		{"a route to nowhere", "host-local", `{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24"}], "routes": [{"gw": "10.0.0.9"}]}`,
			`network net1: IPAM plugin host-local: <nil> with mask <nil> is not an address with a prefix length`},
		{"a gateway far away", "host-local", `{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24"}], "routes": [{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]}`,
			`network net1: bond0: adding route 10.9.0.0/16 via 192.0.2.1: network is unreachable`},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			before := m.state()
			m.Runner = runnerFunc{m.plugins, func(ctx context.Context, c invoke.Call) (json.RawMessage, error) {
				out, err := m.plugins.run(ctx, c)
				if c.Type == test.plugin && c.Command == "ADD" {
					return json.RawMessage(test.output), err
				}
				return out, err
			}}
			_, err := m.Add(t.Context(), request(t, standard))
			assert.EqualError(t, err, test.text)
			m.wantState(before)
		})
	}
}

// TestAddWithoutState: if the Record cannot be written, nothing is begun.
func TestAddWithoutState(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	m.Store.Dir += "/file"
	writeFile(t, m.Store.Dir, "", 0o600)
	_, err := m.Add(t.Context(), request(t, standard))
	require.Error(t, err)
	assert.EqualValues(t, types.ErrIOFailure, cnierror.Code(err))
	assert.True(t, strings.HasPrefix(err.Error(), "state directory: mkdir "), err)
	m.Store.Dir = strings.TrimSuffix(m.Store.Dir, "/file")
	require.NoError(t, atomicfile.Files{}.Remove(m.Store.Dir+"/file"))
	// If a hold cannot be written, the Record is removed again.
	writeFile(t, m.Store.Dir+"/lock", "", 0o600)
	require.NoError(t, os.MkdirAll(m.Store.HoldFile(vfB), 0o700))
	held := m.state()
	_, err = m.Add(t.Context(), request(t, standard))
	assert.EqualValues(t, types.ErrIOFailure, cnierror.Code(err))
	assert.ErrorContains(t, err, "hold on 0000:5e:02.0: ")
	m.wantState(held)
	assert.Equal(t, before, held)
}

func TestAddDNS(t *testing.T) {
	m := newMachine(t)
	r := request(t, strings.Replace(standard, `"delegate"`, `"dns": {"nameservers": ["192.0.2.53"]}, "delegate"`, 1))
	result, err := m.Add(t.Context(), r)
	require.NoError(t, err)
	assert.Equal(t, types.DNS{Nameservers: []string{"192.0.2.53"}}, result.DNS)
}

// TestAddTwiceOtherBoot: what a Record of another boot has is not there any more, even if
// it looks so: the number of a namespace begins anew with each boot.
func TestAddTwiceOtherBoot(t *testing.T) {
	n := newNode(t)
	for _, boot := range []string{"boot1", "boot1", "boot2"} {
		n.BootID = boot
		_, err := n.AddPod(t.Context(), n.config, n.request())
		require.NoError(t, err)
	}
	assert.Equal(t, 2, n.plugins.count("bridge", "ADD"))
}

// TestAddAfterOtherBoot: an attachment of another boot is restored by the next ADD of its
// VF, even if its pod seems to be there: the namespace at that path is a new one.
func TestAddAfterOtherBoot(t *testing.T) {
	before := newMachine(t)
	before.mustAdd(request(t, sharedFirst))
	m := before.rebooted(before.disk.names.survive(true))
	require.Equal(t, before.readRecord(c1).NetnsID, m.namespace(pod1).ID())
	m.mustAdd(other(request(t, sharedOther)))
	assert.Len(t, m.plugins.pool, 1)
	_, err := m.Store.Load(c1)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}
