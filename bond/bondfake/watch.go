package bondfake

import (
	"os"

	"github.com/multibond/multibond/bond"
)

// OpenEvents returns a file on which nothing is ever heard: the fake has no events. What it
// knows can be observed.
func (k *Kernel) OpenEvents() (*os.File, error) { return os.Open(os.DevNull) }

// Number gives the lowest number that is free, as the kernel does.
func (n *namespace) Number(other bond.Namespace) (int, error) {
	unlock, err := n.lock("Number", other.ID())
	defer unlock()
	if err != nil {
		return 0, err
	}
	taken := map[int]bool{}
	var of *namespace
	for _, one := range n.k.namespaces {
		if one.id == other.ID() {
			of = one
		}
		if one.number != nil {
			taken[*one.number] = true
		}
	}
	if of.number == nil {
		free := 0
		for taken[free] {
			free++
		}
		of.number = &free
	}
	return *of.number, nil
}

// Observe reports a link with a carrier as one that works, as miimon does.
func (n *namespace) Observe(number int) ([]bond.Event, error) {
	unlock, err := n.lock("Observe", "")
	defer unlock()
	if err != nil {
		return nil, err
	}
	var out []bond.Event
	for _, l := range n.k.in(n) {
		e := bond.Event{NSID: number, Link: l.report()}
		if l.active != nil {
			e.ActiveLink = l.active.Index
		}
		if b := n.k.master(l); b != nil && b.Kind == "bond" {
			e.Member = &bond.Member{Active: b.active == nil || b.active == l}
			if !e.Link.Carrier {
				e.Member.MII = bond.MIIDown
			}
		}
		out = append(out, e)
	}
	return out, nil
}
