package kubeclient

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// repeatAfter is how long a problem that is known is not told again. It is counted
// meanwhile.
const repeatAfter = 10 * time.Minute

// repeats remembers what was told lately, and how often it would have been told again.
type repeats struct {
	lock sync.Mutex
	told map[string]*telling
}

type telling struct {
	at   time.Time
	held int // repetitions since
}

// holds reports whether key was told lately, which it counts. Otherwise it returns how
// many repetitions were held back since.
func (r *repeats) holds(key string, now time.Time) (hold bool, held int) {
	r.lock.Lock()
	defer r.lock.Unlock()
	last, known := r.told[key]
	switch {
	case !known:
		return false, 0
	case now.Sub(last.at) < repeatAfter:
		last.held++
		return true, 0
	}
	return false, last.held
}

// tell records that key was told.
func (r *repeats) tell(key string, now time.Time) {
	const most = 1000
	r.lock.Lock()
	defer r.lock.Unlock()
	if len(r.told) >= most {
		r.forget(now)
	}
	if r.told == nil || len(r.told) >= most {
		r.told = map[string]*telling{}
	}
	r.told[key] = &telling{at: now}
}

// forget removes what has not come again for a while.
func (r *repeats) forget(now time.Time) {
	for key, last := range r.told {
		if now.Sub(last.at) >= 2*repeatAfter {
			delete(r.told, key)
		}
	}
}

// calmLog is a log in which the same line appears at most once in ten minutes. The next
// one has the number of those that were held back.
func calmLog(log *slog.Logger) *slog.Logger {
	return slog.New(&calmHandler{Handler: log.Handler(), told: &repeats{}})
}

type calmHandler struct {
	slog.Handler
	told *repeats
	with string // the attributes of WithAttrs and WithGroup
}

// volatile are the attributes that differ from one attempt to the next.
var volatile = []string{"container"}

// Handle hands a record on, unless the same one was handed on lately.
func (h *calmHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.Handler.Handle(ctx, r)
	}
	key := strings.Builder{}
	fmt.Fprintln(&key, h.with, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if !slices.Contains(volatile, a.Key) {
			fmt.Fprintln(&key, a)
		}
		return true
	})
	hold, held := h.told.holds(key.String(), r.Time)
	if hold {
		return nil
	}
	h.told.tell(key.String(), r.Time)
	if held > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", held))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler whose records have more attributes.
func (h *calmHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &calmHandler{h.Handler.WithAttrs(attrs), h.told, h.with + fmt.Sprint(attrs)}
}

// WithGroup returns a handler whose records have their attributes in a group.
func (h *calmHandler) WithGroup(name string) slog.Handler {
	return &calmHandler{h.Handler.WithGroup(name), h.told, h.with + name + "."}
}
