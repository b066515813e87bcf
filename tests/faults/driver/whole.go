package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// bonds is what is known of the sandboxes' bonds in a round.
type bonds [sandboxes]struct {
	sound bool // it was attached, and nobody has touched it since
	lost  bool // its VFs may have been made anew since, or its PFs without a carrier
}

// begins notes what an operation will do. What is done to a bond by its application, by a
// fault of a plugin or of the disk, or by a reboot keep does not repair.
func (b *bonds) begins(o Operation) {
	switch {
	case slices.Contains(remakes, o.What) || o.What == cablePulled:
		for i := range b {
			b[i].lost = true
		}
	case o.What == "Record cut short" || o.What == "reboot":
		*b = bonds{}
	case o.What == "CHECK" || o.What == keepEnds || o.What == cablePlugged:
	default:
		b[o.Sandbox].sound = false
	}
}

// ended notes what an operation has done.
func (b *bonds) ended(o Operation, well bool) {
	if o.What == "ADD" && o.Sandbox < bondedSandboxes && well && (o.Disturb == "" || o.Disturb == keepKilled) {
		b[o.Sandbox].sound, b[o.Sandbox].lost = true, false
	}
}

// awaitWhole waits until CHECK finds each bond whole again that has lost links while it was
// sound. It returns what CHECK finds in the end.
func (c *campaign) awaitWhole(count bool) (wrong []string) {
	if !slices.ContainsFunc(c.bonds[:], func(b struct{ sound, lost bool }) bool { return b.sound && b.lost }) {
		return nil
	}
	if err := plugAll(); err != nil {
		return []string{err.Error()}
	}
	began := time.Now()
	for i, b := range c.bonds {
		if !b.sound || !b.lost {
			continue
		}
		found := ""
		for limit := time.Now().Add(patience); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
			cmd, out, said := command(Operation{What: "CHECK", Sandbox: i}, nil)
			if found = ""; cmd.Run() == nil {
				break
			}
			found = fmt.Sprintf("s%d: its bond is not whole again: %s%s", i, out, said)
		}
		if found != "" {
			wrong = append(wrong, found, strings.Join(c.keep.lines(), "\n"))
		}
		if count {
			c.report.Whole++
		}
	}
	if count {
		c.report.SlowBack = max(c.report.SlowBack, float64(time.Since(began).Milliseconds()))
	}
	return wrong
}
