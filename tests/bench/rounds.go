package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// times are durations by call ("ADD", "DEL", "DEL again") and by contender.
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

// Ratios are Multibond's times divided by those of the others, by call and by
// contender. The floor has no further DEL: Multibond's is divided by the floor's
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

// of prints the ratios of a call.
func (r Ratios) of(what string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r[what])) {
		parts = append(parts, fmt.Sprint(r[what][name], " of ", name))
	}
	return strings.Join(parts, ", ")
}

// rounds runs a round for warming up, then n rounds that count.
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

// round attaches and detaches one sandbox with each contender. The order moves by
// one in each round. The floor comes last.
func (t times) round(ctx context.Context, all []contender, least floorOf, round int, next func(contender) (sandbox, error)) error {
	k := round % len(all)
	for _, c := range slices.Concat(all[k:], all[:k]) {
		s, err := next(c)
		if err != nil {
			return err
		}
		for _, what := range []string{"ADD", "DEL", "DEL again"} {
			took, err := c.call(ctx, what[:3], s)
			refused := what == "DEL again" && c.ofMultus() // as Multus does if sriov-cni has no cache file
			if err != nil && !refused {
				return err
			}
			t[what][c.name] = append(t[what][c.name], took)
		}
	}
	s, err := next(contender{name: "floor"})
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
