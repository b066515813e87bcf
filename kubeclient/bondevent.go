package kubeclient

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// The reasons of events about a bond.
const (
	reasonDegraded   = "BondDegraded"
	reasonDown       = "BondDown"
	reasonFailedOver = "BondFailedOver"
	reasonRestored   = "BondRestored"
	reasonDeleted    = "BondDeleted"
)

// wasDeleted says what has become of a bond that its application has deleted.
const wasDeleted = "was deleted in the pod, and does not come back before the pod is made anew"

// deletedOutcome returns the event of a bond that its application has deleted.
func deletedOutcome(b *watchedBond, at time.Time) outcome {
	return outcome{Type: corev1.EventTypeWarning, Reason: reasonDeleted, Message: clip(fmt.Sprintf("%s (%s): %s", b.IfName, b.Network, wasDeleted)), Time: at}
}

// outcomesOfBond returns the events that tell what has become of a bond since the last
// ones.
func (t bondTable) outcomesOfBond(b *watchedBond, now bondState, at time.Time) (out []outcome) {
	say := func(kind, reason, format string, args ...any) {
		b.last.times[reason]++
		message := fmt.Sprintf("%s (%s): ", b.IfName, b.Network) + fmt.Sprintf(format, args...)
		// The same message again would only be counted, and the last one would be wrong.
		if n := b.last.times[reason]; n > 1 {
			message += fmt.Sprintf(" (%d times so far)", n)
		}
		out = append(out, outcome{Type: kind, Reason: reason, Message: clip(message), Time: at})
	}
	if more := now.failovers - b.reported.failovers; more > 0 {
		say(corev1.EventTypeNormal, reasonFailedOver, "traffic moved %sto %s", times(more), t.describeLink(b, now.active))
	}
	switch was := b.reported.condition; {
	case now.condition == was:
	case now.condition == bond.Down:
		say(corev1.EventTypeWarning, reasonDown, "no link works: %s", t.broken(b))
	case now.condition == bond.Degraded:
		say(corev1.EventTypeWarning, reasonDegraded, "%d of %d links work: %s", t.working(b), b.Wanted, t.broken(b))
	default:
		say(corev1.EventTypeNormal, reasonRestored, "all %d links work again", b.Wanted)
	}
	return out
}

// times says how often something has happened, unless it was once.
func times(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf("%d times, at last ", n)
}

// broken says of each link that does not work why.
func (t bondTable) broken(b *watchedBond) string {
	var words []string
	for _, l := range b.Links {
		if !t.works(b, l) {
			words = append(words, describeBondLink(l)+" "+t.cause(b, l))
		}
	}
	if missing := b.Wanted - len(b.Links); missing > 0 {
		words = append(words, fmt.Sprintf("%d were not attached", missing))
	}
	return cmp.Or(strings.Join(words, ", "), "the bond has lost its carrier")
}

func (t bondTable) cause(b *watchedBond, l agentapi.BondLink) string {
	if _, there := t.member(b, l); !there {
		return "is not in the bond any more"
	}
	if pf, known := t.pf(l); known && !pf.Link.Carrier {
		return "has failed: its PF has no carrier"
	}
	return "has failed"
}

func (t bondTable) describeLink(b *watchedBond, index int) string {
	for _, l := range b.Links {
		if l.Index == index {
			return describeBondLink(l)
		}
	}
	return "no link"
}

// describeBondLink names a link: "bond0-1 (VF 0000:01:10.0 of ens1f0)".
func describeBondLink(l agentapi.BondLink) string {
	switch {
	case l.PF != "":
		return fmt.Sprintf("%s (VF %s of %s)", l.Name, l.Device, l.PF)
	case l.Device != "":
		return fmt.Sprintf("%s (%s)", l.Name, l.Device)
	}
	return l.Name
}
