package kubeclient

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// linkKey identifies a link. The kernel gives the numbers of namespaces that are gone to
// others, but tells of that before.
type linkKey struct{ nsid, index int }

// bondTable is what is known of the bonds of a node: which there are, from the plugin; how
// their links are, from the kernel. It only computes.
type bondTable struct {
	bonds   map[linkKey]*watchedBond
	of      map[linkKey]*watchedBond // by their links
	deleted map[linkKey]*watchedBond // that are gone, while their namespaces are not
	links   map[linkKey]bond.Event   // the last event of each bond, link of a bond, and device of the host
}

// watchedBond is one bond, and what has become of it.
type watchedBond struct {
	agentapi.Bond
	settled    time.Time // until then its links are still coming up
	deleted    bool      // its application has deleted it: it is gone, and no DEL has come
	failovers  int
	failedOver time.Time // the last time
	reported   bondState // what the pod's events say of it
	last       reporting
}

// is reports whether the plugin tells of the same bond again.
func (b *watchedBond) is(told agentapi.Bond) bool {
	return b.Pod == told.Pod && b.IfName == told.IfName
}

func (b *watchedBond) nameOfPod() types.NamespacedName {
	return types.NamespacedName{Namespace: b.Pod.Namespace, Name: b.Pod.Name}
}

// bondState is what an event is about.
type bondState struct {
	condition bond.Condition
	active    int // the index of the active link
	failovers int
}

// differs reports whether there is something new to tell.
func (s bondState) differs(now bondState) bool {
	return now.condition != s.condition || now.failovers != s.failovers
}

func newBondTable() bondTable {
	return bondTable{bonds: map[linkKey]*watchedBond{}, of: map[linkKey]*watchedBond{}, deleted: map[linkKey]*watchedBond{}, links: map[linkKey]bond.Event{}}
}

func (t bondTable) add(b agentapi.Bond) *watchedBond {
	key := linkKey{b.NSID, b.Index}
	t.remove(key)
	maps.DeleteFunc(t.deleted, func(_ linkKey, d *watchedBond) bool { return d.is(b) })
	one := &watchedBond{Bond: b}
	t.bonds[key] = one
	for _, l := range b.Links {
		t.of[linkKey{b.NSID, l.Index}] = one
	}
	one.reported.active = t.links[key].ActiveLink
	return one
}

// remove forgets a bond, but not what was heard of it.
func (t bondTable) remove(key linkKey) {
	if b := t.bonds[key]; b != nil {
		delete(t.bonds, key)
		for _, l := range b.Links {
			delete(t.of, linkKey{b.NSID, l.Index})
		}
	}
}

// apply takes an event over, and returns the bond that it concerns, or nil. It keeps what
// it hears of bonds that the plugin has not told of yet: their ADD is still going on.
func (t bondTable) apply(e bond.Event) *watchedBond {
	key := linkKey{e.NSID, e.Link.Index}
	switch {
	case e.Kind == bond.Forgotten:
		t.forget(e.NSID)
		return nil
	case e.Kind == bond.Vanished:
		delete(t.links, key)
		if b := t.bonds[key]; b != nil {
			t.remove(key)
			t.deleted[key] = b
			return b
		}
		return t.of[key]
	case e.NSID == bond.OwnNamespace:
		if e.Link.Device != "" {
			t.links[key] = e
		}
		return nil
	case e.Link.Kind != "bond" && e.Member == nil:
		delete(t.links, key) // it may have left its bond
		return t.of[key]
	}
	t.links[key] = e
	b := t.bonds[key]
	if b == nil {
		return t.of[key]
	}
	if e.FailedOver {
		b.failovers++
	}
	return b
}

// forget removes all that was in a namespace.
func (t bondTable) forget(nsid int) {
	for key := range t.links {
		if key.nsid == nsid {
			delete(t.links, key)
		}
	}
	for key := range t.bonds {
		if key.nsid == nsid {
			t.remove(key)
		}
	}
	maps.DeleteFunc(t.deleted, func(key linkKey, _ *watchedBond) bool { return key.nsid == nsid })
}

// end forgets what bonds of a pod were deleted: its DEL has deleted them.
func (t bondTable) end(pod agentapi.Pod) {
	maps.DeleteFunc(t.deleted, func(_ linkKey, d *watchedBond) bool { return d.Pod == pod })
}

// knows reports whether the kernel has told of a bond.
func (t bondTable) knows(b agentapi.Bond) bool {
	return t.links[linkKey{b.NSID, b.Index}].Link.Kind == "bond"
}

// sorted lists the bonds by pod and interface, with those that applications have deleted.
func (t bondTable) sorted() (all []*watchedBond) {
	for _, b := range t.bonds {
		all = append(all, b)
	}
	for _, b := range t.deleted {
		if b.deleted {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *watchedBond) int {
		return slices.Compare([]string{a.Pod.Namespace, a.Pod.Name, a.IfName}, []string{b.Pod.Namespace, b.Pod.Name, b.IfName})
	})
	return all
}

// master returns the last event of a bond.
func (t bondTable) master(b *watchedBond) bond.Event { return t.links[linkKey{b.NSID, b.Index}] }

// member returns how a bond sees its link. there is false if the link is not in it.
func (t bondTable) member(b *watchedBond, l agentapi.BondLink) (m bond.Member, there bool) {
	return t.links[linkKey{b.NSID, l.Index}].MemberOf(b.Index)
}

// works reports whether a bond uses a link, or would.
func (t bondTable) works(b *watchedBond, l agentapi.BondLink) bool {
	m, there := t.member(b, l)
	return there && m.Works(t.master(b).Link)
}

// health is how a bond is, by the comparison that CHECK makes too.
func (t bondTable) health(b *watchedBond) bond.Health {
	var links []int
	for _, l := range b.Links {
		links = append(links, l.Index)
	}
	return bond.HealthOf(b.Index, links, b.Wanted, func(index int) bond.Event { return t.links[linkKey{b.NSID, index}] })
}

// working counts the links of a bond that work.
func (t bondTable) working(b *watchedBond) int { return t.health(b).Working() }

// pf returns the last event of a link's PF. there is false if nothing is known of it.
func (t bondTable) pf(l agentapi.BondLink) (e bond.Event, there bool) {
	for key, e := range t.links {
		if key.nsid == bond.OwnNamespace && e.Link.Name == l.PF {
			return e, true
		}
	}
	return bond.Event{}, false
}

func (t bondTable) state(b *watchedBond) bondState {
	is := t.health(b)
	return bondState{condition: is.Condition, active: is.Active, failovers: b.failovers}
}
