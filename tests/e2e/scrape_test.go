package e2e

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

// applyMetrics applies the component that serves metrics, as users do in a folder of theirs.
func (s *scene) applyMetrics() {
	s.Helper()
	own, err := os.MkdirTemp(filepath.Join(lab.Root(), "build"), "metrics")
	require.NoError(s, err)
	text := "components: [../../deploy/monitoring/metrics]\n"
	require.NoError(s, os.WriteFile(filepath.Join(own, "kustomization.yaml"), []byte(text), 0o644))
	s.Cleanup(func() {
		s.kubectl("delete", "-k", own, "--ignore-not-found") // the Secret goes with its account
		os.RemoveAll(own)
	})
	s.kubectl("apply", "-k", own)
	s.kubectl("-n", "multibond-system", "rollout", "status", "daemonset/multibond-metrics", "--timeout=5m")
}

// forward returns an address of this machine from which the API server forwards to a port of
// a pod of a DaemonSet or a Deployment. kubectl ends when a connection fails, as it does before
// the pod listens, and is started again.
func (s *scene) forward(of, port string) string {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s, err)
	address := l.Addr().String()
	require.NoError(s, l.Close())
	ctx, stop := context.WithCancel(context.WithoutCancel(s.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, own, _ := net.SplitHostPort(address)
		for ctx.Err() == nil {
			_, _ = c.Kubectl(ctx, "", "-n", "multibond-system", "port-forward", of, own+":"+port)
		}
	}()
	s.Cleanup(func() {
		stop()
		<-done
	})
	return address
}

// TestScrape: whoever may get /metrics gets the agent's, and nobody else.
func TestScrape(t *testing.T) {
	s := newScene(t)
	s.applyMetrics()
	address := s.forward("daemonset/multibond-metrics", "9477")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	get := func(token string) (code int, page string, err error) {
		request, err := http.NewRequest("GET", "https://"+address+"/metrics", nil)
		require.NoError(t, err)
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return response.StatusCode, string(body), err
	}
	var scraper []byte
	s.eventually(func() (err error) { // a controller writes it
		scraper, err = base64.StdEncoding.DecodeString(s.kubectl("-n", "multibond-system", "get", "secret", "multibond-scraper", "-o", "jsonpath={.data.token}"))
		if len(scraper) == 0 {
			return fmt.Errorf("the Secret has no token: %v", err)
		}
		return err
	})
	s.eventually(func() error {
		code, page, err := get(string(scraper))
		if err != nil || code != http.StatusOK || !strings.Contains(page, "\nmultibond_watching 1\n") {
			return fmt.Errorf("the scraper gets %d, %v: %s", code, err, grep(page, "multibond_watching"))
		}
		return nil
	})
	for name, want := range map[string]struct {
		token string
		code  int
	}{
		"nobody":                     {"", http.StatusUnauthorized},
		"somebody unknown":           {"abc", http.StatusUnauthorized},
		"an account without a right": {strings.TrimSpace(s.kubectl("-n", s.namespace, "create", "token", "default")), http.StatusForbidden},
	} {
		var code int
		var page string
		s.eventually(func() (err error) { // kubectl port-forward may lose a connection
			code, page, err = get(want.token)
			return err
		})
		assert.Equal(t, want.code, code, name)
		assert.NotContains(t, page, "multibond_", name)
	}
}
