package record

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// TestIs: a link in the pod is the one that its device tells, or, if the device has
// several, its index, its permanent MAC or its name, whichever is known.
func TestIs(t *testing.T) {
	const own, others = "02:00:00:00:00:01", "02:00:00:00:00:02"
	before := &bond.Link{Index: 5, Name: "eth3", Device: vfA, PermMAC: own}
	single := plan.Link{Name: "eth3", Source: netconf.FromHost, Device: vfA, Before: before}
	several := single
	several.Siblings = true
	unknown := several
	unknown.Before = &bond.Link{Index: 5, Name: "eth3", Device: vfA}
	inPod := several
	inPod.Source = netconf.FromPod
	made := plan.Link{Name: "eth3", Source: netconf.FromConfig}
	seen := &Record{Attached: map[string]Attached{"eth3": {Link: bond.Link{Index: 9}}}}
	begun := &Record{}
	for _, test := range []struct {
		name string
		rec  *Record
		l    plan.Link
		now  bond.Link
		want bool
	}{
		{"the device", begun, single, bond.Link{Index: 7, Name: "x", Device: vfA, PermMAC: others}, true},
		{"the device, seen with another index", seen, single, bond.Link{Index: 7, Device: vfA}, true},
		{"another device", begun, single, bond.Link{Index: 5, Name: "eth3", Device: vfB, PermMAC: own}, false},
		{"no device", begun, single, bond.Link{Index: 5, Name: "eth3", PermMAC: own}, false},

		{"several, as seen", seen, several, bond.Link{Index: 9, Name: "x", Device: vfA, PermMAC: others}, true},
		{"several, not as seen", seen, several, bond.Link{Index: 5, Name: "eth3", Device: vfA, PermMAC: own}, false},
		{"several, its MAC", begun, several, bond.Link{Index: 7, Name: "x", Device: vfA, PermMAC: own}, true},
		{"several, another MAC", begun, several, bond.Link{Index: 5, Name: "eth3", Device: vfA, PermMAC: others}, false},
		{"several, no MAC is known", begun, unknown, bond.Link{Index: 7, Name: "eth3", Device: vfA, PermMAC: others}, true},
		{"several, no MAC and another name", begun, unknown, bond.Link{Index: 5, Name: "x", Device: vfA}, false},
		{"several, of the pod", begun, inPod, bond.Link{Index: 5, Name: "x", Device: vfA, PermMAC: others}, true},
		{"several, of the pod, another", begun, inPod, bond.Link{Index: 6, Name: "eth3", Device: vfA, PermMAC: own}, false},

		{"made by a plugin, as seen", seen, made, bond.Link{Index: 9, Name: "x", Device: vfB}, true},
		{"made by a plugin, another of its name", seen, made, bond.Link{Index: 7, Name: "eth3"}, false},
		{"made by a plugin, not seen", begun, made, bond.Link{Index: 7, Name: "eth3"}, true},
	} {
		assert.Equal(t, test.want, test.rec.Is(test.l, test.now), test.name)
	}
}

// TestKnows: an interface on the host is the one that was, or was made anew.
func TestKnows(t *testing.T) {
	const own, others, ofBond, given, random = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:0b", "02:00:00:00:00:0c", "02:00:00:00:00:0e"
	rec := func(permMAC, name string) (*Record, plan.Link) {
		l := plan.Link{Name: name, Device: vfA, Before: &bond.Link{Index: 5, Name: "enp1s0v0", Device: vfA, MAC: own, PermMAC: permMAC}}
		other := plan.Link{Name: "bond0-2", Device: vfB, Before: &bond.Link{Index: 6, MAC: others, PermMAC: others}}
		return &Record{
			Plan:     plan.Plan{Links: []plan.Link{l, other}, Bond: bond.Spec{Options: bond.Options{bond.MAC: ofBond}}},
			Attached: map[string]Attached{name: {Link: bond.Link{Index: 9, MAC: given}}},
		}, l
	}
	for _, test := range []struct {
		name, perm, as string
		now            bond.Link
		want           bool
	}{
		{"its index", own, "bond0-1", bond.Link{Index: 5, PermMAC: random}, true},
		{"its index in the pod", own, "bond0-1", bond.Link{Index: 9, PermMAC: random}, true},
		{"its MAC", own, "bond0-1", bond.Link{Index: 7, PermMAC: own}, true},
		{"the MAC of another link", own, "bond0-1", bond.Link{Index: 7, PermMAC: others}, true},
		{"the bond's MAC", own, "bond0-1", bond.Link{Index: 7, PermMAC: ofBond}, true},
		{"another MAC, and the pod's name", own, "bond0-1", bond.Link{Index: 7, Name: "bond0-1", PermMAC: random, MAC: own}, false},
		{"no permanent MAC, its own", "", "bond0-1", bond.Link{Index: 7, Name: "dev9", MAC: own}, true},
		{"no permanent MAC, the one that it got", "", "bond0-1", bond.Link{Index: 7, Name: "dev9", MAC: given}, true},
		{"no permanent MAC, the pod's name", "", "bond0-1", bond.Link{Index: 7, Name: "bond0-1", MAC: random}, true},
		{"made anew", "", "bond0-1", bond.Link{Index: 7, Name: "enp1s0v0", MAC: random}, false},
		{"made anew under the name that it had in the pod too", "", "enp1s0v0", bond.Link{Index: 7, Name: "enp1s0v0", MAC: random}, false},
	} {
		r, l := rec(test.perm, test.as)
		assert.Equal(t, test.want, r.Knows(l, test.now), test.name)
	}
}

// TestKnowsVirtual: an interface without a device is known by its index, and a NIC by its
// MAC as well. A Record of an earlier version does not know the device of a virtio NIC.
func TestKnowsVirtual(t *testing.T) {
	const own, others = "02:00:00:00:00:01", "02:00:00:00:00:02"
	link := func(index int, device, kind, mac string) bond.Link {
		return bond.Link{Index: index, Name: "eth1", Device: device, Kind: kind, MAC: mac}
	}
	for _, test := range []struct {
		name        string
		before, now bond.Link
		want        bool
	}{
		{"the same", link(5, "", "veth", own), link(5, "", "veth", own), true},
		{"another index", link(5, "", "veth", own), link(6, "", "veth", own), false},
		{"another kind", link(5, "", "veth", own), link(5, "", "dummy", own), false},
		{"a NIC with another index", link(5, "", "", own), link(6, "", "", own), true},
		{"another NIC", link(5, "", "", own), link(6, "", "", others), false},
		{"a NIC whose device was not known", link(5, "", "", own), link(6, vfA, "", own), true},
		{"a device that has the index now", link(5, "", "dummy", own), link(5, vfA, "", own), false},
		{"another device", link(5, vfB, "", own), link(5, vfA, "", own), false},
	} {
		l := plan.Link{Name: "bond0-1", Source: netconf.FromHost, Before: &test.before}
		assert.Equal(t, test.want, (&Record{}).KnowsVirtual(l, test.now), test.name)
	}
}
