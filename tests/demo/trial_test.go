package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/tests/demo/event"
)

// probes has one every 10 ms from time 0, each answered after 1 ms but for those
// that are lost.
func probes(n int, lost func(i int) bool) (events []event.Event) {
	for i := range n {
		at := int64(i) * 10e6
		events = append(events, event.Event{At: at, Kind: event.Sent, Probe: i + 1})
		if !lost(i) {
			events = append(events, event.Event{At: at + 1e6, Kind: event.Answered, Probe: i + 1})
		}
	}
	return events
}

func TestOutage(t *testing.T) {
	for _, test := range []struct {
		name     string
		events   []event.Event
		from, to int64
		want     Outage
	}{
		{"none", probes(200, func(int) bool { return false }), 500e6, 1 << 62, Outage{GapMS: 10, PauseMS: 9, Sent: 150}},
		{"some", probes(300, func(i int) bool { return i >= 100 && i < 120 }), 1000e6, 1 << 62,
			Outage{GapMS: 201, PauseMS: 10, LossMS: 190, Sent: 200, Lost: 20}},
		{"every other", probes(300, func(i int) bool { return i >= 100 && i%2 == 0 }), 1000e6, 1 << 62,
			Outage{GapMS: 20, PauseMS: 10, LossMS: 1980, Sent: 200, Lost: 100}},
		{"all", probes(300, func(i int) bool { return i >= 100 }), 1000e6, 1 << 62,
			Outage{GapMS: 1990, PauseMS: 10, LossMS: 1990, Sent: 200, Lost: 200}},
		{"what comes after", probes(300, func(i int) bool { return i >= 200 }), 1000e6, 2000e6, Outage{GapMS: 10, PauseMS: 9, Sent: 100}},
	} {
		assert.Equal(t, test.want, *outage(test.events, test.from, test.to), test.name)
	}
}

func TestWhole(t *testing.T) {
	for _, test := range []struct {
		name   string
		events []event.Event
		from   int64
		want   bool
	}{
		{"too few yet", probes(120, func(int) bool { return false }), 0, false},
		{"enough", probes(160, func(int) bool { return false }), 0, true},
		{"too few since", probes(160, func(int) bool { return false }), 500e6, false},
		{"every other", probes(300, func(i int) bool { return i%2 == 0 }), 0, false},
		{"again", probes(300, func(i int) bool { return i < 140 }), 1000e6, true},
		{"the last are under way", probes(300, func(i int) bool { return i > 270 }), 0, true},
	} {
		assert.Equal(t, test.want, whole(test.events, test.from), test.name)
	}
}
