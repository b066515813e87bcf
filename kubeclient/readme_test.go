package kubeclient

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond/doctable"
)

// TestREADME: what README.md says of the metrics is what the agent registers.
func TestREADME(t *testing.T) {
	m := NewMetrics()
	m.watchQueue(func() int { return 0 })
	m.registry.MustRegister(newWatcher(nil, nil))
	found := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(found)
		close(found)
	}()
	form := regexp.MustCompile(`fqName: "(multibond_\w+)", help: "([^"]+)", .*constLabels: {}, variableLabels: {([\w,]*)}`)
	var rows [][]string
	for d := range found {
		if words := form.FindStringSubmatch(d.String()); words != nil {
			rows = append(rows, []string{"`" + words[1] + "`", strings.ReplaceAll(words[3], ",", ", "), words[2]})
		}
	}
	require.Greater(t, len(rows), 5)
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	doctable.Check(t, "README.md", "metrics", append([][]string{{"metric", "labels", "meaning"}}, rows...))
}

// TestKeysAreDocumented: every key of an element of the annotation is in
// README.md.
func TestKeysAreDocumented(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, key := range elementKeys {
		assert.Contains(t, string(text), "`"+key+"`")
	}
}
