package kubeclient

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// TestStatusOfBond: what network-status shows of a bond. One that is starting is shown as
// it should be.
func TestStatusOfBond(t *testing.T) {
	failed := bond.Member{MII: bond.MIIDown, Failures: 1}
	left := bond.Event{NSID: podNS, Link: bond.Link{Index: secondLink}}
	for name, c := range map[string]struct {
		events  []bond.Event
		shown   BondStatus
		states  string
		atStart string
	}{
		"well":     {nil, BondStatus{true, false, "bond0-1"}, "up up", "up up"},
		"degraded": {[]bond.Event{memberEvent(firstLink, failed), masterEvent(secondLink, true, true)}, BondStatus{true, true, "bond0-2"}, "down up", "up up"},
		"down":     {[]bond.Event{memberEvent(firstLink, failed), memberEvent(secondLink, failed), masterEvent(0, false, false)}, BondStatus{false, false, ""}, "down down", "up up"},
		"smaller":  {[]bond.Event{left}, BondStatus{true, true, "bond0-1"}, "up gone", "up gone"},
	} {
		t.Run(name, func(t *testing.T) {
			table, b := tableOf(append(wellBond(), c.events...)...)
			s := table.status(b, time.Now())
			assert.Equal(t, c.shown, s.shown)
			assert.Equal(t, c.states, s.states["bond0-1"]+" "+s.states["bond0-2"])
			b.settled = time.Now().Add(time.Hour)
			s = table.status(b, time.Now())
			assert.True(t, s.shown.Up)
			assert.False(t, s.shown.Degraded)
			assert.Equal(t, c.atStart, s.states["bond0-1"]+" "+s.states["bond0-2"])
		})
	}
	table, b := tableOf(masterEvent(0, false, false), memberEvent(firstLink, failed), memberEvent(secondLink, failed))
	b.settled = time.Now().Add(time.Hour)
	first := table.links[linkKey{podNS, theBond}]
	first.Link.Options = bond.Options{bond.Primary: fmt.Sprint(secondLink)}
	table.apply(first)
	assert.Equal(t, BondStatus{Up: true, Active: "bond0-2"}, table.status(b, time.Now()).shown)
	b.Wanted = 3
	assert.True(t, table.status(b, time.Now()).shown.Degraded, "a link that was not attached does not come up")
}

// statusOf is a bond of two links as a pod's status has it.
func statusOf(is bond.Condition, works ...bool) bondStatus {
	return bondStatus{
		Bond: agentapi.Bond{IfName: "bond0", Network: "demo/net", Wanted: 2}, Health: bond.Health{Condition: is, Works: works},
		shown:  BondStatus{Up: is != bond.Down, Degraded: is == bond.Degraded, Active: "bond0-2"},
		states: map[string]string{"bond0-1": linkFailed, "bond0-2": linkWorks},
	}
}

// TestWithBonds: only what is about the state of a bond changes, and only in the entries
// that an agent has written.
func TestWithBonds(t *testing.T) {
	const others = `{"name": "cbr0", "interface": "eth0", "x": [1.50]},`
	const before = `[` + others + `{"name":"demo/net","interface":"bond0","ips":["10.0.0.1"],"theirs":{"b":1,"a":2},
		"multibond.io/links":[{"name":"bond0-1","mac":"m","theirs":1},{"name":"bond0-2","state":"up"}]}]`
	bonds := []bondStatus{statusOf(bond.Degraded, false, true)}
	text, changed := withBonds(before, bonds)
	assert.True(t, changed)
	assert.JSONEq(t, `[`+others+`{"name":"demo/net","interface":"bond0","ips":["10.0.0.1"],"theirs":{"b":1,"a":2},
		"multibond.io/bond":{"up":true,"degraded":true,"active":"bond0-2"},
		"multibond.io/links":[{"name":"bond0-1","mac":"m","theirs":1,"state":"down"},{"name":"bond0-2","state":"up"}]}]`, text)
	assert.Contains(t, text, "1.50", "numbers stay as they are written")
	assert.Less(t, strings.Index(text, `"b"`), strings.Index(text, `"a"`), "and so does the order")
	again, changed := withBonds(text, bonds)
	assert.False(t, changed)
	assert.Equal(t, text, again)

	for name, text := range map[string]string{
		"Multus wrote it":      `[{"name":"demo/net","interface":"bond0"}]`,
		"of another bond":      `[{"name":"demo/net","interface":"bond1","multibond.io/links":[{"name":"bond1-1"}]}]`,
		"no list":              `{}`,
		"none":                 ``,
		"an entry of nonsense": `["x", {"interface": "bond0", "multibond.io/links": 5}]`,
	} {
		got, changed := withBonds(text, bonds)
		assert.False(t, changed, name)
		assert.Equal(t, text, got, name)
	}
}

// TestCondition: a pod is ready with a degraded bond, and is not without its bond.
func TestCondition(t *testing.T) {
	well, degraded, down := statusOf(bond.Healthy, true, true), statusOf(bond.Degraded, false, true), statusOf(bond.Down, false, false)
	down.IfName = "bond1"
	for _, c := range []struct {
		bonds []bondStatus
		want  string
	}{
		{nil, "True NoBond the pod has no bond"},
		{[]bondStatus{well, well}, "True BondsHealthy all links work"},
		{[]bondStatus{well, degraded}, "True BondDegraded bond0 (demo/net): 1 of 2 links work"},
		{[]bondStatus{down, degraded}, "False BondDown bond1 (demo/net): 0 of 2 links work, and it has no carrier; bond0 (demo/net): 1 of 2 links work"},
	} {
		is := conditionOf(c.bonds)
		assert.Equal(t, c.want, strings.Join([]string{string(is.Status), is.Reason, is.Message}, " "))
	}

	pod, began := &corev1.Pod{}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	assert.Nil(t, newCondition(pod, []bondStatus{well}, began), "nobody waits for it")
	pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "other"}, {ConditionType: bondHealthy}}
	is := newCondition(pod, []bondStatus{well}, began)
	require.NotNil(t, is)
	pod.Status.Conditions = []corev1.PodCondition{*is}
	assert.Nil(t, newCondition(pod, []bondStatus{well}, began.Add(time.Hour)), "the same")
	is = newCondition(pod, []bondStatus{degraded}, began.Add(time.Hour))
	assert.Equal(t, metav1.NewTime(began), is.LastTransitionTime, "it stays True")
	is = newCondition(pod, []bondStatus{down}, began.Add(time.Hour))
	assert.Equal(t, metav1.NewTime(began.Add(time.Hour)), is.LastTransitionTime)
}

// TestPatchFor: a PATCH has nothing but what differs. What another has changed meanwhile is
// respected.
func TestPatchFor(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", ResourceVersion: "7"}}
	bonds := []bondStatus{statusOf(bond.Degraded, false, true)}
	assert.Nil(t, patchFor(pod, bonds, time.Now()), "no network-status, and no gate")
	text, _ := withBonds(`[{"interface":"bond0","multibond.io/links":[{"name":"bond0-1"},{"name":"bond0-2"}]}]`, bonds)
	pod.Annotations = map[string]string{"k8s.v1.cni.cncf.io/network-status": text}
	assert.Nil(t, patchFor(pod, bonds, time.Now()), "nothing has changed")
	bonds[0].shown.Degraded = false
	var patch map[string]map[string]any
	require.NoError(t, json.Unmarshal(patchFor(pod, bonds, time.Now()), &patch))
	assert.Equal(t, "7", patch["metadata"]["resourceVersion"], "of the text that was changed")
	assert.NotContains(t, patch, "status")
	bonds[0].starting = true
	assert.Nil(t, patchFor(pod, bonds, time.Now()), "its links are still coming up")

	pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: bondHealthy}}
	patch = nil
	require.NoError(t, json.Unmarshal(patchFor(pod, bonds, time.Now()), &patch))
	assert.Equal(t, map[string]any{"uid": "u"}, patch["metadata"], "the pod becomes ready at once")
	assert.Len(t, patch["status"]["conditions"], 1)
	bonds[0].Condition = bond.Down
	assert.Nil(t, patchFor(pod, bonds, time.Now()), "it may still get its carrier")
}
