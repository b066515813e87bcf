package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/multibond/multibond/tests/demo/event"
	"github.com/multibond/multibond/tests/lab"
)

const (
	linksFile = bondName + "/bonding/slaves"
	killed    = 128 + 9 // the exit status of a program that was killed
)

// Return is how a VF that was made anew came back into its bond.
type Return struct {
	CommandMS float64 `json:"commandMS"` // what made it anew took so long
	BondMS    float64 `json:"bondMS"`    // both links were in the bond, from the start of that command
}

// startKeep starts multibond keep, if it is part of the trial. The lab's PFs cannot disable
// the link of a VF, so it may enter the pods.
func (b *bench) startKeep(ctx context.Context) (err error) {
	if b.trial.Keep {
		b.keep, err = b.guest.vm.Start(ctx, lab.Cmd{Args: []string{"/opt/cni/bin/multibond", "keep", "-netns=/run/netns"}})
	}
	return err
}

// stopKeep kills keep, and notes what it has printed. It is an error if it has ended by itself.
func (b *bench) stopKeep() error {
	if b.keep == nil {
		return nil
	}
	if err := b.keep.Kill(); err != nil {
		return err
	}
	out, err := b.keep.Wait()
	if err != nil {
		return err
	}
	b.result.KeepSaid = strings.Split(strings.TrimSpace(string(out.Stderr)), "\n")
	if out.Exit != killed {
		return fmt.Errorf("keep ended with exit status %d: %s", out.Exit, out.Stderr)
	}
	return nil
}

// returned finds when both links were in the bond, after the start of the command that made
// the VF anew. It is nil if nobody looked, or if they never were.
func returned(events []event.Event, from int64) *Return {
	var r Return
	for _, e := range sorted(events) {
		switch {
		case e.At < from:
		case e.Kind == event.Ended && r.CommandMS == 0:
			r.CommandMS = milliseconds(e.At - from)
		case e.Kind == event.Seen && e.What == linksFile && strings.Contains(e.Value, link1) && strings.Contains(e.Value, link2):
			r.BondMS = milliseconds(e.At - from)
		}
		if r.BondMS > 0 && r.CommandMS > 0 {
			return &r
		}
	}
	return nil
}

// row is a trial without keep and the same with keep, of which either may be nil.
type row struct{ alone, kept *Result }

// trial is that of the row, without keep.
func (r row) trial() trial {
	if r.alone != nil {
		return r.alone.trial
	}
	t := r.kept.trial
	t.Keep = false
	return t
}

// rows puts the results of the same trial, without keep and with it, together.
func (t Table) rows() (all []row) {
	at := map[trial]int{}
	for _, r := range t.Results {
		same := r.trial
		same.Keep = false
		i, there := at[same]
		if !there {
			i, all = len(all), append(all, row{})
			at[same] = i
		}
		if r.Keep {
			all[i].kept = &r
		} else {
			all[i].alone = &r
		}
	}
	return all
}
