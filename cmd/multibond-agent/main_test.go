package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
)

// call runs the program until it ends by itself, at most a minute.
func call(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, args, func(key string) string { return env[key] }, &out, &errs)
	return code, out.String(), errs.String()
}

// lastError returns the error in the last line of a JSON log.
func lastError(t *testing.T, log string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(log), "\n")
	var line struct{ Level, Error string }
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &line), log)
	require.Equal(t, "ERROR", line.Level, log)
	return line.Error
}

func TestRefusals(t *testing.T) {
	code, _, log := call(t, nil)
	assert.Equal(t, 1, code)
	assert.Contains(t, lastError(t, log), "the node's name is not set")
	assert.Contains(t, lastError(t, log), "--node-name")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	code, _, log = call(t, map[string]string{"NODE_NAME": "n1"})
	assert.Equal(t, 1, code)
	assert.Contains(t, lastError(t, log), "set -kubeconfig")
	none := filepath.Join(t.TempDir(), "none")
	code, _, log = call(t, nil, "--node-name=n1", "--kubeconfig="+none)
	assert.Equal(t, 1, code)
	assert.Contains(t, lastError(t, log), none)
	for arg, word := range map[string]string{"--what": "what", "argument": "argument", "--kubelet-timeout=x": "kubelet-timeout", "--log-level=LOUD": "log-level"} {
		code, _, said := call(t, nil, arg)
		assert.Equal(t, 2, code, arg)
		assert.Contains(t, said, word)
	}
}

func TestVersionAndHelp(t *testing.T) {
	code, out, _ := call(t, nil, "--version")
	assert.Zero(t, code)
	assert.Equal(t, "multibond-agent devel\n", out)
	code, _, help := call(t, nil, "--help")
	assert.Zero(t, code)
	assert.Contains(t, help, "-node-name")
}

// TestWithoutAnAPIServer checks that the agent starts, reports that it is not ready,
// and ends when it is told to.
func TestWithoutAnAPIServer(t *testing.T) {
	dir, err := os.MkdirTemp("", "agent") // short, for the name of the socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "kubeconfig")
	const text = `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
		"clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:1"}}],"users":[{"name":"u","user":{}}]}`
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	l.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--node-name=n1", "--kubeconfig=" + config, "--listen=" + address, "--socket=" + dir + "/run/agent.sock", "--state-dir=" + dir + "/queue"},
			func(string) string { return "" }, &bytes.Buffer{}, &bytes.Buffer{})
	}()
	require.Eventually(t, func() bool { return answers("http://"+address+"/healthz") == http.StatusOK }, 2*time.Minute, 5*time.Millisecond)
	assert.Equal(t, http.StatusServiceUnavailable, answers("http://"+address+"/readyz"))
	_, err = os.Stat(dir + "/run/agent.sock")
	assert.NoError(t, err)
	// The agent answers only root. If the tests run as root, the answer is that the
	// caches are empty.
	client := agentapi.Client{Socket: dir + "/run/agent.sock", Timeout: 2 * time.Minute}
	assert.Error(t, client.Ready(t.Context()), "ready without an API server")
	stop()
	select {
	case code := <-ended:
		assert.Zero(t, code)
	case <-time.After(2 * time.Minute):
		assert.Fail(t, "it does not end")
	}
}

// answers returns the HTTP status of a URL, or 0 if there is no answer.
func answers(url string) int {
	response, err := http.Get(url)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}
