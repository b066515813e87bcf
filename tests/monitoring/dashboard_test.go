package monitoring

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"time"
)

type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Panels []panel
}

type panel struct {
	ID          int
	Title       string
	Type        string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct{ Defaults struct{ Unit string } }
}

func readDashboard(t *testing.T) (d dashboard) {
	text, err := os.ReadFile(deploy + "dashboard.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &d))
	require.NotEmpty(t, d.Panels)
	return d
}

// everything is what Grafana writes for the variables of a dashboard that shows all.
var everything = strings.NewReplacer("$node", ".*", "$namespace", ".*", "$__rate_interval", "5m")

// TestDashboard checks that each query of the dashboard has an answer for an agent with a
// bond that is well, one that is degraded and one that is down.
func TestDashboard(t *testing.T) {
	d, from := readDashboard(t), load(t, agentPage(t))
	engine := promqltest.NewTestEngine(t, false, 0, 1e6)
	ids := map[int]bool{}
	for _, p := range d.Panels {
		assert.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		for _, q := range p.Targets {
			query := everything.Replace(q.Expr)
			require.NotContains(t, query, "$", p.Title)
			finds(t, p.Title, query, from)
			assert.NotEmpty(t, ask(t, engine, from, query, time.Hour), p.Title)
		}
	}
	numbers := map[string]float64{}
	for _, p := range d.Panels {
		if p.Type == "stat" {
			numbers[p.Title] = ask(t, engine, from, everything.Replace(p.Targets[0].Expr), time.Hour)[0].F
		}
	}
	assert.Equal(t, 3.0, numbers["Bonds"])
	assert.Equal(t, 1.0, numbers["Without a link"])
	assert.Equal(t, 1.0, numbers["Degraded"])
	assert.Equal(t, 1.0, numbers["PFs without carrier"])
	assert.Equal(t, 0.0, numbers["Nodes not watched"])
}

// TestDashboardVariables checks that what may be chosen exists.
func TestDashboardVariables(t *testing.T) {
	d, from := readDashboard(t), load(t, agentPage(t))
	engine := promqltest.NewTestEngine(t, false, 0, 1e6)
	for _, v := range d.Templating.List {
		if inside, is := strings.CutPrefix(v.Definition, "label_values("); is {
			at := strings.LastIndex(inside, ",")
			label := strings.Trim(inside[at+1:], " )")
			found := ask(t, engine, from, everything.Replace(inside[:at]), time.Hour)
			require.NotEmpty(t, found, v.Name)
			assert.NotEmpty(t, found[0].Metric.Get(label), v.Name)
		}
	}
}

// TestPanelsDoNotOverlap checks the places of the panels on Grafana's grid, 24 wide.
func TestPanelsDoNotOverlap(t *testing.T) {
	taken := map[[2]int]string{}
	for _, p := range readDashboard(t).Panels {
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				require.Less(t, x, 24, p.Title)
				require.Empty(t, taken[[2]int{x, y}], p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}
