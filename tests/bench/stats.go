package main

import (
	"fmt"
	"slices"
	"time"
)

// Stats summarises durations, in milliseconds.
type Stats struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Low    float64 `json:"low"`  // the 10th percentile
	High   float64 `json:"high"` // the 90th
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// newStats summarises one or more durations.
func newStats(all []time.Duration) Stats {
	v := make(values, len(all))
	for i, d := range all {
		v[i] = ms(d)
	}
	slices.Sort(v)
	return Stats{N: len(v), Median: v.median(), Low: v.at(0.1), High: v.at(0.9), P95: v.at(0.95), P99: v.at(0.99), Max: v[len(v)-1]}
}

// Ratio is the time of one contender divided by that of another in the same round.
// Whatever slows the machine down for a while slows both.
type Ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`  // the 10th percentile
	High   float64 `json:"high"` // the 90th
}

// newRatio divides the durations of one contender by those of another, by round.
func newRatio(of, to []time.Duration) Ratio {
	v := make(values, len(of))
	for i := range of {
		v[i] = float64(of[i]) / float64(to[i])
	}
	slices.Sort(v)
	return Ratio{Median: v.median(), Low: v.at(0.1), High: v.at(0.9)}
}

// String returns the median and the spread.
func (r Ratio) String() string { return fmt.Sprintf("%.2f (%.2f to %.2f)", r.Median, r.Low, r.High) }

// values are sorted numbers.
type values []float64

func (v values) median() float64 { return (v[(len(v)-1)/2] + v[len(v)/2]) / 2 }

// at returns a percentile; p is between 0 and 1.
func (v values) at(p float64) float64 { return v[min(int(p*float64(len(v))), len(v)-1)] }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// slope fits y = a + b*x by least squares and returns b.
func slope(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	n := float64(len(x))
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
