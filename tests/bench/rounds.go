package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// times are durations by what was called, by contender.
type times map[string]map[string][]time.Duration

func newTimes() times {
	return times{"ADD": {}, "DEL": {}, "DEL again": {}}
}

func (t times) stats(what string) map[string]Stats {
	out := map[string]Stats{}
	for name, all := range t[what] {
		out[name] = newStats(all)
	}
	return out
}

// Ratios are what Multibond took of the others' times, by what was called and by
// contender. A further DEL, for which nothing is left, is compared with the floor's
// DEL of the same round.
type Ratios map[string]map[string]Ratio

func (t times) ratios() Ratios {
	out := Ratios{}
	for what, by := range t {
		out[what] = map[string]Ratio{}
		for name, all := range by {
			if name != "multibond" {
				out[what][name] = newRatio(by["multibond"], all)
			}
		}
	}
	out["DEL again"]["floor"] = newRatio(t["DEL again"]["multibond"], t["DEL"]["floor"])
	return out
}

// of says what was taken of the times of some.
func (r Ratios) of(what string, names ...string) string {
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprint(r[what][name], " of ", name))
	}
	return strings.Join(parts, ", ")
}

// rounds takes rounds, after one that warms up.
func rounds(n int, round func(t times, i int) error) (times, error) {
	if err := round(newTimes(), 0); err != nil {
		return nil, err
	}
	t := newTimes()
	for i := range n {
		if err := round(t, i); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// round calls each contender once, each in the next sandbox, in an order that
// the round turns, and the floor last.
func (t times) round(ctx context.Context, all []contender, least floorOf, round int, next func() (sandbox, error)) error {
	k := round % len(all)
	for _, c := range slices.Concat(all[k:], all[:k]) {
		s, err := next()
		if err != nil {
			return err
		}
		for _, what := range []string{"ADD", "DEL", "DEL again"} {
			took, err := c.call(ctx, what[:3], s)
			refused := what == "DEL again" && c.name != "multibond" // as Multus does where sriov-cni remembers nothing
			if err != nil && !refused {
				return err
			}
			t[what][c.name] = append(t[what][c.name], took)
		}
	}
	s, err := next()
	if err != nil {
		return err
	}
	for _, what := range []string{"ADD", "DEL"} {
		took, err := least(ctx, what, s)
		if err != nil {
			return err
		}
		t[what]["floor"] = append(t[what]["floor"], took)
	}
	return nil
}
