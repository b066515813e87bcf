package kubeclient

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/strictjson"
)

// bondHealthy is the condition of pods that have it as a readiness gate.
const bondHealthy corev1.PodConditionType = "multibond.io/BondHealthy"

// The reasons of the condition. Those of events are used as well.
const (
	reasonHealthy = "BondsHealthy"
	reasonNoBond  = "NoBond"
)

// The states of a link in the status of a pod.
const (
	linkWorks  = "up"
	linkFailed = "down"
	linkGone   = "gone" // it is not in the bond any more
)

// bondStatus is how a bond is, for the status of its pod.
type bondStatus struct {
	agentapi.Bond
	bond.Health
	starting bool              // it was made so lately that its links are still coming up
	deleted  bool              // by its application
	shown    BondStatus        // in network-status
	states   map[string]string // of its links, in network-status
}

func (s bondStatus) isStarting() bool { return s.starting }

func (s bondStatus) isDeleted() bool { return s.deleted }

// status returns how a bond is. network-status shows a bond that is starting as it should
// be: otherwise each ADD would be followed by another PATCH.
func (t bondTable) status(b *watchedBond, now time.Time) bondStatus {
	s := bondStatus{Bond: b.Bond, Health: t.health(b), starting: now.Before(b.settled) && !b.deleted, deleted: b.deleted, states: map[string]string{}}
	s.shown = BondStatus{Up: s.Condition != bond.Down, Degraded: s.Condition == bond.Degraded}
	active := t.activeName(b, s.Active)
	if s.starting {
		s.shown = BondStatus{Up: true, Degraded: len(b.Links) < b.Wanted}
		primary, _ := strconv.Atoi(t.master(b).Link.Options[bond.Primary]) // an event has its index
		active = cmp.Or(t.activeName(b, primary), active)
	}
	s.shown.Active = active
	for i, l := range b.Links {
		_, there := t.member(b, l)
		switch {
		case !there:
			s.states[l.Name] = linkGone
		case s.Works[i] || s.starting:
			s.states[l.Name] = linkWorks
		default:
			s.states[l.Name] = linkFailed
		}
	}
	return s
}

// activeName returns the name of a bond's active link, or "".
func (t bondTable) activeName(b *watchedBond, index int) string {
	for _, l := range b.Links {
		if l.Index == index {
			return l.Name
		}
	}
	return ""
}

// show sets the state of a bond and its links in the entry of network-status for its
// interface.
func (s bondStatus) show(entry *NetworkStatus) {
	entry.Bond = &s.shown
	for i, l := range entry.Links {
		entry.Links[i].State = s.states[l.Name]
	}
}

// showBonds sets the state of bonds in network-status.
func showBonds(entries []NetworkStatus, bonds []bondStatus) {
	for i := range entries {
		if b := slices.IndexFunc(bonds, func(b bondStatus) bool { return b.IfName == entries[i].Interface }); b >= 0 && entries[i].Links != nil {
			bonds[b].show(&entries[i])
		}
	}
}

// withBonds returns the text of network-status with the state of bonds, and whether it is
// another one than before. It changes only entries that have multibond.io/links, which an
// agent has written, and there only what is about the state.
func withBonds(text string, bonds []bondStatus) (_ string, changed bool) {
	var entries []json.RawMessage
	if json.Unmarshal([]byte(text), &entries) != nil {
		return text, false
	}
	for i, raw := range entries {
		entries[i] = withBond(raw, bonds)
		changed = changed || !bytes.Equal(entries[i], raw)
	}
	if !changed {
		return text, false
	}
	return indented(strictjson.JoinList(entries)), true
}

// withBond sets the state of a bond in its entry of network-status.
func withBond(raw json.RawMessage, bonds []bondStatus) json.RawMessage {
	var before NetworkStatus
	if json.Unmarshal(raw, &before) != nil || before.Links == nil {
		return raw
	}
	now := before
	now.Links = slices.Clone(before.Links)
	one := []NetworkStatus{now}
	showBonds(one, bonds)
	now = one[0]
	if now.Bond == nil || before.Bond != nil && *now.Bond == *before.Bond && slices.EqualFunc(now.Links, before.Links, LinkStatus.sameState) {
		return raw
	}
	var fields struct {
		Links []json.RawMessage `json:"multibond.io/links"`
	}
	_ = json.Unmarshal(raw, &fields)
	for i, l := range now.Links {
		fields.Links[i] = strictjson.SetField(fields.Links[i], "state", strictjson.Encode(l.State))
	}
	raw = strictjson.SetField(raw, "multibond.io/links", strictjson.JoinList(fields.Links))
	return strictjson.SetField(raw, "multibond.io/bond", strictjson.Encode(now.Bond))
}

func (l LinkStatus) sameState(other LinkStatus) bool { return l.State == other.State }

// conditionOf returns the condition of a pod with these bonds. It is False only if a bond
// is down: with a degraded one the pod has its network, and taking it out of its services
// would turn the loss of a spare into an outage.
func conditionOf(bonds []bondStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: bondHealthy, Status: corev1.ConditionTrue, Reason: reasonHealthy, Message: "all links work"}
	if len(bonds) == 0 {
		c.Reason, c.Message = reasonNoBond, "the pod has no bond"
	}
	worst, words := bond.Healthy, []string{}
	for _, b := range bonds {
		worst = max(worst, b.Condition)
		if b.Condition != bond.Healthy {
			words = append(words, b.String())
		}
	}
	switch worst {
	case bond.Degraded:
		c.Reason = reasonDegraded
	case bond.Down:
		c.Status, c.Reason = corev1.ConditionFalse, reasonDown
		if slices.ContainsFunc(bonds, bondStatus.isDeleted) {
			c.Reason = reasonDeleted
		}
	}
	if len(words) > 0 {
		c.Message = clip(strings.Join(words, "; "))
	}
	return c
}

// String says how a bond is: "bond0 (demo/net): 1 of 2 links work".
func (s bondStatus) String() string {
	if s.deleted {
		return fmt.Sprintf("%s (%s): %s", s.IfName, s.Network, wasDeleted)
	}
	words := fmt.Sprintf("%s (%s): %d of %d links work", s.IfName, s.Network, s.Working(), s.Wanted)
	if s.Condition == bond.Down {
		words += ", and it has no carrier"
	}
	return words
}

// hasGate reports whether a pod waits for the condition.
func hasGate(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.ReadinessGates, isGate)
}

func isGate(g corev1.PodReadinessGate) bool { return g.ConditionType == bondHealthy }

func isBondHealthy(c corev1.PodCondition) bool { return c.Type == bondHealthy }

// conditionIn returns the condition that a pod has, or an empty one.
func conditionIn(pod *corev1.Pod) corev1.PodCondition {
	if i := slices.IndexFunc(pod.Status.Conditions, isBondHealthy); i >= 0 {
		return pod.Status.Conditions[i]
	}
	return corev1.PodCondition{}
}

// newCondition returns what the condition of a pod has to become. nil: nothing changes, or
// the pod does not wait for it.
func newCondition(pod *corev1.Pod, bonds []bondStatus, now time.Time) *corev1.PodCondition {
	if !hasGate(pod) {
		return nil
	}
	before, c := conditionIn(pod), conditionOf(bonds)
	if c.Status == before.Status && c.Reason == before.Reason && c.Message == before.Message {
		return nil
	}
	c.LastTransitionTime = before.LastTransitionTime
	if c.Status != before.Status {
		c.LastTransitionTime = metav1.NewTime(now)
	}
	return &c
}
