package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/multibond/multibond/tests/demo/event"
)

const ms = int64(1e6)

// pings makes an event of each kind for probes sent every 10 ms, answered 2 ms
// later unless they are lost.
func pings(n int, lost func(int) bool) (events []event.Event) {
	for i := 1; i <= n; i++ {
		sent := int64(i) * 10 * ms
		events = append(events, event.Event{At: sent, Kind: event.Sent, Probe: i})
		if !lost(i) {
			events = append(events, event.Event{At: sent + 2*ms, Kind: event.Answered, Probe: i})
		}
	}
	return events
}

func between(from, to int) func(int) bool { return func(i int) bool { return i >= from && i <= to } }

func TestMeasure(t *testing.T) {
	got, ok := measure(pings(100, between(31, 42)), 305*ms)
	want := traffic{Sent: 100, Lost: 12, Last: 302 * ms, Back: 432 * ms, Pause: 10 * ms}
	if got != want || !ok {
		t.Errorf("got %+v %v, want %+v", got, ok, want)
	}
	if gap := got.gap(); gap != 130 {
		t.Errorf("gap: got %v ms, want 130", gap)
	}
}

// A hole before the fault is lost packets, and not the failover.
func TestMeasureLeavesEarlierHolesOut(t *testing.T) {
	lost := func(i int) bool { return between(5, 25)(i) || between(50, 52)(i) }
	got, ok := measure(pings(100, lost), 500*ms)
	want := traffic{Sent: 100, Lost: 24, Last: 492 * ms, Back: 532 * ms, Pause: 10 * ms}
	if got != want || !ok {
		t.Errorf("got %+v %v, want %+v", got, ok, want)
	}
}

// Of a cable the moment is known late: the gap has begun by then.
func TestMeasureFaultWithinTheGap(t *testing.T) {
	got, ok := measure(pings(100, between(31, 42)), 400*ms)
	if !ok || got.Last != 302*ms || got.Back != 432*ms {
		t.Errorf("got %+v %v, want the gap from 302 to 432 ms", got, ok)
	}
}

func TestMeasureWithoutAnswersAfterTheFault(t *testing.T) {
	got, ok := measure(pings(100, between(31, 100)), 305*ms)
	if ok || got.Lost != 70 {
		t.Errorf("got %+v %v, want 70 lost and no gap", got, ok)
	}
}

func TestMeasureDuplicatesAndDisorder(t *testing.T) {
	events := pings(100, between(31, 42))
	events = append(events, event.Event{At: 303 * ms, Kind: event.Answered, Probe: 30})
	slices.Reverse(events)
	got, ok := measure(events, 305*ms)
	if !ok || got.Sent != 100 || got.Lost != 12 || got.Back != 432*ms {
		t.Errorf("got %+v %v, want 100 sent, 12 lost, back at 432 ms", got, ok)
	}
}

func TestMeasurePause(t *testing.T) {
	events := slices.DeleteFunc(pings(100, between(31, 42)), func(e event.Event) bool { return between(34, 38)(e.Probe) })
	got, _ := measure(events, 305*ms)
	if got.Pause != 60*ms || got.Lost != 7 {
		t.Errorf("got %+v, want a pause of 60 ms and 7 lost", got)
	}
}

func seen(at int64, where, what, value string) event.Event {
	return event.Event{At: at * ms, Kind: event.Seen, Where: where, What: what, Value: value}
}

func TestTimeline(t *testing.T) {
	events := []event.Event{
		seen(1, pod1, activeFile, link1), // first looks are no news
		seen(2, pod2, activeFile, link1),
		seen(3, pod1, link1+"/carrier", "1"),
		seen(50, pod1, link2+"/carrier", "1"),
		seen(60, pod1, link2+"/carrier", "0"), // before the fault
		{At: 100 * ms, Kind: event.Began, Value: "ip link set enp1s0 down"},
		seen(250, pod1, activeFile, link2), // told out of order
		{At: 120 * ms, Kind: event.Ended, Value: "ip link set enp1s0 down"},
		seen(138, pod1, link1+"/carrier", "0"),
		seen(249, pod1, link1+"/bonding_slave/mii_status", "up"),
		seen(250, pod1, link1+"/bonding_slave/mii_status", "down"),
		seen(260, pod2, activeFile, ""),
	}
	got := timeline(events, 100*ms, "PF enp1s0 is set down", traffic{Sent: 300, Lost: 9, Last: 99 * ms, Back: 270 * ms})
	want := []string{
		"-1 ms|the last answer before the gap",
		"+0 ms|PF enp1s0 is set down",
		`+20 ms|"ip link set enp1s0 down" returns`,
		"+38 ms|pod1: bond0-1 has lost its carrier",
		"+150 ms|pod1: the active link of bond0 is now bond0-2",
		"+150 ms|pod1: the bond takes bond0-1 for down",
		"+160 ms|pod2: bond0 has no active link",
		"+170 ms|traffic is back: 9 of 300 probes lost, 171 ms without an answer",
	}
	var lines []string
	for _, m := range got {
		lines = append(lines, fmt.Sprintf("%v|%s", m, m.Text))
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%q\nwant\n%q", lines, want)
	}
}

func TestLatest(t *testing.T) {
	events := []event.Event{seen(5, pod1, activeFile, link2), seen(3, pod1, activeFile, link1), seen(9, pod2, activeFile, link1)}
	if got := latest(events, pod1, activeFile); got != link2 {
		t.Errorf("got %q, want %q", got, link2)
	}
	if got := latest(events, pod1, "bond1/bonding/active_slave"); got != "" {
		t.Errorf("of a file that was never seen: got %q", got)
	}
}
