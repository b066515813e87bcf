// Package dirwatch tells when the files of a directory may have changed.
//
// The caller decides what they mean.
package dirwatch

import (
	"context"
	"os"
	"time"
)

// Follow calls look at once, and again when a file of dir has changed, until ctx ends. settle
// is the time between a change and look, in which whoever makes the change can finish. look
// is also called once per every, because the kernel may have no watch left, and because a
// directory that was removed and made again has none.
func Follow(ctx context.Context, dir string, settle, every time.Duration, look func()) {
	changed := make(chan struct{}, 1)
	if watch, err := open(dir); err == nil {
		defer watch.Close()
		go notify(watch, changed)
	}
	for {
		look()
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		case <-changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
			select { // what has changed meanwhile is seen now
			case <-changed:
			default:
			}
		}
	}
}

// notify sends to changed after each change, until watch is closed. One message stands for
// all changes that were not yet looked at.
func notify(watch *os.File, changed chan<- struct{}) {
	events := make([]byte, 4096)
	for {
		if _, err := watch.Read(events); err != nil {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}
