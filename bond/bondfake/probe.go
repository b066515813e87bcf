package bondfake

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

// Silence has nothing arrive any more that is sent over a device, or again: its carrier does
// not show it.
func (k *Kernel) Silence(address string, silent bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[address].silent = silent
}

// probe is a bond's. A target that is one of the neighbours answers at once.
type probe struct {
	k      *Kernel
	b      *link
	target netip.Addr
	begun  int // announcements before it was opened
	reach  []uint16
}

func (n *namespace) OpenProbe(l bond.Link, target netip.Addr) (bond.Probe, error) {
	unlock, err := n.lock("OpenProbe", l.Name)
	defer unlock()
	if err != nil {
		return nil, err
	}
	b, err := n.read(l.Index)
	if err != nil {
		return nil, err
	}
	if len(b.addrs.IPs) == 0 {
		return nil, fmt.Errorf("asking %s over %s: %w", target, l.Name, unix.ENETUNREACH)
	}
	return &probe{k: n.k, b: b, target: target, begun: b.announced}, nil
}

func (p *probe) Send(number uint16) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	if p.b.carries(p.target) {
		p.reach = append(p.reach, number)
	}
	return nil
}

// carries reports whether a bond's link that would send reaches a neighbour.
func (b *link) carries(target netip.Addr) bool {
	for _, s := range b.ns.k.slaves(b) {
		if s.Carrier && (b.active == s || !b.hasActive()) {
			d := b.ns.k.devices[s.Device]
			return b.ns.k.answers(target) && (d == nil || !d.silent)
		}
	}
	return false
}

func (p *probe) Answers(until time.Time, answered func(number uint16)) error {
	time.Sleep(time.Until(until))
	for _, number := range p.reach {
		answered(number)
	}
	p.reach = nil
	return nil
}

func (p *probe) Announced() (int, error) {
	unlock, err := p.b.ns.lock("Announced", p.b.Name)
	defer unlock()
	if err != nil {
		return 0, err
	}
	return p.b.announced - p.begun, nil
}

func (p *probe) Close() error { return nil }
