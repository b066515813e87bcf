//go:build lab

package bond

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestLabHost: the host's namespace is that of this process, even while the
// process's first thread is in another one.
func TestLabHost(t *testing.T) {
	elsewhere := space(t, "elsewhere")
	id := host(t).ID()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				assert.NoError(t, elsewhere.inside(func() error { time.Sleep(time.Millisecond); return nil }))
			}
		})
		wg.Go(func() {
			for range 40 {
				n, err := System{}.Host()
				if assert.NoError(t, err) {
					assert.Equal(t, id, n.ID())
					n.Close()
				}
			}
		})
	}
	wg.Wait()
}

func TestLabOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "left")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for path, gone := range map[string]bool{
		"/run/netns/nope": true, "/proc/4194305/ns/net": true, file: true, t.TempDir(): true, "/proc/self/ns/mnt": false, "/proc/self/status": false,
	} {
		_, err := System{}.Open(path)
		require.Error(t, err, path)
		assert.Equal(t, gone, errors.Is(err, fs.ErrNotExist), "%s: %v", path, err)
	}

	// Another namespace at the same path has another ID.
	first := space(t, "one")
	ip(t, "netns del one")
	ip(t, "netns add one")
	second, err := System{}.Open("/run/netns/one")
	require.NoError(t, err)
	defer second.Close()
	assert.NotEqual(t, first.ID(), second.ID())
	_, err = first.Links() // the handle still works and keeps its namespace
	require.NoError(t, err)
}

// TestLabNamespaceID: each of several namespaces that come and go at one path has
// its own ID, although the kernel reuses the inode.
func TestLabNamespaceID(t *testing.T) {
	const times = 10
	ids, inodes := map[string]bool{}, map[uint64]bool{}
	for range times {
		ip(t, "netns add again")
		n, err := System{}.Open("/run/netns/again")
		require.NoError(t, err)
		var st unix.Stat_t
		require.NoError(t, unix.Fstat(int(n.(*namespace).file.Fd()), &st))
		ids[n.ID()], inodes[st.Ino] = true, true
		assert.Regexp(t, `^cookie:[1-9][0-9]*$`, n.ID())
		require.NoError(t, n.Close())
		ip(t, "netns del again")
		time.Sleep(100 * time.Millisecond) // the kernel removes it later
	}
	assert.Len(t, ids, times)
	t.Logf("%d inodes", len(inodes))

	// An error that is not "no such option" gives no ID at all.
	file, err := os.Open("/proc/self/ns/net")
	require.NoError(t, err)
	defer file.Close()
	_, err = identify(file, int(file.Fd()))
	assert.ErrorIs(t, err, unix.ENOTSOCK)
}

// TestLabLeaks: neither descriptors nor threads are leaked.
func TestLabLeaks(t *testing.T) {
	space(t, "leaks")
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err, dir)
		return len(entries)
	}
	use := func() {
		n, err := System{}.Open("/run/netns/leaks")
		require.NoError(t, err)
		defer n.Close()
		lo := find(t, n, "lo")
		require.NoError(t, n.Change(lo.Index, Change{Up: new(true)}))
		require.NoError(t, n.Configure(lo.Index, Addresses{IPs: []netip.Prefix{prefix("fd00::1/128")}}))
		require.NoError(t, n.Announce(lo.Index, nil)) // opens the packet socket
		System{}.Open("/proc/self/ns/mnt")            // fails halfway
	}
	for range 10 {
		use()
	}
	files, threads := count("/proc/self/fd"), count("/proc/self/task")
	for range 100 {
		use()
	}
	assert.Equal(t, files, count("/proc/self/fd"))
	assert.LessOrEqual(t, count("/proc/self/task"), threads+3)
}
