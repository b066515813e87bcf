package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/cluster"
)

// TestFlowSchema: the API server accepts the example, and takes what an agent asks for by it.
func TestFlowSchema(t *testing.T) {
	const file = "deploy/examples/flow-schema.yaml"
	kubectl := func(args ...string) string {
		out, err := c.Kubectl(context.WithoutCancel(t.Context()), "", args...)
		require.NoError(t, err)
		return out
	}
	kubectl("apply", "-f", file)
	t.Cleanup(func() { kubectl("delete", "-f", file) })
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		_, err := c.Kubectl(context.Background(), "", "--as", cluster.AgentUser, "get", "network-attachment-definitions", "-A")
		assert.NoError(t, err)
		metrics, err := c.Kubectl(context.Background(), "", "get", "--raw", "/metrics")
		assert.NoError(t, err)
		dispatched := false
		for line := range strings.Lines(metrics) {
			dispatched = dispatched || strings.HasPrefix(line, "apiserver_flowcontrol_dispatched_requests_total{") &&
				strings.Contains(line, `flow_schema="multibond-agent"`) && strings.Contains(line, `priority_level="workload-high"`)
		}
		assert.True(t, dispatched, "no request of an agent has the priority of the example")
	}, time.Minute, time.Second)
}
