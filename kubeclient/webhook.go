package kubeclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient/rotation"
)

// WebhookOptions configures a server of admission webhooks.
type WebhookOptions struct {
	Listen     string // address, with TLS
	Kubeconfig string // empty: the credentials that every pod gets

	// Own is the name of the Secret with the certificates, of the Service, and of both
	// webhook configurations.
	Own types.NamespacedName

	Cluster  func() agentapi.Cluster // the cluster's configuration as it is now
	WarnPods bool                    // as in [Reviewer]
	Drain    time.Duration           // how long to go on serving: the API server has to learn that this server ends
	Log      *slog.Logger
}

const (
	webhookTimeout = 8 * time.Second // for one review: the API server waits for 10, and is to hear why
	bodyTimeout    = 2 * time.Second // for a request to arrive: the API server sends it at once
	reviewsAtOnce  = 64
)

// certificateLives is what certificates are made by. An API server learns of a new bundle
// within seconds.
var certificateLives = rotation.Policy{CALife: 365 * 24 * time.Hour, LeafLife: 30 * 24 * time.Hour, Overlap: 5 * time.Minute}

// Webhook serves the reviews of NADs and pods to the API server until ctx ends. It makes and
// renews its certificates, which all of its replicas share.
func Webhook(ctx context.Context, o WebhookOptions) error {
	config, err := clusterConfig(o.Kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the configuration of the API server: %w", err)
	}
	api, err := newAPI(config, apiTimeout, func(string, string) {})
	if err != nil {
		return fmt.Errorf("creating a client of the API server: %w", err)
	}
	certs, err := newCertificates(api, config, o.Own, certificateLives, time.Now, o.Log)
	if err != nil {
		return fmt.Errorf("creating a client of the API server: %w", err)
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var looking sync.WaitGroup
	looking.Go(func() { certs.follow(ctx) })
	defer looking.Wait()
	defer stop()
	return serveReviews(ctx, l, reviewPages(Reviewer{NAD: api.nad, Cluster: o.Cluster, WarnPods: o.WarnPods}, certs, o.Log), certs, o)
}

// serveReviews serves until ctx ends, and then as long as the API server may still ask.
func serveReviews(ctx context.Context, l net.Listener, pages http.Handler, certs *certificates, o WebhookOptions) error {
	s := &http.Server{
		Handler: pages, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		TLSConfig:   &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.get},
		ReadTimeout: webhookTimeout, WriteTimeout: 2 * webhookTimeout, MaxHeaderBytes: largestRequest,
		IdleTimeout: 5 * time.Minute, // the API server closes an idle connection first
	}
	ended := make(chan error, 1)
	go func() { ended <- s.ServeTLS(l, "", "") }()
	o.Log.Info("serving admission reviews", "address", l.Addr().String())
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	time.Sleep(o.Drain)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), webhookTimeout)
	defer cancel()
	return s.Shutdown(last)
}
