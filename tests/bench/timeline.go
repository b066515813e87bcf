package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bar is one step of an ADD, from its Record.
type Bar struct {
	Network string  `json:"network"`
	What    string  `json:"what"`
	MS      float64 `json:"ms"`
}

// timeline shows the time of each step of one ADD of a pod with eight networks,
// from its Records. The rest is publishing and the process itself.
func (r *Report) timeline(ctx context.Context, m *machine, _ int) error {
	uids, err := m.addPods(ctx, map[string][]string{"t8": noops(8)})
	if err != nil {
		return err
	}
	netns, err := m.netns(0)
	if err != nil {
		return err
	}
	r.Timeline, err = multibond(agentDir).timeline(ctx, func(contender) (sandbox, error) { return sandbox{"bench-t8", netns, "t8", uids["t8"]}, nil })
	printTimeline(os.Stdout, r.Timeline)
	return err
}

// timeline attaches a pod, reads its Records, and detaches it.
func (c contender) timeline(ctx context.Context, next func(contender) (sandbox, error)) (all []Bar, err error) {
	for range 3 { // the last is warm
		s, err := next(c)
		if err != nil {
			return nil, err
		}
		took, err := c.call(ctx, "ADD", s)
		if err != nil {
			return nil, err
		}
		if all, err = bars(s.container, ms(took)); err != nil {
			return nil, err
		}
		if _, err := c.call(ctx, "DEL", s); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func printTimeline(w io.Writer, all []Bar) {
	total, plugins := 0.0, 0.0
	for _, b := range all {
		total += b.MS
		if b.ofPlugins() {
			plugins += b.MS
		}
	}
	for _, b := range all {
		fmt.Fprintf(w, "  %-30s %7.2f ms %s\n", b.Network+" "+b.What, b.MS, strings.Repeat("#", int(60*b.MS/total)))
	}
	fmt.Fprintf(w, "  %.1f ms; attaching and IPAM, with the time of the plugins, take %.1f of them\n", total, plugins)
}

// kind returns the first word of a step: "attach" for "attach eth0".
func (b Bar) kind() string {
	kind, _, _ := strings.Cut(b.What, " ")
	return kind
}

// ofPlugins reports whether plugins were executed in a step.
func (b Bar) ofPlugins() bool { return b.kind() == "attach" || b.kind() == "ipam" }

// bars reads the Records of a container.
func bars(container string, total float64) (all []Bar, err error) {
	files, err := filepath.Glob(filepath.Join(stateDir, "multibond", container+":*.json"))
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(files, func(a, b string) int { return place(a, isDefault) - place(b, isDefault) })
	left := total
	for _, file := range files {
		var record struct {
			Plan  struct{ Network string }
			Steps []struct {
				What string
				MS   float64 `json:"ms"`
			}
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &record)
		}
		if err != nil {
			return nil, err
		}
		for _, step := range record.Steps {
			all = append(all, Bar{record.Plan.Network, step.What, step.MS})
			left -= step.MS
		}
	}
	// These steps are done for all networks before the first network is attached.
	for _, kind := range []string{"compile", "survey", "lookup"} {
		is := func(b Bar) bool { return b.kind() == kind }
		slices.SortStableFunc(all, func(a, b Bar) int { return place(a, is) - place(b, is) })
	}
	return append(all, Bar{"", "publish and process", left}), nil
}

func isDefault(file string) bool { return strings.HasSuffix(file, ":eth0.json") }

// place returns 0 if is(one), else 1: a key that sorts such values first.
func place[T any](one T, is func(T) bool) int {
	if is(one) {
		return 0
	}
	return 1
}
