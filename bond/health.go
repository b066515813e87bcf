package bond

import (
	"slices"

	"github.com/multibond/multibond/bond/code"
)

// Condition is the condition of a bond. It is the one comparison of what a bond should be with
// what it is: CHECK makes it, and so does the agent, all the time.
type Condition int

// The conditions of a bond.
const (
	Healthy  Condition = iota
	Degraded           // it has a carrier, and fewer working links than it should have
	Down               // it has no carrier: nothing is sent or received
)

// Health is how a bond and its links are.
type Health struct {
	Condition Condition
	Active    int    // the index of the link that carries its traffic; 0: none, or its mode has none
	Works     []bool // for each of its links
}

// HealthOf compares a bond that should have a number of links with what the kernel has
// told last about it and the links that it was made of. For a link of which nothing is
// known, last returns an Event without a Member.
func HealthOf(index int, links []int, wanted int, last func(index int) Event) Health {
	master := last(index)
	h := Health{Active: master.ActiveLink, Works: make([]bool, len(links))}
	for i, l := range links {
		m, there := last(l).MemberOf(index)
		h.Works[i] = there && m.Works(master.Link)
	}
	switch {
	case !master.Link.Carrier:
		h.Condition = Down
	case h.Working() < wanted:
		h.Condition = Degraded
	}
	return h
}

// Working counts the links that work.
func (h Health) Working() (n int) {
	for _, works := range h.Works {
		if works {
			n++
		}
	}
	return n
}

// MemberOf returns how a bond sees the link of an Event. there is false if the link is not
// in that bond.
func (e Event) MemberOf(bond int) (m Member, there bool) {
	if e.Member == nil || e.Link.Master != bond {
		return Member{}, false
	}
	return *e.Member, true
}

// Works reports whether a bond uses a link, or would. With ARP monitoring, a link that was tried
// while none worked, and of which nothing was heard, stays MIIFail for as long as another one
// carries the traffic (bond_ab_arp_inspect in drivers/net/bonding/bond_main.c).
func (m Member) Works(b Link) bool {
	return m.MII == MIIUp || m.MII == MIIFail && b.Options.number(arpInterval) == 0
}

// VerifyHealth returns a [Problem] if a bond is [Down]. A bond that is not there, or was
// set down, is for [Verify].
func VerifyHealth(n Namespace, index int) error {
	events, err := n.Observe(OwnNamespace)
	if err != nil {
		return err
	}
	find := func(index int) Event {
		i := slices.IndexFunc(events, func(e Event) bool { return e.Link.Index == index })
		if i < 0 {
			return Event{}
		}
		return events[i]
	}
	b := find(index)
	if b.Link.Index == index && b.Link.Up && HealthOf(index, nil, 0, find).Condition == Down {
		return Problem{Code: code.NoCarrier, Path: b.Link.Name, Text: "the bond has no carrier: no link works", Hint: "check the cables, the PFs and the switch"}
	}
	return nil
}
