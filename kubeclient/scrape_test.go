package kubeclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// reviewer is an API server that knows two tokens. The owner of one may read metrics.
type reviewer struct {
	*httptest.Server
	asked atomic.Int32
}

func newReviewer(t *testing.T) *reviewer {
	f := &reviewer{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		var review authenticationv1.TokenReview
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&review))
		if name, known := map[string]string{"good": "prometheus", "powerless": "somebody"}[review.Spec.Token]; known {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: name, Groups: []string{"g"}, Extra: map[string]authenticationv1.ExtraValue{"e": {"x"}}}}
		}
		answerJSON(w, review)
	})
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		var review authorizationv1.SubjectAccessReview
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&review))
		assert.Equal(t, &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}, review.Spec.NonResourceAttributes)
		assert.Equal(t, []string{"g"}, review.Spec.Groups)
		assert.Equal(t, authorizationv1.ExtraValue{"x"}, review.Spec.Extra["e"])
		review.Status.Allowed = review.Spec.User == "prometheus"
		answerJSON(w, review)
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	json.NewEncoder(w).Encode(v)
}

// scraper is whoever scrapes.
type scraper struct {
	*http.Client
	address string
}

// kubeconfig writes a file for an API server that asks for no credentials.
func kubeconfig(t *testing.T, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
		"clusters":[{"name":"c","cluster":{"server":%q}}],"users":[{"name":"u","user":{}}]}`, url)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// startScrape serves the metrics of an agent.
func startScrape(t *testing.T, api *reviewer, agent, certDir string) scraper {
	t.Helper()
	o := ScrapeOptions{Listen: freePort(t), Agent: agent, Kubeconfig: kubeconfig(t, api.URL), CertDir: certDir, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Scrape(ctx, o) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-done)
	})
	s := scraper{&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}, o.Listen}
	eventually(t, func(c *assert.CollectT) {
		code, _, err := s.get("GET", "/healthz", "")
		require.NoError(c, err)
		require.Equal(c, http.StatusOK, code)
	})
	return s
}

func (s scraper) get(method, path, authorization string) (int, string, error) {
	request, err := http.NewRequest(method, "https://"+s.address+path, nil)
	if err != nil {
		return 0, "", err
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := s.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// TestScrape checks who may read metrics, and that nothing else of the agent, and nothing of
// a request but its path, gets through.
func TestScrape(t *testing.T) {
	var reached []string
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("Authorization"), "the agent gets somebody's token")
		reached = append(reached, r.Method+" "+r.URL.Path)
		w.Write([]byte("multibond_watching 1\n"))
	}))
	t.Cleanup(agent.Close)
	api := newReviewer(t)
	s := startScrape(t, api, agent.URL, "")
	for _, test := range []struct {
		method, path, authorization string
		want                        int
	}{
		{"GET", "/metrics", "", http.StatusUnauthorized},
		{"GET", "/metrics", "Basic good", http.StatusUnauthorized},
		{"GET", "/metrics", "Bearer", http.StatusUnauthorized},
		{"GET", "/metrics", "Bearer unknown", http.StatusUnauthorized},
		{"GET", "/metrics", "Bearer powerless", http.StatusForbidden},
		{"POST", "/metrics", "Bearer good", http.StatusMethodNotAllowed},
		{"GET", "/readyz", "Bearer good", http.StatusNotFound},
		{"GET", "/metrics/../readyz", "Bearer good", http.StatusNotFound},
		{"GET", "/debug/pprof/", "Bearer good", http.StatusNotFound},
	} {
		code, body, err := s.get(test.method, test.path, test.authorization)
		require.NoError(t, err)
		assert.Equal(t, test.want, code, "%+v", test)
		assert.NotContains(t, body, "multibond_")
	}
	require.Empty(t, reached)
	for range 2 {
		asked := api.asked.Load()
		code, body, err := s.get("GET", "/metrics", "Bearer good")
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, code)
		assert.Equal(t, "multibond_watching 1\n", body)
		if len(reached) == 2 {
			assert.Equal(t, asked, api.asked.Load(), "the API server is asked at each scrape")
		}
	}
	assert.Equal(t, []string{"GET /metrics", "GET /metrics"}, reached)

	agent.Close()
	code, _, err := s.get("GET", "/metrics", "Bearer good")
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadGateway, code)
	api.Close()
	code, _, err = s.get("GET", "/metrics", "Bearer another")
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, code, "nobody can say who that is")
}

// TestReadersForget checks that rights which are taken away do not last, and that tokens
// which nobody knows do not fill the memory.
func TestReadersForget(t *testing.T) {
	r := &readers{known: map[[32]byte]verdict{}}
	for i := range 5 * mostTokens {
		r.remember([32]byte{byte(i), byte(i >> 8)}, http.StatusUnauthorized, errBadToken)
	}
	assert.LessOrEqual(t, len(r.known), mostTokens)
	good := [32]byte{1, 1, 1}
	r.remember(good, http.StatusOK, nil)
	_, there := r.remembered(good)
	assert.True(t, there, "unknown tokens keep a good one from being remembered")
	r.known[good] = verdict{code: http.StatusOK, until: time.Now().Add(-time.Second)}
	_, there = r.remembered(good)
	assert.False(t, there)
}

// TestCertificate checks that a certificate is used from the moment at which it is there, and
// again when it is renewed.
func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	config, err := serverTLS(dir)
	require.NoError(t, err)
	serial := func() string {
		c, err := config.GetCertificate(nil)
		require.NoError(t, err)
		parsed, err := x509.ParseCertificate(c.Certificate[0])
		require.NoError(t, err)
		return parsed.SerialNumber.String()
	}
	made := serial()
	assert.Equal(t, made, serial())
	for range 2 {
		one, err := ownCertificate(time.Now())
		require.NoError(t, err)
		key, err := x509.MarshalPKCS8PrivateKey(one.PrivateKey)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.Certificate[0]}), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
		now := serial()
		assert.NotEqual(t, made, now)
		made = now
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.crt"), []byte("broken"), 0o600))
	_, err = config.GetCertificate(nil)
	assert.Error(t, err, "one that cannot be read is not replaced by one that nobody can verify")
}
