package delegate

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/record"
)

// TestCheck: CHECK finds and reports each thing that can differ.
func TestCheck(t *testing.T) {
	down, none := false, 0
	for _, test := range []struct {
		name  string
		spoil func(m *machine)
		code  uint
		text  string
	}{
		{"nothing", func(*machine) {}, 0, ""},
		{"a failover", func(m *machine) {
			mac := m.link(pod1, "bond0-2").MAC
			m.changeVF("enp1s0", func(vf *bond.VF) { vf.MAC = mac })
		}, 0, ""},
		{"the bond down", func(m *machine) { m.change(pod1, "bond0", bond.Change{Up: &down}) }, cnierror.Check, `network net1: bond0: the bond is down`},
		{"the bond gone", func(m *machine) { m.mustDelete(pod1, "bond0") }, cnierror.Check, `network net1: bond0: the bond is gone`},
		{"another in its place", func(m *machine) { m.mustDelete(pod1, "bond0"); m.AddVirtual(pod1, "dummy", "bond0") }, cnierror.Check, `network net1: bond0: another interface has the bond's name: its index is 4, was 2`},
		{"a link out of the bond", func(m *machine) { m.change(pod1, "bond0-2", bond.Change{Master: &none}) }, cnierror.Check, `network net1: bond0-2: the link is no longer part of bond0; bond0-2: the link is down`},
		{"no carrier", func(m *machine) {
			for _, name := range []string{"bond0-1", "bond0-2"} {
				m.change(pod1, name, bond.Change{Up: &down})
			}
		}, cnierror.Check, `network net1: bond0-1: the link is down; bond0-2: the link is down
bond0: the bond has no carrier: no link works (check the cables, the PFs and the switch)`},
		{"a link gone", func(m *machine) { m.change(pod1, "bond0-2", bond.Change{Namespace: m.namespace(pod2)}) }, cnierror.Check, `network net1: bond0-2: the link is gone`},
		{"the address gone", func(m *machine) {
			require.NoError(m.t, m.namespace(pod1).Flush(m.link(pod1, "bond0").Index))
		}, cnierror.Check, `network net1: bond0: address 10.56.217.2/24 is missing; bond0: route 0.0.0.0/0 via 10.56.217.1 is missing`},
		{"another MTU", func(m *machine) {
			mtu := 1400
			m.change(pod1, "bond0", bond.Change{MTU: &mtu})
		}, cnierror.Check, `network net1: bond0: mtu is 1400, was 1500; bond0-1: mtu is 1400, was 1500; bond0-2: mtu is 1400, was 1500`},
		{"another device under a link's name", func(m *machine) {
			m.change(pod1, "bond0-2", bond.Change{Namespace: m.namespace(pod2)})
			m.AddVirtual(pod1, "dummy", "bond0-2")
		}, cnierror.Check, `network net1: bond0-2: another device has the link's name: dummy, was 0000:5e:02.0`},
		{"trust on the PF", func(m *machine) {
			on := true
			m.changeVF("enp2s0", func(vf *bond.VF) { vf.Trust = &on })
		}, cnierror.Check, `network net1: bond0-2: VF 0 of enp2s0: trust is true, was false`},
		{"what the PF keeps", func(m *machine) { m.changeVF("enp2s0", func(vf *bond.VF) { vf.VLAN, vf.SpoofChk = 7, false }) }, cnierror.Check, `network net1: bond0-2: VF 0 of enp2s0: vlan is 7, was 100; bond0-2: VF 0 of enp2s0: spoofchk is false, was true`},
		{"the namespace gone", func(m *machine) { m.RemoveNamespace(pod1) }, cnierror.Check, `network net1: the network namespace /run/netns/p1 is gone`},
		{"another namespace in its place", func(m *machine) { m.RemoveNamespace(pod1); m.AddNamespace(pod1) }, cnierror.Check, `network net1: another network namespace now has the path /run/netns/p1`},
		{"no attachment", func(m *machine) { m.mustDel(c1) }, types.ErrUnknownContainer, `container c1 has no attachment bond0 on this node`},
		{"half a DEL", func(m *machine) {
			takeName("enp1s0v0")(m)
			m.Del(m.t.Context(), c1)
		}, cnierror.Check, `network net1: its ADD or DEL was interrupted; the next DEL finishes it`},
		{"IPAM's part", func(m *machine) { m.plugins.refuse["host-local CHECK bond0"] = "whose address is this?" }, cnierror.Delegate, `host-local CHECK: whose address is this?`},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.mustAdd(request(t, standard))
			test.spoil(m)
			spoiled := m.state()
			err := m.Check(t.Context(), c1)
			if test.text == "" {
				assert.NoError(t, err)
				return
			}
			wantError(t, err, test.code, test.text)
			m.wantState(spoiled)
		})
	}
}

// TestCheckOfANewBond: CHECK comes right after an ADD that took long, before the VFs have their
// carrier. That of an older bond fails at once.
func TestCheckOfANewBond(t *testing.T) {
	m := newMachineOf(t, bondfake.MLX5Switchdev)
	m.mustAdd(request(t, strings.Replace(standard, `, "vlan": 100`, "", 1)))
	set := func(up bool) {
		for _, representor := range []string{"enp1s0_0", "enp2s0_0"} {
			m.change("", representor, bond.Change{Up: &up})
		}
	}
	set(false)
	began := m.readRecord(c1).Created
	m.edit(func(rec *record.Record) { rec.Created = began.Add(-time.Hour) })
	assert.ErrorContains(t, m.Check(t.Context(), c1), "the bond has no carrier")
	m.edit(func(rec *record.Record) { rec.Created = began.Add(-30 * time.Second) })
	time.AfterFunc(300*time.Millisecond, func() { set(true) })
	assert.NoError(t, m.Check(t.Context(), c1))
}

// TestCheckWhatTheListLeft: a plugin that follows the bond in the runtime's list has changed
// its MTU. CHECK goes by the list's result, which has the MTU since CNI 1.1.0.
func TestCheckWhatTheListLeft(t *testing.T) {
	const of = `"interfaces": [{"name": "bond0"}, {"name": "bond0", "sandbox": "/run/netns/p1"%s}]`
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	mtu := 1400
	m.change(pod1, "bond0", bond.Change{MTU: &mtu})
	check := func(prev string) error {
		_, err := m.Host.CheckPod(t.Context(), c1, []byte(prev))
		return err
	}
	const differs = `network net1: bond0: mtu is 1400, was 1500; bond0-1: mtu is 1400, was 1500; bond0-2: mtu is 1400, was 1500`
	wantError(t, check(`null`), cnierror.Check, differs)
	wantError(t, check(`{"cniVersion": "1.1.0"}`), cnierror.Check, differs)
	wantError(t, check(`{"cniVersion": "1.1.0", `+fmt.Sprintf(of, `, "mtu": 1500`)+`}`), cnierror.Check, differs)
	assert.NoError(t, check(`{"cniVersion": "1.1.0", `+fmt.Sprintf(of, `, "mtu": 1400`)+`}`))
	assert.NoError(t, check(`{"cniVersion": "1.0.0", `+fmt.Sprintf(of, ``)+`}`))
	assert.EqualValues(t, types.ErrDecodingFailure, cnierror.Code(check(`[]`)))
	less := 1300
	m.change(pod1, "bond0-2", bond.Change{MTU: &less})
	wantError(t, check(`{"cniVersion": "1.0.0", `+fmt.Sprintf(of, ``)+`}`), cnierror.Check, "network net1: bond0-2: mtu is 1300, was 1400")
}

// TestCheckMACOfTheList: the MAC of a bond that was asked for is the one that the list left.
func TestCheckMACOfTheList(t *testing.T) {
	m := newMachine(t)
	const asked, now = "02:00:00:00:01:01", "02:00:00:00:01:02"
	m.mustAdd(request(t, strings.Replace(standard, `"links"`, `"macPolicy": "shared", "mac": "`+asked+`", "links"`, 1)))
	rec := m.readRecord(c1)
	require.Equal(t, asked, rec.Bond().Options[bond.MAC])
	s, err := m.enter(pod1)
	require.NoError(t, err)
	defer s.close()
	left := &current.Result{Interfaces: []*current.Interface{{Name: "bond0", Sandbox: pod1, Mac: now}}}
	spec, err := asLeft(s, rec.Bond(), left)
	require.NoError(t, err)
	assert.Equal(t, now, spec.Options[bond.MAC])
	assert.Equal(t, asked, rec.Bond().Options[bond.MAC], "the Record has changed")
}

// TestCheckPFRenamed: a PF is found by its VF, whatever its name is now. If it has left the
// host, CHECK says so.
func TestCheckPFRenamed(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	down, up, name := false, true, "uplink"
	m.change("", "enp1s0", bond.Change{Up: &down})
	m.change("", "enp1s0", bond.Change{Name: &name, Up: &up})
	require.NoError(t, m.Check(t.Context(), c1))
	m.change("", "uplink", bond.Change{Namespace: m.namespace(pod2)})
	wantError(t, m.Check(t.Context(), c1), cnierror.Check, "network net1: bond0-1: the PF of 0000:3b:02.0 is not on the host")
}

// TestDisabled: CHECK and GC are not executed of the plugins of a list that disables them.
func TestDisabled(t *testing.T) {
	for value, disabled := range map[string]bool{"true": true, `"true"`: true, "false": false, `"no"`: false} {
		list := agentapi.Attachment{Name: "demo/l", IfName: "net1", Config: json.RawMessage(
			`{"cniVersion": "1.1.0", "name": "l", "disableCheck": ` + value + `, "disableGC": ` + value + `, "plugins": [{"type": "bridge"}]}`)}
		n := newNode(t, list)
		_, err := n.AddPod(t.Context(), n.config, n.request())
		require.NoError(t, err)
		n.plugins.calls = nil
		require.NoError(t, n.CheckPod(t.Context(), n.request().Key()))
		require.NoError(t, n.GC(t.Context(), "multibond", []netconf.GCAttachment{{ContainerID: "c1", IfName: "eth0"}}))
		want := []string{"bridge CHECK eth0", "portmap CHECK eth0"} // the default network's version has no GC
		if !disabled {
			want = append(want, "bridge CHECK net1", "bridge GC ")
		}
		assert.Equal(t, want, n.plugins.executed(), value)
	}
}

// TestDisabledOfLink: the same for the plugins of a link. The bond is still checked.
func TestDisabledOfLink(t *testing.T) {
	for value, disabled := range map[string]bool{"true": true, `"true"`: true, "false": false} {
		m := newMachine(t)
		m.mustAdd(request(t, `{"cniVersion": "1.1.0", "name": "net1", "links": [{"deviceID": "0000:3b:02.0"},
			{"config": {"disableCheck": `+value+`, "disableGC": `+value+`, "plugins": [{"type": "macvlan"}, {"type": "tuning"}]}}]}`))
		m.plugins.calls = nil
		require.NoError(t, m.Check(t.Context(), c1))
		require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{{ContainerID: "c1", IfName: "bond0"}}))
		var want []string // sriov has a version without CHECK
		if !disabled {
			want = []string{"macvlan CHECK bond0-2", "tuning CHECK bond0-2", "macvlan GC ", "tuning GC "}
		}
		assert.Equal(t, want, m.plugins.executed(), value)
		m.mustDelete(pod1, "bond0")
		assert.Error(t, m.Check(t.Context(), c1))
	}
}

func (m *machine) mustDelete(path, name string) {
	m.t.Helper()
	require.NoError(m.t, m.namespace(path).Delete(m.link(path, name).Index))
}

// TestCheckPlugins: CHECK is executed of the plugins that know it, with what they printed
// at ADD. IPAM gets the configuration of the runtime.
func TestCheckPlugins(t *testing.T) {
	for _, test := range []struct {
		name, config string
		want         []string
	}{
		{"old versions", standard, []string{"host-local CHECK bond0"}},
		{"new versions", strings.Replace(standard, `"type": "sriov"`, `"type": "sriov", "cniVersion": "0.4.0"`, 1),
			[]string{"sriov CHECK bond0-1", "sriov CHECK bond0-2", "host-local CHECK bond0"}},
		{"none", strings.Replace(standard, `"cniVersion": "1.1.0"`, `"cniVersion": "0.3.1"`, 1), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.mustAdd(request(t, test.config))
			m.plugins.calls = nil
			require.NoError(t, m.Check(t.Context(), c1))
			var got []string
			for _, c := range m.plugins.calls {
				got = append(got, c.Type+" "+c.Command+" "+c.IfName)
				want := strings.Replace(test.config, `"delegate"`, `"prevResult": `+string(m.readRecord(c1).Result)+`, "delegate"`, 1)
				if c.Type == "sriov" {
					want = `{"cniVersion": "0.4.0", "name": "net1", "type": "sriov", "vlan": 100, "deviceID": "` + deviceAt(c) + `", "pciBusID": "` + deviceAt(c) + `",
						"prevResult": ` + string(m.readRecord(c1).Attached[c.IfName].Result) + `}`
				}
				sameJSON(t, want, c.Config)
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func deviceAt(c invoke.Call) string {
	return map[string]string{"bond0-1": vfA, "bond0-2": vfB}[c.IfName]
}

func TestStatus(t *testing.T) {
	n := request(t, standard).Network
	m := newMachine(t)
	before := m.state()
	assert.NoError(t, m.Status(n))
	m.plugins.missing["host-local"] = true
	wantError(t, m.Status(n), types.ErrPluginNotAvailable, "CNI plugin host-local is not in [/opt/cni/bin]: file does not exist")
	m.SetBonding(false)
	wantError(t, m.Status(n), types.ErrPluginNotAvailable, bond.ErrNoBonding.Error())
	m.SetBonding(true)
	clear(m.plugins.missing)
	m.wantState(before)

	m.Store.Dir += "/file"
	writeFile(t, m.Store.Dir, "", 0o600)
	err := m.Status(n)
	wantError(t, err, types.ErrPluginNotAvailable, "state directory: mkdir "+m.Store.Dir+": not a directory")
	assert.Empty(t, m.plugins.calls)
}

// lookOnly is a kernel from which STATUS may not ask for more than a look.
type lookOnly struct{ bond.Kernel }

func (lookOnly) EnableBonding(context.Context) error { panic("STATUS loads a module") }

// TestStatusOfWhatHangs: STATUS is not delayed by a default network whose plugins never
// end, an agent that never answers, or the loading of a module. It executes no plugin,
// loads no module and does not ask the agent.
func TestStatusOfWhatHangs(t *testing.T) {
	bin := t.TempDir()
	writeFile(t, filepath.Join(bin, "p"), "#!/bin/sh\n"+`touch "$0.was-executed"; exec sleep 600`, 0o755)
	agent := fakeAgent(t, func(agentapi.Request, net.Conn) { assert.Fail(t, "STATUS asks the agent") })
	conf := t.TempDir()
	writeFile(t, filepath.Join(conf, "10-hangs.conflist"), `{"cniVersion": "1.1.0", "name": "hangs", "plugins": [{"type": "p", "ipam": {"type": "p"}}]}`, 0o600)

	m := newMachine(t)
	m.Path = []string{bin}
	m.Host.Kernel, m.Runner = lookOnly{m.Host.Kernel}, invoke.Exec{Env: os.Environ(), Timeout: time.Minute}
	assert.NoError(t, m.StatusPod(netconf.Cluster{Agent: agent.Socket, ConfDir: conf}))
	n, err := netconf.ParseNetwork([]byte(fmt.Sprintf(`{"name": "net1", "agent": %q, "links": [{"resourceName": "a/b"}, {"resourceName": "a/c"}],
		"delegate": {"type": "p"}, "ipam": {"type": "p"}}`, agent.Socket)), "bond0")
	require.NoError(t, err)
	assert.NoError(t, m.Status(n))
	files, _ := filepath.Glob(filepath.Join(bin, "*.was-executed"))
	assert.Empty(t, files)
}
