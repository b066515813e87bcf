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

	"github.com/multibond/multibond/delegate"
)

// call runs the program until it ends by itself.
func call(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, args, func(key string) string { return env[key] }, &out, &errs)
	return code, out.String(), errs.String()
}

// lastError is the error in the last line of a JSON log.
func lastError(t *testing.T, log string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(log), "\n")
	var line struct{ Level, Error string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil || line.Level != "ERROR" {
		t.Fatalf("%v: %s", err, log)
	}
	return line.Error
}

func TestRefusals(t *testing.T) {
	code, _, log := call(t, nil)
	if words := lastError(t, log); code != 1 || !strings.Contains(words, "the node's name is not set") || !strings.Contains(words, "--node-name") {
		t.Error(code, words)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	code, _, log = call(t, map[string]string{"NODE_NAME": "n1"})
	if words := lastError(t, log); code != 1 || !strings.Contains(words, "name a kubeconfig") {
		t.Error(code, words)
	}
	none := filepath.Join(t.TempDir(), "none")
	code, _, log = call(t, nil, "--node-name=n1", "--kubeconfig="+none)
	if words := lastError(t, log); code != 1 || !strings.Contains(words, none) {
		t.Error(code, words)
	}
	for _, args := range [][]string{{"--what"}, {"argument"}, {"--kubelet-timeout=x"}, {"--log-level=LOUD"}} {
		if code, _, said := call(t, nil, args...); code != 2 || !strings.Contains(said, strings.Trim(strings.SplitN(args[0], "=", 2)[0], "-")) {
			t.Error(args, code, said)
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	if code, out, _ := call(t, nil, "--version"); code != 0 || out != "multibond-agent devel\n" {
		t.Error(code, out)
	}
	if code, _, help := call(t, nil, "--help"); code != 0 || !strings.Contains(help, "-node-name") {
		t.Error(code, help)
	}
}

// TestWithoutAnAPIServer: the agent starts, says that it is not ready, and
// ends when it is told to.
func TestWithoutAnAPIServer(t *testing.T) {
	dir, err := os.MkdirTemp("", "agent") // short, for the socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "kubeconfig")
	const text = `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
		"clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:1"}}],"users":[{"name":"u","user":{}}]}`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--node-name=n1", "--kubeconfig=" + config, "--listen=" + address, "--socket=" + dir + "/run/agent.sock", "--state-dir=" + dir + "/queue"},
			func(string) string { return "" }, &bytes.Buffer{}, &bytes.Buffer{})
	}()
	status := func(path string) int {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	for limit := time.Now().Add(30 * time.Second); status("/healthz") != 200 && time.Now().Before(limit); {
		time.Sleep(5 * time.Millisecond)
	}
	if code := status("/readyz"); code != http.StatusServiceUnavailable {
		t.Error(code)
	}
	if _, err := os.Stat(dir + "/run/agent.sock"); err != nil {
		t.Error(err)
	}
	// Only root is answered; where the tests run as root the answer is that
	// the caches are empty.
	if err := (delegate.AgentClient{Socket: dir + "/run/agent.sock", Timeout: 30 * time.Second}).Ready(t.Context()); err == nil {
		t.Error("ready without an API server")
	}
	stop()
	select {
	case code := <-ended:
		if code != 0 {
			t.Error(code)
		}
	case <-time.After(30 * time.Second):
		t.Error("it does not end")
	}
}
