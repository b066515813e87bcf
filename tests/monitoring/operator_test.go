package monitoring

import (
	"os"
	"testing"

	operator "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// TestOperatorObjects checks that the Prometheus Operator knows every field of its objects.
func TestOperatorObjects(t *testing.T) {
	read := func(file string, into any) {
		text, err := os.ReadFile(deploy + file)
		require.NoError(t, err)
		require.NoError(t, yaml.UnmarshalStrict(text, into), file)
	}
	var rules operator.PrometheusRule
	read("rules.yaml", &rules)
	assert.Equal(t, operator.PrometheusRuleKind, rules.Kind)
	var monitor operator.PodMonitor
	read("podmonitor.yaml", &monitor)
	assert.Equal(t, operator.PodMonitorsKind, monitor.Kind)
	end := monitor.Spec.PodMetricsEndpoints[0]
	assert.True(t, end.HonorLabels, "pod and namespace are those of the bond")
	assert.EqualValues(t, "node", end.RelabelConfigs[0].TargetLabel, "the alert rules name nodes")
	assert.Equal(t, "https", end.Scheme.String())
}
