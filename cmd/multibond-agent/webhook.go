package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient"
)

// serveWebhook serves admission webhooks: it judges NADs and pods when they are written, and
// gives pods what their networks need.
func serveWebhook(ctx context.Context, args []string, usage io.Writer, log *slog.Logger) error {
	o := kubeclient.WebhookOptions{Log: log}
	flags := flag.NewFlagSet("multibond-agent webhook", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&o.Listen, "listen", ":9443", "`address` of the webhooks, /healthz and /readyz, by HTTPS")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig `file` for the API server (default: the pod's service account)")
	flags.StringVar(&o.Own.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "the webhook's own `namespace` (default: the environment variable POD_NAMESPACE)")
	flags.StringVar(&o.Own.Name, "name", "multibond-webhook", "`name` of the Secret with the certificates, of the Service, and of both webhook configurations")
	flags.BoolVar(&o.WarnPods, "warn-pods", false, "warn of pods whose networks cannot be attached; do not refuse them")
	flags.DurationVar(&o.Drain, "drain", 5*time.Second, "how long to go on serving when told to end")
	cluster := flags.String("cluster-config", "", "the cluster's configuration, a `file`")
	if err := parseAll(flags, args); err != nil {
		return err
	}
	if o.Own.Namespace == "" {
		return errors.New("the webhook's own namespace is not set (set -namespace, or POD_NAMESPACE from metadata.namespace)")
	}
	kubeclient.UseLog(log)
	o.Cluster = clusterIn(*cluster, log)
	return kubeclient.Webhook(ctx, o)
}

// clusterIn returns what reads the cluster's configuration. The last one that could be used
// stays in use.
func clusterIn(file string, log *slog.Logger) func() agentapi.Cluster {
	var lock sync.Mutex
	var last agentapi.Cluster
	var reported string
	return func() agentapi.Cluster {
		lock.Lock()
		defer lock.Unlock()
		_, c, err := readConfig(file)
		switch {
		case err == nil:
			last, reported = c.Cluster, ""
		case file != "" && !errors.Is(err, fs.ErrNotExist) && err.Error() != reported:
			reported = err.Error()
			log.Warn("the cluster's configuration cannot be used; the one before stays in use", "error", err)
		}
		return last
	}
}
