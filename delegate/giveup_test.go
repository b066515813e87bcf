package delegate

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/record"
)

// nics is a bond over two NICs of the host that have no PCI device, with an address.
const nics = `{"cniVersion": "1.0.0", "name": "net1", "links": [{"name": "usb0"}, {"name": "usb1"}]}`

// A hindrance is something that cannot be restored.
type hindrance struct {
	name, config string
	prepare      func(m *machine)        // before the ADD
	hinder       func(m *machine) func() // after it; what it returns lifts the hindrance
	want         string                  // in the error of DEL, then in its warning
	next         string                  // in the error of the next ADD of the links; "": it succeeds
	noDevice     bool                    // no device is left, so it is set aside at once, and no ADD depends on it
	rest         func(m *machine)        // what is as before nevertheless
}

func addNICs(m *machine) {
	m.AddVirtual("", "", "usb0")
	m.AddVirtual("", "", "usb1")
}

// refusal makes the kernel refuse what is asked.
func refusal(refused func(verb string, what any) bool) func(m *machine) func() {
	return func(m *machine) func() {
		m.edges.refuse = func(verb string, what any) error {
			if refused(verb, what) {
				return unix.EINVAL
			}
			return nil
		}
		return func() { m.edges.refuse = nil }
	}
}

// refusedChange makes the kernel refuse changes.
func refusedChange(refused func(bond.Change) bool) func(m *machine) func() {
	return refusal(func(_ string, what any) bool {
		c, is := what.(bond.Change)
		return is && refused(c)
	})
}

// refusedOpen makes the pod's namespace one that cannot be opened.
func refusedOpen(m *machine) func() {
	return refusal(func(verb string, what any) bool { return verb == "open" && what == pod1 })(m)
}

// inPod changes the link usb0 or bond0-1 in the pod, which takes it out of the bond first.
func inPod(m *machine, name string, c bond.Change) {
	m.change(pod1, name, bond.Change{Master: new(0)})
	m.change(pod1, name, bond.Change{Up: new(false)})
	m.change(pod1, name, c)
}

// takeName makes a link of the host that has a name.
func takeName(name string) func(m *machine) func() {
	return func(m *machine) func() {
		m.AddVirtual("", "dummy", name)
		return func() { require.NoError(m.t, m.namespace("").Delete(m.link("", name).Index)) }
	}
}

// noPlugin has the plugin of the first VF refuse each DEL, so that Multibond restores it.
func noPlugin(hinder func(m *machine) func()) func(m *machine) func() {
	return func(m *machine) func() {
		m.plugins.refuse["sriov DEL bond0-1"] = "no"
		lift := hinder(m)
		return func() {
			clear(m.plugins.refuse)
			lift()
		}
	}
}

// refusedDel has a plugin refuse DEL.
func refusedDel(what string) func(m *machine) func() {
	return func(m *machine) func() {
		m.plugins.refuse[what] = "no"
		return func() { clear(m.plugins.refuse) }
	}
}

func elsewhere(path, name string) func(m *machine) func() {
	return func(m *machine) func() {
		m.AddNamespace("/elsewhere")
		m.change(path, name, bond.Change{Namespace: m.namespace("/elsewhere")})
		return func() { m.RemoveNamespace("/elsewhere") }
	}
}

var hindrances = []hindrance{
	{name: "the name of a VF is taken", config: standard, hinder: takeName("enp1s0v0"),
		want: "restoring the name of mb3: file exists; its name enp1s0v0 is now that of enp1s0v0 (dummy)"},
	{name: "the name of a NIC is taken", config: nics, prepare: addNICs, hinder: takeName("usb0"),
		want: "restoring the name of mb8: file exists; its name usb0 is now that of usb0 (dummy)"},
	{name: "the name of a virtual link is taken", config: strings.ReplaceAll(nics, "usb", "up"),
		prepare: func(m *machine) { m.AddVirtual("", "dummy", "up0"); m.AddVirtual("", "dummy", "up1") }, hinder: takeName("up0"),
		want: "restoring the name of mb8: file exists; its name up0 is now that of up0 (dummy)"},
	{name: "an alternative name is taken", config: standard, hinder: takeName("its-own"),
		prepare: func(m *machine) { m.change("", "enp1s0v0", bond.Change{AddAltNames: []string{"its-own"}}) },
		want:    "restoring the alternative names of enp1s0v0: file exists"},
	{name: "an address or a route is refused", config: scenarioConfig("links of the host"),
		prepare: func(m *machine) { scenarioNamed("links of the host").prepare(m) },
		hinder: refusal(func(verb string, what any) bool {
			return verb == "Configure" && len(what.(bond.Addresses).IPs) > 0 && what.(bond.Addresses).IPs[0].String() == "192.0.2.7/24"
		}),
		want: "link enp1s0v0 (0000:3b:02.0): invalid argument"},
	{name: "the MTU is refused", config: nics, prepare: addNICs,
		hinder: func(m *machine) func() {
			inPod(m, "usb0", bond.Change{MTU: new(4000)})
			return refusedChange(func(c bond.Change) bool { return c.MTU != nil && *c.MTU == 1500 })(m)
		},
		want: "restoring the MTU of usb0: invalid argument"},
	{name: "the state is refused", config: nics,
		prepare: func(m *machine) { addNICs(m); m.change("", "usb0", bond.Change{Up: new(true)}) },
		hinder:  refusedChange(func(c bond.Change) bool { return c.Up != nil && *c.Up && c.MAC == nil }),
		want:    "restoring the state of usb0: invalid argument", next: "setting bond0 up"},
	{name: "the MAC is refused", config: nics, prepare: addNICs,
		hinder: func(m *machine) func() {
			inPod(m, "usb0", bond.Change{MAC: new("02:00:00:00:00:ee")})
			return refusedChange(func(c bond.Change) bool { return c.MAC != nil })(m)
		},
		want: "restoring the MAC of usb0: invalid argument",
		next: "links[0].name: usb0 still has what container c1 has left on it: MAC is 02:00:00:00:00:ee, was 02:00:00:00:00:0a"},
	{name: "the VLAN is refused", config: standard,
		prepare: func(m *machine) { m.change("", "enp1s0v0", bond.Change{Up: new(true)}) },
		rest:    func(m *machine) { assert.True(m.t, m.link("", "enp1s0v0").Up) },
		hinder:  noPlugin(refusal(func(_ string, what any) bool { vf, is := what.(bond.VF); return is && vf.VLAN == 0 })),
		want:    "invalid argument",
		next:    "links[0].deviceID: VF 0000:3b:02.0 still has what container c1 has left on it: vlan is 100, was 0"},
	{name: "the PF is not on the host", config: standard,
		hinder: noPlugin(func(m *machine) func() {
			back := elsewhere("", "enp1s0")(m)
			return func() { back(); m.change("", "enp1s0", bond.Change{Up: new(true)}) }
		}),
		want: "its PF enp1s0 is not on the host, so its settings at the PF cannot be restored",
		next: "the PF 0000:3b:00.0 of VF 0000:3b:02.0 has no interface on the host"},
	{name: "the VF is nowhere", config: standard, hinder: elsewhere(pod1, "bond0-1"),
		want: errNowhere.Error(), next: "VF 0000:3b:02.0 has no interface on the host"},
	{name: "the NIC is nowhere", config: nics, prepare: addNICs, hinder: elsewhere(pod1, "usb0"),
		want: errNowhere.Error(), next: "the host has no interface usb0"},
	{name: "the VF cannot be moved", config: standard,
		hinder: noPlugin(refusedChange(func(c bond.Change) bool { return c.Namespace != nil })),
		want:   "moving bond0-1 back to the host: invalid argument", next: "VF 0000:3b:02.0 has no interface on the host"},
	{name: "the namespace cannot be opened", config: standard, hinder: refusedOpen,
		want: "network net1: invalid argument", next: "VF 0000:3b:02.0 has no interface on the host"},
	{name: "the bond cannot be deleted", config: standard, hinder: refusal(func(verb string, _ any) bool { return verb == "Delete" }),
		want: "network net1: invalid argument", noDevice: true},
	{name: "IPAM refuses", config: standard, hinder: refusedDel("host-local DEL bond0"), want: "ipam: host-local DEL: no", noDevice: true},
	{name: "a plugin that made a link refuses", config: scenarioConfig("links that plugins make"),
		hinder: refusedDel("macvlan DEL bond0-1"), want: "macvlan DEL: no", noDevice: true},
}

func scenarioNamed(name string) scenario {
	for _, s := range scenarios {
		if s.name == name {
			return s
		}
	}
	panic("there is no scenario " + name)
}

func (m *machine) aside() []*record.Record {
	m.t.Helper()
	recs, err := m.Store.ListAside()
	require.NoError(m.t, err)
	return recs
}

// TestGiveUp: whatever cannot be restored, DEL fails until the time is over, and names it.
// Then the pod goes, what is not as before is a warning, and the Record is set aside. GC
// and the next ADD of the links try it again. That ADD succeeds, or is refused because it
// would get what the dead pod has left.
func TestGiveUp(t *testing.T) {
	for _, h := range hindrances {
		for _, by := range []string{"GC", "the next ADD"} {
			if h.noDevice && by != "GC" {
				continue
			}
			t.Run(h.name+", then "+by, func(t *testing.T) {
				m := newMachine(t)
				if h.prepare != nil {
					h.prepare(m)
				}
				before := m.state()
				r := request(t, h.config)
				m.mustAdd(r)
				lift := h.hinder(m)
				for range 2 {
					err := m.Del(t.Context(), c1)
					require.ErrorContains(t, err, h.want)
					require.EqualValues(t, cnierror.Restore, cnierror.Code(err))
					require.Equal(t, !h.noDevice, hasRecord(m))
				}
				require.Equal(t, h.noDevice, len(m.aside()) == 1)
				m.Limbo.GiveUp = 0
				m.mustDel(c1)
				assert.False(t, hasRecord(m))
				require.Len(t, m.aside(), 1)
				if h.rest != nil {
					h.rest(m)
				}
				assert.Contains(t, strings.ReplaceAll(m.log.String(), "; ", "\n"), strings.ReplaceAll(h.want, "; ", "\n"))

				m.mustDel(c1)
				require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{}))
				require.Len(t, m.aside(), 1, "a further DEL and GC have done nothing")
				next := other(r)
				if _, err := m.Add(t.Context(), next); h.next != "" {
					assert.ErrorContains(t, err, h.next)
				} else {
					assert.NoError(t, err)
				}
				for m.Del(t.Context(), c2) != nil {
				}

				lift()
				if by == "GC" {
					require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{}))
				} else {
					m.mustAdd(next)
					assert.Empty(t, m.aside())
					m.mustDel(c2)
				}
				m.wantState(before)
			})
		}
	}
}

// TestGiveUpPod: the pod's event has what was given up of each of its networks. Further
// calls of the runtime go on with it.
func TestGiveUpPod(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB), vlan("net2", vfA2))
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	for _, what := range []string{"host-local DEL bond0", "bridge DEL eth0"} {
		n.plugins.refuse[what] = "no"
	}
	n.Limbo.GiveUp = 0
	require.ErrorContains(t, n.DelPod(t.Context(), n.config, n.request()), "bridge DEL: no")
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	require.Len(t, n.aside(), 2)
	warned := func() (out []string) {
		for _, p := range n.published() {
			out = append(out, p.Warnings...)
		}
		return out
	}
	require.Eventually(t, func() bool { return len(warned()) == 2 }, time.Minute, 10*time.Millisecond)
	assert.Contains(t, warned()[0], "network demo/bond0: ipam: host-local DEL: no: given up, as this has failed since ")
	assert.Contains(t, warned()[1], "network cbr0: bridge DEL: no: given up, as this has failed since ")

	calls := n.plugins.count("bridge", "DEL")
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.Equal(t, calls+1, n.plugins.count("bridge", "DEL"))
	clear(n.plugins.refuse)
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	n.wantState(before)
}

// TestGiveUpOthers: what was set aside is tried again for its own network and container
// only. A VF that another pod has meanwhile is not touched.
func TestGiveUpOthers(t *testing.T) {
	m := newMachine(t)
	before := m.state()
	r := request(t, standard)
	m.mustAdd(r)
	lift := takeName("enp1s0v0")(m)
	m.Limbo.GiveUp = 0
	require.Error(t, m.Del(t.Context(), c1))
	m.mustDel(c1)
	require.Len(t, m.aside(), 1)
	m.Limbo.GiveUp = time.Hour
	require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{}), "it waits for nothing once it is set aside")

	m.mustAdd(other(r))
	lift()
	attached := m.state()
	require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{{ContainerID: "c2", IfName: "bond0"}}))
	assert.Contains(t, m.log.String(), "VF 0000:3b:02.0 belongs to container c2 at present")
	m.wantState(attached)
	m.mustDel(c2)
	require.Len(t, m.aside(), 1)

	require.NoError(t, m.GC(t.Context(), "net2", []netconf.GCAttachment{}))
	require.Len(t, m.aside(), 1, "GC of another network")
	m.mustDel(c2)
	require.Len(t, m.aside(), 1, "DEL of another container")
	require.NoError(t, m.GC(t.Context(), "net1", []netconf.GCAttachment{}))
	m.wantState(before)
}

// TestGiveUpNamespace: GC does not reclaim what is in the namespace of a Record that was set
// aside, because the Record knows more.
func TestGiveUpNamespace(t *testing.T) {
	m := newMachine(t)
	m.Namespaces = t.TempDir()
	r := request(t, standard)
	r.Netns = filepath.Join(m.Namespaces, "p1")
	writeFile(t, r.Netns, "", 0o600)
	m.AddNamespace(r.Netns)
	m.mustAdd(r)
	lift := refusal(func(verb string, what any) bool {
		c, is := what.(bond.Change)
		return verb == "Delete" || is && c.Namespace != nil
	})(m)
	for _, link := range []string{"bond0-1", "bond0-2"} {
		m.plugins.refuse["sriov DEL "+link] = "no"
	}
	m.Limbo.GiveUp = 0
	require.Error(t, m.Del(t.Context(), c1))
	m.mustDel(c1)
	require.Len(t, m.aside(), 1)
	require.NoError(t, m.GCPod(t.Context(), netconf.Cluster{Name: "net1", Valid: []netconf.GCAttachment{}}))
	assert.NotContains(t, m.log.String(), "there is no Record of")
	clear(m.plugins.refuse)
	lift()
	require.NoError(t, m.GCPod(t.Context(), netconf.Cluster{Name: "net1", Valid: []netconf.GCAttachment{}}))
	assert.Empty(t, m.aside())
	assert.Equal(t, vfA, m.link("", "enp1s0v0").Device)
}

// TestFailingSince: the time until a Record is given up begins with the first failure.
func TestFailingSince(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	m.edges.refuse = func(verb string, _ any) error {
		if verb == "Change" {
			return errFault
		}
		return nil
	}
	m.Limbo.GiveUp = time.Hour
	require.Error(t, m.Del(t.Context(), c1))
	first := m.recordOf(c1)
	require.False(t, first.Failing.IsZero())
	require.Error(t, m.Del(t.Context(), c1))
	assert.True(t, first.Failing.Equal(m.recordOf(c1).Failing))
}

// TestUnreadableNamespace: without a Record, a namespace that cannot be opened keeps
// no pod.
func TestUnreadableNamespace(t *testing.T) {
	for name, config := range map[string]netconf.Cluster{"one network": {}, "the cluster's configuration": {Name: "cluster", Inline: []byte(`{"name": "cbr0", "type": "bridge"}`)}} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			refusedOpen(m)
			require.NoError(t, m.DelPod(t.Context(), config, request(t, standard)))
			assert.Contains(t, m.log.String(), "invalid argument")
			assert.False(t, m.Store.Tombstones(m.BootID).Has(c1))
		})
	}
}
