package kubeclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// server answers the plugin on a unix socket, one request per connection.
type server struct {
	answer func(context.Context, agentapi.Request) agentapi.Reply
	peer   int           // the only user ID that may ask
	slots  int           // connections at a time; others wait in the backlog
	edge   time.Duration // for the plugin to send a request, and again to read the reply
	work   time.Duration // for one request
	grace  time.Duration // for requests in progress when the agent ends
	log    *slog.Logger
}

// listen opens a socket that only its owner can reach. It replaces the socket of an
// earlier agent, even one that still serves. The file is renamed into place and never
// removed: between two agents, a plugin is refused at once.
func listen(socket string) (*net.UnixListener, error) {
	dir := filepath.Dir(socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	made := socket + ".new"
	if err := os.Remove(made); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, socket)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("the agent's socket: %w", err)
	}
	return l, nil
}

// serve answers until ctx ends. Requests in progress then have the grace period to
// finish.
func (s server) serve(ctx context.Context, l *net.UnixListener) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var running sync.WaitGroup
	slots := make(chan struct{}, s.slots)
	for {
		slots <- struct{}{}
		conn, err := l.AcceptUnix()
		if err != nil {
			s.drain(&running, stop)
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the agent's socket: %w", err)
		}
		running.Go(func() {
			defer func() { <-slots }()
			s.handle(work, conn)
		})
	}
}

// drain waits for the requests in progress. stop ends them after the grace period.
func (s server) drain(running *sync.WaitGroup, stop func()) {
	timer := time.AfterFunc(s.grace, stop)
	defer timer.Stop()
	running.Wait()
}

// handle answers one connection. Its deadlines hold whatever the other end does.
func (s server) handle(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	work, cancel := context.WithTimeout(ctx, s.work)
	defer cancel()
	conn.SetDeadline(time.Now().Add(s.edge))
	reply, err := s.reply(work, conn)
	switch {
	case ctx.Err() != nil:
		return // cut short: a closed connection tells the plugin, an error would not
	case errors.Is(err, io.EOF):
		return // no request: STATUS only checks that the agent accepts
	case err != nil:
		s.log.WarnContext(ctx, "a request on the socket could not be read", "error", err)
		return
	}
	conn.SetDeadline(time.Now().Add(s.edge))
	switch err := agentapi.Write(conn, reply); {
	case errors.Is(err, syscall.EPIPE): // DEL does not wait for the reply
		s.log.DebugContext(ctx, "the client closed the socket before the reply", "error", err)
	case err != nil:
		s.log.WarnContext(ctx, "a reply on the socket could not be sent", "error", err)
	}
}

func (s server) reply(ctx context.Context, conn *net.UnixConn) (agentapi.Reply, error) {
	var request agentapi.Request
	from := agentapi.FileReader{Conn: conn}
	defer from.Close()
	if err := agentapi.Read(&from, &request); err != nil {
		return agentapi.Reply{}, err
	}
	// This comes after the request is read: if a socket is closed with unread data,
	// the reply is lost.
	if err := s.checkPeer(conn); err != nil {
		return failure(cnierror.With(cnitypes.ErrInvalidEnvironmentVariables, err)), nil
	}
	if err := agentapi.CheckVersion(request.Version, agentapi.Version); err != nil {
		return failure(err), nil
	}
	if request.Watch != nil {
		request.Watch.Events = from.Take()
	}
	reply := s.answer(ctx, request)
	reply.Version = agentapi.Version
	return reply, nil
}

// checkPeer checks the user at the other end.
func (s server) checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var user int
	var failed error
	err = raw.Control(func(fd uintptr) { user, failed = peerOf(int(fd)) })
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	if user != s.peer {
		return fmt.Errorf("user %d asks multibond-agent, which answers only user %d", user, s.peer)
	}
	return nil
}

// failure is the reply that has an error, in one line of text.
func failure(err error) agentapi.Reply {
	return agentapi.Reply{Version: agentapi.Version, Error: cnitypes.NewError(cnierror.Code(err), code.Text(err), "")}
}
