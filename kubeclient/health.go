package kubeclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// pages serves /metrics, /healthz, which succeeds while the agent runs, and
// /readyz, which succeeds while it can answer lookups.
func (a *Agent) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { a.writeReady(w, a.ready()) })
	return mux
}

// writeReady answers with what the agent is not ready for, or ok. What neighbours did to the
// runtime's configuration is no reason to be unready, nor are outcomes that the API server
// refuses: lookups are answered, and a rollout that waits for readiness could not bring the
// cure.
func (a *Agent) writeReady(w http.ResponseWriter, unready error) {
	if unready != nil {
		http.Error(w, unready.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("ok\n"))
	if wrong := a.neighbours.wrong(); wrong != "" {
		w.Write([]byte("warning: " + wrong + "\n"))
	}
	if a.nodeless {
		w.Write([]byte("warning: " + namesNoNode + "\n"))
	}
}

var (
	errNotSynced    = errors.New("the caches are not filled yet: the API server has not answered, or denies access")
	errNotListening = errors.New("the socket is not open yet")
)

// ready returns why the agent cannot answer lookups yet, or nil if it can.
func (a *Agent) ready() error {
	switch {
	case !a.source.synced():
		return errNotSynced
	case !a.listening.Load():
		return errNotListening
	}
	return nil
}

// show serves pages until ctx ends, or until a newer agent has taken over the socket:
// the port is then left to that one. An agent whose port is taken serves without pages
// and tries again, because the plugin needs the socket only.
func (a *Agent) show(ctx context.Context) error {
	for ctx.Err() == nil {
		l, err := net.Listen("tcp", a.options.Listen)
		if err == nil {
			return a.showOn(ctx, l)
		}
		a.log.WarnContext(ctx, "metrics and health are not served yet; the agent tries again", "error", err)
		pause(ctx, portRetry)
	}
	return nil
}

func (a *Agent) showOn(ctx context.Context, l net.Listener) error {
	const slowest = 10 * time.Second
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &http.Server{Handler: a.pages(), ReadTimeout: slowest, WriteTimeout: slowest, IdleTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	go func() {
		a.awaitSuccessor(ctx)
		stop()
	}()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// awaitSuccessor waits until another agent has replaced the socket, or ctx ends.
func (a *Agent) awaitSuccessor(ctx context.Context) {
	for ctx.Err() == nil {
		if now, err := os.Lstat(a.options.Socket); err == nil && !os.SameFile(a.socket, now) {
			return
		}
		pause(ctx, portRetry)
	}
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}
