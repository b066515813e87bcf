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
		most := mostByPath
		if r.Monitor == "miimon" {
			most = mostByCarrier
		}
		got := fmt.Sprintf("%.0f ms", r.Fault.GapMS)
		if !r.Fault.Whole {
			got = "no end"
		}
		add(r.Fault.Whole && r.Fault.GapMS <= float64(most), fmt.Sprintf("without an answer for at most %d ms", most), got)
		if r.MACs == sharedMAC {
			add(r.MACBefore != "" && r.MACAfter == r.MACBefore, "the same MAC, "+r.MACBefore, r.MACAfter)
		}
	}
	if !r.Fault.Whole && 10*r.Fault.Lost > 9*r.Fault.Sent { // the first may still have come through
		add(r.Said != "up", "a bond that carries nothing is not up", r.Said)
	}
	return all
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
