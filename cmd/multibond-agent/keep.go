package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/dirwatch"
	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// keeper puts the cluster's configuration back when another program has renamed, changed or
// removed it. It touches no file of others: it cannot help if one of them sorts first, which
// the agent reports.
type keeper struct {
	to   place
	text []byte // as it was installed
	log  *slog.Logger

	// It gives up after most times in window. It waits before it puts the configuration
	// back, each time twice as long, so that whoever is at work can finish.
	most   int
	window time.Duration
	wait   time.Duration
	done   []time.Time // when it has put the configuration back
}

// keep keeps what was installed until ctx ends.
func keep(ctx context.Context, to place, log *slog.Logger) error {
	k := keeper{to: to, log: log, most: 5, window: 10 * time.Minute, wait: time.Second}
	var err error
	if k.text, err = os.ReadFile(to.mark()); err != nil {
		return fmt.Errorf("nothing is installed that could be kept: %w", err)
	}
	log.Info("keeping", "file", to.config())
	dirwatch.Follow(ctx, to.confDir, k.wait, time.Minute, func() {
		if err := k.look(ctx); err != nil {
			log.Error("the configuration could not be put back; trying again", "file", to.config(), "error", err)
		}
	})
	return nil
}

// look puts the configuration back if it is lost.
func (k *keeper) look(ctx context.Context) error {
	s, err := k.standing()
	switch {
	case err != nil:
		return err
	case s.State == confdir.Used && s.GivenUp != "":
		k.done = nil
		return atomicfile.Files{}.Remove(k.to.givenUp())
	case !isLost(s.State) || s.GivenUp != "":
		return nil
	}
	k.forget(time.Now())
	if len(k.done) >= k.most {
		return k.giveUp(s)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(k.wait << len(k.done)):
	}
	// Its owner may have put it back meanwhile, and the uninstaller taken it away.
	if s, err = k.standing(); err != nil || !isLost(s.State) {
		return err
	}
	k.log.Warn("putting the configuration back", "file", k.to.config(), "state", string(s.State), "found", s.String())
	k.done = append(k.done, time.Now())
	return k.to.putConfig(k.text, k.log)
}

func (k *keeper) standing() (confdir.Standing, error) { return confdir.Look(os.DirFS(k.to.confDir)) }

// isLost reports whether putting the configuration back helps.
func isLost(s confdir.State) bool {
	return s == confdir.Gone || s == confdir.Renamed || s == confdir.Changed
}

// forget drops what is longer ago than window.
func (k *keeper) forget(now time.Time) {
	for len(k.done) > 0 && now.Sub(k.done[0]) > k.window {
		k.done = k.done[1:]
	}
}

// giveUp ends a fight with another installer, and leaves the reason to the agent, which
// publishes it.
func (k *keeper) giveUp(s confdir.Standing) error {
	why := fmt.Sprintf("it was put back %d times in %v, and no more: another program takes it away each time", k.most, k.window)
	k.log.Error("giving up", "file", k.to.config(), "because", why, "found", s.String())
	_, err := replace(k.to.givenUp(), []byte(why+"\n"), 0o600)
	return err
}

func (p place) givenUp() string { return filepath.Join(p.confDir, confdir.GivenUp) }
