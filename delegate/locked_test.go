package delegate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// lockAll holds all locks, as another process would: locks of an open file and
// those of a process exclude each other (fcntl_locking(2)).
func lockAll(t *testing.T, dir string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	require.NoError(t, unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
}

// TestLockedVerbs: ADD and DEL wait for a process that works on the container. Their error
// names it, and they have done nothing.
func TestLockedVerbs(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	attached := m.state()
	lockAll(t, m.Store.Dir)
	n := request(t, standard).Network
	n.Valid = []netconf.GCAttachment{}
	for verb, do := range map[string]func() error{
		"ADD": func() error { _, err := m.Add(t.Context(), request(t, standard)); return err },
		"DEL": func() error { return m.Del(t.Context(), c1) },
		"GC":  func() error { return m.GC(t.Context(), n.Name, n.Valid) },
	} {
		err := do()
		require.Error(t, err, verb)
		assert.EqualValues(t, types.ErrTryAgainLater, cnierror.Code(err), verb)
		assert.True(t, strings.HasPrefix(err.Error(), "container c1 is still locked by process "), err)
	}
	m.wantState(attached)
}

// TestReclaimLocked: a DEL without a Record that does not get the lock fails, so that the
// runtime repeats it.
func TestReclaimLocked(t *testing.T) {
	m := newMachine(t)
	m.mustAdd(request(t, standard))
	attached := m.state()
	lockAll(t, m.Store.Dir)
	err := m.reclaim(t.Context(), request(t, standard), "", &outcome{})
	require.Error(t, err)
	assert.EqualValues(t, types.ErrTryAgainLater, cnierror.Code(err))
	m.wantState(attached)
}
