package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTargets(t *testing.T) {
	const mac = "02:00:00:00:00:01"
	ab := func(monitor string, ms float64, whole bool, policy, after string) Result {
		return Result{trial: trial{"active-backup", monitor, linkDown, "router", "IPv4", policy, false}, MACBefore: mac, MACAfter: after,
			Fault: Outage{GapMS: ms, Whole: whole, Sent: 10, Lost: 9}}
	}
	table := Table{Results: []Result{
		ab("miimon", 200, true, sharedMAC, mac),
		ab("miimon", 201, true, sharedMAC, "02:00:00:00:00:02"),
		ab("arp", 400, true, "", "02:00:00:00:00:02"),
		ab("ns", 10, false, "", ""),
		{trial: trial{"balance-rr", "miimon", cableOut, "router", "IPv4", "", false}, Said: "up", Fault: Outage{Sent: 50, Lost: 46}},
		{trial: trial{"balance-rr", "miimon", pfDown, "router", "IPv4", "", false}, Said: "up", Fault: Outage{Sent: 50, Lost: 45}},
		{trial: trial{"balance-rr", "miimon", cableOut, "router", "IPv4", "", true}, Fault: Outage{GapMS: 299, Whole: true}},
		{trial: trial{"balance-rr", "miimon", vfsRemoved, "router", "IPv4", "", true}, Fault: Outage{Whole: true}, Returned: &Return{1500, 3400}},
		{trial: trial{"balance-rr", "miimon", pfRemoved, "router", "IPv4", "", true}, Fault: Outage{Whole: true}},
	}}
	const quick, same = "without an answer for at most 200 ms", "the same MAC, " + mac
	const back = "in the bond at most 2000 ms after the VF is there"
	const shared = "active-backup, MAC shared, miimon, IPv4; router peer: link down"
	want := []Target{
		{shared, quick, "201 ms", false},
		{shared, same, "02:00:00:00:00:02", false},
		{"active-backup, ns, IPv4; router peer: link down", "without an answer for at most 400 ms", "no end", false},
		{"balance-rr, miimon, IPv4; router peer: cable out", "a bond that carries nothing is not up", "up", false},
		{"balance-rr, miimon, IPv4; router peer: PF removed, with keep", back, "not in the bond again", false},
		{shared, quick, "200 ms", true},
		{shared, same, mac, true},
		{"active-backup, arp, IPv4; router peer: link down", "without an answer for at most 400 ms", "400 ms", true},
		{"balance-rr, miimon, IPv4; router peer: cable out, with keep", "without an answer for at most 300 ms", "299 ms", true},
		{"balance-rr, miimon, IPv4; router peer: VFs removed, with keep", back, "1900 ms", true},
	}
	assert.Equal(t, want, table.targets())
}
