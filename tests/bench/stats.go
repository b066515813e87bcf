package main

import (
	"slices"
	"time"
)

// Stats is what was seen of one thing, in milliseconds.
type Stats struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Low    float64 `json:"low"`  // the 10th percentile
	High   float64 `json:"high"` // the 90th
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// newStats reads durations, of which there is at least one.
func newStats(all []time.Duration) Stats {
	all = slices.Sorted(slices.Values(all))
	at := func(p float64) float64 { return ms(all[min(int(p*float64(len(all))), len(all)-1)]) }
	return Stats{N: len(all), Median: median(all), Low: at(0.1), High: at(0.9), P95: at(0.95), P99: at(0.99), Max: ms(all[len(all)-1])}
}

// median of sorted durations, in milliseconds.
func median(all []time.Duration) float64 {
	n := len(all)
	return (ms(all[(n-1)/2]) + ms(all[n/2])) / 2
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// slope fits y = a + b*x by least squares, and returns b.
func slope(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	n := float64(len(x))
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
