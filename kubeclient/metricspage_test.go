package kubeclient

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/doctable"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// TestMetricsPage keeps the page on which the alert rules and the dashboard are tested
// equal to what an agent serves that has something to say in each of its metrics.
func TestMetricsPage(t *testing.T) {
	n := newFakeNode(t)
	a := &Agent{metrics: NewMetrics(), watcher: n.w}
	a.metrics.registry.MustRegister(n.w)
	a.metrics.watchQueue(func() int { return 0 })
	a.metrics.requests.WithLabelValues("patch", podResource).Inc()
	a.metrics.answers.WithLabelValues("get").Inc()
	a.metrics.publishes.WithLabelValues("published").Inc()
	a.metrics.hostRoutes(agentapi.Routes{Set: 2, Waiting: 1})
	a.metrics.standing(confdir.Standing{State: confdir.Used}, false)
	a.metrics.lookedUp(n.opened, cnierror.With(types.ErrTryAgainLater, errNotSynced))
	for _, verb := range []string{"ADD", "DEL"} {
		a.metrics.reported(agentapi.Publish{Verb: verb, Steps: []agentapi.Step{{What: "total", Milliseconds: 1}}, Failure: &types.Error{Code: cnierror.Kernel}})
	}

	require.NoError(t, n.w.take(n.snapshot(n.open())))
	for _, name := range []string{"well", "degraded", "down"} {
		n.w.add([]agentapi.Bond{n.attach(name)})
	}
	n.say(pfEvent(false))
	n.fail(n.pods[1])
	n.fail(n.pods[2])
	second, none := memberEvent(secondLink, bond.Member{MII: bond.MIIDown, Failures: 1}), masterEvent(0, false, false)
	second.NSID, none.NSID = 2, 2
	n.say(second, none)

	answer := httptest.NewRecorder()
	a.pages().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	page := stable(answer.Body.String())
	for _, name := range doctable.Keys(t, "README.md", "metrics") {
		assert.Regexp(t, "(?m)^"+strings.Trim(name, "`")+"[_{ ]", page)
	}
	doctable.File(t, "../tests/monitoring/testdata/metrics.txt", page, "go test ./kubeclient -run TestMetricsPage -update")
}

// stable returns what a page has that does not change from run to run: not the metrics
// of the Go runtime, and only those values that say how bonds are.
func stable(page string) string {
	value := regexp.MustCompile(` \S+\n$`)
	var out strings.Builder
	for line := range strings.Lines(page) {
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		switch {
		case strings.HasPrefix(name, "go_"):
		case strings.HasPrefix(line, "#"), strings.HasPrefix(name, "multibond_bond_"), strings.HasPrefix(name, "multibond_pf_"), strings.HasPrefix(name, "multibond_watching"):
			out.WriteString(line)
		default:
			out.WriteString(value.ReplaceAllString(line, " 1\n"))
		}
	}
	return out.String()
}
