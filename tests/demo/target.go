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

// With keep, a cable that is pulled under miimon may cost 200 ms more than its period, and
// a VF that is made anew is in its bond at most that long after it is there.
const (
	mostByKeep = 100 + 200
	mostReturn = 2000
)

// targets judges a result: how long active-backup may take, whether a MAC that is
// to stay does, and that no bond says it is up while nothing comes through.
func (r Result) targets() (all []Target) {
	add := func(met bool, want, got string) {
		all = append(all, Target{Trial: r.trial.String(), Want: want, Got: got, Met: met})
	}
	if most := r.most(); most > 0 {
		got := fmt.Sprintf("%.0f ms", r.Fault.GapMS)
		if !r.Fault.Whole {
			got = "no end"
		}
		add(r.Fault.Whole && r.Fault.GapMS <= most, fmt.Sprintf("without an answer for at most %.0f ms", most), got)
		if r.MACs == sharedMAC {
			add(r.MACBefore != "" && r.MACAfter == r.MACBefore, "the same MAC, "+r.MACBefore, r.MACAfter)
		}
	}
	if r.Keep && r.takesVF() {
		got := "not in the bond again"
		if r.Returned != nil {
			got = fmt.Sprintf("%.0f ms", r.Returned.BondMS-r.Returned.CommandMS)
		}
		add(r.Returned != nil && r.Returned.BondMS-r.Returned.CommandMS <= mostReturn, fmt.Sprintf("in the bond at most %d ms after the VF is there", mostReturn), got)
	}
	if !r.Fault.Whole && 10*r.Fault.Lost > 9*r.Fault.Sent { // the first may still have come through
		add(r.Said != "up", "a bond that carries nothing is not up", r.Said)
	}
	return all
}

// most is how long traffic may be away, in milliseconds; 0 if there is no target.
func (r Result) most() float64 {
	switch {
	case r.Keep && r.trial.Fault == cableOut:
		return mostByKeep
	case r.Mode != "active-backup":
		return 0
	case r.Monitor == "miimon":
		return mostByCarrier
	}
	return mostByPath
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
