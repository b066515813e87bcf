package kubeclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// serving runs a server until stop is called, and returns a client of it.
func serving(t *testing.T, change func(*server)) (client agentapi.Client, stop func()) {
	t.Helper()
	s := server{
		answer: func(context.Context, agentapi.Request) agentapi.Reply { return agentapi.Reply{} },
		peer:   os.Getuid(), slots: 4, edge: time.Minute, work: time.Minute, grace: time.Minute,
		log: slog.New(slog.DiscardHandler),
	}
	change(&s)
	socket := filepath.Join(kubefake.ShortDir(t), "run/agent.sock")
	l, err := listen(socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return agentapi.Client{Socket: socket, Timeout: 2 * time.Minute}, stop
}

func TestSocketIsForItsOwnerOnly(t *testing.T) {
	client, _ := serving(t, func(*server) {})
	for path, want := range map[string]fs.FileMode{client.Socket: fs.ModeSocket | 0o600, filepath.Dir(client.Socket): fs.ModeDir | 0o700} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode(), path)
	}
	assert.NoError(t, client.Ready(t.Context()))
}

func TestOtherUsersAreRefused(t *testing.T) {
	answered := false
	client, _ := serving(t, func(s *server) {
		s.peer = os.Getuid() + 1
		s.answer = func(context.Context, agentapi.Request) agentapi.Reply {
			answered = true
			return agentapi.Reply{}
		}
	})
	refused(t, client.Ready(t.Context()), cnitypes.ErrInvalidEnvironmentVariables, "asks multibond-agent, which answers only user")
	assert.False(t, answered)
}

func TestSlowClientsAreClosed(t *testing.T) {
	client, _ := serving(t, func(s *server) { s.edge, s.slots = 20*time.Millisecond, 1 })
	for _, sent := range []string{"", `{"version":1`} {
		conn, err := net.Dial("unix", client.Socket)
		require.NoError(t, err)
		io.WriteString(conn, sent)
		got, err := io.ReadAll(conn)
		if !errors.Is(err, unix.ECONNRESET) { // on a busy machine nothing was read in time
			require.NoError(t, err)
		}
		assert.Empty(t, got)
		conn.Close()
	}
	eventually(t, func(c *assert.CollectT) { assert.NoError(c, client.Ready(t.Context())) })
}

func TestConcurrencyIsBounded(t *testing.T) {
	const slots, clients = 3, 20
	var lock sync.Mutex
	now, most := 0, 0
	client, _ := serving(t, func(s *server) {
		s.slots = slots
		s.answer = func(context.Context, agentapi.Request) agentapi.Reply {
			lock.Lock()
			now++
			most = max(most, now)
			lock.Unlock()
			time.Sleep(2 * time.Millisecond)
			lock.Lock()
			now--
			lock.Unlock()
			return agentapi.Reply{}
		}
	})
	errs := make([]error, clients)
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() { errs[i] = client.Ready(t.Context()) })
	}
	running.Wait()
	assert.NoError(t, errors.Join(errs...))
	assert.LessOrEqual(t, most, slots)
}

func TestRequestsUnderWayAreFinished(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	client, stop := serving(t, func(s *server) {
		s.answer = waiting(begun, finish)
	})
	asked := make(chan error, 1)
	go func() { asked <- client.Ready(context.Background()) }()
	<-begun
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	eventually(t, func(c *assert.CollectT) { require.ErrorIs(c, client.Ready(t.Context()), agentapi.ErrNoAgent) })
	close(finish)
	assert.NoError(t, <-asked)
	<-stopped
}

// waiting answers the first request after finish is closed, unless its context ends
// before, and all other requests at once.
func waiting(begun, finish chan struct{}) func(context.Context, agentapi.Request) agentapi.Reply {
	var asked atomic.Bool
	return func(ctx context.Context, _ agentapi.Request) agentapi.Reply {
		if asked.Swap(true) {
			return agentapi.Reply{}
		}
		close(begun)
		select {
		case <-finish:
			return agentapi.Reply{}
		case <-ctx.Done():
			return failure(ctx.Err())
		}
	}
}

func TestGraceHasAnEnd(t *testing.T) {
	begun := make(chan struct{})
	client, stop := serving(t, func(s *server) { s.grace, s.answer = 10*time.Millisecond, waiting(begun, nil) })
	asked := make(chan error, 1)
	go func() { asked <- client.Ready(context.Background()) }()
	<-begun
	stop()
	assert.ErrorIs(t, <-asked, agentapi.ErrNoAgent)
}

func TestWorkHasADeadline(t *testing.T) {
	client, _ := serving(t, func(s *server) { s.work, s.answer = 10*time.Millisecond, waiting(make(chan struct{}), nil) })
	assert.ErrorContains(t, client.Ready(t.Context()), "deadline")
}

func TestPluginOfAnotherRelease(t *testing.T) {
	client, _ := serving(t, func(*server) {})
	for version, want := range map[int]string{
		agentapi.Version: "", agentapi.Version + 1: "", agentapi.Version - 1: "",
		agentapi.Version + 2: "update the agent", agentapi.Version - 2: "update the plugin",
	} {
		conn, err := net.Dial("unix", client.Socket)
		require.NoError(t, err)
		var reply agentapi.Reply
		require.NoError(t, errors.Join(agentapi.Write(conn, agentapi.Request{Version: version}), agentapi.Read(conn, &reply)))
		conn.Close()
		if want == "" {
			assert.Nil(t, reply.Error, "version %d", version)
		} else if assert.NotNil(t, reply.Error, "version %d", version) {
			assert.Contains(t, reply.Error.Msg, want)
		}
	}
}

// TestNextAgentTakesTheSocketOver checks that an agent that ends leaves the socket of
// the next one alone.
func TestNextAgentTakesTheSocketOver(t *testing.T) {
	old, stop := serving(t, func(*server) {})
	l, err := listen(old.Socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := server{
		answer: func(context.Context, agentapi.Request) agentapi.Reply {
			return failure(cnierror.With(50, errors.New("the next")))
		},
		peer: os.Getuid(), slots: 1, edge: time.Minute, work: time.Minute, log: slog.New(slog.DiscardHandler),
	}
	go func() { done <- s.serve(ctx, l) }()
	stop()
	refused(t, old.Ready(t.Context()), 50, "the next")
	cancel()
	assert.NoError(t, <-done)
	assert.ErrorIs(t, old.Ready(t.Context()), agentapi.ErrNoAgent)
}

func TestSocketThatCannotBeMade(t *testing.T) {
	file := filepath.Join(kubefake.ShortDir(t), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, socket := range []string{file + "/agent.sock", filepath.Join(filepath.Dir(file), strings.Repeat("x", 200))} {
		_, err := listen(socket)
		assertPrefix(t, "the agent's socket: ", fmt.Sprint(err))
	}
}
