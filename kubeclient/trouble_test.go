package kubeclient

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// slowFront puts a proxy in front of the API server. It does not answer the requests that
// hangs selects.
func (r *rig) slowFront(hangs func(*http.Request) bool) {
	r.inFront(func(_ http.ResponseWriter, request *http.Request) bool {
		is := hangs(request)
		if is {
			<-request.Context().Done()
		}
		return is
	})
	r.prepare = func(a *Agent) { a.source.api.timeout = time.Second }
}

// inFront puts a proxy in front of the API server. It passes on what answered does not
// answer.
func (r *rig) inFront(answered func(http.ResponseWriter, *http.Request) bool) {
	target, err := url.Parse(r.api.Config().Host)
	require.NoError(r.t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	proxy.FlushInterval = -1
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !answered(w, request) {
			proxy.ServeHTTP(w, request)
		}
	}))
	r.t.Cleanup(server.CloseClientConnections)
	r.front = server.URL
}

// TestNoCRD checks that pods without networks start in a cluster that serves no NADs, and
// that others are told.
func TestNoCRD(t *testing.T) {
	r := newRig(t)
	r.pod("demo", "plain", "uid-plain", "")
	r.inFront(func(w http.ResponseWriter, request *http.Request) bool {
		is := strings.HasPrefix(request.URL.Path, "/apis/k8s.cni.cncf.io/")
		if is {
			http.NotFound(w, request)
		}
		return is
	})
	r.start()
	_, err := r.client().Lookup(t.Context(), lookupOf("demo", "plain", "uid-plain"))
	assert.NoError(t, err)
	_, err = r.client().Lookup(t.Context(), pLookup)
	refused(t, err, cnitypes.ErrTryAgainLater, "network demo/bond-net1: the API server serves no NetworkAttachmentDefinitions", "CustomResourceDefinition")
}

func reportOf(name string) agentapi.Publish {
	p := attachedReport()
	p.Pod = agentapi.Pod{Namespace: "demo", Name: name, UID: "uid-" + name}
	return p
}

// TestSlowPodDelaysNoOther checks that a pod whose PATCH is not answered in time, because
// of a webhook, is not taken for an API server that is away.
func TestSlowPodDelaysNoOther(t *testing.T) {
	r := newRig(t)
	r.pod("demo", "a-slow", "uid-a-slow", "")
	var slow sync.Map
	slow.Store("a-slow", nil)
	r.slowFront(func(request *http.Request) bool {
		_, is := slow.Load("a-slow")
		return is && request.Method == http.MethodPatch && strings.Contains(request.URL.Path, "/a-slow/")
	})
	r.start()
	assert.Contains(t, r.publish(reportOf("a-slow")), "deadline exceeded")
	assert.False(t, r.agent.publisher.away.Load())
	assert.Empty(t, r.publish(attachedReport()), "another pod's status")
	assert.Equal(t, 3, r.published())
	eventually(t, func(c *assert.CollectT) { require.Len(c, r.messages(), 2, "events do not wait for the status") })
	r.queueHas(1)
	slow.Clear()
	r.queueHas(0)
}

// TestSilentServer checks that an API server that answers nobody is away: no pod waits for
// it any more.
func TestSilentServer(t *testing.T) {
	r := newRig(t)
	var silent sync.Map
	r.slowFront(func(request *http.Request) bool {
		_, is := silent.Load("")
		return is && request.URL.Query().Get("watch") == ""
	})
	r.start()
	silent.Store("", nil)
	assert.NotEmpty(t, r.publish(attachedReport()))
	assert.True(t, r.agent.publisher.away.Load())
	assert.Equal(t, "the API server cannot be reached", r.publish(attachedReport()))
	silent.Clear()
	r.queueHas(0)
	assert.Equal(t, 3, r.published())
}

// TestStatusThatIsRefused checks that only a pod that is gone is dropped. A live one
// would have no status, so its ADD fails.
func TestStatusThatIsRefused(t *testing.T) {
	for _, code := range []int{http.StatusConflict, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge} {
		t.Run(fmt.Sprint(code, " gone"), func(t *testing.T) {
			r := newRig(t)
			r.start()
			r.api.Refusing("patch pods", code)
			r.api.Remove(podResource, "demo", "p")
			assert.Empty(t, r.publish(attachedReport()))
			r.requests(map[string]int{"patch pods": 1, "get pods": 1})
			r.queueHas(0)
			assert.Empty(t, r.messages())
		})
	}
	for _, code := range []int{http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge} {
		t.Run(fmt.Sprint(code, " live"), func(t *testing.T) {
			r := newRig(t)
			r.start()
			r.api.Refusing("patch pods", code)
			_, err := r.client().Publish(t.Context(), attachedReport())
			refused(t, err, cnitypes.ErrInvalidNetworkConfig, "refuses the network-status", "refused by the test", "256 KiB")
			r.queueHas(0)
			assert.Empty(t, r.messages(), "the ADD has failed")
		})
	}
	t.Run("404", func(t *testing.T) {
		r := newRig(t)
		r.start()
		r.api.Refusing("patch pods", http.StatusNotFound)
		assert.Empty(t, r.publish(attachedReport()))
		r.requests(map[string]int{"patch pods": 1})
		r.queueHas(0)
	})
	t.Run("409 live", func(t *testing.T) {
		r := newRig(t)
		r.start()
		r.api.Refusing("patch pods", http.StatusConflict)
		assert.NotEmpty(t, r.publish(attachedReport()))
		r.api.Refusing("patch pods", 0)
		r.queueHas(0)
		assert.Equal(t, 3, r.published())
	})
}

// TestQueuedStatusThatIsRefused checks that a queued status is never given up while its
// pod exists.
func TestQueuedStatusThatIsRefused(t *testing.T) {
	r := newRig(t)
	r.start()
	r.api.Refusing("patch pods", http.StatusForbidden)
	assert.NotEmpty(t, r.publish(attachedReport()))
	r.api.Refusing("patch pods", http.StatusUnprocessableEntity)
	r.api.Requests()
	eventually(t, func(c *assert.CollectT) { require.Greater(c, r.api.Requests()["patch pods"], 0) })
	r.queueHas(1)
	r.api.Refusing("patch pods", 0)
	r.queueHas(0)
	assert.Equal(t, 3, r.published())
}

// TestRefusalsAreOneLine checks that many pods that are refused again and again are one
// line of the log.
func TestRefusalsAreOneLine(t *testing.T) {
	r := newRig(t)
	lines := linesWith{"not published", make(chan string, 1000)}
	r.options.Log = slog.New(slog.NewTextHandler(lines, nil))
	r.start()
	r.api.Refusing("patch pods", http.StatusForbidden)
	for i := range 5 {
		r.publish(reportOf(fmt.Sprint("p", i)))
	}
	for range 20 {
		eventually(t, func(c *assert.CollectT) { require.NotZero(c, r.api.Requests()["patch pods"]) })
	}
	assert.Len(t, lines.found, 1)
}

// TestTurns checks that the waits between attempts double, up to a longest one, and that
// no two agents wait exactly as long.
func TestTurns(t *testing.T) {
	var at turn
	now := time.Now()
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		at = at.after(now, time.Second, 10*time.Second)
		assert.Equal(t, want*time.Second, at.wait)
		assert.InDelta(t, at.wait.Seconds(), at.at.Sub(now).Seconds(), at.wait.Seconds()/4)
	}
	waits := map[time.Time]bool{}
	for range 100 {
		waits[turn{}.after(now, time.Hour, time.Hour).at] = true
	}
	assert.Greater(t, len(waits), 1)
	of := turns{"late": {at: now.Add(time.Minute)}, "gone": {}, "soon": {at: now.Add(time.Second)}}
	assert.Equal(t, []string{"new", "soon", "late"}, of.inOrder([]string{"late", "new", "soon"}))
	of.keep([]string{"late", "soon"})
	assert.Len(t, of, 2)
	assert.Equal(t, time.Second, of.until(now, time.Hour))
	assert.Equal(t, time.Millisecond, of.until(now, time.Millisecond))
	assert.Zero(t, of.until(now.Add(2*time.Second), time.Hour))
}

// clock is the time of a publisher, which a test moves.
type clock struct {
	lock sync.Mutex
	at   time.Time
}

func (c *clock) now() time.Time {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.at = c.at.Add(d)
}

func (r *rig) withClock() *clock {
	c := &clock{at: time.Unix(1_800_000_000, 0)}
	r.prepare = func(a *Agent) { a.publisher.now = c.now }
	return c
}

// TestEventsAreGivenUp checks that an event that is refused for an hour is given up, and
// that the status does not wait for it.
func TestEventsAreGivenUp(t *testing.T) {
	r := newRig(t)
	clock := r.withClock()
	r.start()
	r.api.Refusing("create events", http.StatusForbidden)
	assert.Empty(t, r.publish(attachedReport()))
	eventually(t, func(c *assert.CollectT) { require.NotZero(c, r.api.Requests()["create events"]) })
	r.queueHas(1)
	clock.add(eventPatience)
	r.queueHas(0)
	r.api.Refusing("create events", 0)
	assert.Empty(t, r.messages())
	assert.Equal(t, 3, r.published())
}

// TestPodThatGoesOnFailing checks that there is one event in ten minutes, which has the
// number of those that it stands for, and that there is one after any time.
func TestPodThatGoesOnFailing(t *testing.T) {
	r := newRig(t)
	clock := r.withClock()
	r.start()
	fail := func(times int) {
		for range times {
			r.publish(failedReport("wrong"))
			r.queueHas(0)
		}
	}
	fail(4)
	assert.Len(t, r.api.Of(eventResource), 1)
	clock.add(repeatAfter)
	fail(3)
	require.Len(t, r.api.Of(eventResource), 2)
	clock.add(time.Hour)
	fail(1)
	var counts []any
	for _, e := range r.api.Of(eventResource) {
		counts = append(counts, e["count"])
	}
	assert.ElementsMatch(t, []any{1.0, 4.0, 3.0}, counts)
}

// TestEventWhileTheWatchLags checks that an event of a pod that the cache does not have
// yet is not dropped.
func TestEventWhileTheWatchLags(t *testing.T) {
	r := newRig(t)
	r.api.Put(podResource, "demo", "new", kubefake.Merge(podObject("uid-new", nil), map[string]any{"spec": map[string]any{"nodeName": "n2"}})) // not watched
	r.start()
	report := failedReport("wrong")
	report.Pod = agentapi.Pod{Namespace: "demo", Name: "new", UID: "uid-new"}
	r.publish(report)
	r.queueHas(0)
	assert.Len(t, r.messages(), 1)
	r.requests(map[string]int{"get pods": 1, "create events": 1})
}

func TestQueuedEventsAreMerged(t *testing.T) {
	q, err := openQueue(t.TempDir())
	require.NoError(t, err)
	pod := agentapi.Pod{UID: "u"}
	for range 100 {
		_, _, err := q.add(entry{Pod: pod, Events: []outcome{{Reason: "r", Message: "same", Time: time.Now()}}})
		require.NoError(t, err)
	}
	e, err := q.load("u")
	require.NoError(t, err)
	require.Len(t, e.Events, 1)
	assert.Equal(t, 99, e.Events[0].Repeated)
	for i := range 2 * maxEvents {
		_, _, err := q.add(entry{Pod: pod, Events: []outcome{{Reason: "r", Message: fmt.Sprint(i)}}})
		require.NoError(t, err)
	}
	e, err = q.load("u")
	require.NoError(t, err)
	require.Len(t, e.Events, maxEvents)
	assert.Equal(t, fmt.Sprint(2*maxEvents-1), e.Events[maxEvents-1].Message)
}

// TestTwoAgentsOfOneQueue checks that an agent and its successor do not work on the same
// pod at once.
func TestTwoAgentsOfOneQueue(t *testing.T) {
	dir := t.TempDir()
	old, err := openQueue(dir)
	require.NoError(t, err)
	next, err := openQueue(dir)
	require.NoError(t, err)
	unlock, err := old.lock("a")
	require.NoError(t, err)
	other, err := next.lock("b")
	require.NoError(t, err, "another pod is not locked")
	other()
	locked := make(chan func())
	go func() {
		unlock, err := next.lock("a")
		assert.NoError(t, err)
		locked <- unlock
	}()
	select {
	case <-locked:
		assert.Fail(t, "both have locked it")
	case <-time.After(50 * time.Millisecond):
	}
	unlock()
	(<-locked)()
}

func TestCalmLog(t *testing.T) {
	var out strings.Builder
	log := calmLog(slog.New(slog.NewTextHandler(&out, nil)))
	for i := range 5 {
		log.Warn("lookup failed", "pod", "demo/p", "container", i)
		log.With("a", 1).Warn("lookup failed", "pod", "demo/p")
		log.Info("started")
	}
	log.Warn("lookup failed", "pod", "demo/q")
	assert.Equal(t, 3, strings.Count(out.String(), "lookup failed"))
	assert.Equal(t, 5, strings.Count(out.String(), "started"))

	var told repeats
	now := time.Now()
	told.tell("x", now)
	for range 3 {
		hold, _ := told.holds("x", now.Add(repeatAfter-1))
		assert.True(t, hold)
	}
	hold, held := told.holds("x", now.Add(repeatAfter))
	assert.False(t, hold)
	assert.Equal(t, 3, held)
}
