package record

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

// lockInDir makes this program a process that locks in a directory.
const lockInDir = "DELEGATE_TEST_LOCK_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockInDir); dir != "" {
		lockUntilEOF(dir)
		return
	}
	os.Exit(m.Run())
}

// lockUntilEOF holds the locks on containers c0 and c1 and device d until its standard
// input ends.
func lockUntilEOF(dir string) {
	locks, err := OpenLocks(dir, 0)
	if err == nil {
		err = errors.Join(locks.Lock(context.Background(), "container", "c0", "c1"), locks.Lock(context.Background(), "device", "d"))
	}
	fmt.Println("locked", err)
	io.Copy(io.Discard, os.Stdin)
}

// otherProcess is another process that has the locks.
func otherProcess(t *testing.T, dir string) (cmd *exec.Cmd, end func()) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockInDir+"="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	end = func() { stdin.Close(); cmd.Wait() }
	t.Cleanup(end)
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked <nil>\n", said)
	return cmd, end
}

func TestLocks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	child, end := otherProcess(t, dir)
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child.Process.Pid))
	require.NoError(t, err)
	holder := fmt.Sprintf("process %d (%s)", child.Process.Pid, strings.TrimSpace(string(comm)))
	locks, err := OpenLocks(dir, 20*time.Millisecond)
	require.NoError(t, err)
	defer locks.Close()
	ctx := t.Context()
	assert.NoError(t, locks.Lock(ctx, "container", "c2", "c3", "d"), "what nobody has")
	assert.NoError(t, locks.Lock(ctx, "container", "c3"), "what this process has already")
	err = locks.Lock(ctx, "container", "c4", "c1")
	require.EqualError(t, err, "container c1 is still locked by "+holder+" after 20ms")
	require.EqualValues(t, types.ErrTryAgainLater, cnierror.Code(err))
	// Names are locked in one order: two processes do not wait for each other.
	err = locks.Lock(ctx, "container", "c1", "c0")
	require.EqualError(t, err, "container c0 is still locked by "+holder+" after 20ms")
	// The time is for all locks together.
	err = locks.Lock(ctx, "device", "d")
	require.EqualError(t, err, "device d is still locked by "+holder+" after 20ms")
	require.EqualValues(t, types.ErrTryAgainLater, cnierror.Code(err))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	locks.left = time.Hour
	err = locks.Lock(cancelled, "device", "d")
	require.EqualError(t, err, "device d is still locked by "+holder+": context canceled")
	require.EqualValues(t, types.ErrTryAgainLater, cnierror.Code(err))

	// It is free as soon as the other one has ended, and not earlier.
	ended := make(chan struct{})
	go func() {
		time.Sleep(30 * time.Millisecond)
		close(ended)
		end()
	}()
	assert.NoError(t, locks.Lock(ctx, "device", "d"))
	select {
	case <-ended:
	default:
		assert.Fail(t, "two processes had one lock")
	}
	wantFiles(t, dir, "lock")
}

// TestStaleHoldTaken: a hold is stale when it is looked at, and another process has its
// device locked, and begins a Record. The hold stays.
func TestStaleHoldTaken(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	stale := newRecord("c9", "bond0", "d")
	require.NoError(t, s.Begin(stale))
	require.NoError(t, s.Forget(stale.Plan.Key()))
	_, end := otherProcess(t, s.Dir)
	removed := make(chan error)
	go func() { removed <- s.RemoveStaleHolds(context.Background(), time.Minute) }()
	time.Sleep(30 * time.Millisecond)
	require.NoError(t, s.Begin(newRecord("c1", "bond0", "d")))
	end()
	require.NoError(t, <-removed)
	holder, err := s.Holder("d")
	require.NoError(t, err)
	assert.Equal(t, c1, holder)
}

func TestLocksUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(""), 0o600))
	_, err := OpenLocks(file, 0)
	require.EqualError(t, err, "state directory: mkdir "+file+": not a directory")
	require.EqualValues(t, types.ErrIOFailure, cnierror.Code(err))
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "lock"), 0o700))
	_, err = OpenLocks(dir, 0)
	require.EqualError(t, err, "state directory: open "+dir+"/lock: is a directory")
	require.EqualValues(t, types.ErrIOFailure, cnierror.Code(err))
}
