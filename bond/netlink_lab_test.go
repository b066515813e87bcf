//go:build lab

package bond

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestLabNames: the kernel refuses the names that CheckName refuses, and makes a
// bond of exactly the name that CheckName accepts.
func TestLabNames(t *testing.T) {
	n := space(t, "names")
	for _, name := range []string{"a", "...", "eth0.100", "x-y_z@!", "é", strings.Repeat("n", 15), "\x7f", "a\x85b"} {
		require.NoError(t, CheckName(name), name)
		b := create(t, n, name, Options{Mode: ActiveBackup})
		assert.Equal(t, name, b.Name)
		require.NoError(t, n.Delete(b.Index), name)
	}
	for _, name := range []string{"", ".", "..", "a/b", "a:b", "a b", "a\n", "à", "b%x", strings.Repeat("n", 16)} {
		assert.Error(t, CheckName(name), name)
		if name != "" { // for which the kernel chooses a name
			_, err := n.CreateBond(name, Options{Mode: ActiveBackup})
			assert.Error(t, err, name)
		}
	}
}

// TestLabDevice: a NIC's link has its PCI address, and no other link has one.
func TestLabDevice(t *testing.T) {
	n := host(t)
	links, err := n.Links()
	require.NoError(t, err)
	found := 0
	for _, l := range links {
		assert.Equal(t, l, find(t, n, l.Name), l.Name)
		if l.Device != "" {
			found++
		}
	}
	assert.GreaterOrEqual(t, found, 2+8)
	assert.Equal(t, "0000:01:10.0", find(t, n, "enp1s0v0").Device)
	assert.Empty(t, find(t, n, "lo").Device)
	b := create(t, n, "devicetest", Options{Mode: ActiveBackup})
	assert.Empty(t, b.Device)
	require.NoError(t, n.Delete(b.Index))
}

// TestLabMany reads lists that are longer than one message.
func TestLabMany(t *testing.T) {
	n := space(t, "many")
	const bonds, addresses = 40, 300
	for i := range bonds {
		create(t, n, fmt.Sprintf("b%d", i), Options{Mode: ActiveBackup, Miimon: "100"})
	}
	links, err := n.Links()
	require.NoError(t, err)
	assert.Len(t, links, bonds+1) // and lo
	b := find(t, n, "b0")
	require.NoError(t, n.Change(b.Index, Change{Up: new(true)}))
	var a Addresses
	for i := range addresses {
		a.IPs = append(a.IPs, prefix(fmt.Sprintf("10.%d.%d.1/24", i/256, i%256)), prefix(fmt.Sprintf("fd00:0:0:%x::1/64", i)))
	}
	require.NoError(t, n.Configure(b.Index, a))
	got := addressesOf(t, n, b)
	byText := func(x, y netip.Prefix) int { return strings.Compare(x.String(), y.String()) }
	slices.SortFunc(a.IPs, byText)
	slices.SortFunc(got.IPs, byText)
	assert.Equal(t, a, got)
	require.NoError(t, n.Flush(b.Index))
	assert.Equal(t, Addresses{}, addressesOf(t, n, b))
}

// TestLabIndex: a link that moves keeps its index only if the index is free.
func TestLabIndex(t *testing.T) {
	n := space(t, "index")
	vf := find(t, host(t), "enp1s0v0")
	for {
		b := create(t, n, fmt.Sprintf("b%d", vf.Index), Options{Mode: ActiveBackup})
		if b.Index >= vf.Index {
			break
		}
		require.NoError(t, n.Change(b.Index, Change{Name: new(fmt.Sprintf("other%d", b.Index))}))
	}
	moved := borrow(t, n, "enp1s0v0")
	assert.NotEqual(t, vf.Index, moved.Index)
	assert.Equal(t, vf.Device, moved.Device)
}

// TestLabRename: kernels from 6.2 on rename a link that is up.
func TestLabRename(t *testing.T) {
	n := space(t, "rename")
	b := create(t, n, "bond0", Options{Mode: ActiveBackup})
	require.NoError(t, n.Change(b.Index, Change{Up: new(true)}))
	err := n.Change(b.Index, Change{Name: new("bond1")})
	if older(t, "6.2") {
		assert.ErrorIs(t, err, unix.EBUSY)
	} else {
		assert.NoError(t, err)
	}
}

// TestLabAltNames: a link is found by an alternative name, and no other link can
// have that name.
func TestLabAltNames(t *testing.T) {
	n := space(t, "alt")
	b := create(t, n, "bond0", Options{Mode: ActiveBackup})
	ip(t, "-n alt link property add dev bond0 altname other altname a-name-of-more-than-15")
	l := find(t, n, "other")
	assert.Equal(t, b.Index, l.Index)
	assert.Equal(t, []string{"other", "a-name-of-more-than-15"}, l.AltNames)
	_, err := n.CreateBond("other", Options{Mode: ActiveBackup})
	assert.ErrorIs(t, err, unix.EEXIST)
	links, err := n.Links()
	require.NoError(t, err)
	taken, there := Taken(links, "other")
	assert.True(t, there)
	assert.Equal(t, "bond0", taken.Name)
}

// TestLabKernelWords: errors have the kernel's own words.
func TestLabKernelWords(t *testing.T) {
	n := space(t, "words")
	vf := borrow(t, n, "enp2s0v1")
	b := create(t, n, "bond0", Options{Mode: ActiveBackup, Miimon: "100", FailOverMac: "active"})
	require.NoError(t, n.Change(vf.Index, Change{Up: new(true)}))
	words := map[string]error{
		"operation not permitted: Device can not be enslaved while up": n.Change(vf.Index, Change{Master: &b.Index}),
		"invalid argument: mtu greater than device maximum":            n.Change(vf.Index, Change{MTU: new(99999)}),
		"invalid argument: mtu less than device minimum":               n.Change(vf.Index, Change{MTU: new(10)}),
		"network is unreachable: Nexthop has invalid gateway":          n.Configure(vf.Index, Addresses{Routes: []Route{{Dst: prefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.0.0.1")}}}),
	}
	for want, err := range words {
		assert.ErrorContains(t, err, want)
	}
	require.NoError(t, n.Change(vf.Index, Change{Up: new(false)}))
}
