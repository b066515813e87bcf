package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTargets(t *testing.T) {
	ab := func(monitor string, ms float64, whole bool, after string) Result {
		return Result{trial: trial{"active-backup", monitor, linkDown, "router", "IPv4"}, MACBefore: "02:00:00:00:00:01", MACAfter: after,
			Fault: Outage{GapMS: ms, Whole: whole, Sent: 10, Lost: 9}}
	}
	table := Table{Results: []Result{
		ab("miimon", 200, true, "02:00:00:00:00:01"),
		ab("miimon", 201, true, "02:00:00:00:00:02"),
		ab("arp", 400, true, ""),
		ab("ns", 10, false, ""),
		{trial: trial{"balance-rr", "miimon", cableOut, "router", "IPv4"}, Said: "up", Fault: Outage{Sent: 5, Lost: 5}},
		{trial: trial{"balance-rr", "miimon", pfDown, "router", "IPv4"}, Said: "up", Fault: Outage{Sent: 5, Lost: 4}},
	}}
	const quick, mac = "without an answer for at most 200 ms", "the same MAC, 02:00:00:00:00:01"
	want := []Target{
		{"active-backup, miimon, IPv4; router peer: link down", quick, "201 ms", false},
		{"active-backup, miimon, IPv4; router peer: link down", mac, "02:00:00:00:00:02", false},
		{"active-backup, ns, IPv4; router peer: link down", "without an answer for at most 400 ms", "no end", false},
		{"balance-rr, miimon, IPv4; router peer: cable out", "a bond that carries nothing is not up", "up", false},
		{"active-backup, miimon, IPv4; router peer: link down", quick, "200 ms", true},
		{"active-backup, miimon, IPv4; router peer: link down", mac, "02:00:00:00:00:01", true},
		{"active-backup, arp, IPv4; router peer: link down", "without an answer for at most 400 ms", "400 ms", true},
	}
	if diff := cmp.Diff(want, table.targets()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
