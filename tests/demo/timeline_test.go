package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

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
	assert.True(t, ok)
	assert.Equal(t, want, got)
	assert.Equal(t, 130.0, got.gap())
}

// A hole before the fault is lost packets, and not the failover.
func TestMeasureLeavesEarlierHolesOut(t *testing.T) {
	lost := func(i int) bool { return between(5, 25)(i) || between(50, 52)(i) }
	got, ok := measure(pings(100, lost), 500*ms)
	want := traffic{Sent: 100, Lost: 24, Last: 492 * ms, Back: 532 * ms, Pause: 10 * ms}
	assert.True(t, ok)
	assert.Equal(t, want, got)
}

// Of a cable the moment is known late: the gap has begun by then.
func TestMeasureFaultWithinTheGap(t *testing.T) {
	got, ok := measure(pings(100, between(31, 42)), 400*ms)
	assert.True(t, ok)
	assert.Equal(t, 302*ms, got.Last)
	assert.Equal(t, 432*ms, got.Back)
}

func TestMeasureWithoutAnswersAfterTheFault(t *testing.T) {
	got, ok := measure(pings(100, between(31, 100)), 305*ms)
	assert.False(t, ok)
	assert.Equal(t, 70, got.Lost)
}

func TestMeasureDuplicatesAndDisorder(t *testing.T) {
	events := pings(100, between(31, 42))
	events = append(events, event.Event{At: 303 * ms, Kind: event.Answered, Probe: 30})
	slices.Reverse(events)
	got, ok := measure(events, 305*ms)
	assert.True(t, ok)
	assert.Equal(t, 100, got.Sent)
	assert.Equal(t, 12, got.Lost)
	assert.Equal(t, 432*ms, got.Back)
}

func TestMeasurePause(t *testing.T) {
	events := slices.DeleteFunc(pings(100, between(31, 42)), func(e event.Event) bool { return between(34, 38)(e.Probe) })
	got, _ := measure(events, 305*ms)
	assert.Equal(t, 60*ms, got.Pause)
	assert.Equal(t, 7, got.Lost)
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
	assert.Equal(t, want, lines)
}

func TestLatest(t *testing.T) {
	events := []event.Event{seen(5, pod1, activeFile, link2), seen(3, pod1, activeFile, link1), seen(9, pod2, activeFile, link1)}
	assert.Equal(t, link2, latest(events, pod1, activeFile))
	assert.Empty(t, latest(events, pod1, "bond1/bonding/active_slave"), "of a file that was never seen")
}
