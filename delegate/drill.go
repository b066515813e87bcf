package delegate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// DrillRequest says which bond has to do without a link, and for how long.
type DrillRequest struct {
	Key    plan.Key
	Target netip.Addr // asked for answers meanwhile; invalid: the gateway that IPAM has named
	For    time.Duration

	// Guard is called before the link is set down. It makes sure that EndDrill is called
	// with the same arguments if this process ends before it calls release.
	Guard func(k plan.Key, until time.Time) (release func(), err error)
}

// Drill is what a bond did without the link that carried its traffic, and what was lost.
type Drill struct {
	Container string        `json:"container"`
	Pod       *agentapi.Pod `json:"pod,omitempty"`
	Network   string        `json:"network"`
	Bond      string        `json:"bond"`
	Mode      string        `json:"mode"`
	Monitor   string        `json:"monitor"`
	Link      string        `json:"link"` // the one that was set down
	Target    netip.Addr    `json:"target"`
	Interval  float64       `json:"intervalMilliseconds"` // between two requests to the target
	Allowed   float64       `json:"allowedMilliseconds"`  // of loss, in each part
	Parts     []DrillPart   `json:"parts"`
	Problems  []string      `json:"problems"` // none: the bond has done what it is for
}

// DrillPart is what was seen in one part of a drill.
type DrillPart struct {
	Part       string   `json:"part"`
	Active     string   `json:"active,omitempty"`              // the active link at its end
	Noticed    *float64 `json:"noticedMilliseconds,omitempty"` // until the bond used the link no longer, or again
	Sent       int      `json:"sent"`
	Lost       int      `json:"lost"`
	LongestGap float64  `json:"longestGapMilliseconds"` // between two requests that were answered, if one between them was lost
	Announced  int      `json:"announced"`              // how often the bond has announced its addresses
}

// The parts of a drill.
const (
	drillBefore = "before" // as it was
	drillAway   = "away"   // the link is down
	drillBack   = "back"   // it is up again
)

const (
	probeInterval = 10 * time.Millisecond
	recordEvery   = 10 // requests, the Record is read
	beforeTime    = time.Second
	longestBefore = 5 * time.Second        // if the target does not answer at once: the kernel asks for its MAC once a second
	afterTime     = time.Second            // after the link works again
	longestBack   = 10 * time.Second       // for that; a VF has its carrier some seconds after it was set up
	lateAnswers   = 200 * time.Millisecond // for the last ones
	switchTime    = 200 * time.Millisecond // that is allowed after the bond has to have noticed
	overdue       = 5 * time.Second        // after its end; from then on somebody else may end a drill
)

// Drill sets the link down that carries the traffic of a bond, for some time, and sets it up
// again. It first makes sure that another link works, and that the target answers. If the
// process is killed together with its guard, another drill, CHECK or GC sets the link up when
// the time is over. DEL restores it in any case. When the context ends, the link is set up at
// once. An error means that nothing was found out.
func (h *Host) Drill(ctx context.Context, r DrillRequest) (Drill, error) {
	rec, err := h.Store.Load(r.Key)
	if err != nil {
		return Drill{}, err
	}
	out, err := h.drill(ctx, rec, r)
	if err != nil {
		return Drill{}, fmt.Errorf("network %s: %w", rec.Plan.Network, err)
	}
	return out, nil
}

func (h *Host) drill(ctx context.Context, rec *record.Record, r DrillRequest) (out Drill, err error) {
	if err := h.checkDrillable(rec); err != nil {
		return Drill{}, err
	}
	if err := h.endOverdueDrill(ctx, rec); err != nil {
		return Drill{}, err
	}
	if rec, err = h.Store.Load(r.Key); err == nil {
		err = isDrilled(rec)
	}
	if err != nil {
		return Drill{}, err
	}
	s, err := h.enterIfThere(rec.Plan.Netns, rec.NetnsID)
	if err != nil {
		return Drill{}, err
	}
	defer s.close()
	if s.pod == nil {
		return Drill{}, fmt.Errorf("the pod's network namespace %s is gone", rec.Plan.Netns)
	}
	d, err := h.prepareDrill(s, rec, r.Target)
	if err != nil {
		return Drill{}, err
	}
	defer d.probe.Close()
	if err := d.run(ctx, r); err != nil {
		return Drill{}, err
	}
	return d.report(), nil
}

// drill is one that runs.
type drill struct {
	*Host
	sandbox
	Drill
	rec      *record.Record
	index    int // of the link
	settles  time.Duration
	probe    bond.Probe
	requests []asked
}

// asked is one request to the target.
type asked struct {
	at       time.Time
	part     int
	answered bool
}

// prepareDrill chooses the link, and opens what is to be known before it is set down.
func (h *Host) prepareDrill(s sandbox, rec *record.Record, target netip.Addr) (*drill, error) {
	now, err := s.pod.Observe(bond.OwnNamespace)
	if err != nil {
		return nil, cnierror.With(cnierror.Kernel, err)
	}
	b, there := eventOf(now, rec.BondIndex)
	if !there {
		return nil, fmt.Errorf("%s is gone", rec.Plan.Bond.Name)
	}
	link, index, err := chooseLink(rec, b, now)
	if err != nil {
		return nil, err
	}
	if !target.IsValid() {
		if target, err = namedGateway(rec); err != nil {
			return nil, err
		}
	}
	probe, err := s.pod.OpenProbe(b.Link, target)
	if err != nil {
		return nil, cnierror.With(cnierror.Kernel, err)
	}
	d := &drill{Host: h, sandbox: s, rec: rec, index: index, probe: probe, settles: b.Link.Options.Settles()}
	var within time.Duration
	d.Drill = Drill{
		Container: rec.Plan.ContainerID, Network: rec.Plan.Network, Bond: b.Link.Name, Mode: b.Link.Options[bond.Mode],
		Link: link, Target: target, Interval: milliseconds(probeInterval), Problems: []string{},
	}
	d.Monitor, within = b.Link.Options.Monitor()
	d.Allowed = milliseconds(within + switchTime)
	if pod := rec.Plan.Group.Pod; pod.Name != "" {
		d.Pod = &pod
	}
	return d, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func eventOf(events []bond.Event, index int) (bond.Event, bool) {
	i := slices.IndexFunc(events, func(e bond.Event) bool { return e.Link.Index == index })
	if i < 0 {
		return bond.Event{}, false
	}
	return events[i], true
}

// chooseLink returns the link of a bond that carries its traffic: the active one or, in a
// mode that has none, the first. It returns an error if no other could.
func chooseLink(rec *record.Record, b bond.Event, now []bond.Event) (name string, index int, err error) {
	var others []string
	another := false
	for _, l := range rec.Plan.Links {
		why := ""
		e, m, there := memberOf(rec, l, now)
		switch {
		case !there:
			why = "is not in the bond"
		case !e.Link.Up:
			why = "is down"
		case !e.Link.Carrier:
			why = "has no carrier"
		case !m.Works(b.Link):
			why = "does not work, by the bond's monitoring"
		case b.ActiveLink == 0 && !m.Active:
			why = "carries nothing"
		case index == 0 && (b.ActiveLink == 0 || b.ActiveLink == e.Link.Index):
			name, index = e.Link.Name, e.Link.Index
			continue
		default:
			another = true
			continue
		}
		others = append(others, l.Name+" "+why)
	}
	switch {
	case index == 0:
		return "", 0, fmt.Errorf("no link of %s carries its traffic: %v (mend the bond first)", b.Link.Name, others)
	case !another:
		return "", 0, fmt.Errorf("%s is the only link of %s that works: %v (mend the bond first: without that link the pod would lose everything)", name, b.Link.Name, others)
	}
	return name, index, nil
}

// memberOf finds a link of the plan in its bond.
func memberOf(rec *record.Record, l plan.Link, now []bond.Event) (e bond.Event, m bond.Member, there bool) {
	i := slices.IndexFunc(now, func(e bond.Event) bool { return rec.Is(l, e.Link) })
	if i < 0 {
		return e, m, false
	}
	m, there = now[i].MemberOf(rec.BondIndex)
	return now[i], m, there
}

// namedGateway returns the gateway that IPAM has named for the bond.
func namedGateway(rec *record.Record) (netip.Addr, error) {
	result, err := invoke.DecodeResult(rec.Result)
	if err != nil {
		return netip.Addr{}, err
	}
	if gateways := gatewaysOf(result); len(gateways) > 0 {
		return gateways[0], nil
	}
	return netip.Addr{}, errors.New("IPAM has named no gateway (-target: an address that answers to ping)")
}

// run does all parts.
func (d *drill) run(ctx context.Context, r DrillRequest) error {
	answers := func(since, _ time.Duration) bool {
		return since >= beforeTime && d.lost(0)*2 <= len(d.requests) || since >= longestBefore
	}
	if err := d.ask(ctx, drillBefore, func() error { return nil }, answers); err != nil {
		return err
	}
	if lost, sent := d.lost(0), len(d.requests); 2*lost > sent {
		return fmt.Errorf("%s has answered %d of %d requests over %s before anything was changed (-target: an address that answers to ping)", d.Target, sent-lost, sent, d.Bond)
	}
	until := time.Now().Add(r.For + overdue).Round(0) // as it is in the Record
	release, err := r.Guard(r.Key, until)
	if err != nil {
		return err
	}
	defer release()
	soon, cancel := context.WithTimeout(ctx, overdue)
	defer cancel()
	locks, err := d.noteLowered(soon, r.Key, d.Link, until)
	if err != nil {
		return err
	}
	setDown := func() error {
		defer locks.Close()
		return d.pod.Change(d.index, bond.Change{Up: new(false)})
	}
	setUp := func() error { return d.EndDrill(context.WithoutCancel(ctx), r.Key, until) }
	if err := d.ask(ctx, drillAway, setDown, lasts(r.For)); err != nil {
		return errors.Join(err, setUp())
	}
	return d.ask(ctx, drillBack, setUp, func(since, noticed time.Duration) bool {
		return noticed > 0 && since > noticed+afterTime || since > longestBack+d.settles
	})
}

// lasts is a part that ends after a time.
func lasts(t time.Duration) func(since, noticed time.Duration) bool {
	return func(since, _ time.Duration) bool { return since >= t }
}

// ask makes the change with which a part begins, in any case: one sets up what was set down.
// Then it asks the target again and again, and looks at the bond, until the part or the
// context is over. over gets the time since the part began, and that at which the bond had
// noticed; 0: it has not yet.
func (d *drill) ask(ctx context.Context, part string, change func() error, over func(since, noticed time.Duration) bool) error {
	announced, err := d.probe.Announced()
	p := DrillPart{Part: part}
	began := time.Now()
	if err := errors.Join(change(), err); err != nil {
		return err
	}
	var noticed time.Duration
	for next := time.Now(); !over(time.Since(began), noticed); {
		if ctx.Err() != nil {
			return fmt.Errorf("the drill was ended: %w", context.Cause(ctx))
		}
		d.requests = append(d.requests, asked{at: time.Now(), part: len(d.Parts)})
		_ = d.probe.Send(uint16(len(d.requests) - 1)) // what was not sent is not answered
		if next = next.Add(probeInterval); time.Until(next) < 0 {
			next = time.Now() // the node is busy: what was missed is not made up for
		}
		if err := d.probe.Answers(next, d.hear); err != nil {
			return err
		}
		if len(d.requests)%recordEvery == 0 {
			if err := d.stillThere(); err != nil {
				return err
			}
		}
		noticing, active, err := d.look(part)
		if err != nil {
			return err
		}
		p.Active = active
		if noticing && noticed == 0 {
			noticed = time.Since(began)
			p.Noticed = new(milliseconds(noticed))
		}
	}
	now, err := d.probe.Announced()
	if err != nil {
		return err
	}
	p.Announced = now - announced
	d.Parts = append(d.Parts, p)
	return nil
}

// stillThere returns an error if the pod's DEL has begun. The sockets must be closed then:
// they keep the namespace, and with it the VFs.
func (d *drill) stillThere() error {
	rec, err := d.Store.Load(d.rec.Plan.Key())
	if err == nil {
		err = d.checkDrillable(rec)
	}
	if err != nil {
		return fmt.Errorf("the pod has ended meanwhile: %w", err)
	}
	return nil
}

func (d *drill) hear(number uint16) {
	if int(number) < len(d.requests) {
		d.requests[number].answered = true
	}
}

// look reports whether the bond has noticed what the part has changed, and names the active
// link.
func (d *drill) look(part string) (noticed bool, active string, err error) {
	now, err := d.pod.Observe(bond.OwnNamespace)
	if err != nil {
		return false, "", err
	}
	b, there := eventOf(now, d.rec.BondIndex)
	if !there {
		return false, "", fmt.Errorf("the pod has ended meanwhile: %s is gone", d.Bond)
	}
	l, _ := eventOf(now, d.index)
	m, isMember := l.MemberOf(d.rec.BondIndex)
	if a, there := eventOf(now, b.ActiveLink); there {
		active = a.Link.Name
	}
	switch works := isMember && m.Works(b.Link); part {
	case drillAway:
		return !works && active != d.Link && b.Link.Carrier, active, nil
	case drillBack:
		return works, active, nil
	}
	return false, active, nil
}

// lost returns how many requests of a part were not answered.
func (d *drill) lost(part int) (n int) {
	for _, r := range d.requests {
		if r.part == part && !r.answered {
			n++
		}
	}
	return n
}

// report waits for the last answers, counts, and says what is not as it has to be.
func (d *drill) report() Drill {
	if err := d.probe.Answers(time.Now().Add(lateAnswers), d.hear); err != nil {
		d.Problems = append(d.Problems, err.Error())
	}
	d.count()
	for _, p := range d.Parts[1:] {
		switch {
		case p.Noticed == nil && p.Part == drillAway:
			d.Problems = append(d.Problems, fmt.Sprintf("%s did not fail over: no other link carried its traffic while %s was down", d.Bond, d.Link))
		case p.Noticed == nil:
			d.Problems = append(d.Problems, fmt.Sprintf("%s was set up again, and does not work after %s", d.Link, longestBack+d.settles))
		}
		if lost := float64(p.Lost) * d.Interval; lost > d.Allowed {
			d.Problems = append(d.Problems, fmt.Sprintf("%s: %d of %d requests were lost, %.0f ms of traffic; %s allows %.0f ms", p.Part, p.Lost, p.Sent, lost, d.Monitor, d.Allowed))
		}
	}
	return d.Drill
}

// count counts what was sent and lost in each part. A gap belongs to the part in which it
// began.
func (d *drill) count() {
	var last time.Time // when a request was sent that was answered
	gap := -1          // the part of the gap; -1: there is none
	for _, r := range d.requests {
		p := &d.Parts[r.part]
		p.Sent++
		if !r.answered {
			p.Lost++
			if gap < 0 {
				gap = r.part
			}
			continue
		}
		if gap >= 0 && !last.IsZero() {
			d.Parts[gap].LongestGap = max(d.Parts[gap].LongestGap, milliseconds(r.at.Sub(last)))
		}
		last, gap = r.at, -1
	}
	if gap >= 0 && !last.IsZero() {
		d.Parts[gap].LongestGap = max(d.Parts[gap].LongestGap, milliseconds(d.requests[len(d.requests)-1].at.Sub(last)))
	}
}
