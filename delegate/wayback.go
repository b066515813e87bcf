package delegate

import (
	"cmp"
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
	again   bool // an earlier DEL has failed or was killed, so it is written what is begun
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
	name    string    // of the link or bond; "": only a plugin is executed
	since   time.Time // when it last took long, or was begun and has not ended
	restore func(context.Context) error
}

// leastShare is the least time that a plugin gets: one that does its work can take
// seconds on a busy node.
const leastShare = 5 * time.Second

// slowPart is how long a part may take before what is restored is written: a DEL that is
// killed has to do as much again.
const slowPart = time.Second

// firstPart ends the name of the part that restores a VF before its plugin is executed.
const firstPart = " without its plugin"

// errNoTime is returned for a plugin that was not executed because the time is over.
var errNoTime = errors.New("no time is left to execute it; the next DEL does")

// waysBack prepares the restoring of Records.
func (h *Host) waysBack(s sandbox, recs []*record.Record) *restoration {
	r := &restoration{Host: h, sandbox: s, began: time.Now()}
	for _, rec := range recs {
		w := &wayBack{restoration: r, rec: rec}
		w.doubtful = rec.BootID != h.BootID
		rec.Result = nil // from here on it is not attached any more
		rec.LastTried = r.began
		w.changed = rec.Aside != "" || rec.Tries(r.began)
		w.again = (rec.Aside == "" || rec.IsEarly()) && !rec.Failing.IsZero()
		r.ways = append(r.ways, w)
	}
	return r
}

// run restores all parts. That it was begun is on disk before it can be killed: with what
// is written before the first plugin or, if none is to be executed, at once.
func (r *restoration) run(ctx context.Context) {
	if r.owed() == 0 {
		r.save()
	}
	for _, p := range r.parts() {
		p.run(ctx)
	}
}

// owed returns how many plugins are still to be executed for all Records.
func (r *restoration) owed() (n int) {
	for _, w := range r.ways {
		n += w.rec.Owed()
	}
	return n
}

// save writes what has changed. If it cannot be written restoring continues: only a DEL
// that is killed has to do it again.
func (r *restoration) save() {
	for _, w := range r.ways {
		if w.changed {
			w.changed = r.Store.Update(w.rec) != nil
		}
	}
}

// parts lists what is to be restored, in order: the reverse of ADD's. What took long in an
// earlier DEL comes last, and so does what waits for a plugin that has not answered one:
// first what was tried longest ago. So each part is reached, even if every DEL is killed
// while a plugin hangs, or ends before it comes to all links of a busy PF.
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
	case w.unreadable != nil:
		return []part{{way: w, restore: func(context.Context) error { return w.unreadable }}}
	case w.rec.Plan.IsChain():
		return w.linkParts(w.rec.Plan.Links[0], w.restoreChain)
	case w.rec.Plan.IsEach():
		return w.eachParts()
	}
	if len(w.rec.After) > 0 {
		all = append(all, part{way: w, since: w.hungSince(w.rec.Plan.Made()), restore: w.deleteAfter})
	}
	if w.rec.BootID == w.BootID {
		b := w.rec.Plan.IfName
		all = append(all, part{w, b, w.tookLong(b), w.removeBond})
		for _, l := range slices.Backward(w.rec.Plan.Links) {
			if slices.Contains(w.rec.Started, l.Name) && !slices.Contains(w.rec.Restored, l.Name) {
				all = append(all, w.linkParts(l, func(ctx context.Context) error { return w.restoreLink(ctx, l) })...)
			}
		}
	}
	return append(all, part{way: w, since: w.rec.UnansweredSince(w.rec.Plan.IPAM, w.rec.Plan.IfName), restore: w.releaseLast})
}

// linkParts lists the parts of one link. If a plugin of a VF has not answered an earlier
// DEL, the VF is first restored without it.
func (w *wayBack) linkParts(l plan.Link, restore func(context.Context) error) []part {
	hung := w.hungSince(l)
	all := []part{{w, l.Name, latest(hung, w.tookLong(l.Name)), restore}}
	if first := l.Name + firstPart; !hung.IsZero() && l.Device != "" && w.rec.BootID == w.BootID && !w.rec.IsFreed(l) {
		all = append(all, part{w, first, w.tookLong(first), func(context.Context) error { w.repairFirst(l); return nil }})
	}
	return all
}

// tookLong returns when a part has taken long or was begun without an end, or the zero Time.
func (w *wayBack) tookLong(part string) time.Time {
	return latest(w.rec.Slow[part], w.rec.BegunSince(part))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// hungSince returns when a plugin of a link was last executed that has not answered since,
// or the zero Time.
func (w *wayBack) hungSince(l plan.Link) (since time.Time) {
	for _, p := range l.Plugins {
		if one := w.rec.UnansweredSince(p.Type, l.Name); one.After(since) {
			since = one
		}
	}
	return since
}

// run restores one part, unless the time of all of them is over.
func (p part) run(ctx context.Context) {
	w, began := p.way, time.Now()
	switch since := w.rec.BegunSince(p.name); {
	case began.Sub(w.began) > w.WayBack:
		w.errs = append(w.errs, fmt.Errorf("%s: no time is left to restore it; the next DEL does", cmp.Or(p.name, w.rec.Plan.IfName)))
		return
	case w.hadItsChance(since):
		w.errs = append(w.errs, fmt.Errorf("%s: restoring it was begun at %s and has not ended", p.name, since.Format(time.RFC3339)))
		return
	}
	p.begin()
	if err := w.postpone(p.restore(ctx)); err != nil {
		w.errs = append(w.errs, err)
	}
	w.rec.Ends(p.name)
	w.changed = true
	if time.Since(began) < slowPart {
		return
	}
	if p.name != "" && !w.hangs(p.name) {
		w.rec.Takes(p.name)
	}
	w.save()
}

// begin writes that a part is begun, if a DEL was killed before: it may have been in this
// part, and the next one then begins with others.
func (p part) begin() {
	if p.name == "" || !p.way.again {
		return
	}
	p.way.rec.Begins(p.name)
	p.way.changed = true
	p.way.save()
}

// hadItsChance reports whether something was begun when the Record's time was over, and has
// not ended: the DEL was killed. The next one does without it, so that it comes to its end,
// however short the time is that its runtime gives it.
func (w *wayBack) hadItsChance(since time.Time) bool {
	return w.again && w.rec.HadItsChance(since, w.Limbo.GiveUp)
}

// hangs reports whether a plugin of a link has not answered.
func (w *wayBack) hangs(link string) bool {
	return slices.ContainsFunc(w.rec.Plan.Links, func(l plan.Link) bool { return l.Name == link && !w.hungSince(l).IsZero() })
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
// restored before is on disk then, and which plugin this is.
func (w *wayBack) startDel(ctx context.Context, c invoke.Call) (wait func() error) {
	if ctx.Err() != nil {
		return func() error { return fmt.Errorf("%s DEL: %w", c.Type, errNoTime) }
	}
	if since := w.rec.UnansweredSince(c.Type, c.IfName); w.hadItsChance(since) {
		return func() error {
			return fmt.Errorf("%s DEL: it was executed at %s and has not ended: %w", c.Type, since.Format(time.RFC3339), context.DeadlineExceeded)
		}
	}
	c.Timeout = w.share(ctx, c)
	w.rec.Asks(c.Type, c.IfName)
	w.changed = true
	w.save()
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
// Records. One that has not answered for so long that it is given up gets the least: this
// DEL must come to its end, even if its runtime has killed all the others.
func (w *wayBack) share(ctx context.Context, c invoke.Call) time.Duration {
	if w.rec.FailsFor(w.Limbo.GiveUp) && !w.rec.UnansweredSince(c.Type, c.IfName).IsZero() {
		return leastShare
	}
	return shareOf(ctx, w.owed())
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
