package kubeclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// ScrapeOptions configures who may read an agent's metrics from elsewhere.
type ScrapeOptions struct {
	Listen     string // address, with TLS
	Agent      string // URL of the agent's pages
	Kubeconfig string // empty: the credentials that every pod gets
	CertDir    string // directory with tls.crt and tls.key; without them a certificate is made
	Log        *slog.Logger
}

const (
	scrapeTimeout  = 10 * time.Second // for the agent's page, and for reading a request
	scrapesAtOnce  = 16
	largestRequest = 32 << 10
)

// Scrape serves the agent's metrics, with TLS, to those whom the API server lets get
// /metrics, until ctx ends. It is a program of its own, with rights of its own: what the
// network sends never reaches the agent, except one request for one page.
func Scrape(ctx context.Context, o ScrapeOptions) error {
	agent, err := url.Parse(o.Agent)
	if err != nil {
		return fmt.Errorf("the agent's address: %w", err)
	}
	config, err := clusterConfig(o.Kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the configuration of the API server: %w", err)
	}
	readers, err := newReaders(config)
	if err != nil {
		return fmt.Errorf("creating a client of the API server: %w", err)
	}
	tls, err := serverTLS(o.CertDir)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	s := &http.Server{
		Handler: scrapePages(agent, readers, o.Log), TLSConfig: tls, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		ReadTimeout: scrapeTimeout, WriteTimeout: 2 * scrapeTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: largestRequest,
		Protocols: new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	defer context.AfterFunc(ctx, func() { s.Close() })()
	o.Log.Info("serving metrics", "address", l.Addr().String(), "agent", o.Agent)
	if err := s.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// scrapePages serves /metrics to readers, and /healthz to everybody.
func scrapePages(agent *url.URL, who *readers, log *slog.Logger) http.Handler {
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(agent)
			r.Out.Header.Del("Authorization")
		},
		Transport: &http.Transport{ResponseHeaderTimeout: scrapeTimeout, DisableCompression: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.WarnContext(r.Context(), "the agent does not answer", "error", err)
			http.Error(w, "the agent does not answer", http.StatusBadGateway)
		},
	}
	slots := make(chan struct{}, scrapesAtOnce)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			http.Error(w, "too many requests", http.StatusServiceUnavailable)
			return
		}
		if code, err := who.check(r.Context(), bearer(r)); err != nil {
			log.DebugContext(r.Context(), "refused", "from", r.RemoteAddr, "error", err)
			http.Error(w, http.StatusText(code), code)
			return
		}
		forward.ServeHTTP(w, r)
	})
	return mux
}

// bearer returns the token of a request, or "".
func bearer(r *http.Request) string {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
