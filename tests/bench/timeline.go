package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bar is one step of an ADD, as its Record has it.
type Bar struct {
	Network string  `json:"network"`
	What    string  `json:"what"`
	MS      float64 `json:"ms"`
}

// timeline shows where the time of one ADD of a pod with eight networks goes:
// the steps of its Records, and what is left, which is the publishing and the
// process.
func (r *Report) timeline(ctx context.Context, m *machine, _ int) error {
	uids, err := m.addPods(ctx, map[string][]string{"t8": noops(8)})
	if err != nil {
		return err
	}
	netns, err := m.netns(0)
	if err != nil {
		return err
	}
	multibond, s := contenders(m.cluster.Kubeconfig, noop)[0], sandbox{"bench-t8", netns, "t8", uids["t8"]}
	for range 3 { // the last is warm
		took, err := multibond.call(ctx, "ADD", s)
		if err != nil {
			return err
		}
		if r.Timeline, err = bars(s.container, ms(took)); err != nil {
			return err
		}
		if _, err := multibond.call(ctx, "DEL", s); err != nil {
			return err
		}
	}
	sums := map[string]float64{}
	for _, b := range r.Timeline {
		kind, _, _ := strings.Cut(b.What, " ")
		sums[kind] += b.MS
		fmt.Printf("  %-30s %7.2f ms %s\n", b.Network+" "+b.What, b.MS, strings.Repeat("#", int(b.MS)))
	}
	fmt.Println("  sums:", sums)
	return nil
}

// bars reads the Records of a container.
func bars(container string, total float64) (all []Bar, err error) {
	files, err := filepath.Glob(filepath.Join(stateDir, "multibond", container+":*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
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
	return append(all, Bar{"", "publish and process", left}), nil
}
