package kubeclient

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/delegate/netconf/confdir"
)

const ourConfig = `{"cniVersion": "1.0.0", "name": "multibond", "plugins": [{"type": "multibond", "defaultNetwork": {}}]}`

// street is the directory of a runtime with our configuration and Cilium's, and who
// watches it.
type street struct {
	t      *testing.T
	dir    string
	log    bytes.Buffer
	events []string // reason and message
	refuse error
	n      *neighbours
}

func newStreet(t *testing.T) *street {
	s := &street{t: t, dir: t.TempDir()}
	s.write(confdir.Ours, ourConfig)
	s.write(confdir.Installed, ourConfig)
	s.write("05-cilium.conflist", `{"name": "cilium", "plugins": [{"type": "cilium-cni"}]}`)
	s.n = &neighbours{
		machine: Machine{ConfDir: os.DirFS(s.dir)}, node: "n1", metrics: NewMetrics(), log: slog.New(slog.NewTextHandler(&s.log, nil)),
		send: func(_ context.Context, e *corev1.Event) error {
			if s.refuse == nil {
				s.events = append(s.events, e.Type+" "+e.Reason+" "+e.Message)
			}
			return s.refuse
		},
	}
	return s
}

func (s *street) write(name, text string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
}

func (s *street) rename(name, to string) {
	s.t.Helper()
	require.NoError(s.t, os.Rename(filepath.Join(s.dir, name), filepath.Join(s.dir, to)))
}

// at lets the agent look at a time, and returns the events and the number of lines of the
// log since the last call.
func (s *street) at(minute int) (events []string, lines int) {
	s.n.look(s.t.Context(), time.Unix(0, 0).Add(time.Duration(minute)*time.Minute))
	events, lines = s.events, strings.Count(s.log.String(), "\n")
	s.events = nil
	s.log.Reset()
	return events, lines
}

// want looks, and compares the number of events and of lines of the log.
func (s *street) want(minute, events, lines int) {
	s.t.Helper()
	gotEvents, gotLines := s.at(minute)
	assert.Len(s.t, gotEvents, events, "events in minute %d", minute)
	assert.Equal(s.t, lines, gotLines, "lines of the log in minute %d", minute)
}

func (s *street) readyz() string {
	agent := Agent{metrics: s.n.metrics, neighbours: s.n}
	out := httptest.NewRecorder()
	agent.writeReady(out, nil)
	require.Equal(s.t, 200, out.Code)
	return out.Body.String()
}

// hasMetric looks for a line on the page of metrics.
func (s *street) hasMetric(line string) {
	s.t.Helper()
	out := httptest.NewRecorder()
	(&Agent{metrics: s.n.metrics}).pages().ServeHTTP(out, httptest.NewRequest("GET", "/metrics", nil))
	assert.Contains(s.t, out.Body.String(), "\nmultibond_runtime_config_"+line+"\n")
}

const bak = confdir.Ours + ".cilium_bak"

// TestNeighbourRenames does what Cilium does when its agent starts: it renames every other
// configuration. Each change is said once: as an event on the node, in the log, as a metric,
// and on the page of readiness, which stays ready.
func TestNeighbourRenames(t *testing.T) {
	s := newStreet(t)
	s.want(0, 0, 1)
	assert.Equal(t, "ok\n", s.readyz())
	s.rename(confdir.Ours, bak)
	events, lines := s.at(1)
	require.Len(t, events, 1)
	assert.Equal(t, 1, lines)
	want := "00-multibond.conflist was renamed to " + bak + ": the container runtime takes 05-cilium.conflist, and pods start without their additional networks (set cni.exclusive=false in Cilium's Helm values, then restart the agent's pod on this node, which installs it again)"
	assert.Equal(t, "Warning RuntimeConfigLost "+want, events[0])
	assert.Equal(t, "ok\nwarning: "+want+"\n", s.readyz())
	s.hasMetric(`state{state="used"} 0`)
	s.hasMetric(`state{state="renamed"} 1`)
	s.want(2, 0, 0)
	s.rename(bak, confdir.Ours)
	events, lines = s.at(13)
	assert.Equal(t, 1, lines)
	assert.Equal(t, []string{"Normal RuntimeConfigUsed the container runtime takes 00-multibond.conflist"}, events)
	assert.Equal(t, "ok\n", s.readyz())
	s.hasMetric("changes_total 2")
	s.hasMetric("given_up 0")
	s.want(1000, 0, 0)
}

// TestNeighboursFight checks that two programs that undo each other's work are said once in
// ten minutes, and that what stays wrong is said every hour, because events are kept for one.
func TestNeighboursFight(t *testing.T) {
	s := newStreet(t)
	for minute := range 8 {
		s.rename(confdir.Ours, bak)
		s.at(minute)
		s.rename(bak, confdir.Ours)
		s.at(minute)
	}
	s.hasMetric("changes_total 15")
	s.rename(confdir.Ours, bak)
	s.want(9, 0, 0)
	s.want(11, 1, 1)
	s.want(70, 0, 0)
	s.want(71, 1, 1)
}

// TestNodeEventIsRepeated checks that an event that the API server does not take is sent
// again.
func TestNodeEventIsRepeated(t *testing.T) {
	s := newStreet(t)
	s.rename(confdir.Ours, bak)
	s.refuse = errors.New("away")
	s.want(0, 0, 1)
	s.refuse = nil
	s.want(1, 1, 0)
	s.want(2, 0, 0)
}

// TestUnreadableConfDir checks that a directory that cannot be read is said, too.
func TestUnreadableConfDir(t *testing.T) {
	s := newStreet(t)
	s.n.machine.ConfDir = os.DirFS(filepath.Join(s.dir, "none"))
	events, _ := s.at(0)
	assert.Equal(t, []string{"Warning RuntimeConfigLost the directory of CNI configurations cannot be read: the configuration directory: no such file or directory"}, events)
	s.hasMetric(`state{state="unknown"} 1`)
}

// TestAgentWatches has a whole agent, which sees a change at once and publishes it.
func TestAgentWatches(t *testing.T) {
	s := newStreet(t)
	r := newRig(t)
	r.options.ConfDir, r.options.Machine.ConfDir = s.dir, os.DirFS(s.dir)
	r.start()
	s.rename(confdir.Ours, bak)
	eventually(t, func(c *assert.CollectT) {
		var found []map[string]any
		for _, e := range r.api.Of(eventResource) {
			if e["reason"] == reasonConfigLost {
				found = append(found, e)
			}
		}
		require.Len(c, found, 1)
		assert.Equal(c, map[string]any{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"}, found[0]["involvedObject"])
		assert.Equal(c, "default", found[0]["metadata"].(map[string]any)["namespace"])
	})
}

// TestMisconfigured checks that a node whose installer has refused the cluster's configuration
// has an event.
func TestMisconfigured(t *testing.T) {
	r := newRig(t)
	r.options.Misconfigured = errors.New("defaultNetworkk: is not known")
	r.start()
	eventually(t, func(c *assert.CollectT) {
		events := r.api.Of(eventResource)
		require.Len(c, events, 1)
		require.Equal(c, reasonConfigBad, events[0]["reason"])
		require.Contains(c, events[0]["message"], "defaultNetworkk")
		require.Equal(c, "Node", events[0]["involvedObject"].(map[string]any)["kind"])
	})
}
