package kubeclient

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestPortTaken checks that an agent whose port is taken serves the plugin, and its pages
// later.
func TestPortTaken(t *testing.T) {
	r := newRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.options.Listen = l.Addr().String()
	r.start()
	_, err = r.client().Lookup(t.Context(), pLookup)
	assert.NoError(t, err)
	l.Close()
	eventually(t, func(c *assert.CollectT) {
		response, err := http.Get("http://" + r.options.Listen + "/readyz")
		require.NoError(c, err)
		response.Body.Close()
		require.Equal(c, http.StatusOK, response.StatusCode)
	})
}

// TestSuccessor checks that an agent that starts beside another one takes over the socket
// and the pages, and that the other one finishes what it has accepted.
func TestSuccessor(t *testing.T) {
	r := newRig(t)
	r.options.Listen = freePort(t)
	r.start()
	old, stopOld := r.agent, r.stop
	_, err := r.client().Lookup(t.Context(), pLookup)
	require.NoError(t, err)
	pages := func(c require.TestingT) string {
		response, err := http.Get("http://" + r.options.Listen + "/metrics")
		require.NoError(c, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(c, err)
		return string(body)
	}
	const asked = `multibond_lookup_duration_seconds_count{outcome="found"} 1`
	eventually(t, func(c *assert.CollectT) { require.Contains(c, pages(c), asked) })

	r.start()
	require.NotSame(t, old, r.agent)
	eventually(t, func(c *assert.CollectT) { require.NotContains(c, pages(c), asked, "the pages are the old agent's") })
	_, err = old.Publish(context.WithoutCancel(t.Context()), attachedReport())
	assert.NoError(t, err)
	assert.Empty(t, r.publish(failedReport("later")))
	r.queueHas(0)
	assert.Len(t, r.messages(), 2)
	stopOld()
	assert.NoError(t, r.client().Ready(t.Context()))
}
