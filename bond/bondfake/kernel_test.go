package bondfake_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// TestIndex: each namespace counts for itself, from 2 on; who moves to where
// the index is taken gets another. The kernel does so too (bond's lab tests).
func TestIndex(t *testing.T) {
	k := bondfake.New()
	k.AddPF("0000:01:00.0", "enp1s0", vfDevices[:1]...)
	k.AddNamespace("pod")
	host, pod := open(t, k, ""), open(t, k, "pod")
	vf := get(t, host, a0)
	first, second := k.AddVirtual("pod", "veth", "eth0"), k.AddVirtual("pod", "veth", "eth1")
	if first.Index != 2 || second.Index != 3 || vf.Index != 3 {
		t.Fatal(first.Index, second.Index, vf.Index)
	}
	require.NoError(t, host.Change(vf.Index, bond.Change{Namespace: pod}))
	if moved := get(t, pod, a0); moved.Index != 4 || moved.Device != vf.Device {
		t.Errorf("%+v", moved)
	}
	require.NoError(t, pod.Change(4, bond.Change{Namespace: host}))
	if back := get(t, host, a0); back.Index != 4 {
		t.Errorf("%+v", back) // 3 is not given back
	}
}

func TestAltNames(t *testing.T) {
	k := bondfake.New()
	k.AddNamespace("pod")
	k.AddVirtual("", "dummy", "one")
	k.AddVirtual("pod", "dummy", "two")
	k.AddAltName("", "one", "other")
	k.AddAltName("pod", "two", "other")
	host, pod := open(t, k, ""), open(t, k, "pod")
	l := get(t, host, "other")
	if diff := cmp.Diff([]string{"one", "other"}, append([]string{l.Name}, l.AltNames...)); diff != "" {
		t.Error(diff)
	}
	if _, err := host.CreateBond("other", active); !errors.Is(err, unix.EEXIST) {
		t.Error(err)
	}
	if err := host.Change(l.Index, bond.Change{Namespace: pod}); !errors.Is(err, unix.EEXIST) {
		t.Error(err)
	}
}

// TestRenameUp: as kernels before 6.2.
func TestRenameUp(t *testing.T) {
	k := bondfake.New()
	l := k.AddVirtual("", "dummy", "one")
	host := open(t, k, "")
	require.NoError(t, errors.Join(host.Change(l.Index, state(true))))
	if err := host.Change(l.Index, name("two")); !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
}

// TestFail: every verb is asked about, by its name and its link's, and does
// nothing where it is told to fail.
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
		if !errors.Is(err, broken) {
			t.Errorf("verb %d: %v", i, err)
		}
	}
	want := []string{"Links ", "Link " + a0, "CreateBond bond0", "Addresses " + a0, "VFs enp1s0", "Change " + a0, "Delete 4711",
		"Flush " + a0, "Configure " + a0, "Announce " + a0, "ChangeVF enp1s0"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	k.Fail = nil
	if now := get(t, host, a0); now.MTU != 1500 {
		t.Error(now.MTU)
	}
}

// TestSys: sysfs is always as the machine is.
func TestSys(t *testing.T) {
	k := bondfake.New()
	k.AddPF("0000:01:00.0", "enp1s0", vfDevices[:1]...)
	k.AddNamespace("pod")
	k.AddVirtual("", "dummy", "uplink") // has no device
	sys := k.Sys()
	device := func() bond.Device {
		d, err := bond.ReadDevice(sys, vfDevices[0])
		require.NoError(t, err)
		return d
	}
	d := bond.Device{Address: vfDevices[0], PF: "0000:01:00.0", Driver: "igbvf", Netdev: a0, PFNetdev: "enp1s0"}
	if diff := cmp.Diff(d, device()); diff != "" {
		t.Error(diff)
	}
	host := open(t, k, "")
	require.NoError(t, host.Change(get(t, host, a0).Index, bond.Change{Namespace: open(t, k, "pod")}))
	d.Netdev = ""
	if diff := cmp.Diff(d, device()); diff != "" {
		t.Error(diff)
	}
	k.SetDriver(vfDevices[0], "")
	d.Driver = ""
	if diff := cmp.Diff(d, device()); diff != "" {
		t.Error(diff)
	}
	for _, there := range []bool{true, false} {
		k.SetBonding(there)
		if err := k.EnableBonding(t.Context()); (err == nil) != there {
			t.Error(there, err)
		}
	}
}
