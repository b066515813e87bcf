package monitoring

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const deploy = "../../deploy/monitoring/"

// scraped are the labels that Prometheus adds to every series that it gets by the
// PodMonitor: those of the target, and the node. The series' own pod and namespace win.
var scraped = []string{`container="metrics"`, `endpoint="metrics"`, `instance="10.0.0.1:9477"`, `job="multibond-metrics"`, `node="n1"`}

var target = []string{`namespace="multibond-system"`, `pod="multibond-metrics-x"`}

func load(t *testing.T, series string) storage.Storage {
	s := promqltest.LoadedStorage(t, "load 1m\n"+series)
	t.Cleanup(func() { s.Close() })
	return s
}

// agentPage is what an agent serves, as series of Prometheus for an hour.
func agentPage(t *testing.T) string {
	text, err := os.ReadFile("testdata/metrics.txt")
	require.NoError(t, err)
	form := regexp.MustCompile(`^([\w:]+)(?:{(.*)})? (\S+)$`)
	out := []string{"up{" + strings.Join(append(target, scraped...), ",") + "} 1x60"}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := form.FindStringSubmatch(strings.TrimSpace(line))
		require.NotNil(t, words, line)
		labels := append([]string{}, scraped...)
		if words[2] != "" {
			labels = append(labels, words[2])
		}
		if !strings.Contains(words[2], "pod=") {
			labels = append(labels, target...)
		}
		out = append(out, words[1]+"{"+strings.Join(labels, ",")+"} "+words[3]+"x60")
	}
	return "  " + strings.Join(out, "\n  ") + "\n"
}

// finds checks that each part of a query that selects series finds some, and that all
// labels that it groups or joins by are among theirs.
func finds(t *testing.T, where, query string, from storage.Storage) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	require.NoError(t, err, where)
	engine := promqltest.NewTestEngine(t, false, 0, 1e6)
	labels := map[string]bool{"le": true}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if s, is := n.(*parser.VectorSelector); is {
			for _, one := range ask(t, engine, from, s.String(), time.Hour) {
				for name := range one.Metric.Map() {
					labels[name] = true
				}
			}
			assert.NotEmpty(t, ask(t, engine, from, s.String(), time.Hour), "%s: nothing is %s", where, s)
		}
		return nil
	})
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		for _, name := range named(n) {
			assert.True(t, labels[name], "%s: no series has the label %s", where, name)
		}
		return nil
	})
	_, err = engine.NewInstantQuery(t.Context(), from, nil, query, time.Unix(0, 0).Add(time.Hour))
	assert.NoError(t, err, where)
}

// named returns the labels that a part of a query names outside of its selectors.
func named(n parser.Node) []string {
	switch e := n.(type) {
	case *parser.AggregateExpr:
		return e.Grouping
	case *parser.BinaryExpr:
		if e.VectorMatching != nil {
			return append(append([]string{}, e.VectorMatching.MatchingLabels...), e.VectorMatching.Include...)
		}
	}
	return nil
}

// ask evaluates a query some time after the first sample.
func ask(t *testing.T, engine *promql.Engine, from storage.Storage, query string, at time.Duration) promql.Vector {
	t.Helper()
	q, err := engine.NewInstantQuery(t.Context(), from, nil, query, time.Unix(0, 0).Add(at))
	require.NoError(t, err, query)
	defer q.Close()
	r := q.Exec(t.Context())
	require.NoError(t, r.Err, query)
	v, err := r.Vector()
	require.NoError(t, err, query)
	return append(promql.Vector{}, v...)
}
