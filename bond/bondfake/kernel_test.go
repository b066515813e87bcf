package bondfake_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/bondfake"
)

func get(t *testing.T, n bond.Namespace, name string) bond.Link {
	t.Helper()
	l, err := n.Link(name)
	require.NoError(t, err)
	return l
}

func open(t *testing.T, k *bondfake.Kernel, path string) bond.Namespace {
	t.Helper()
	n, err := k.Open(path)
	require.NoError(t, err)
	return n
}

// TestIndex: each namespace counts from 2. A link that moves to a namespace in
// which its index is taken gets another index. The kernel does the same (see the
// lab tests of bond).
func TestIndex(t *testing.T) {
	k := bondfake.New()
	k.AddPF("0000:01:00.0", "enp1s0", vfDevices[:1]...)
	k.AddNamespace("pod")
	host, pod := open(t, k, ""), open(t, k, "pod")
	vf := get(t, host, a0)
	first, second := k.AddVirtual("pod", "veth", "eth0"), k.AddVirtual("pod", "veth", "eth1")
	require.Equal(t, []int{2, 3, 3}, []int{first.Index, second.Index, vf.Index})
	require.NoError(t, host.Change(vf.Index, bond.Change{Namespace: pod}))
	moved := get(t, pod, a0)
	assert.Equal(t, 4, moved.Index)
	assert.Equal(t, vf.Device, moved.Device)
	require.NoError(t, pod.Change(4, bond.Change{Namespace: host}))
	assert.Equal(t, 4, get(t, host, a0).Index, "3 is not reused")
}

func TestAltNames(t *testing.T) {
	k := bondfake.New()
	k.AddNamespace("pod")
	k.AddVirtual("", "dummy", "one")
	k.AddVirtual("pod", "dummy", "two")
	host, pod := open(t, k, ""), open(t, k, "pod")
	for name, n := range map[string]bond.Namespace{"one": host, "two": pod} {
		require.NoError(t, n.Change(get(t, n, name).Index, altNames("other")))
	}
	l := get(t, host, "other")
	assert.Equal(t, "one", l.Name)
	assert.Equal(t, []string{"other"}, l.AltNames)
	_, err := host.CreateBond("other", active)
	assert.ErrorIs(t, err, unix.EEXIST)
	assert.ErrorIs(t, host.Change(l.Index, bond.Change{Namespace: pod}), unix.EEXIST)
}

// TestRenameUp: the fake does not rename a link that is up, as kernels before 6.2.
func TestRenameUp(t *testing.T) {
	k := bondfake.New()
	l := k.AddVirtual("", "dummy", "one")
	host := open(t, k, "")
	require.NoError(t, host.Change(l.Index, state(true)))
	assert.ErrorIs(t, host.Change(l.Index, name("two")), unix.EBUSY)
}

// TestFail: Fail is called for every verb, with the verb's name and its link's. A
// verb that it fails does nothing.
func TestFail(t *testing.T) {
	k := bondfake.New()
	k.AddPF("0000:01:00.0", "enp1s0", vfDevices[:1]...)
	host := open(t, k, "")
	vf := get(t, host, a0)
	broken := errors.New("broken")
	var asked []string
	k.Fail = func(verb string) error { asked = append(asked, verb); return broken }
	_, links := host.Links()
	_, link := host.Link(a0)
	_, create := host.CreateBond("bond0", active)
	_, addresses := host.Addresses(vf.Index)
	_, vfs := host.VFs("enp1s0")
	for i, err := range []error{links, link, create, addresses, vfs,
		host.Change(vf.Index, mtu(1400)), host.Delete(4711), host.Flush(vf.Index), host.Configure(vf.Index, bond.Addresses{}),
		host.Announce(vf.Index, nil), host.ChangeVF("enp1s0", 0, bond.VF{}, bond.VF{VLAN: 5})} {
		assert.ErrorIs(t, err, broken, "verb %d", i)
	}
	assert.Equal(t, []string{"Links ", "Link " + a0, "CreateBond bond0", "Addresses " + a0, "VFs enp1s0", "Change " + a0, "Delete 4711",
		"Flush " + a0, "Configure " + a0, "Announce " + a0, "ChangeVF enp1s0"}, asked)
	k.Fail = nil
	assert.Equal(t, 1500, get(t, host, a0).MTU)
}

// TestSys: sysfs always shows the machine as it is.
func TestSys(t *testing.T) {
	k := bondfake.New()
	k.AddPF("0000:01:00.0", "enp1s0", vfDevices[:1]...)
	k.AddNamespace("pod")
	k.AddVirtual("", "dummy", "uplink") // has no device
	sys := k.Sys()
	device := func() bond.Device {
		d, err := bond.ReadDevice(sys, vfDevices[0], "")
		require.NoError(t, err)
		return d
	}
	d := bond.Device{Address: vfDevices[0], PF: "0000:01:00.0", Driver: "igbvf", Netdev: a0, PFNetdev: "enp1s0"}
	assert.Equal(t, d, device())
	host := open(t, k, "")
	require.NoError(t, host.Change(get(t, host, a0).Index, bond.Change{Namespace: open(t, k, "pod")}))
	d.Netdev = ""
	assert.Equal(t, d, device())
	k.SetDriver(vfDevices[0], "")
	d.Driver = ""
	assert.Equal(t, d, device())
	for _, there := range []bool{true, false} {
		k.SetBonding(there)
		assert.Equal(t, !there, errors.Is(k.EnableBonding(t.Context()), bond.ErrNoBonding))
	}
}

// TestLose: a VF takes a lost message for a yes. Its PF notices a reset in any case,
// and refuses what the VF asks for until it hears of it.
func TestLose(t *testing.T) {
	k := bondfake.New()
	k.AddPF("0000:01:00.0", "enp1s0", vfDevices[:1]...)
	host := open(t, k, "")
	own := get(t, host, a0)
	reported := func() string {
		vfs, err := host.VFs("enp1s0")
		require.NoError(t, err)
		return vfs[0].MAC
	}
	lost := true
	k.Lose = func(address string) bool { assert.Equal(t, vfDevices[0], address); return lost }
	require.NoError(t, host.Change(own.Index, mac("02:00:00:00:cc:01")))
	assert.Equal(t, "02:00:00:00:cc:01", get(t, host, a0).MAC)
	assert.Equal(t, own.MAC, reported())
	bounce := func() {
		require.NoError(t, host.Change(own.Index, state(true)))
		require.NoError(t, host.Change(own.Index, state(false)))
	}
	bounce()
	assert.Equal(t, bond.NoMAC, reported())
	lost = false
	assert.ErrorIs(t, host.Change(own.Index, mac(own.MAC)), unix.EADDRNOTAVAIL)
	bounce()
	assert.Equal(t, "02:00:00:00:cc:01", reported())
	require.NoError(t, host.Change(own.Index, mac(own.MAC)))
	assert.Equal(t, own.MAC, reported())
	assert.False(t, k.SetByPF(vfDevices[0]))
}
