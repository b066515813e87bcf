package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/record"
)

// uninstall removes the cluster's configuration and the plugin from the node when no
// pod needs them for its DEL. Pods with only the default network are released by its
// own plugins. Until then everything stays, and the node starts pods as before. If it
// has an address, uninstall then keeps running: it reports there that it is done, and
// removes what an agent that starts again installs.
func uninstall(ctx context.Context, args []string, usage io.Writer, log *slog.Logger) error {
	u := uninstaller{log: log}
	flags := u.from.flags("uninstall", usage)
	flags.StringVar(&u.records.Dir, "state-dir", "/host/var/lib/cni/multibond", "the plugin's state, a `directory`")
	flags.BoolVar(&u.force, "force", false, "do not wait for pods; their VFs are not restored")
	flags.DurationVar(&u.settle, "settle", 10*time.Second, "how long to wait for the Records of ADDs that began before the configuration was removed")
	begun := flags.String("begun", "", "`file` to note that an installation was found, for a later start after it was removed")
	listen := flags.String("listen", "", "`address` of /readyz: keep running when done (default: exit when done)")
	pause := flags.Duration("interval", 2*time.Second, "time between two checks for pods")
	refuse := flags.String("refuse", "", "do nothing, and end with this `text` as the error: for what would remove Multibond without this program")
	if err := parseAll(flags, args); err != nil {
		return err
	}
	if *refuse != "" {
		return errors.New(*refuse)
	}
	if err := u.from.findTrace(*begun); err != nil {
		return err
	}
	var done atomic.Bool
	stopped := make(chan error, 1)
	if *listen != "" {
		go func() { stopped <- serveReady(ctx, *listen, &done) }()
	}
	for {
		now, err := u.step()
		if err != nil {
			return err
		}
		done.Store(now)
		if now && *listen == "" {
			return nil
		}
		select {
		case <-time.After(*pause):
		case err := <-stopped:
			if ctx.Err() == nil {
				return err
			}
			return u.unfinished(now, ctx.Err())
		case <-ctx.Done():
			return u.unfinished(now, ctx.Err())
		}
	}
}

// findTrace returns an error if the node has nothing of an installation: with other paths than
// the installation's everything would seem to be done. A start that finds something notes that.
func (p place) findTrace(begun string) error {
	switch {
	case begun != "" && isFile(begun):
		return nil
	case !slices.ContainsFunc([]string{p.plugin(), p.config(), p.out(), p.mark()}, isFile):
		return fmt.Errorf("%s and %s have nothing of Multibond: it was installed with other directories, or never on this node (use the paths of the installation)", p.binDir, p.confDir)
	case begun != "":
		return os.WriteFile(begun, nil, 0o600)
	}
	return nil
}

// uninstaller is the progress on a node.
type uninstaller struct {
	from    place
	records record.Store
	force   bool
	settle  time.Duration
	log     *slog.Logger

	pods  string    // pods that it waits for, as last logged
	aside time.Time // when the configuration was found to be out of the way
	said  bool      // whether it has logged that it is done
}

// out returns where the configuration is kept until no pod can need it, under a name
// that no runtime reads.
func (p place) out() string { return filepath.Join(p.confDir, "."+configName+".out") }

// step does what can be done now, and reports whether nothing is left to do.
func (u *uninstaller) step() (done bool, err error) {
	if err := u.look(); err != nil {
		return false, err
	}
	switch {
	case u.pods != "":
		// An ADD in progress may have written a Record after the configuration was moved.
		u.aside, u.said = time.Time{}, false
		return false, atomicfile.Ignore(fs.ErrNotExist, os.Rename(u.from.out(), u.from.config()))
	case isFile(u.from.config()):
		u.aside, u.said = time.Time{}, false
		// Without the mark nobody misses the configuration.
		if err := errors.Join(u.from.removeMarks(), os.Rename(u.from.config(), u.from.out())); err != nil {
			return false, err
		}
	case u.aside.IsZero():
		u.aside = time.Now()
	case u.force || time.Since(u.aside) >= u.settle:
		if err := errors.Join(u.from.removeBond(), u.from.removeMarks(), atomicfile.Files{}.Remove(u.from.plugin(), u.from.out())); err != nil {
			return false, err
		}
		if !u.said {
			u.log.Info("uninstalled", "plugin", u.from.plugin(), "configuration", u.from.config())
			u.said = true
		}
		return true, nil
	}
	return false, nil
}

// look finds the pods to wait for, and logs them if they have changed.
func (u *uninstaller) look() error {
	if u.force {
		return nil
	}
	pods, err := attached(u.records)
	if err != nil {
		return err
	}
	now := strings.Join(pods, ", ")
	if now != u.pods && now != "" {
		u.log.Warn("waiting for pods with additional networks; delete them or drain the node", "pods", now)
	}
	u.pods = now
	return nil
}

func (u *uninstaller) unfinished(done bool, why error) error {
	switch {
	case done:
		return nil
	case u.pods != "":
		return fmt.Errorf("pods still have additional networks: %s: %w", u.pods, why)
	}
	return fmt.Errorf("uninstall is not finished: %w", why)
}

func isFile(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// serveReady answers whether uninstall is done, until ctx ends.
func serveReady(ctx context.Context, address string, done *atomic.Bool) error {
	server := http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !done.Load() {
			http.Error(w, "pods with additional networks are still on this node", http.StatusServiceUnavailable)
		}
	})}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// attached lists the pods, or containers if the pod is not known, that have more than
// a default network, or a bond as default network.
func attached(records record.Store) (pods []string, err error) {
	for _, store := range []record.Store{records, records.Within()} {
		keys, err := store.List()
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			rec, err := store.Load(k)
			switch {
			case errors.Is(err, fs.ErrNotExist): // its DEL has just finished
			case err != nil:
				pods = append(pods, "container "+k.ContainerID)
			case len(rec.Plan.Group.IfNames) == 1 && rec.Plan.IsChain():
			case rec.Plan.Group.Pod != (agentapi.Pod{}):
				pods = append(pods, rec.Plan.Group.Pod.String())
			default:
				pods = append(pods, "container "+k.ContainerID)
			}
		}
	}
	slices.Sort(pods)
	return slices.Compact(pods), nil
}
