package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
)

// TestWebhookCluster: the webhook judges by the cluster's configuration as it is now. One that
// cannot be used is reported once.
func TestWebhookCluster(t *testing.T) {
	file := filepath.Join(t.TempDir(), "00-multibond.conflist")
	var log bytes.Buffer
	cluster := clusterIn(file, slog.New(slog.NewTextHandler(&log, nil)))
	assert.Equal(t, agentapi.Cluster{}, cluster())
	text, err := os.ReadFile("../../deploy/config.yaml")
	require.NoError(t, err)
	_, list, _ := strings.Cut(string(text), "00-multibond.conflist: |\n")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(strings.Replace(list, `"type": "multibond",`, `"type": "multibond", "namespaceIsolation": true,`, 1))
	assert.True(t, cluster().Isolated)
	write("{")
	for range 3 {
		assert.True(t, cluster().Isolated)
	}
	assert.Equal(t, 1, strings.Count(log.String(), "cannot be used"), log.String())
	assert.Equal(t, agentapi.Cluster{}, clusterIn("", slog.New(slog.DiscardHandler))())
}

// TestWebhookFlags: without a namespace there is no Service that the API server could call.
func TestWebhookFlags(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	var out bytes.Buffer
	assert.Equal(t, 1, run(t.Context(), []string{"webhook"}, os.Getenv, &out, &out))
	assert.Contains(t, out.String(), "set -namespace, or POD_NAMESPACE")
	assert.Equal(t, 1, run(t.Context(), []string{"webhook", "-namespace", "n", "more"}, os.Getenv, &out, &out))
}
