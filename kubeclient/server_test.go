package kubeclient

import (
	"context"
	"errors"
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

	"github.com/multibond/multibond/delegate"
	"github.com/multibond/multibond/delegate/cnierror"
)

// serving is a server on a socket, until stop is called.
func serving(t *testing.T, change func(*server)) (client delegate.AgentClient, stop func()) {
	t.Helper()
	s := server{
		answer: func(context.Context, delegate.AgentRequest) delegate.AgentReply { return delegate.AgentReply{} },
		peer:   os.Getuid(), slots: 4, edge: 20 * time.Second, work: 20 * time.Second, grace: 20 * time.Second,
		log: slog.New(slog.DiscardHandler),
	}
	change(&s)
	socket := filepath.Join(shortDir(t), "run/agent.sock")
	l, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return delegate.AgentClient{Socket: socket, Timeout: 30 * time.Second}, stop
}

func TestSocketIsForItsOwnerOnly(t *testing.T) {
	client, _ := serving(t, func(*server) {})
	for path, want := range map[string]fs.FileMode{client.Socket: fs.ModeSocket | 0o600, filepath.Dir(client.Socket): fs.ModeDir | 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if err := client.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOtherUsersAreRefused(t *testing.T) {
	answered := false
	client, _ := serving(t, func(s *server) {
		s.peer = os.Getuid() + 1
		s.answer = func(context.Context, delegate.AgentRequest) delegate.AgentReply {
			answered = true
			return delegate.AgentReply{}
		}
	})
	refused(t, client.Ready(t.Context()), cnitypes.ErrInvalidEnvironmentVariables, "asks multibond-agent, which answers user")
	if answered {
		t.Error("the request was answered")
	}
}

func TestSlowClientsAreClosed(t *testing.T) {
	client, _ := serving(t, func(s *server) { s.edge, s.slots = 20*time.Millisecond, 1 })
	for _, sent := range []string{"", `{"version":1`} {
		conn, err := net.Dial("unix", client.Socket)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, sent)
		if got, err := io.ReadAll(conn); err != nil || len(got) != 0 {
			t.Errorf("%s, %v", got, err)
		}
		conn.Close()
	}
	if err := client.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	const slots, clients = 3, 20
	var lock sync.Mutex
	now, most := 0, 0
	client, _ := serving(t, func(s *server) {
		s.slots = slots
		s.answer = func(context.Context, delegate.AgentRequest) delegate.AgentReply {
			lock.Lock()
			now++
			most = max(most, now)
			lock.Unlock()
			time.Sleep(2 * time.Millisecond)
			lock.Lock()
			now--
			lock.Unlock()
			return delegate.AgentReply{}
		}
	})
	errs := make([]error, clients)
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() { errs[i] = client.Ready(t.Context()) })
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil || most > slots {
		t.Errorf("%d at a time, %v", most, err)
	}
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
	eventually(t, func() error {
		if err := client.Ready(t.Context()); !errors.Is(err, delegate.ErrNoAgent) {
			return errors.New("the socket is still open")
		}
		return nil
	})
	close(finish)
	if err := <-asked; err != nil {
		t.Error(err)
	}
	<-stopped
}

// waiting answers the first request when it may finish, if nobody ends it
// before, and all others at once.
func waiting(begun, finish chan struct{}) func(context.Context, delegate.AgentRequest) delegate.AgentReply {
	var asked atomic.Bool
	return func(ctx context.Context, _ delegate.AgentRequest) delegate.AgentReply {
		if asked.Swap(true) {
			return delegate.AgentReply{}
		}
		close(begun)
		select {
		case <-finish:
			return delegate.AgentReply{}
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
	if err := <-asked; !errors.Is(err, delegate.ErrNoAgent) {
		t.Error(err)
	}
}

func TestWorkHasADeadline(t *testing.T) {
	client, _ := serving(t, func(s *server) { s.work, s.answer = 10*time.Millisecond, waiting(make(chan struct{}), nil) })
	if err := client.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Error(err)
	}
}

func TestPluginOfAnotherRelease(t *testing.T) {
	client, _ := serving(t, func(*server) {})
	for version, want := range map[int]string{
		delegate.AgentVersion: "", delegate.AgentVersion + 1: "", delegate.AgentVersion - 1: "",
		delegate.AgentVersion + 2: "update the agent", delegate.AgentVersion - 2: "update the plugin",
	} {
		conn, err := net.Dial("unix", client.Socket)
		if err != nil {
			t.Fatal(err)
		}
		var reply delegate.AgentReply
		if err := errors.Join(delegate.WriteAgentMessage(conn, delegate.AgentRequest{Version: version}), delegate.ReadAgentMessage(conn, &reply)); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if (want == "") != (reply.Error == nil) || reply.Error != nil && !strings.Contains(reply.Error.Msg, want) {
			t.Errorf("version %d: %v", version, reply.Error)
		}
	}
}

// TestNextAgentTakesTheSocketOver: while one ends, the next serves already,
// and the first takes nothing away.
func TestNextAgentTakesTheSocketOver(t *testing.T) {
	old, stop := serving(t, func(*server) {})
	l, err := listen(old.Socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := server{
		answer: func(context.Context, delegate.AgentRequest) delegate.AgentReply {
			return failure(cnierror.With(50, errors.New("the next")))
		},
		peer: os.Getuid(), slots: 1, edge: time.Second, work: time.Second, log: slog.New(slog.DiscardHandler),
	}
	go func() { done <- s.serve(ctx, l) }()
	stop()
	refused(t, old.Ready(t.Context()), 50, "the next")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := old.Ready(t.Context()); !errors.Is(err, delegate.ErrNoAgent) {
		t.Error(err)
	}
}

func TestSocketThatCannotBeMade(t *testing.T) {
	file := filepath.Join(shortDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{file + "/agent.sock", filepath.Join(filepath.Dir(file), strings.Repeat("x", 200))} {
		if _, err := listen(socket); err == nil || !strings.HasPrefix(err.Error(), "the agent's socket: ") {
			t.Error(err)
		}
	}
}
