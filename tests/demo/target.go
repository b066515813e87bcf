package main

import (
	"fmt"
	"slices"
)

// A target is what a trial's result has to be.
type Target struct {
	Trial string `json:"trial"`
	Want  string `json:"want"`
	Got   string `json:"got"`
	Met   bool   `json:"met"`
}

// The longest that traffic may be away, by what watches the links: a period of
// miimon and three of ARP or neighbour requests, and 100 ms more.
const (
	mostByCarrier = 100 + 100
	mostByPath    = 3*100 + 100
)

// targets judges a result: how long active-backup may take, whether a MAC that is
// to stay does, and that no bond says it is up while nothing comes through.
func (r Result) targets() (all []Target) {
	add := func(met bool, want, got string) {
		all = append(all, Target{Trial: r.trial.String(), Want: want, Got: got, Met: met})
	}
	if r.Mode == "active-backup" {
		most, from, since := r.most()
		got := fmt.Sprintf("%.0f ms", r.Fault.GapMS-from)
		if !r.Fault.Whole {
			got = "no end"
		}
		add(r.Fault.Whole && r.Fault.GapMS-from <= most, fmt.Sprintf("without an answer for at most %.0f ms%s", most, since), got)
		if r.MACs == sharedMAC {
			add(r.MACBefore != "" && r.MACAfter == r.MACBefore, "the same MAC, "+r.MACBefore, r.MACAfter)
		}
	}
	if !r.Fault.Whole && 10*r.Fault.Lost > 9*r.Fault.Sent { // the first may still have come through
		add(r.Said != "up", "a bond that carries nothing is not up", r.Said)
	}
	return all
}

// most is how long traffic may be away, and from when on, in milliseconds after
// the fault: miimon sees what the link's driver says, and no bond changes anything
// while the kernel takes a PF down, which holds its lock on all links.
func (r Result) most() (most, from float64, since string) {
	switch {
	case r.Monitor == "miimon" && r.SaidMS != nil:
		return mostByCarrier, *r.SaidMS, fmt.Sprintf(", from when the driver said so, %.0f ms after the fault", *r.SaidMS)
	case r.Monitor == "miimon":
		return mostByCarrier, 0, ", but the driver never said so"
	case r.trial.Fault == pfDown:
		return mostByPath, r.TookMS, fmt.Sprintf(", from when the PF was down, after %.0f ms", r.TookMS)
	}
	return mostByPath, 0, ""
}

// targets are those of all results, the ones that were not met first.
func (t Table) targets() (all []Target) {
	for _, r := range t.Results {
		all = append(all, r.targets()...)
	}
	slices.SortStableFunc(all, func(a, b Target) int {
		switch {
		case a.Met == b.Met:
			return 0
		case b.Met:
			return -1
		}
		return 1
	})
	return all
}
