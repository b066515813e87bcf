package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/multibond/multibond/tests/lab/internal/wire"
)

// Cmd is a command in the guest.
type Cmd struct {
	Args    []string      // the program, by path or from PATH, and its arguments
	Env     []string      // added to the guest's own
	Dir     string        // where it runs; default /
	Stdin   []byte        // what it reads
	Stdout  io.Writer     // also gets the output, as it comes; one that blocks blocks the VM's other commands
	Stderr  io.Writer     // the same for the errors
	Timeout time.Duration // default 5 min; then it is killed, with its children
}

// String is the command line, for messages.
func (c Cmd) String() string { return strings.Join(c.Args, " ") }

// Output is what a command left.
type Output struct {
	Stdout, Stderr []byte
	Exit           int // its exit status, or 128 + n where signal n ended it
}

// A Process is a command that runs in the guest.
type Process struct {
	cmd            Cmd
	id             uint64
	client         *client
	stdout, stderr bytes.Buffer
	done           chan struct{} // closed once exit or err is set
	exit           wire.Exit
	err            error
}

// Kill ends the process and those that it started. Wait tells its end.
func (p *Process) Kill() error {
	return p.client.conn.Send(wire.ToGuest{ID: p.id, Kill: true})
}

// Wait returns what the command wrote, also next to an error: one compatible with
// context.DeadlineExceeded if its time limit passed, another if it could not be
// started or the VM died. An exit status that is not zero is no error.
func (p *Process) Wait() (Output, error) {
	<-p.done
	out := Output{Stdout: p.stdout.Bytes(), Stderr: p.stderr.Bytes(), Exit: p.exit.Code}
	switch {
	case p.err != nil:
		return out, fmt.Errorf("%s: %w", p.cmd, p.err)
	case p.exit.Error != "":
		return out, fmt.Errorf("%s: %s", p.cmd, p.exit.Error)
	case p.exit.TimedOut:
		return out, fmt.Errorf("%s: not done after %v: %w", p.cmd, p.cmd.Timeout, context.DeadlineExceeded)
	}
	return out, nil
}

func (p *Process) receive(m wire.ToHost) {
	write(&p.stdout, p.cmd.Stdout, m.Stdout)
	write(&p.stderr, p.cmd.Stderr, m.Stderr)
	if m.Exit != nil {
		p.exit = *m.Exit
		close(p.done)
	}
}

func write(kept *bytes.Buffer, also io.Writer, b []byte) {
	kept.Write(b)
	if also != nil && len(b) > 0 {
		also.Write(b)
	}
}

// client is the host's end of the stream to the agent.
type client struct {
	conn  *wire.Conn[wire.ToGuest, wire.ToHost]
	ready chan struct{} // closed when the agent answers

	mu      sync.Mutex
	last    uint64
	running map[uint64]*Process
	err     error // set once the stream has ended
}

func newClient(rw io.ReadWriter) *client {
	return &client{
		conn:    wire.NewConn[wire.ToGuest, wire.ToHost](rw),
		ready:   make(chan struct{}),
		running: map[uint64]*Process{},
	}
}

// receive hands out the guest's messages until the stream ends. Then all that
// still runs has failed, with what why says.
func (c *client) receive(why func(error) error) {
	for {
		m, err := c.conn.Receive()
		switch {
		case err != nil:
			c.fail(why(err))
			return
		case m.Ready:
			close(c.ready)
		default:
			c.hand(m)
		}
	}
}

func (c *client) hand(m wire.ToHost) {
	c.mu.Lock()
	p := c.running[m.ID]
	if m.Exit != nil {
		delete(c.running, m.ID)
	}
	c.mu.Unlock()
	if p != nil {
		p.receive(m)
	}
}

func (c *client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for _, p := range c.running {
		p.err = err
		close(p.done)
	}
	c.running = nil
}

func (c *client) start(cmd Cmd) (*Process, error) {
	if len(cmd.Args) == 0 {
		return nil, errors.New("a command without a program")
	}
	if cmd.Timeout == 0 {
		cmd.Timeout = 5 * time.Minute
	}
	p, err := c.register(cmd)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	start := &wire.Start{Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, Stdin: cmd.Stdin, Timeout: cmd.Timeout}
	// A stream that fails here fails the receiver too, and that fails p.
	_ = c.conn.Send(wire.ToGuest{ID: p.id, Start: start})
	return p, nil
}

func (c *client) register(cmd Cmd) (*Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.last++
	p := &Process{cmd: cmd, id: c.last, client: c, done: make(chan struct{})}
	c.running[p.id] = p
	return p, nil
}

// run starts a command and waits for its end, or for the context's: a guest that
// hangs does not even kill.
func (c *client) run(ctx context.Context, cmd Cmd) (Output, error) {
	p, err := c.start(cmd)
	if err != nil {
		return Output{}, err
	}
	select {
	case <-p.done:
		return p.Wait()
	case <-ctx.Done():
	}
	go p.Kill()
	select {
	case <-p.done:
		out, _ := p.Wait()
		return out, fmt.Errorf("%s: %w", cmd, ctx.Err())
	case <-time.After(answerTime):
		return Output{}, fmt.Errorf("%s: %w, and the guest does not answer", cmd, ctx.Err())
	}
}

const answerTime = 10 * time.Second // a kill takes 10 ms on an idle machine
