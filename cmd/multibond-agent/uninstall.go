package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/multibond/multibond/delegate"
)

// uninstall takes the cluster's configuration and the plugin off the node, once
// no pod there needs them for its DEL: one with networks beside its default
// network. Who has only that is released by the default network's own plugins.
// It then stays, and says on its address that it is done.
func uninstall(ctx context.Context, args []string, usage io.Writer, log *slog.Logger) error {
	var from place
	flags := from.flags("uninstall", usage)
	stateDir := flags.String("state-dir", "/host/var/lib/cni/multibond", "the plugin's state, a `directory`")
	listen := flags.String("listen", "", "`address` of /readyz, to stay when done; default: end when done")
	force := flags.Bool("force", false, "do not wait for pods; their VFs are not put back")
	pause := flags.Duration("interval", 2*time.Second, "between two looks for pods")
	if err := parseAll(flags, args); err != nil {
		return err
	}
	var done atomic.Bool
	stopped := make(chan error, 1)
	if *listen != "" {
		go func() { stopped <- serveReady(ctx, *listen, &done) }()
	}
	if !*force {
		if err := awaitPods(ctx, delegate.Store{Dir: *stateDir}, *pause, log); err != nil {
			return err
		}
	}
	if err := errors.Join(removeIfThere(from.config()), removeIfThere(from.plugin())); err != nil {
		return err
	}
	log.Info("uninstalled", "plugin", from.plugin(), "configuration", from.config())
	done.Store(true)
	if *listen == "" {
		return nil
	}
	return <-stopped
}

// serveReady answers whether the work is done, until ctx ends.
func serveReady(ctx context.Context, address string, done *atomic.Bool) error {
	server := http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !done.Load() {
			http.Error(w, "pods with networks of their own are still there", http.StatusServiceUnavailable)
		}
	})}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// awaitPods waits until no pod has a network that only Multibond can undo.
func awaitPods(ctx context.Context, records delegate.Store, pause time.Duration, log *slog.Logger) error {
	said := ""
	for {
		pods, err := attached(records)
		if err != nil {
			return err
		}
		if len(pods) == 0 {
			return nil
		}
		if now := strings.Join(pods, ", "); now != said {
			log.Warn("waiting for pods with networks beside their default network; delete them or drain the node", "pods", now)
			said = now
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%d pods still have networks: %s: %w", len(pods), said, ctx.Err())
		}
	}
}

// attached lists the pods, or containers, that have more than a default
// network, or a bond as theirs.
func attached(records delegate.Store) (pods []string, err error) {
	keys, err := records.List()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		rec, err := records.Load(k)
		switch {
		case err != nil:
			pods = append(pods, "container "+k.ContainerID)
		case len(rec.Plan.Group.IfNames) == 1 && rec.Plan.Bond.Name == "":
		case rec.Plan.Group.Pod != (delegate.Pod{}):
			pods = append(pods, rec.Plan.Group.Pod.String())
		default:
			pods = append(pods, "container "+k.ContainerID)
		}
	}
	slices.Sort(pods)
	return slices.Compact(pods), nil
}
