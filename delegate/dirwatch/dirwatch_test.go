package dirwatch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFollow changes a directory in each way that changes what is in it.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	name, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	looked := follow(t, dir, time.Hour)
	<-looked
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"write", func() error { return os.WriteFile(name, []byte("1"), 0o600) }},
		{"overwrite", func() error { return os.WriteFile(name, []byte("2"), 0o600) }},
		{"rename", func() error { return os.Rename(name, other) }},
		{"link", func() error { return os.Link(other, name) }},
		{"remove", func() error { return os.Remove(name) }},
		{"move away", func() error { return os.Rename(other, filepath.Join(t.TempDir(), "b")) }},
	} {
		require.NoError(t, change.do(), change.name)
		await(t, looked, change.name)
		for len(looked) > 0 { // one change may be several events
			<-looked
		}
	}
}

// TestFollowWithout checks that a directory that cannot be watched is looked at every time.
func TestFollowWithout(t *testing.T) {
	looked := follow(t, filepath.Join(t.TempDir(), "none"), time.Millisecond)
	for range 3 {
		await(t, looked, "without a watch")
	}
}

// follow calls Follow until the test ends, and returns the calls of look.
func follow(t *testing.T, dir string, every time.Duration) <-chan struct{} {
	ctx, stop := context.WithCancel(t.Context())
	looked := make(chan struct{}, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Follow(ctx, dir, 0, every, func() {
			select {
			case looked <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		await(t, ended, "it does not end")
	})
	return looked
}

func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(2 * time.Minute):
		assert.Fail(t, "nobody looks: "+what)
	}
}
