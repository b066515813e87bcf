package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// A wayBack is a Record that is being restored, and what has become of it so far.
type wayBack struct {
	*restoration
	outcome
	rec     *record.Record
	errs    []error
	changed bool // since it was written
	asked   bool // whether IPAM was executed
}

// A restoration is all that is restored together: Records of one sandbox. They share the
// time.
type restoration struct {
	*Host
	sandbox
	began time.Time
	ways  []*wayBack // in the order of the Records
}

// A part of a way back is what can be restored by itself.
type part struct {
	way     *wayBack
	since   time.Time // when a plugin of the part was last executed and did not answer
	restore func(context.Context) error
}

// leastShare is the least time that a plugin gets: one that does its work can take
// seconds on a busy node.
const leastShare = 5 * time.Second

// errNoTime is returned for a plugin that was not executed because the time is over.
var errNoTime = errors.New("no time is left to execute it; the next DEL does")

// waysBack prepares the restoring of Records.
func (h *Host) waysBack(s sandbox, recs []*record.Record) *restoration {
	r := &restoration{Host: h, sandbox: s, began: time.Now()}
	for _, rec := range recs {
		w := &wayBack{restoration: r, rec: rec}
		w.doubtful = rec.BootID != h.BootID
		rec.Result = nil // from here on it is not attached any more
		r.ways = append(r.ways, w)
	}
	return r
}

// parts lists what is to be restored, in order: the reverse of ADD's. What waits for a
// plugin that has not answered an earlier DEL comes last, the one that was executed
// longest ago first. So each part is reached, even if every DEL is killed while a plugin
// hangs.
func (r *restoration) parts() []part {
	var all []part
	for _, w := range slices.Backward(r.ways) {
		all = append(all, w.parts()...)
	}
	slices.SortStableFunc(all, func(a, b part) int { return a.since.Compare(b.since) })
	return all
}

// parts lists the parts of one Record.
func (w *wayBack) parts() (all []part) {
	switch {
	case w.rec.Plan.IsChain():
		return w.linkParts(w.rec.Plan.Links[0], w.restoreChain)
	case w.rec.BootID == w.BootID:
		all = append(all, part{way: w, restore: w.removeBond})
		for _, l := range slices.Backward(w.rec.Plan.Links) {
			all = append(all, w.linkParts(l, func(ctx context.Context) error { return w.restoreLink(ctx, l) })...)
		}
	}
	return append(all, part{w, w.rec.UnansweredSince(w.rec.Plan.IPAM, w.rec.Plan.IfName), w.releaseLast})
}

// linkParts lists the parts of one link. If a plugin of a VF has not answered an earlier
// DEL, the VF is first restored without it.
func (w *wayBack) linkParts(l plan.Link, restore func(context.Context) error) []part {
	var since time.Time
	for _, p := range l.Plugins {
		if one := w.rec.UnansweredSince(p.Type, l.Name); one.After(since) {
			since = one
		}
	}
	all := []part{{w, since, restore}}
	if !since.IsZero() && l.Device != "" && w.rec.BootID == w.BootID {
		all = append(all, part{way: w, restore: func(context.Context) error { w.repairFirst(l); return nil }})
	}
	return all
}

// run restores one part.
func (p part) run(ctx context.Context) {
	if err := p.way.postpone(p.restore(ctx)); err != nil {
		p.way.errs = append(p.way.errs, err)
	}
	p.way.changed = true
}

// failure returns what could not be restored of a Record. Its code is 103, or 102 if the
// kernel did not let us look.
func (w *wayBack) failure() error {
	if len(w.errs) == 0 {
		return nil
	}
	return cnierror.With(cnierror.Restore, w.of(errors.Join(w.errs...)))
}

// of names the network of an error.
func (w *wayBack) of(err error) error { return fmt.Errorf("network %s: %w", w.rec.Plan.Network, err) }

// startDel starts DEL of a plugin and returns a function that waits for its end. What was
// restored before is on disk then, and which plugin this is. If it cannot be written
// DEL continues: only a DEL that is killed has to do it again.
func (w *wayBack) startDel(ctx context.Context, c invoke.Call) (wait func() error) {
	if ctx.Err() != nil {
		return func() error { return fmt.Errorf("%s DEL: %w", c.Type, errNoTime) }
	}
	c.Timeout = w.share(ctx)
	w.rec.Asks(c.Type, c.IfName)
	w.changed = true
	for _, other := range w.ways {
		if other.changed {
			other.changed = w.Store.Update(other.rec) != nil
		}
	}
	ended := w.start(ctx, c)
	return func() error {
		_, err := ended()
		if !errors.Is(err, context.DeadlineExceeded) {
			w.rec.Answers(c.Type, c.IfName)
		}
		return err
	}
}

// share returns how long a plugin may take, of those that are still to be executed for all
// Records.
func (w *wayBack) share(ctx context.Context) time.Duration {
	plugins := 0
	for _, other := range w.ways {
		plugins += other.rec.Owed()
	}
	return shareOf(ctx, plugins)
}

// shareOf returns how long one of some plugins may take: what ctx has left of its time,
// divided by their number and one more, for what Multibond does itself.
func shareOf(ctx context.Context, plugins int) time.Duration {
	end, _ := ctx.Deadline()
	return max(leastShare, (time.Until(end) / time.Duration(plugins+1)).Round(time.Millisecond))
}

// repairFirst restores a VF whose plugin has not answered an earlier DEL, as far as that
// is possible before the plugin is executed again. What it does not achieve is restored
// after that, and reported then.
func (w *wayBack) repairFirst(l plan.Link) {
	first := *w
	first.outcome = outcome{}
	l, _, left, err := first.locate(l)
	if !left && err == nil {
		_, _ = first.repairDevice(l)
	}
}

// locate looks where a device is. It returns the link as it has to be, and as it is in
// the pod, or nil if it is not there. If left is true the device has to be left alone.
func (w *wayBack) locate(l plan.Link) (same plan.Link, inPod *bond.Link, left bool, err error) {
	if left, err := w.hasNewOwner(l); left || err != nil {
		return l, nil, left, err
	}
	found, there, err := w.findInPod(l)
	if err != nil || there {
		return l, &found, false, err
	}
	now, err := w.awaitOnHost(l)
	if err != nil {
		return l, nil, false, err
	}
	return w.unlessMadeAnew(l, now), nil, false, nil
}
