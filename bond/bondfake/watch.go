package bondfake

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

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
	return n.observe(number), nil
}

// ObserveIn finds the namespace by its number.
func (n *namespace) ObserveIn(number int) ([]bond.Event, error) {
	unlock, err := n.lock("ObserveIn", "")
	defer unlock()
	if err != nil {
		return nil, err
	}
	of := n.k.numbered(number)
	if of == nil {
		return nil, fmt.Errorf("listing links: %w", unix.EINVAL)
	}
	out := of.observe(number)
	for _, e := range out {
		delete(e.Link.Options, bond.Primary)
	}
	return out, nil
}

// SetPartner has a link of the host, in a bond in 802.3ad, agree with a partner or lose it. It
// has one to begin with, unlike in the real kernel.
func (k *Kernel) SetPartner(name string, there bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.named(k.namespaces[""], name).noPartner = !there
}

// numbered returns the namespace that has a number in the host's, or nil.
func (k *Kernel) numbered(number int) *namespace {
	for _, n := range k.namespaces {
		if n.number != nil && *n.number == number {
			return n
		}
	}
	return nil
}

func (n *namespace) observe(number int) (out []bond.Event) {
	for _, l := range n.k.in(n) {
		e := bond.Event{NSID: number, Link: l.report()}
		if l.active != nil && l.hasActive() {
			e.ActiveLink = l.active.Index
		}
		if b := n.k.master(l); b != nil && b.Kind == "bond" {
			e.Member = &bond.Member{Active: b.active == l || !b.hasActive(), Failures: l.failed}
			if b.Options[bond.Mode] == bond.LACP && !l.noPartner {
				e.Member.Ends = [2]uint8{0x3d, 0x3d}
			}
			if !e.Link.Carrier {
				e.Member.MII = bond.MIIDown
			}
		}
		out = append(out, e)
	}
	return out
}
