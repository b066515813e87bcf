package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStats(t *testing.T) {
	var all []time.Duration
	for i := 100; i > 0; i-- {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	want := Stats{N: 100, Median: 50.5, Low: 11, High: 91, P95: 96, P99: 100, Max: 100}
	if diff := cmp.Diff(want, newStats(all)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(Stats{N: 1, Median: 3, Low: 3, High: 3, P95: 3, P99: 3, Max: 3}, newStats([]time.Duration{3 * time.Millisecond})); diff != "" {
		t.Errorf("of one, -want +got:\n%s", diff)
	}
}

func TestSlope(t *testing.T) {
	if got := slope([]float64{1, 2, 4}, []float64{5, 7, 11}); got != 2 {
		t.Errorf("slope %v, want 2", got)
	}
}
