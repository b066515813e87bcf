package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/demo/event"
)

// Pod 1 moves, pod 2 stays; the fault is seen on the host.
func cable() experiment {
	return experiment{
		title: "the cable is out", pods: []*attachment{{pod: pod1}, {pod: pod2}}, pf: "enp2s0",
		moves: []move{{pod1, link2, link1}, {pod2, link1, link1}}, fault: pullCable(guest{}, 1, "enp2s0"),
	}
}

func cableEvents() []event.Event {
	return append(pings(400, between(150, 180)),
		event.Event{Kind: event.Ready, Value: "10"}, event.Event{Kind: event.Ready, Value: "11"}, event.Event{Kind: event.Ready, Value: "12"},
		seen(1, pod1, activeFile, link2), seen(1, pod2, activeFile, link1),
		seen(1, pod1, link2+"/carrier", "1"), seen(1, hostNS, "enp2s0/carrier", "1"),
		seen(1500, hostNS, "enp2s0/carrier", "0"), seen(1800, pod1, activeFile, link1),
	)
}

func without(events []event.Event, drop func(event.Event) bool) []event.Event {
	return slices.DeleteFunc(slices.Clone(events), drop)
}

func TestMissing(t *testing.T) {
	all := cableEvents()
	for _, c := range []struct {
		name, want string
		events     []event.Event
	}{
		{"all is there", "", all},
		{"no fault", "the fault was not seen",
			without(all, func(e event.Event) bool { return e.Where == hostNS && e.Value == "0" })},
		{"no failover", `no failover was seen: the active link of pod1 is "bond0-2", not bond0-1`,
			without(all, func(e event.Event) bool { return e.What == activeFile && e.At > 1700*ms })},
		{"pod 2 moved too", `no failover was seen: the active link of pod2 is "bond0-2", not bond0-1`,
			append(slices.Clone(all), seen(1900, pod2, activeFile, link2))},
		{"no traffic", "traffic did not come back: 5 answers since the last change of an active link",
			without(all, func(e event.Event) bool { return e.Probe > 185 })},
	} {
		assert.Equal(t, c.want, cable().missing(c.events), c.name)
	}
}

func TestNotFlowing(t *testing.T) {
	before := without(cableEvents(), func(e event.Event) bool { return e.At > 1400*ms })
	assert.Empty(t, cable().notFlowing(before), "before the fault")
	for want, drop := range map[string]func(event.Event) bool{
		"2 of 3 probes run":                          func(e event.Event) bool { return e.Value == "11" },
		`the active link of pod2 is "", not bond0-1`: func(e event.Event) bool { return e.Where == pod2 },
		"pod1 has 99 answers from pod2, not 100":     func(e event.Event) bool { return e.Probe > 99 },
	} {
		assert.Equal(t, want, cable().notFlowing(without(before, drop)))
	}
}

func TestResult(t *testing.T) {
	f, err := cable().result(cableEvents())
	require.NoError(t, err)
	assert.Equal(t, 31, f.Lost)
	assert.Equal(t, 320.0, f.gap())
	assert.NotEmpty(t, f.timeline)
	loud := append(cableEvents(), seen(1600, pod1, link2+"/carrier", "0"))
	_, err = cable().result(loud)
	assert.ErrorContains(t, err, "not silent: pod1: bond0-2 has lost its carrier")
}

func TestStreamPutsLinesTogether(t *testing.T) {
	r := &recorder{}
	s := r.stream(pod1)
	for _, part := range []string{`{"at":5,"ki`, `nd":"sent","probe":1}` + "\n" + `{"at":7,"kind":"answered","probe":1}`, "\nnonsense\n"} {
		s.Write([]byte(part))
	}
	want := []event.Event{
		{At: 5, Kind: event.Sent, Probe: 1, Where: pod1},
		{At: 7, Kind: event.Answered, Probe: 1, Where: pod1},
	}
	assert.Equal(t, want, r.all())
	assert.ErrorContains(t, r.err, `the probe at pod1 printed "nonsense"`)
}
