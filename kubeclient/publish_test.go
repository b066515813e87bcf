package kubeclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"

	"github.com/multibond/multibond/delegate"
	"github.com/multibond/multibond/delegate/cnierror"
)

// publish sends a report, and says whether it was queued.
func (r *rig) publish(p delegate.Publish) (queued string) {
	r.t.Helper()
	reply, err := r.client().Publish(r.t.Context(), p)
	if err != nil {
		r.t.Error(err)
	}
	return reply.Queued
}

// published says how many networks the status of demo/p has.
func (r *rig) published() int {
	annotations := r.api.object(podResource, "demo", "p")["metadata"].(map[string]any)["annotations"].(map[string]any)
	text, _ := annotations[nettypes.NetworkStatusAnnot].(string)
	var statuses []NetworkStatus
	if text != "" && json.Unmarshal([]byte(text), &statuses) != nil {
		r.t.Error(text)
	}
	return len(statuses)
}

// queueHas waits until so many pods are queued.
func (r *rig) queueHas(want int) {
	r.t.Helper()
	eventually(r.t, func() error {
		if n := (queue{r.options.StateDir}).length(); n != want {
			return fmt.Errorf("%d queued, wanted is %d", n, want)
		}
		return nil
	})
}

// messages are those of all events.
func (r *rig) messages() (out []string) {
	for _, e := range r.api.of(eventResource) {
		out = append(out, fmt.Sprint(e["type"], " ", e["reason"], " ", e["involvedObject"].(map[string]any)["uid"], ": ", e["message"]))
	}
	return out
}

func failedReport(message string) delegate.Publish {
	return delegate.Publish{Verb: "ADD", Pod: pLookup.Pod, Failure: cnitypes.NewError(7, message, "")}
}

func TestPublishIsOnePatchAndOneEvent(t *testing.T) {
	r := newRig(t)
	r.start()
	if queued := r.publish(attachedReport()); queued != "" {
		t.Error(queued)
	}
	r.queueHas(0)
	r.requests(map[string]int{"patch pods": 1, "create events": 1})
	if n := r.published(); n != 2 {
		t.Errorf("the status has %d networks", n)
	}
	pod := r.api.object(podResource, "demo", "p")
	if pod["status"].(map[string]any)["aNewerField"] != "stays" {
		t.Error(pod["status"])
	}
	if m := r.messages(); len(m) != 1 || !strings.HasPrefix(m[0], "Normal NetworksAttached uid-p: eth0 ") || !strings.Contains(m[0], "(demo/bond-net1)") {
		t.Error(m)
	}
}

// TestWarningsAreOneEvent: however many there are, however often they are told,
// and whoever else publishes the pod's networks.
func TestWarningsAreOneEvent(t *testing.T) {
	r := newRig(t)
	r.start()
	report := attachedReport()
	report.Warnings = []string{"network demo/bond-net1: links[1].deviceID: the PF enp2s0 is down", "network n: ignored: ipMasq"}
	r.publish(report)
	r.publish(report)
	r.publish(delegate.Publish{Verb: "ADD", Pod: pLookup.Pod, Warnings: report.Warnings})
	want := "Warning NetworksWarned uid-p: network demo/bond-net1: links[1].deviceID: the PF enp2s0 is down; network n: ignored: ipMasq"
	if m := r.messages(); len(m) != 2 || !slices.Contains(m, want) {
		t.Errorf("%q\nwanted is also: %s", m, want)
	}
	r.requests(map[string]int{"patch pods": 2, "create events": 2})
	r.queueHas(0)
}

func TestDELPublishesNothing(t *testing.T) {
	r := newRig(t)
	r.start()
	r.publish(delegate.Publish{Verb: "DEL", Pod: pLookup.Pod, Steps: []delegate.Step{{What: "bond", Milliseconds: 1}}})
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
	// Another agent does not know what this one has said; the API server does.
	r.stop()
	r.start()
	r.publish(failedReport("networks[0]: wrong"))
	r.queueHas(0)
	if m := r.messages(); len(m) != 3 {
		t.Error(m)
	}
}

func TestLongMessagesAreClipped(t *testing.T) {
	o := outcomesOf(failedReport(strings.Repeat("ä", 1000)), time.Now())[0]
	if len(o.Message) > 1024 || !strings.HasSuffix(o.Message, "ä ...") {
		t.Error(len(o.Message), o.Message)
	}
	name := o.eventName(delegate.Pod{Name: strings.Repeat("p", 236) + "." + strings.Repeat("p", 16), UID: "u"})
	if len(name) != 253 {
		t.Error(len(name), name)
	}
}

// TestPublishedWhenTheAPIServerIsBack: in between, the pod is still found, and
// a fresh one is refused with a reason.
func TestPublishedWhenTheAPIServerIsBack(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.stop()
	if _, err := r.client().Lookup(t.Context(), pLookup); err != nil {
		t.Error(err)
	}
	if queued := r.publish(attachedReport()); queued == "" {
		t.Error("published without an API server")
	}
	if queued := r.publish(failedReport("later")); queued == "" {
		t.Error("published without an API server")
	}
	_, err := r.client().Lookup(t.Context(), lookupOf("demo", "fresh", "u"))
	refused(t, err, cnitypes.ErrTryAgainLater, "pod demo/fresh: asking the API server", "connection refused")
	r.queueHas(1)
	r.api.start()
	r.queueHas(0)
	if n := r.published(); n != 2 {
		t.Errorf("the status has %d networks", n)
	}
	if m := r.messages(); len(m) != 2 {
		t.Error(m)
	}
	if queued := r.publish(failedReport("now")); queued != "" {
		t.Error(queued)
	}
}

func TestPublishedByTheNextAgent(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.stop()
	r.publish(attachedReport())
	r.stop()
	r.queueHas(1)
	r.api.start()
	r.start()
	r.queueHas(0)
	if n, m := r.published(), r.messages(); n != 2 || len(m) != 1 {
		t.Error(n, m)
	}
}

func TestTheNewerStatusCounts(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.stop()
	r.publish(attachedReport())
	shorter := attachedReport()
	shorter.Attachments = shorter.Attachments[:1]
	r.publish(shorter)
	r.api.start()
	r.queueHas(0)
	if n := r.published(); n != 1 {
		t.Errorf("the status has %d networks", n)
	}
}

func TestQueuedOutcomesOfGonePodsAreDropped(t *testing.T) {
	for name, change := range map[string]func(*rig){
		"deleted":       func(r *rig) { r.api.remove(podResource, "demo", "p") },
		"created again": func(r *rig) { r.pod("demo", "p", "uid-new", "") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.start()
			r.api.stop()
			r.publish(attachedReport())
			change(r)
			r.api.start()
			r.queueHas(0)
			if m := r.messages(); m != nil {
				t.Error(m)
			}
			if name != "deleted" && r.published() != 0 {
				t.Error("the new pod has the old one's status")
			}
			// Of a failure there is no PATCH to tell: the cache does.
			eventually(t, func() error {
				if !r.agent.source.gone(pLookup.Pod) {
					return errors.New("the cache has the old pod still")
				}
				return nil
			})
			r.api.stop()
			r.publish(failedReport("wrong"))
			r.api.start()
			r.queueHas(0)
			if m := r.messages(); m != nil {
				t.Error(m)
			}
		})
	}
}

// TestARefusedPodDoesNotBlockOthers: an answer is not silence.
func TestARefusedPodDoesNotBlockOthers(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.refusing("patch pods", http.StatusForbidden)
	if queued := r.publish(attachedReport()); !strings.Contains(queued, "refused by the test") {
		t.Error(queued)
	}
	other := failedReport("other")
	other.Pod = delegate.Pod{Namespace: "demo", Name: "q", UID: "uid-q"}
	if queued := r.publish(other); queued != "" {
		t.Error(queued)
	}
	r.queueHas(1)
	r.api.refusing("patch pods", 0)
	r.queueHas(0)
}

func TestRefusedForGoodIsDropped(t *testing.T) {
	for _, code := range []int{http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity} {
		r := newRig(t)
		r.start()
		r.api.refusing("patch pods", code)
		if queued := r.publish(attachedReport()); queued != "" {
			t.Errorf("%d: %s", code, queued)
		}
		r.requests(map[string]int{"patch pods": 1})
		r.queueHas(0)
	}
}

// TestEventsGoOnWhereTheyStopped: nobody waits for an event, and no event is lost.
func TestEventsGoOnWhereTheyStopped(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.refusing("create events", http.StatusServiceUnavailable)
	if queued := r.publish(attachedReport()); queued != "" {
		t.Errorf("only the event was refused, but: %s", queued)
	}
	eventually(t, func() error {
		if r.api.requests()["create events"] == 0 {
			return errors.New("the event was not sent")
		}
		return nil
	})
	r.stop()
	r.api.refusing("create events", 0)
	r.api.requests()
	r.startUnready()
	r.queueHas(0)
	r.requests(map[string]int{"create events": 1})
}

func TestDamagedQueue(t *testing.T) {
	r := newRig(t)
	if err := os.MkdirAll(r.options.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a.json": "{", "b.json": `{"version":1,"pod":{"uid":"other"}}`, "c.json": `{"version":9,"pod":{"uid":"c"}}`, "d.json.new": "{}"} {
		if err := os.WriteFile(filepath.Join(r.options.StateDir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.queueHas(0)
	if left, err := os.ReadDir(r.options.StateDir); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
}

func TestPublishesEvenWithoutAQueue(t *testing.T) {
	r := newRig(t)
	notQueued := make(notQueuedLines, 10)
	r.options.Log = slog.New(slog.NewTextHandler(notQueued, nil))
	r.start()
	if err := os.RemoveAll(r.options.StateDir); err != nil {
		t.Fatal(err)
	}
	if queued := r.publish(attachedReport()); queued != "" {
		t.Error(queued)
	}
	r.api.stop()
	_, err := r.client().Publish(t.Context(), attachedReport())
	refused(t, err, cnitypes.ErrTryAgainLater, "nor can it be queued")
	if n := len(notQueued); n != 2 {
		t.Errorf("that an outcome cannot be queued is logged %d times, wanted is once for each", n)
	}
	if err := os.MkdirAll(r.options.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.api.start()
	r.publish(attachedReport())
	r.queueHas(0)
	if n := r.published(); n != 2 {
		t.Errorf("the status has %d networks", n)
	}
}

// notQueuedLines takes what a log says of outcomes that cannot be queued.
type notQueuedLines chan string

func (l notQueuedLines) Write(p []byte) (int, error) {
	if line := string(p); strings.Contains(line, "an outcome cannot be queued") {
		l <- line
	}
	return len(p), nil
}

func TestBadReports(t *testing.T) {
	r := newRig(t)
	r.start()
	for name, change := range map[string]func(*delegate.Publish){
		"no result":       func(p *delegate.Publish) { p.Attachments[1].Result = nil },
		"bad device-info": func(p *delegate.Publish) { p.Attachments[1].DeviceInfo = json.RawMessage(`[]`) },
		"no UID":          func(p *delegate.Publish) { p.Pod.UID = "../../x" },
	} {
		report := attachedReport()
		change(&report)
		if _, err := r.client().Publish(t.Context(), report); cnierror.Code(err) != cnitypes.ErrDecodingFailure {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.requests(map[string]int{})
}

// TestManyPluginsAtOnce: ten pods come up while the agent is replaced.
func TestManyPluginsAtOnce(t *testing.T) {
	r := newRig(t)
	const pods = 10
	name := func(i int) string { return fmt.Sprint("p", i) }
	for i := range pods {
		r.pod("demo", name(i), "uid-"+name(i), "bond-net1@bond0")
		r.kubelet.give("demo", name(i), map[string][]string{"intel.com/a": {"0000:01:10.0"}, "intel.com/b": {"0000:02:10.0"}})
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
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	for i := range pods {
		meta := r.api.object(podResource, "demo", name(i))["metadata"].(map[string]any)
		if meta["annotations"].(map[string]any)[nettypes.NetworkStatusAnnot] == nil {
			t.Errorf("pod %s has no status", name(i))
		}
	}
	if m := r.messages(); len(m) != pods {
		t.Errorf("%d events: %v", len(m), m)
	}
}

// addLikeARuntime looks up and publishes, and repeats both as long as the
// answer is to try again.
func (r *rig) addLikeARuntime(l delegate.Lookup) (err error) {
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
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
