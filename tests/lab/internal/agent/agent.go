// Package agent runs commands for the other end of a stream. It is what the
// host reaches inside the lab's guest.
package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/multibond/multibond/tests/lab/internal/wire"
)

type agent struct {
	conn *wire.Conn[wire.ToHost, wire.ToGuest]

	mu      sync.Mutex
	running map[uint64]context.CancelFunc
}

// Serve says that it is ready, and runs what it is told until the stream ends.
// Commands that still run then are killed.
func Serve(rw io.ReadWriter) error {
	ctx, cancel := context.WithCancel(context.Background())
	var commands sync.WaitGroup
	defer commands.Wait()
	defer cancel()

	a := &agent{conn: wire.NewConn[wire.ToHost, wire.ToGuest](rw), running: map[uint64]context.CancelFunc{}}
	if err := a.conn.Send(wire.ToHost{Ready: true}); err != nil {
		return err
	}
	for {
		m, err := a.conn.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Kill:
			a.kill(m.ID)
		case m.Start != nil:
			ctx := a.register(ctx, m.ID, m.Start.Timeout)
			commands.Go(func() {
				defer a.kill(m.ID)
				a.run(ctx, m.ID, m.Start)
			})
		}
	}
}

func (a *agent) register(ctx context.Context, id uint64, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(ctx, limit)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running[id] = cancel
	return ctx
}

func (a *agent) kill(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel := a.running[id]; cancel != nil {
		cancel()
		delete(a.running, id)
	}
}

// run starts one command in a process group of its own, so that what it started
// ends with it when it is killed, and reports all until its end.
func (a *agent) run(ctx context.Context, id uint64, s *wire.Start) {
	cmd := exec.CommandContext(ctx, s.Args[0], s.Args[1:]...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Dir = s.Dir
	cmd.Stdin = bytes.NewReader(s.Stdin)
	cmd.Stdout = sender(func(b []byte) error { return a.conn.Send(wire.ToHost{ID: id, Stdout: b}) })
	cmd.Stderr = sender(func(b []byte) error { return a.conn.Send(wire.ToHost{ID: id, Stderr: b}) })
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A daemon that a command leaves behind has its output, and would be waited for.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	a.conn.Send(wire.ToHost{ID: id, Exit: exit(ctx, cmd, err)})
}

func exit(ctx context.Context, cmd *exec.Cmd, err error) *wire.Exit {
	if cmd.ProcessState == nil && ctx.Err() == nil {
		return &wire.Exit{Error: err.Error()}
	}
	e := &wire.Exit{TimedOut: errors.Is(ctx.Err(), context.DeadlineExceeded)}
	switch {
	case cmd.ProcessState == nil: // killed before it was started
		e.Code = 128 + int(syscall.SIGKILL)
	case cmd.ProcessState.Exited():
		e.Code = cmd.ProcessState.ExitCode()
	default:
		e.Code = 128 + int(cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	}
	return e
}

// sender is a writer that is a function.
type sender func([]byte) error

func (f sender) Write(b []byte) (int, error) {
	if err := f(b); err != nil {
		return 0, err
	}
	return len(b), nil
}
