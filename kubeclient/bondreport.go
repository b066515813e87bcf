package kubeclient

import (
	"time"

	"github.com/multibond/multibond/bond"
)

// reportOf returns how a bond is, for people.
func (t bondTable) reportOf(b *watchedBond, is bondStatus) BondReport {
	master := t.master(b).Link
	r := BondReport{Namespace: b.Pod.Namespace, Pod: b.Pod.Name, Bond: b.IfName, Network: b.Network, Mode: master.Options[bond.Mode], MTU: master.MTU, State: is.state(), Wanted: b.Wanted, Failovers: b.failovers}
	if !b.failedOver.IsZero() {
		r.LastFailover = &b.failedOver
	}
	for _, l := range b.Links {
		m, _ := t.member(b, l)
		one := LinkReport{Name: l.Name, Device: l.Device, PF: l.PF, Active: m.Active, State: is.states[l.Name], Failures: m.Failures}
		if r.Mode == bond.LACP {
			one.Partner = new(m.HasPartner())
		}
		r.Links = append(r.Links, one)
	}
	return r
}

// state returns the state of a bond in one word.
func (s bondStatus) state() string {
	switch {
	case s.deleted:
		return BondDeleted
	case s.starting:
		return BondStarting
	case s.Condition == bond.Down:
		return BondDown
	case s.Condition == bond.Degraded:
		return BondDegraded
	}
	return BondUp
}

// reports returns how the bonds of the node are.
func (w *watcher) reports() (out []BondReport) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear()
	for _, b := range w.table.sorted() {
		out = append(out, w.table.reportOf(b, w.table.status(b, time.Now())))
	}
	return out
}
