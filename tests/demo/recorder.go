package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/multibond/multibond/tests/demo/event"
)

// recorder collects the events of several probes while they run.
type recorder struct {
	mu     sync.Mutex
	events []event.Event
	err    error // the first line that is no event
}

// stream is a writer for the output of the probe at a place.
func (r *recorder) stream(where string) *stream { return &stream{recorder: r, where: where} }

type stream struct {
	recorder *recorder
	where    string
	rest     []byte // a line that is not complete yet
}

// Write never fails, since a writer that does would end the lab's stream.
func (s *stream) Write(b []byte) (int, error) {
	s.rest = append(s.rest, b...)
	for {
		line, rest, complete := bytes.Cut(s.rest, []byte("\n"))
		if !complete {
			return len(b), nil
		}
		s.recorder.add(s.where, line)
		s.rest = rest
	}
}

func (r *recorder) add(where string, line []byte) {
	e := event.Event{Where: where}
	err := json.Unmarshal(line, &e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("the probe at %s printed %q: %w", where, line, err)
		return
	}
	r.events = append(r.events, e)
}

// all is what was recorded so far.
func (r *recorder) all() []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// wait looks at the events until what is asked for has happened. The error is
// compatible with context.DeadlineExceeded if it did not within the limit.
func (r *recorder) wait(ctx context.Context, limit time.Duration, happened func([]event.Event) bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !happened(r.all()) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
