package main

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/multibond/multibond/tests/demo/event"
)

// traffic is what happened to the probes of one experiment.
type traffic struct {
	Sent, Lost int
	Last       int64 // when the last answer before the gap came, ns
	Back       int64 // when the first answer after it came, ns
	Pause      int64 // the longest time in the gap in which the probe sent nothing, ns
}

// gap is the time without an answer, in milliseconds.
func (t traffic) gap() float64 { return milliseconds(t.Back - t.Last) }

func milliseconds(ns int64) float64 { return float64(ns/1000) / 1000 }

// measure counts probes and finds the gap: the longest time between two answers
// in succession, of which the second came after the fault. A probe is lost if it
// has no answer at all. ok is false where no two such answers are.
func measure(events []event.Event, fault int64) (t traffic, ok bool) {
	answered := map[int]bool{}
	var sent, answers []int64
	for _, e := range events {
		switch e.Kind {
		case event.Sent:
			sent = append(sent, e.At)
		case event.Answered:
			if !answered[e.Probe] {
				answers = append(answers, e.At)
			}
			answered[e.Probe] = true
		}
	}
	t.Sent, t.Lost = len(sent), len(sent)-len(answered)
	slices.Sort(answers)
	for i := 1; i < len(answers); i++ {
		if last, back := answers[i-1], answers[i]; back > fault && back-last > t.Back-t.Last {
			t.Last, t.Back, ok = last, back, true
		}
	}
	t.Pause = pause(sent, t.Last, t.Back)
	return t, ok
}

// pause is the longest part of a time without any of the moments.
func pause(moments []int64, from, to int64) (longest int64) {
	for _, at := range slices.Sorted(slices.Values(append(slices.Clone(moments), to))) {
		if at > from && at <= to {
			longest, from = max(longest, at-from), at
		}
	}
	return longest
}

// changes are the events of kind Seen that are no first looks, in order.
func changes(events []event.Event) []event.Event {
	type place struct{ where, what string }
	seen := map[place]bool{}
	var out []event.Event
	for _, e := range sorted(events) {
		if e.Kind != event.Seen {
			continue
		}
		if at := (place{e.Where, e.What}); !seen[at] {
			seen[at] = true
			continue
		}
		out = append(out, e)
	}
	return out
}

// latest is what a file said last; "" if it was never seen.
func latest(events []event.Event, where, what string) string {
	value, at := "", int64(-1)
	for _, e := range events {
		if e.Kind == event.Seen && e.Where == where && e.What == what && e.At >= at {
			value, at = e.Value, e.At
		}
	}
	return value
}

func sorted(events []event.Event) []event.Event {
	out := slices.Clone(events)
	slices.SortStableFunc(out, func(a, b event.Event) int { return cmp.Compare(a.At, b.At) })
	return out
}

// Moment is one line of a timeline.
type Moment struct {
	MS   float64 `json:"ms"` // after the fault
	Text string  `json:"text"`
}

func (m Moment) String() string { return fmt.Sprintf("%+.0f ms", m.MS) }

// timeline merges what the probes saw with the fault and the gap, in order. The
// first moment is the fault, said by name; what was seen before it is left out,
// but for the last answer.
func timeline(events []event.Event, fault int64, name string, t traffic) []Moment {
	at := func(ns int64, text string) Moment { return Moment{milliseconds(ns - fault), text} }
	moments := []Moment{
		at(fault, name),
		at(t.Last, "the last answer before the gap"),
		at(t.Back, fmt.Sprintf("traffic is back: %d of %d probes lost, %.0f ms without an answer", t.Lost, t.Sent, t.gap())),
	}
	for _, e := range events {
		if e.Kind == event.Ended {
			moments = append(moments, at(e.At, "\""+e.Value+"\" returns"))
		}
	}
	for _, e := range changes(events) {
		if e.At >= fault {
			moments = append(moments, at(e.At, describe(e)))
		}
	}
	slices.SortStableFunc(moments, func(a, b Moment) int { return cmp.Compare(a.MS, b.MS) })
	return moments
}

// describe puts a change into words.
func describe(e event.Event) string {
	device, file := strings.Split(e.What, "/")[0], path.Base(e.What)
	switch file {
	case "carrier":
		words := map[string]string{"1": "has a carrier", "0": "has lost its carrier", "down": "is down"}
		if said := words[e.Value]; said != "" {
			return e.Where + ": " + device + " " + said
		}
	case "mii_status":
		return fmt.Sprintf("%s: the bond takes %s for %s", e.Where, device, e.Value)
	case "active_slave":
		if e.Value == "" {
			return fmt.Sprintf("%s: %s has no active link", e.Where, device)
		}
		return fmt.Sprintf("%s: the active link of %s is now %s", e.Where, device, e.Value)
	}
	return fmt.Sprintf("%s: %s is now %q", e.Where, e.What, e.Value)
}
