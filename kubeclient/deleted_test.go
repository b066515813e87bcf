package kubeclient

import (
	"net/http/httptest"
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

const deletedStatus = "{Up:false Degraded:false Active:} gone gone; Initialized True; multibond.io/BondHealthy False BondDeleted"

// deletes has the bond vanish, and what was a part of it stay in the pod.
func (r *bondRig) deletes() *watchedBond {
	r.settled()
	r.node.say(bond.Event{NSID: r.bond.NSID, Kind: bond.Vanished, Link: bond.Link{Index: theBond}},
		bond.Event{NSID: r.bond.NSID, Link: bond.Link{Index: firstLink}}, bond.Event{NSID: r.bond.NSID, Link: bond.Link{Index: secondLink}})
	return hearOfDeleted(r.t, r.agent.watcher, r.bond)
}

func hearOfDeleted(t *testing.T, w *watcher, b agentapi.Bond) *watchedBond {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear()
	require.Contains(t, w.table.deleted, linkKey{b.NSID, b.Index})
	return w.table.deleted[linkKey{b.NSID, b.Index}]
}

// page is what the agent serves as its metrics.
func (r *bondRig) page() string {
	answer := httptest.NewRecorder()
	r.agent.pages().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return answer.Body.String()
}

// TestDeletedBond: a bond that its application has deleted is down in the pod's status, its
// condition and the metrics, and an event tells why, once no DEL can be about to end any more.
func TestDeletedBond(t *testing.T) {
	r := newBondRig(t)
	b := r.deletes()
	assert.NotContains(t, r.page(), `multibond_bond_up{`)
	assert.Equal(t, wellStatus, r.status())
	r.agent.watcher.tellDeleted(b)
	r.wantStatus(deletedStatus)
	for _, line := range []string{`multibond_bond_up{bond="bond0",namespace="demo",pod="p"} 0`, `multibond_bond_links{bond="bond0",namespace="demo",pod="p"} 2`, `multibond_bond_links_up{bond="bond0",namespace="demo",pod="p"} 0`} {
		assert.Contains(t, r.page(), line)
	}
	eventually(t, func(c *assert.CollectT) { assert.Equal(c, 2, len(r.api.Of("events"))) })
	r.publish(agentapi.Publish{Verb: "DEL", Pod: pLookup.Pod})
	assert.NotContains(t, r.page(), `multibond_bond_up{`)
}

// TestDeletedByDEL: a bond of a pod that ends is not told as deleted, whatever is heard of
// its end, and in whichever order.
func TestDeletedByDEL(t *testing.T) {
	phase := func(name string) func(r *bondRig) {
		return func(r *bondRig) {
			pod := r.api.Object(podResource, "demo", "p")
			pod["status"].(map[string]any)["phase"] = name
			r.api.Put(podResource, "demo", "p", pod)
			eventually(r.t, func(c *assert.CollectT) { assert.True(c, r.agent.source.leaving(pLookup.Pod)) })
		}
	}
	for name, ends := range map[string]func(r *bondRig){
		"DEL":                   func(r *bondRig) { r.publish(agentapi.Publish{Verb: "DEL", Pod: pLookup.Pod}) },
		"the namespace's end":   func(r *bondRig) { r.node.end(r.bond.NSID) },
		"another ADD":           func(r *bondRig) { r.node.end(99); r.add(attachedReport()) },
		"the pod has succeeded": phase("Succeeded"),
		"the pod has failed":    phase("Failed"),
		"the pod is being deleted": func(r *bondRig) {
			pod := r.api.Object(podResource, "demo", "p")
			pod["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
			r.api.Put(podResource, "demo", "p", pod)
			eventually(r.t, func(c *assert.CollectT) { assert.True(c, r.agent.source.leaving(pLookup.Pod)) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newBondRig(t)
			b := r.deletes()
			ends(r)
			r.queueHas(0)
			r.api.Requests()
			r.agent.watcher.tellDeleted(b)
			sent, err := r.agent.teller.tell(t.Context(), b.nameOfPod())
			require.NoError(t, err)
			assert.False(t, sent)
			r.agent.report(pLookup.Pod, outcome{})
			assert.NotContains(t, r.status(), "BondDeleted")
		})
	}
}

// TestEndOfNamespace: the end of a namespace comes with the same message for its bond, before
// or after its own.
func TestEndOfNamespace(t *testing.T) {
	vanished, forgotten := bond.Event{NSID: podNS, Kind: bond.Vanished, Link: bond.Link{Index: theBond}}, bond.Event{NSID: podNS, Kind: bond.Forgotten}
	for _, order := range [][]bond.Event{{vanished, forgotten}, {forgotten, vanished}} {
		table, _ := tableOf(wellBond()...)
		for _, e := range order {
			table.apply(e)
		}
		assert.Empty(t, table.deleted)
		assert.Empty(t, table.sorted())
	}
}

// TestDeletedWhileNobodyListens: the Watch of an agent that was away lists a bond that is not
// there although its pod is. What one agent has told is told no second time with the next
// Watch.
func TestDeletedWhileNobodyListens(t *testing.T) {
	n := newFakeNode(t)
	var o told
	n.w.tell = o.tell
	b, gone := n.attach("p"), n.attach("gone")
	given := n.snapshot(n.open())
	given.Now = nil
	n.end(gone.NSID) // after the snapshot
	require.NoError(t, n.w.take(given))
	assert.Empty(t, n.shown())
	one := hearOfDeleted(t, n.w, b)
	assert.Len(t, n.w.table.deleted, 1)
	n.w.tellDeleted(one)
	assert.Equal(t, []string{"p 0"}, n.shown())
	given = n.snapshot(n.open())
	given.Now = nil
	require.NoError(t, n.w.take(given))
	assert.Equal(t, []string{"p 0"}, n.shown())
	assert.Same(t, one, hearOfDeleted(t, n.w, b))
	eventually(t, func(c *assert.CollectT) { assert.Equal(c, []string{"demo/p BondDeleted"}, o.all()) })

	n.end(b.NSID) // nobody hears of it
	n.queues = map[*os.File][]bond.Event{}
	require.NoError(t, n.w.take(n.snapshot(n.open())))
	assert.Equal(t, []string{"p 0"}, n.shown(), "keep lists no bond that is not there")
	next := n.attach("next")
	require.Equal(t, b.NSID, next.NSID)
	require.NoError(t, n.w.take(n.snapshot(n.open())))
	assert.Equal(t, []string{"next 2"}, n.shown())
}

// TestUntoldIsCounted: what is not told of a bond is counted.
func TestUntoldIsCounted(t *testing.T) {
	r := newBondRig(t)
	r.api.Refusing("patch pods", 403)
	r.tells(memberEvent(firstLink, linkFailure), masterEvent(secondLink, true, true))
	status := r.agent.metrics.untold.WithLabelValues("status")
	eventually(t, func(c *assert.CollectT) { assert.NotZero(c, testutil.ToFloat64(status)) })
	event := r.agent.metrics.untold.WithLabelValues("event")
	assert.Zero(t, testutil.ToFloat64(event))
	require.NoError(t, os.RemoveAll(r.options.StateDir))
	require.NoError(t, os.WriteFile(r.options.StateDir, nil, 0o600)) // no disk
	r.agent.report(pLookup.Pod, outcome{Type: "Warning", Reason: reasonDegraded, Message: "m"})
	assert.Equal(t, 1.0, testutil.ToFloat64(event))
}
