package monitoring

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// readRules returns the alert rules, which have to be as Prometheus wants them.
func readRules(t *testing.T) map[string]rulefmt.Rule {
	text, err := os.ReadFile(deploy + "rules.yaml")
	require.NoError(t, err)
	var object struct{ Spec any }
	require.NoError(t, yaml.Unmarshal(text, &object))
	spec, err := yaml.Marshal(object.Spec)
	require.NoError(t, err)
	groups, errs := rulefmt.Parse(spec, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	out := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			require.NotContains(t, out, r.Alert)
			out[r.Alert] = r
		}
	}
	return out
}

// fires evaluates a rule each minute, and returns the alerts that fire in the last one.
func fires(t *testing.T, r rulefmt.Rule, from storage.Storage, until time.Duration) (out []*rules.Alert) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
	require.NoError(t, err)
	engine := promqltest.NewTestEngine(t, false, 0, 1e6)
	rule := rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), 0, labels.FromMap(r.Labels), labels.FromMap(r.Annotations),
		labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
	for at := time.Duration(0); at <= until; at += time.Minute {
		_, err := rule.Eval(t.Context(), 0, time.Unix(0, 0).Add(at), rules.EngineQueryFunc(engine, from), nil, 0)
		require.NoError(t, err)
	}
	for _, a := range rule.ActiveAlerts() {
		if a.State == rules.StateFiring {
			out = append(out, a)
		}
	}
	return out
}

// alertCases has series with which each alert fires, and others with which it does not.
var alertCases = map[string]struct {
	fires, quiet string
	at           time.Duration
	says         string // part of the summary or description
}{
	"MultibondBondDown": {
		fires: `multibond_bond_up{node="n1",namespace="demo",pod="p",bond="bond0"} 1 0x9`,
		quiet: `multibond_bond_up{node="n1",namespace="demo",pod="p",bond="bond0"} 1 0 1x8`,
		at:    3 * time.Minute, says: "Bond bond0 of pod demo/p",
	},
	"MultibondBondDegraded": {
		fires: `multibond_bond_links{node="n1",namespace="demo",pod="p",bond="bond0"} 2x9
  multibond_bond_links_up{node="n1",namespace="demo",pod="p",bond="bond0"} 2 1x9
  multibond_bond_up{node="n1",namespace="demo",pod="p",bond="bond0"} 1x9`,
		// One has a link back in time, one is down, which is another alert, one is well.
		quiet: `multibond_bond_links{node="n1",namespace="demo",pod="p",bond="bond0"} 2x9
  multibond_bond_links_up{node="n1",namespace="demo",pod="p",bond="bond0"} 2 1x3 2 1x4
  multibond_bond_up{node="n1",namespace="demo",pod="p",bond="bond0"} 1x9
  multibond_bond_links{node="n1",namespace="demo",pod="q",bond="bond0"} 2x9
  multibond_bond_links_up{node="n1",namespace="demo",pod="q",bond="bond0"} 0x9
  multibond_bond_up{node="n1",namespace="demo",pod="q",bond="bond0"} 0x9
  multibond_bond_links{node="n1",namespace="demo",pod="r",bond="bond0"} 3x9
  multibond_bond_links_up{node="n1",namespace="demo",pod="r",bond="bond0"} 3x9
  multibond_bond_up{node="n1",namespace="demo",pod="r",bond="bond0"} 1x9`,
		at: 7 * time.Minute, says: "Only 1 links",
	},
	"MultibondBondFlapping": {
		fires: `multibond_bond_failovers_total{node="n1",namespace="demo",pod="p",bond="bond0"} 0+1x14`,
		quiet: `multibond_bond_failovers_total{node="n1",namespace="demo",pod="p",bond="bond0"} 0 1 1 2x12
  multibond_bond_link_failures_total{node="n1",namespace="demo",pod="p",bond="bond0",link="bond0-1",pf="ens1"} 7x15`,
		at: 14 * time.Minute, says: "on node n1",
	},
	// A mode without an active link has no failovers.
	"MultibondBondFlapping of links": {
		fires: `multibond_bond_link_failures_total{node="n1",namespace="demo",pod="p",bond="bond0",link="bond0-1",pf="ens1"} 0+1x14
  multibond_bond_failovers_total{node="n1",namespace="demo",pod="p",bond="bond0"} 0x14`,
		quiet: `multibond_bond_link_failures_total{node="n1",namespace="demo",pod="p",bond="bond0",link="bond0-1",pf="ens1"} 0 1x14`,
		at:    14 * time.Minute, says: "demo/p",
	},
	"MultibondPFDown": {
		fires: `multibond_pf_up{node="n1",pf="ens1"} 1 0x9`,
		quiet: `multibond_pf_up{node="n1",pf="ens1"} 0 1x9`,
		at:    4 * time.Minute, says: "PF ens1 of node n1",
	},
	"MultibondMetricsMissing": {
		fires: `up{job="multibond-metrics",node="n1"} 1 0x15`,
		quiet: `up{job="multibond-metrics",node="n1"} 1 0x5 1x9
  up{job="other",node="n1"} 0x15`,
		at: 13 * time.Minute, says: "node n1",
	},
	"MultibondMetricsAbsent": {
		fires: `up{job="other",node="n1"} 1x30`,
		// A node that does not answer is another alert.
		quiet: `up{job="multibond-metrics",node="n1"} 0x30`,
		at:    18 * time.Minute, says: "no metrics of Multibond",
	},
	"MultibondNodeNotScraped": {
		fires: agentOn("n1", 1, 1) + `
  ` + agentOn("n2", 1, 1) + `
  up{job="multibond-metrics",node="n2"} 1x30`,
		// One does not answer, one has no agent that runs, one was drained, and one is new.
		quiet: agentOn("n1", 1, 1) + `
  up{job="multibond-metrics",node="n1"} 0x30
  ` + agentOn("n2", 0, 0) + `
  ` + agentOn("n3", 1, 0) + `
  ` + agentOn("n4", 0, 1) + `
  kube_pod_info{created_by_kind="DaemonSet",created_by_name="other",node="n5",namespace="x",pod="x"} 1x30`,
		at: 18 * time.Minute, says: "node n1",
	},
	"MultibondBondStateNotPublished": {
		fires: `multibond_bond_publish_failures_total{node="n1",what="status"} 0 1x4 2x4 3x4 4x4 5x4 6x4`,
		quiet: `multibond_bond_publish_failures_total{node="n1",what="status"} 0 9x40
  multibond_bond_publish_failures_total{node="n1",what="event"} 0+1x40`,
		at: 27 * time.Minute, says: "node n1",
	},
	"MultibondPodEventsLost": {
		fires: `multibond_bond_publish_failures_total{node="n1",what="event"} 0 0 0 1x9`,
		quiet: `multibond_bond_publish_failures_total{node="n1",what="status"} 0+1x9
  multibond_publishes_total{node="n1",outcome="dropped"} 0+1x9`,
		at: 6 * time.Minute, says: "node n1",
	},
	"MultibondPodEventsLost given up": {
		fires: `multibond_publishes_total{node="n1",outcome="given_up"} 0 0 0 1x9`,
		quiet: `multibond_publishes_total{node="n1",outcome="given_up"} 1x9`,
		at:    6 * time.Minute, says: "node n1",
	},
	"MultibondNotWatching": {
		fires: `multibond_watching{node="n1"} 1 0x15`,
		quiet: `multibond_watching{node="n1"} 1 0x5 1x9`,
		at:    13 * time.Minute, says: "node n1",
	},
	"MultibondEventsLost": {
		fires: `multibond_watch_resyncs_total{node="n1"} 0+1x60`,
		quiet: `multibond_watch_resyncs_total{node="n1"} 0x10 1x20 2x30`,
		at:    time.Hour, says: "node n1",
	},
	"MultibondDelFails": {
		fires: `multibond_failures_total{node="n1",verb="del",reason="restore"} 0+1x40`,
		quiet: `multibond_failures_total{node="n1",verb="del",reason="restore"} 0 1x40
  multibond_failures_total{node="n1",verb="add",reason="kernel"} 0+1x40`,
		at: 40 * time.Minute, says: "reason restore",
	},
	"MultibondNotPublished": {
		fires: `multibond_publish_queue_length{node="n1"} 0 3x40`,
		quiet: `multibond_publish_queue_length{node="n1"} 3x10 0 3x10 0 3x10`,
		at:    25 * time.Minute, says: "3 pods",
	},
	"MultibondConfigurationNotUsed": {
		fires: `multibond_runtime_config_state{node="n1",state="renamed"} 0 1x9`,
		quiet: `multibond_runtime_config_state{node="n1",state="used"} 1x9
  multibond_runtime_config_state{node="n2",state="absent"} 1x9
  multibond_runtime_config_state{node="n3",state="gone"} 1 1 0x9`,
		at: 8 * time.Minute, says: "Its state is renamed",
	},
}

// agentOn is what kube-state-metrics tells of the agent's pod on a node, which runs first for
// so long, and then from that time on.
func agentOn(node string, first, then int) string {
	pod := fmt.Sprintf(`namespace="multibond-system",pod="multibond-agent-%s"`, node)
	return fmt.Sprintf(`kube_pod_info{created_by_kind="DaemonSet",created_by_name="multibond-agent",node="%s",%s} 1x60
  kube_pod_status_phase{phase="Running",%s} %dx5 %dx9 %dx45
  kube_pod_status_phase{phase="Pending",%s} 1x60`, node, pod, pod, first, first, then, pod)
}

// TestAlerts checks for each alert that it fires when it should, says for whom, and does
// not fire otherwise, nor before its time.
func TestAlerts(t *testing.T) {
	all := readRules(t)
	tested := map[string]bool{}
	for name, c := range alertCases {
		alert, _, _ := strings.Cut(name, " ")
		tested[alert] = true
		rule, there := all[alert]
		require.True(t, there, alert)
		t.Run(name, func(t *testing.T) {
			fire := load(t, "  "+c.fires+"\n")
			firing := fires(t, rule, fire, c.at)
			require.Len(t, firing, 1)
			assert.NotEmpty(t, firing[0].Labels.Get("severity"))
			words := firing[0].Annotations.Get("summary") + " " + firing[0].Annotations.Get("description")
			assert.Contains(t, words, c.says)
			assert.NotRegexp(t, `error expanding|no value|  | of pod /|node \.`, words)
			assert.Empty(t, fires(t, rule, fire, time.Minute), "at once")
			assert.Empty(t, fires(t, rule, load(t, "  "+c.quiet+"\n"), c.at))
		})
	}
	for name := range all {
		assert.True(t, tested[name], "%s has no case", name)
	}
}

// TestAlertsHaveMetrics checks that all that the rules name is among the metrics of an agent.
func TestAlertsHaveMetrics(t *testing.T) {
	from := load(t, agentPage(t)+"  "+agentOn("n1", 1, 1)+"\n")
	for name, r := range readRules(t) {
		finds(t, name, r.Expr, from)
	}
}

// TestRunbooks checks that each alert links to a section of the README beside it.
func TestRunbooks(t *testing.T) {
	text, err := os.ReadFile(deploy + "README.md")
	require.NoError(t, err)
	headings := regexp.MustCompile(`(?m)^#+ (Multibond\w+)$`).FindAllStringSubmatch(string(text), -1)
	all := readRules(t)
	for name, r := range all {
		assert.Equal(t, "https://github.com/multibond/multibond/blob/main/deploy/monitoring/README.md#"+strings.ToLower(name), r.Annotations["runbook_url"])
	}
	assert.Len(t, headings, len(all))
	for _, h := range headings {
		assert.Contains(t, all, h[1])
	}
}
