// Driver carries out the campaign of faults in the lab's guest: see the package
// above it. It prints what it does to standard error, and its report, a JSON
// object, to standard output.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// Report is build/report/faults.json.
type Report struct {
	Seed       uint64         `json:"seed"`
	Rounds     int            `json:"rounds"`
	Operations map[string]int `json:"operations"`
	Succeeded  map[string]int `json:"succeeded"` // by sandbox
	Disturbed  map[string]int `json:"disturbances"`
	Kills      map[string]int `json:"killsByPlace"`     // of the plugin: what its Record said then
	KeepKills  map[string]int `json:"keepKillsByPlace"` // of keep: what the Records said then
	LinksBack  int            `json:"linksBack"`        // how often keep has brought a link back into its bond
	Whole      int            `json:"bondsWhole"`       // how often CHECK had to find a bond whole again
	Leaks      int            `json:"leaks"`
	SlowestDEL float64        `json:"slowestRestoreMS"`
	SlowBack   float64        `json:"slowestWholeMS"` // until the last of these was whole again
	Seconds    float64        `json:"seconds"`
	Failures   []Failure      `json:"failures,omitempty"`
}

// Failure is one round that has leaked.
type Failure struct {
	Round     int         `json:"round"`
	Leak      string      `json:"leak"`
	Reproduce []Operation `json:"reproduce"` // the shortest sequence that was found
}

var verbose bool

func main() {
	if len(os.Args) > 1 && os.Args[1] == "keep" {
		becomeKeep(os.Args[1:])
	}
	seed := flag.Uint64("seed", 1, "seed of all random choices")
	rounds := flag.Int("rounds", 200, "number of rounds")
	only := flag.Int("only", 0, "number of the only round to run (0: all)")
	flag.BoolVar(&verbose, "verbose", false, "print each operation when it begins")
	flag.Parse()
	began := time.Now()
	c, err := newCampaign(*seed)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(2)
	}
	for round := 1; round <= *rounds; round++ {
		if *only != 0 && round != *only {
			continue
		}
		c.round(round)
		if round%10 == 0 {
			fmt.Fprintf(os.Stderr, "faults: %d rounds, %d leaks, %.0f s\n", round, c.report.Leaks, time.Since(began).Seconds())
		}
	}
	c.report.Seconds = time.Since(began).Seconds()
	text, _ := json.MarshalIndent(c.report, "", "  ")
	fmt.Println(string(text))
	if c.report.Leaks > 0 {
		os.Exit(1)
	}
}

// campaign is what the rounds have in common.
type campaign struct {
	seed   uint64
	report Report
	agent  *agent
	keep   *keeper
	before []string // the whole state, as it was before the round
	bonds  bonds
}

func newCampaign(seed uint64) (*campaign, error) {
	c := &campaign{seed: seed, report: Report{Seed: seed, Operations: map[string]int{}, Succeeded: map[string]int{}, Disturbed: map[string]int{}, Kills: map[string]int{}, KeepKills: map[string]int{}}}
	if err := prepare(); err != nil {
		return nil, err
	}
	var err error
	if c.agent, err = startAgent(); err != nil {
		return c, err
	}
	c.keep = &keeper{report: &c.report}
	if err = c.keep.start(); err == nil {
		c.before, err = state()
	}
	return c, err
}

// round carries one out, with a random source of its own, so that it is the same
// whichever rounds are before it. One that leaks is tried again with fewer
// operations, until none can be spared.
func (c *campaign) round(number int) {
	random := rand.New(rand.NewPCG(c.seed, uint64(number)))
	operations := generate(random)
	c.report.Rounds++
	if err := c.keep.become(number%2 == 0); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	leak := c.carryOut(operations, true)
	if leak == "" {
		return
	}
	c.report.Leaks++
	fmt.Fprintf(os.Stderr, "faults: seed %d, round %d: %s\nfaults: looking for the shortest sequence of %d\n", c.seed, number, leak, len(operations))
	failure := Failure{Round: number, Leak: leak, Reproduce: c.shorten(operations)}
	for _, o := range failure.Reproduce {
		fmt.Fprintln(os.Stderr, "faults:  ", o)
	}
	c.report.Failures = append(c.report.Failures, failure)
	if err := c.startAnew(); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
}

// shorten leaves out one operation after the other, as long as what is left
// still leaks. What depends on time may not leak again at all.
func (c *campaign) shorten(operations []Operation) []Operation {
	leaks := func(some []Operation) bool {
		if err := c.startAnew(); err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err)
			return false
		}
		return c.carryOut(some, false) != ""
	}
	for i := 0; i < len(operations); {
		fewer := append(append([]Operation{}, operations[:i]...), operations[i+1:]...)
		if leaks(fewer) {
			operations = fewer
		} else {
			i++
		}
	}
	return operations
}
