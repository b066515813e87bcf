package delegate

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// heldBy is a node whose second VF has a userspace driver, and a pod that has the VF in a
// network of its own.
func heldBy(t *testing.T) (n *node, before string) {
	n = newNode(t, vlan("net2", vfA2))
	n.SetDriver(vfA2, "vfio-pci")
	before = n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	return n, before
}

// nextPod is the request of another pod.
func (n *node) nextPod() plan.Request {
	r := n.request()
	r.ContainerID, r.Netns = "c2", pod2
	return r
}

func (n *node) vlanOf(number int) int {
	vfs, err := n.namespace("").VFs("enp1s0")
	require.NoError(n.t, err)
	return vfs[number].VLAN
}

// netnsAtDel lists what sriov-cni was told of the namespace of net2 at DEL.
func (n *node) netnsAtDel() (out []string) {
	for _, c := range n.plugins.calls {
		if c.Type == sriov && c.Command == "DEL" && c.IfName == "net2" && c.ContainerID == "c1" {
			out = append(out, c.Netns)
		}
	}
	return out
}

// TestHeld: a VF with a userspace driver is held like any other, and its plugin resets it.
// What the plugin forgets is taken back through the PF.
func TestHeld(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		n, before := heldBy(t)
		assert.Equal(t, 7, n.vlanOf(1))
		holder, err := n.Store.Holder(vfA2)
		require.NoError(t, err)
		assert.Equal(t, plan.Key{ContainerID: "c1", IfName: "net2"}, holder)
		_, err = n.AddPod(t.Context(), n.config, n.nextPod())
		assert.ErrorContains(t, err, "VF 0000:3b:02.1 is in use by container c1, as a link of net2")
		if forgets {
			clear(n.plugins.vfs)
		}
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		assert.Equal(t, []string{pod1}, n.netnsAtDel())
		assert.Empty(t, n.log)
		n.wantState(before)
	}
}

// TestHeldStatic: a VF that a network's configuration names is held like one that the
// kubelet has assigned.
func TestHeldStatic(t *testing.T) {
	static := vlan("net2", vfA2)
	static.Devices = nil
	n := newNode(t, static)
	before := n.state()
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	holder, err := n.Store.Holder(vfA2)
	require.NoError(t, err)
	assert.Equal(t, plan.Key{ContainerID: "c1", IfName: "net2"}, holder)
	_, err = n.AddPod(t.Context(), n.config, n.nextPod())
	assert.ErrorContains(t, err, "VF 0000:3b:02.1 is in use by container c1, as a link of net2")
	clear(n.plugins.vfs) // sriov-cni does not restore it
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	n.wantState(before)
}

// TestHeldByAnother: a late DEL does not touch a VF that another pod has by now, after a
// boot or not. The plugin only frees what it keeps.
func TestHeldByAnother(t *testing.T) {
	for _, boot := range []string{"boot1", "boot2"} {
		n, _ := heldBy(t)
		late, err := n.Store.Load(plan.Key{ContainerID: "c1", IfName: "net2"})
		require.NoError(t, err)
		head, err := n.Store.Load(n.request().Key())
		require.NoError(t, err)
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		n.BootID = boot
		_, err = n.AddPod(t.Context(), n.config, n.nextPod())
		require.NoError(t, err)
		n.changeVFOf("enp1s0", 1, func(vf *bond.VF) { vf.VLAN = 9 })
		attached := n.state()
		require.NoError(t, n.Store.Begin(head, late))
		writeFile(t, n.Store.HoldFile(vfA2), "c2:net2", 0o600)
		n.plugins.calls = nil
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		assert.Equal(t, []string{""}, n.netnsAtDel())
		n.wantState(attached)
	}
}

// TestHeldOtherDriver: the driver is another one than at ADD. The plugin is not told of the
// namespace; what it has set at the PF is taken back, unless another program may have the
// VF.
func TestHeldOtherDriver(t *testing.T) {
	for driver, left := range map[string]int{"": 0, "igbvf": 0, "uio_pci_generic": 7} {
		n, _ := heldBy(t)
		n.SetDriver(vfA2, driver)
		require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
		assert.Equal(t, []string{""}, n.netnsAtDel(), driver)
		assert.Equal(t, left, n.vlanOf(1), driver)
		assert.Len(t, n.aside(), min(left, 1), driver)
		_, err := n.AddPod(t.Context(), n.config, n.nextPod())
		assert.Equal(t, driver == "uio_pci_generic", err == nil, "%s: %v", driver, err)
		require.NoError(t, n.DelPod(t.Context(), n.config, n.nextPod()))
		assert.Equal(t, 0, n.vlanOf(1), driver)
		assert.Empty(t, n.aside(), driver)
	}
}

// TestHeldNoPF: the settings cannot be taken back while the PF is not on the host.
func TestHeldNoPF(t *testing.T) {
	n, before := heldBy(t)
	clear(n.plugins.vfs)
	lift := elsewhere("", "enp1s0")(n.machine)
	require.ErrorContains(t, n.DelPod(t.Context(), n.config, n.request()), "its PF enp1s0 is not on the host")
	lift()
	n.change("", "enp1s0", bond.Change{Up: new(true)})
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	n.wantState(before)
}

// TestHeldRemains: the PF refuses to take a setting back. No other pod gets it.
func TestHeldRemains(t *testing.T) {
	n, before := heldBy(t)
	clear(n.plugins.vfs)
	lift := refusal(func(_ string, what any) bool { vf, is := what.(bond.VF); return is && vf.VLAN == 0 })(n.machine)
	require.ErrorContains(t, n.DelPod(t.Context(), n.config, n.request()), "invalid argument")
	n.Limbo.GiveUp = 0
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	require.Len(t, n.aside(), 1)
	_, err := n.AddPod(t.Context(), n.config, n.nextPod())
	require.ErrorContains(t, err, "deviceID: VF 0000:3b:02.1 still has what container c1 has left on it: vlan is 7, was 0 (to see why it cannot be taken back: multibond plan -container c1)")
	lift()
	_, err = n.AddPod(t.Context(), n.config, n.nextPod())
	require.NoError(t, err)
	require.NoError(t, n.DelPod(t.Context(), n.config, n.nextPod()))
	n.wantState(before)
}

// TestFreeForOldSRIOV: a sriov-cni that keeps no notes does nothing at DEL without a
// namespace. Its address is released and its file removed nevertheless.
func TestFreeForOldSRIOV(t *testing.T) {
	one := vlan("net2", vfA2)
	one.Config = []byte(`{"cniVersion": "0.3.1", "name": "vlan", "type": "sriov", "deviceID": "` + vfA2 + `", "ipam": {"type": "host-local"}}`)
	n := newNode(t, one)
	n.SetDriver(vfA2, "vfio-pci")
	_, err := n.AddPod(t.Context(), n.config, n.request())
	require.NoError(t, err)
	file := n.SRIOV + "/c1-net2"
	writeFile(t, file, "{}", 0o600)
	n.BootID = "boot2"
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.NoFileExists(t, file)
	assert.True(t, slices.ContainsFunc(n.plugins.calls, func(c invoke.Call) bool {
		return c.Type == "host-local" && c.Command == "DEL" && c.IfName == "net2"
	}))
}

// TestWithoutAdd: what a PF has to keep for a VF without an interface. It never sets a MAC
// that the VF had chosen: the VF could have no other from then on.
func TestWithoutAdd(t *testing.T) {
	const own, pinned, pods = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
	vf := func(mac string, vlan int) bond.VF { return bond.VF{MAC: mac, VLAN: vlan} }
	for _, test := range []struct {
		name             string
		link             *bond.Link
		before, set, now bond.VF
		want             bond.VF
		killed           bool // before it was known what ADD has set
	}{
		{name: "a MAC in place of the VF's own", link: &bond.Link{MAC: own}, before: vf(own, 0), set: vf(pods, 7), now: vf(pods, 7), want: vf(bond.NoMAC, 0)},
		{name: "a MAC in place of one that the PF had set", link: &bond.Link{MAC: own}, before: vf(pinned, 5), set: vf(pods, 7), now: vf(pods, 7), want: vf(pinned, 5)},
		{name: "the VF had no interface", before: vf(bond.NoMAC, 0), set: vf(pods, 7), now: vf(pods, 7), want: vf(bond.NoMAC, 0)},
		{name: "no MAC was set", link: &bond.Link{MAC: own}, before: vf(own, 0), set: vf(own, 7), now: vf(own, 7), want: vf(own, 0)},
		{name: "somebody has changed it since", link: &bond.Link{MAC: own}, before: vf(own, 0), set: vf(pods, 7), now: vf(pinned, 9), want: vf(pinned, 9)},
		{name: "ADD was killed", link: &bond.Link{MAC: own}, before: vf(own, 0), now: vf(pods, 7), want: vf(pods, 0), killed: true},
	} {
		rec := &record.Record{Attached: map[string]record.Attached{"l": {VF: &test.set}}}
		if test.killed {
			rec.Attached = nil
		}
		assert.Equal(t, test.want, withoutAdd(rec, plan.Link{Name: "l", Before: test.link, VFBefore: &test.before}, test.now), test.name)
	}
}

// TestHeldMissing: the plugins of a VF that does not exist any more only free what they
// keep, also if the VF had no driver at ADD.
func TestHeldMissing(t *testing.T) {
	n, _ := heldBy(t)
	k := plan.Key{ContainerID: "c1", IfName: "net2"}
	rec := n.readRecord(k)
	rec.Plan.Links[0].Held, rec.Plan.Links[0].Driver = "0000:3b:0f.0", ""
	require.NoError(t, n.Store.Update(rec))
	require.NoError(t, n.DelPod(t.Context(), n.config, n.request()))
	assert.Equal(t, []string{""}, n.netnsAtDel())
	assert.Contains(t, n.log.String(), "0000:3b:0f.0 no longer exists")
}
