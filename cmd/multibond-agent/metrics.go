package main

import (
	"context"
	"flag"
	"io"
	"log/slog"

	"github.com/multibond/multibond/kubeclient"
)

// serveMetrics serves the agent's metrics to those who may read them.
func serveMetrics(ctx context.Context, args []string, usage io.Writer, log *slog.Logger) error {
	o := kubeclient.ScrapeOptions{Log: log}
	flags := flag.NewFlagSet("multibond-agent metrics", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&o.Listen, "listen", ":9477", "`address` of /metrics, by HTTPS")
	flags.StringVar(&o.Agent, "agent", "http://127.0.0.1:9476", "`URL` of the agent's own pages")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig `file` for the API server (default: the pod's service account)")
	flags.StringVar(&o.CertDir, "cert-dir", "", "`directory` with tls.crt and tls.key (default: a certificate made at the start)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	kubeclient.UseLog(log)
	return kubeclient.Scrape(ctx, o)
}
