package kubeclient

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// bondRig is an agent that hears of the bond of demo/p, which waits for the condition.
type bondRig struct {
	*rig
	node *fakeNode
	bond agentapi.Bond
}

func newBondRig(t *testing.T) *bondRig {
	r := newQuietBondRig(t)
	require.NoError(t, r.agent.watcher.take(r.node.snapshot(r.node.open())))
	r.add(attachedReport())
	return r
}

// newQuietBondRig returns a bondRig whose agent hears of nothing yet. There is no bond.
func newQuietBondRig(t *testing.T) *bondRig {
	r := &bondRig{rig: newRig(t), node: newFakeNode(t)}
	object := podObject("uid-p", map[string]any{NetworksAnnotation: "bond-net1@bond0"})
	object["spec"].(map[string]any)["readinessGates"] = []any{map[string]any{"conditionType": string(bondHealthy)}}
	object["status"].(map[string]any)["conditions"] = []any{map[string]any{"type": "Initialized", "status": "True"}}
	r.api.Put(podResource, "demo", "p", object)
	r.prepare = func(a *Agent) {
		a.teller.jitter, a.teller.spacing, a.teller.pause = 1, 0, 0
		r.node.w = a.watcher
		a.watcher.await, a.watcher.read = func(*os.File) error { return os.ErrClosed }, r.node.read
	}
	r.start()
	return r
}

// add makes the bond, and has the plugin report it.
func (r *bondRig) add(report agentapi.Publish) {
	r.bond = r.node.attach("p")
	r.bond.Pod = pLookup.Pod
	r.node.pods[r.bond.NSID] = r.bond
	report.Bonds = []agentapi.Bond{r.bond}
	assert.Empty(r.t, r.publish(report))
	r.queueHas(0)
}

// settled has the bond be as old as its links need.
func (r *bondRig) settled() {
	w := r.agent.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	w.table.bonds[linkKey{r.bond.NSID, r.bond.Index}].settled = time.Time{}
	w.hear()
	w.changed(types.NamespacedName{Namespace: "demo", Name: "p"})
}

// tells has the kernel tell of the bond.
func (r *bondRig) tells(events ...bond.Event) {
	for i := range events {
		events[i].NSID = r.bond.NSID
	}
	r.node.say(events...)
	r.settled()
}

// status returns what the pod's status says of the bond, and of the condition.
func (r *bondRig) status() string {
	pod := r.api.Object(podResource, "demo", "p")
	var entries []NetworkStatus
	if text, is := pod["metadata"].(map[string]any)["annotations"].(map[string]any)[nettypes.NetworkStatusAnnot].(string); is {
		require.NoError(r.t, json.Unmarshal([]byte(text), &entries), text)
	}
	out := ""
	for _, e := range entries {
		if e.Bond != nil {
			out += fmt.Sprintf("%+v", *e.Bond)
			for _, l := range e.Links {
				out += " " + l.State
			}
		}
	}
	for _, c := range pod["status"].(map[string]any)["conditions"].([]any) {
		c := c.(map[string]any)
		out += fmt.Sprint("; ", c["type"], " ", c["status"])
		if c["reason"] != nil {
			out += fmt.Sprint(" ", c["reason"])
		}
	}
	return out
}

func (r *bondRig) wantStatus(want string) {
	r.t.Helper()
	eventually(r.t, func(c *assert.CollectT) { assert.Equal(c, want, r.status()) })
}

const (
	wellStatus     = "{Up:true Degraded:false Active:bond0-1} up up; Initialized True; multibond.io/BondHealthy True BondsHealthy"
	degradedStatus = "{Up:true Degraded:true Active:bond0-2} down up; Initialized True; multibond.io/BondHealthy True BondDegraded"
	downStatus     = "{Up:false Degraded:false Active:} down down; Initialized True; multibond.io/BondHealthy False BondDown"
)

var linkFailure = bond.Member{MII: bond.MIIDown, Failures: 1}

// TestStatusFollowsBonds: ADD's one PATCH has the state and the condition. Each change is
// one PATCH, and nothing is sent if nothing has changed.
func TestStatusFollowsBonds(t *testing.T) {
	r := newBondRig(t)
	assert.Equal(t, wellStatus, r.status())
	r.requests(map[string]int{"patch pods": 1, "create events": 1})
	r.settled()
	r.tells(memberEvent(firstLink, linkFailure), masterEvent(secondLink, true, true))
	r.wantStatus(degradedStatus)
	r.settled()
	r.tells(memberEvent(secondLink, linkFailure), masterEvent(0, false, false))
	r.wantStatus(downStatus)
	r.tells(masterEvent(firstLink, true, true), memberEvent(firstLink, bond.Member{Active: true}), memberEvent(secondLink, bond.Member{}))
	r.wantStatus(wellStatus)
	assert.Equal(t, 3, r.api.Requests()["patch pods"])
	r.tells(bond.Event{Kind: bond.Forgotten})
	r.publish(agentapi.Publish{Verb: "DEL", Pod: pLookup.Pod})
	assert.Zero(t, r.api.Requests()["patch pods"], "DEL changes nothing")
	assert.Equal(t, wellStatus, r.status())
}

// TestStatusArrivesLater: a change that the API server refuses, or cannot be reached for,
// is sent when it is possible again, as it is then.
func TestStatusArrivesLater(t *testing.T) {
	for name, trouble := range map[string]struct{ begins, ends func(*bondRig) }{
		"refused":  {func(r *bondRig) { r.api.Refusing("patch pods", http.StatusForbidden) }, func(r *bondRig) { r.api.Refusing("patch pods", 0) }},
		"conflict": {func(r *bondRig) { r.api.Refusing("patch pods", http.StatusConflict) }, func(r *bondRig) { r.api.Refusing("patch pods", 0) }},
		"away":     {func(r *bondRig) { r.api.Stop() }, func(r *bondRig) { r.api.Start() }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newBondRig(t)
			trouble.begins(r)
			r.tells(memberEvent(firstLink, linkFailure), masterEvent(secondLink, true, true))
			eventually(t, func(c *assert.CollectT) {
				assert.True(c, r.api.Requests()["patch pods"] > 0 || r.agent.publisher.away.Load())
			})
			r.tells(memberEvent(secondLink, linkFailure), masterEvent(0, false, false))
			trouble.ends(r)
			r.wantStatus(downStatus)
		})
	}
}

// TestStatusOfOthers: a network-status that another program has written stays as it is,
// and a pod that is being deleted is left alone.
func TestStatusOfOthers(t *testing.T) {
	r := newBondRig(t)
	pod := r.api.Object(podResource, "demo", "p")
	const theirs = `[{"name":"demo/bond-net1","interface":"bond0"}]`
	pod["metadata"].(map[string]any)["annotations"].(map[string]any)[nettypes.NetworkStatusAnnot] = theirs
	r.api.Put(podResource, "demo", "p", pod)
	r.tells(memberEvent(firstLink, linkFailure), masterEvent(secondLink, true, true))
	r.wantStatus("; Initialized True; multibond.io/BondHealthy True BondDegraded")
	pod = r.api.Object(podResource, "demo", "p")
	assert.Equal(t, theirs, pod["metadata"].(map[string]any)["annotations"].(map[string]any)[nettypes.NetworkStatusAnnot])

	pod["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	r.api.Put(podResource, "demo", "p", pod)
	name := types.NamespacedName{Namespace: "demo", Name: "p"}
	eventually(t, func(c *assert.CollectT) {
		cached, _ := r.agent.source.pods.cached(name)
		assert.NotNil(c, cached.DeletionTimestamp)
	})
	w := r.agent.watcher
	w.mu.Lock()
	w.table.apply(masterEventIn(r.bond.NSID, false))
	w.mu.Unlock()
	sent, err := r.agent.teller.tell(t.Context(), name)
	require.NoError(t, err)
	assert.False(t, sent)
}

func masterEventIn(nsid int, carrier bool) bond.Event {
	e := masterEvent(0, carrier, false)
	e.NSID = nsid
	return e
}

// TestConditionBesideMultus: network-status is Multus's, which writes it after the ADD. The
// pod becomes ready by a PATCH of its own.
func TestConditionBesideMultus(t *testing.T) {
	r := newQuietBondRig(t)
	require.NoError(t, r.agent.watcher.take(r.node.snapshot(r.node.open())))
	r.add(agentapi.Publish{Verb: "ADD", Pod: pLookup.Pod})
	r.wantStatus("; Initialized True; multibond.io/BondHealthy True BondsHealthy")
	r.settled()
	r.tells(memberEvent(firstLink, linkFailure), memberEvent(secondLink, linkFailure), masterEvent(0, false, false))
	r.wantStatus("; Initialized True; multibond.io/BondHealthy False BondDown")
	assert.Equal(t, 2, r.api.Requests()["patch pods"])
}

// TestStatusOfABlindADD: the status of a pod whose ADD comes before the agent hears of bonds
// does not say how its bond is, until the agent does.
func TestStatusOfABlindADD(t *testing.T) {
	r := newQuietBondRig(t)
	r.add(attachedReport())
	assert.Equal(t, "; Initialized True", r.status())
	require.NoError(t, r.agent.watcher.take(r.node.snapshot(r.node.open())))
	r.wantStatus("; Initialized True; multibond.io/BondHealthy True BondsHealthy")
	r.settled()
	r.wantStatus(wellStatus)
}

// TestStatusAfterARestart: the next agent says nothing until it hears of the bonds, and
// then what has changed meanwhile.
func TestStatusAfterARestart(t *testing.T) {
	r := newBondRig(t)
	r.stop()
	r.start()
	name := types.NamespacedName{Namespace: "demo", Name: "p"}
	sent, err := r.agent.teller.tell(t.Context(), name)
	require.NoError(t, err)
	assert.False(t, sent, "nobody knows")
	assert.Equal(t, wellStatus, r.status())
	given := r.node.snapshot(r.node.open())
	failed, over := memberEvent(firstLink, linkFailure), masterEvent(secondLink, true, false)
	failed.NSID, over.NSID = r.bond.NSID, r.bond.NSID
	given.Now = append(given.Now, failed, over)
	require.NoError(t, r.agent.watcher.take(given))
	sent, err = r.agent.teller.tell(t.Context(), name)
	require.NoError(t, err)
	assert.False(t, sent, "its links may just be coming up")
	r.settled()
	r.wantStatus(degradedStatus)
}

// TestStatusesAreSpread: the pods of one PF's failure are looked at one after the other,
// and each at most once in a while, however often its bond changes.
func TestStatusesAreSpread(t *testing.T) {
	teller := newTeller(&publisher{firstWait: time.Second, longestWait: time.Minute}, nil)
	begin := time.Now()
	for range 3 {
		for i := range 110 {
			teller.changed(types.NamespacedName{Namespace: "demo", Name: fmt.Sprint("p", i)})
		}
	}
	assert.Len(t, teller.pods, 110)
	times := map[time.Time]bool{}
	for _, one := range teller.pods {
		times[one.at] = true
		assert.False(t, one.at.Before(begin.Add(oneFailure)), "what one failure does is one PATCH")
	}
	assert.Greater(t, len(times), 100, "they do not come together")

	pod, _ := teller.following()
	teller.take(pod)
	teller.put(pod, begin, true, nil)
	assert.True(t, teller.pods[pod].at.IsZero())
	teller.changed(pod)
	assert.Equal(t, begin.Add(statusPause), teller.pods[pod].at)
	teller.take(pod)
	teller.put(pod, begin, false, assert.AnError)
	first := teller.pods[pod]
	assert.Equal(t, time.Second, first.wait)
	teller.changed(pod)
	assert.Equal(t, first, teller.pods[pod], "a change does not make it come sooner")
	teller.take(pod)
	teller.put(pod, begin, false, assert.AnError)
	assert.Equal(t, 2*time.Second, teller.pods[pod].wait)
	teller.take(pod)
	teller.put(pod, begin.Add(statusPause), false, nil)
	assert.NotContains(t, teller.pods, pod)
}

// TestNoEventsOfDEL: a DEL that takes its time shows a bond that loses its links.
func TestNoEventsOfDEL(t *testing.T) {
	r := newBondRig(t)
	r.api.Requests()
	event := outcome{Type: "Warning", Reason: reasonDegraded, Message: "m", Time: time.Now()}
	pod := r.api.Object(podResource, "demo", "p")
	pod["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	r.api.Put(podResource, "demo", "p", pod)
	eventually(t, func(c *assert.CollectT) { assert.True(c, r.agent.source.leaving(pLookup.Pod)) })
	r.agent.report(pLookup.Pod, event)
	r.api.Remove(podResource, "demo", "p")
	eventually(t, func(c *assert.CollectT) { assert.True(c, r.agent.source.absent(pLookup.Pod)) })
	r.agent.report(pLookup.Pod, event)
	r.queueHas(0)
	r.requests(map[string]int{})
}

// TestTwoBondsAreOnePatch: a PATCH has all that is new in a pod.
func TestTwoBondsAreOnePatch(t *testing.T) {
	r := newBondRig(t)
	second := attachedReport().Attachments[1]
	second.IfName, second.Result = "bond1", bonded()
	second.Result.Interfaces[0].Name = "bond1"
	report := attachedReport()
	report.Attachments = append(report.Attachments, second)
	other := r.node.attach("other")
	other.Pod, other.IfName = pLookup.Pod, "bond1"
	report.Bonds = []agentapi.Bond{r.bond, other}
	r.publish(report)
	r.queueHas(0)
	w := r.agent.watcher
	w.mu.Lock()
	w.table.bonds[linkKey{other.NSID, other.Index}].settled = time.Time{}
	w.mu.Unlock()
	r.api.Requests()
	r.node.fail(other)
	r.tells(memberEvent(firstLink, linkFailure), masterEvent(secondLink, true, true))
	const each = "{Up:true Degraded:true Active:bond0-2} down up"
	r.wantStatus(each + each + "; Initialized True; multibond.io/BondHealthy True BondDegraded")
	assert.Equal(t, 1, r.api.Requests()["patch pods"])
}

// TestManyStatuses: the PF of 110 pods fails, and their bonds flap meanwhile. Each pod gets
// one PATCH, of what is true when it is sent.
func TestManyStatuses(t *testing.T) {
	r := newBondRig(t)
	for i := range 110 {
		name := fmt.Sprint("many", i)
		r.pod("demo", name, "uid-"+name, "")
		b := r.node.attach(name)
		report := attachedReport()
		report.Pod, report.Bonds = b.Pod, []agentapi.Bond{b}
		r.publish(report)
	}
	r.queueHas(0)
	eventually(t, func(c *assert.CollectT) {
		for i := range 110 {
			pod := r.agent.source.known(agentapi.Pod{Namespace: "demo", Name: fmt.Sprint("many", i), UID: fmt.Sprint("uid-many", i)})
			require.NotNil(c, pod)
			require.Contains(c, pod.Annotations, nettypes.NetworkStatusAnnot)
		}
	})
	r.api.Requests()
	w := r.agent.watcher
	w.mu.Lock()
	for _, b := range w.table.bonds {
		b.settled = time.Time{}
	}
	for _, b := range r.node.pods {
		for range 3 {
			r.node.fail(b)
			for _, e := range eventsOf(b) {
				r.node.say(e)
			}
		}
		r.node.fail(b)
	}
	w.hear()
	w.mu.Unlock()
	eventually(t, func(c *assert.CollectT) {
		for i := range 110 {
			pod := r.agent.source.known(agentapi.Pod{Namespace: "demo", Name: fmt.Sprint("many", i), UID: fmt.Sprint("uid-many", i)})
			require.Contains(c, pod.Annotations[nettypes.NetworkStatusAnnot], `"active": "bond0-2"`)
		}
	})
	r.wantStatus(degradedStatus)
	assert.Equal(t, 111, r.api.Requests()["patch pods"])
}
