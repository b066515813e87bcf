package kubeclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// publish sends a report, and returns why it was queued, if it was.
func (r *rig) publish(p agentapi.Publish) (queued string) {
	r.t.Helper()
	reply, err := r.client().Publish(r.t.Context(), p)
	assert.NoError(r.t, err)
	return reply.Queued
}

// published returns how many networks the status of demo/p has.
func (r *rig) published() int {
	annotations := r.api.Object(podResource, "demo", "p")["metadata"].(map[string]any)["annotations"].(map[string]any)
	var statuses []NetworkStatus
	if text, is := annotations[nettypes.NetworkStatusAnnot].(string); is {
		assert.NoError(r.t, json.Unmarshal([]byte(text), &statuses), text)
	}
	return len(statuses)
}

// queueHas waits until want pods are queued.
func (r *rig) queueHas(want int) {
	r.t.Helper()
	eventually(r.t, func(c *assert.CollectT) { require.Equal(c, want, queue{dir: r.options.StateDir}.length(), "queued") })
}

// messages returns all events as text.
func (r *rig) messages() (out []string) {
	for _, e := range r.api.Of(eventResource) {
		out = append(out, fmt.Sprint(e["type"], " ", e["reason"], " ", e["involvedObject"].(map[string]any)["uid"], ": ", e["message"]))
	}
	return out
}

func failedReport(message string) agentapi.Publish {
	return agentapi.Publish{Verb: "ADD", Pod: pLookup.Pod, Failure: cnitypes.NewError(7, message, "")}
}

func TestPublishIsOnePatchAndOneEvent(t *testing.T) {
	r := newRig(t)
	r.start()
	assert.Empty(t, r.publish(attachedReport()))
	r.queueHas(0)
	r.requests(map[string]int{"patch pods": 1, "create events": 1})
	assert.Equal(t, 3, r.published())
	pod := r.api.Object(podResource, "demo", "p")
	assert.Equal(t, "stays", pod["status"].(map[string]any)["aNewerField"])
	m := r.messages()
	require.Len(t, m, 1)
	assertPrefix(t, "Normal NetworksAttached uid-p: eth0 ", m[0])
	assert.Contains(t, m[0], "(demo/bond-net1)")
}

// TestWarningsAreOneEvent checks that all warnings of a pod are one event, even if
// they are reported repeatedly or without the pod's networks.
func TestWarningsAreOneEvent(t *testing.T) {
	r := newRig(t)
	r.start()
	report := attachedReport()
	report.Warnings = []string{"network demo/bond-net1: links[1].deviceID: the PF enp2s0 is down", "network n: these keys are ignored: ipMasq"}
	r.publish(report)
	r.publish(report)
	r.publish(agentapi.Publish{Verb: "ADD", Pod: pLookup.Pod, Warnings: report.Warnings})
	m := r.messages()
	assert.Len(t, m, 2)
	assert.Contains(t, m, "Warning NetworksWarned uid-p: network demo/bond-net1: links[1].deviceID: the PF enp2s0 is down; network n: these keys are ignored: ipMasq")
	r.requests(map[string]int{"patch pods": 2, "create events": 2})
	r.queueHas(0)
}

func TestDELPublishesNothing(t *testing.T) {
	r := newRig(t)
	r.start()
	r.publish(agentapi.Publish{Verb: "DEL", Pod: pLookup.Pod, Steps: []agentapi.Step{{What: "bond", Milliseconds: 1}}})
	r.requests(map[string]int{})
}

func TestOneEventPerOutcome(t *testing.T) {
	r := newRig(t)
	r.start()
	for range 3 {
		r.publish(failedReport("networks[0]: wrong"))
	}
	r.queueHas(0)
	r.requests(map[string]int{"create events": 1})
	r.publish(failedReport("networks[0]: wrong in another way"))
	r.publish(attachedReport())
	r.queueHas(0)
	// Another agent does not know which events this one sent. The API server does.
	r.stop()
	r.start()
	r.publish(failedReport("networks[0]: wrong"))
	r.queueHas(0)
	assert.Len(t, r.messages(), 3)
}

func TestLongMessagesAreClipped(t *testing.T) {
	o := outcomesOf(failedReport(strings.Repeat("ä", 1000)), time.Now())[0]
	assert.LessOrEqual(t, len(o.Message), 1024)
	assert.True(t, strings.HasSuffix(o.Message, "ä ..."), o.Message)
	assert.Len(t, o.eventName(agentapi.Pod{Name: strings.Repeat("p", 236) + "." + strings.Repeat("p", 16), UID: "u"}), 253)
}

// TestPublishedWhenTheAPIServerIsBack also checks that without an API server a known
// pod is still found, and a new one is refused with the reason.
func TestPublishedWhenTheAPIServerIsBack(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.Stop()
	_, err := r.client().Lookup(t.Context(), pLookup)
	assert.NoError(t, err)
	assert.NotEmpty(t, r.publish(attachedReport()), "published without an API server")
	assert.NotEmpty(t, r.publish(failedReport("later")), "published without an API server")
	_, err = r.client().Lookup(t.Context(), lookupOf("demo", "fresh", "u"))
	refused(t, err, cnitypes.ErrTryAgainLater, "pod demo/fresh: asking the API server", "connection refused")
	r.queueHas(1)
	r.api.Start()
	r.queueHas(0)
	assert.Equal(t, 3, r.published())
	assert.Len(t, r.messages(), 2)
	assert.Empty(t, r.publish(failedReport("now")))
}

func TestPublishedByTheNextAgent(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.Stop()
	r.publish(attachedReport())
	r.stop()
	r.queueHas(1)
	r.api.Start()
	r.start()
	r.queueHas(0)
	assert.Equal(t, 3, r.published())
	assert.Len(t, r.messages(), 1)
}

func TestTheNewerStatusCounts(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.Stop()
	r.publish(attachedReport())
	shorter := attachedReport()
	shorter.Attachments = shorter.Attachments[:1]
	r.publish(shorter)
	r.api.Start()
	r.queueHas(0)
	assert.Equal(t, 2, r.published())
}

func TestQueuedOutcomesOfGonePodsAreDropped(t *testing.T) {
	for name, change := range map[string]func(*rig){
		"deleted":       func(r *rig) { r.api.Remove(podResource, "demo", "p") },
		"created again": func(r *rig) { r.pod("demo", "p", "uid-new", "") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.start()
			r.api.Stop()
			r.publish(attachedReport())
			change(r)
			r.api.Start()
			r.queueHas(0)
			assert.Empty(t, r.messages())
			if name != "deleted" {
				assert.Zero(t, r.published(), "the new pod has the old one's status")
			}
			// A failure is not patched, so only the cache shows that the pod is gone.
			eventually(t, func(c *assert.CollectT) {
				require.True(c, r.agent.source.absent(pLookup.Pod), "the cache has the old pod still")
			})
			r.api.Stop()
			r.publish(failedReport("wrong"))
			r.api.Start()
			r.queueHas(0)
			assert.Empty(t, r.messages())
		})
	}
}

// TestARefusedPodDoesNotBlockOthers checks that a refusal counts as an answer.
func TestARefusedPodDoesNotBlockOthers(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.Refusing("patch pods", http.StatusForbidden)
	assert.Contains(t, r.publish(attachedReport()), "refused by the test")
	other := failedReport("other")
	other.Pod = agentapi.Pod{Namespace: "demo", Name: "q", UID: "uid-q"}
	assert.Empty(t, r.publish(other))
	r.queueHas(1)
	r.api.Refusing("patch pods", 0)
	r.queueHas(0)
}

// TestEventsGoOnWhereTheyStopped checks that no event is lost, and that no pod waits.
func TestEventsGoOnWhereTheyStopped(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.Refusing("create events", http.StatusServiceUnavailable)
	assert.Empty(t, r.publish(attachedReport()), "only the event was refused")
	eventually(t, func(c *assert.CollectT) { require.NotZero(c, r.api.Requests()["create events"]) })
	r.stop()
	r.api.Drain()
	r.api.Refusing("create events", 0)
	r.api.Requests()
	r.startUnready()
	r.queueHas(0)
	r.requests(map[string]int{"create events": 1})
}

func TestDamagedQueue(t *testing.T) {
	r := newRig(t)
	require.NoError(t, os.MkdirAll(r.options.StateDir, 0o700))
	for name, text := range map[string]string{"a.json": "{", "b.json": `{"version":1,"pod":{"uid":"other"}}`, "c.json": `{"version":9,"pod":{"uid":"c"}}`, "d.json.new": "{}"} {
		require.NoError(t, os.WriteFile(filepath.Join(r.options.StateDir, name), []byte(text), 0o600))
	}
	r.start()
	r.queueHas(0)
	left, err := filepath.Glob(filepath.Join(r.options.StateDir, "*.*"))
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(r.options.StateDir, lockFile)}, left)
}

// TestEntryThatStays: an entry that cannot be removed is reported.
func TestEntryThatStays(t *testing.T) {
	r := newRig(t)
	require.NoError(t, os.MkdirAll(filepath.Join(queue{dir: r.options.StateDir}.file("1234"), "x"), 0o700))
	said := linesWith{"outcomes are not published yet", make(chan string, 100)}
	r.options.Log = slog.New(slog.NewTextHandler(said, nil))
	r.start()
	assert.Contains(t, <-said.found, "directory not empty")
	r.queueHas(1)
	require.NoError(t, os.RemoveAll(queue{dir: r.options.StateDir}.file("1234")))
	r.queueHas(0)
}

func TestPublishesEvenWithoutAQueue(t *testing.T) {
	r := newRig(t)
	notQueued := linesWith{"an outcome cannot be queued", make(chan string, 10)}
	r.options.Log = slog.New(slog.NewTextHandler(notQueued, nil))
	r.start()
	require.NoError(t, os.RemoveAll(r.options.StateDir))
	assert.Empty(t, r.publish(attachedReport()))
	r.api.Stop()
	_, err := r.client().Publish(t.Context(), attachedReport())
	refused(t, err, cnitypes.ErrTryAgainLater, "; queueing it: ")
	assert.Len(t, notQueued.found, 2, "it is logged once for each outcome")
	require.NoError(t, os.MkdirAll(r.options.StateDir, 0o700))
	r.api.Start()
	r.publish(attachedReport())
	r.queueHas(0)
	assert.Equal(t, 3, r.published())
}

// linesWith receives the log lines that have a text.
type linesWith struct {
	text  string
	found chan string
}

func (l linesWith) Write(p []byte) (int, error) {
	if line := string(p); strings.Contains(line, l.text) {
		l.found <- line
	}
	return len(p), nil
}

func TestBadReports(t *testing.T) {
	r := newRig(t)
	r.start()
	for name, change := range map[string]func(*agentapi.Publish){
		"no result":       func(p *agentapi.Publish) { p.Attachments[1].Result = nil },
		"bad device-info": func(p *agentapi.Publish) { p.Attachments[1].DeviceInfo = json.RawMessage(`[]`) },
		"no UID":          func(p *agentapi.Publish) { p.Pod.UID = "../../x" },
	} {
		report := attachedReport()
		change(&report)
		_, err := r.client().Publish(t.Context(), report)
		assert.Equal(t, cnitypes.ErrDecodingFailure, cnierror.Code(err), "%s: %v", name, err)
	}
	r.requests(map[string]int{})
}

// TestManyPluginsAtOnce starts ten pods while the agent is replaced.
func TestManyPluginsAtOnce(t *testing.T) {
	r := newRig(t)
	const pods = 10
	name := func(i int) string { return fmt.Sprint("p", i) }
	for i := range pods {
		r.pod("demo", name(i), "uid-"+name(i), "bond-net1@bond0")
		r.kubelet.Give("demo", name(i), map[string][]string{"intel.com/a": {"0000:01:10.0"}, "intel.com/b": {"0000:02:10.0"}})
	}
	r.start()
	errs := make([]error, pods)
	var running sync.WaitGroup
	for i := range pods {
		running.Go(func() { errs[i] = r.addLikeARuntime(lookupOf("demo", name(i), "uid-"+name(i))) })
	}
	r.stop()
	r.startUnready()
	running.Wait()
	r.queueHas(0)
	assert.NoError(t, errors.Join(errs...))
	for i := range pods {
		meta := r.api.Object(podResource, "demo", name(i))["metadata"].(map[string]any)
		assert.NotNil(t, meta["annotations"].(map[string]any)[nettypes.NetworkStatusAnnot], name(i))
	}
	assert.Len(t, r.messages(), pods)
}

// addLikeARuntime looks up and publishes, and repeats both while the answer is to try
// again.
func (r *rig) addLikeARuntime(l agentapi.Lookup) (err error) {
	for limit := time.Now().Add(2 * time.Minute); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		_, err = r.client().Lookup(r.t.Context(), l)
		if err == nil {
			report := attachedReport()
			report.Pod = l.Pod
			_, err = r.client().Publish(r.t.Context(), report)
		}
		if cnierror.Code(err) != cnitypes.ErrTryAgainLater {
			return err
		}
	}
	return err
}
