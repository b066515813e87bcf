package agentapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/cnierror"
)

// ErrNoAgent is returned if the agent is not there, or does not answer.
var ErrNoAgent = errors.New("multibond-agent does not answer")

// postTimeout limits how long Post may write: the agent may be too busy to read.
const postTimeout = 5 * time.Second

// Client asks the agent, one connection for each request.
//
// An error is compatible with errors.Is(err, ErrNoAgent) if the agent could not be asked
// or did not answer in time, and with errors.Is(err, ErrVersion) if it does not
// understand us. The code of both is 11. All other errors are the agent's answer, with
// its code.
type Client struct {
	Socket  string
	Timeout time.Duration // of one request; 0: only that of the context
}

// Ready returns an error if the agent cannot answer.
func (c Client) Ready(ctx context.Context) error {
	_, err := c.Blind(ctx)
	return err
}

// Blind returns whether the agent needs a Watch, or an error if it cannot answer.
func (c Client) Blind(ctx context.Context) (bool, error) {
	reply, err := c.ask(ctx, Request{})
	return reply.Blind, err
}

// Watch gives the agent a socket of events.
func (c Client) Watch(ctx context.Context, w Watch) error {
	_, err := c.ask(ctx, Request{Watch: &w})
	return err
}

// Lookup asks for the networks of a pod.
func (c Client) Lookup(ctx context.Context, l Lookup) (LookupReply, error) {
	reply, err := c.ask(ctx, Request{Lookup: &l})
	if err != nil {
		return LookupReply{}, err
	}
	if reply.Lookup == nil {
		return LookupReply{}, c.failed(errors.New("it sent an unexpected reply"))
	}
	return *reply.Lookup, nil
}

// Post is Publish for reports that nothing depends on. It does not wait for the answer,
// so the answer's error is lost.
func (c Client) Post(p Publish) error {
	conn, err := c.dial()
	if err != nil {
		return c.failed(err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(postTimeout))
	if err := Write(conn, Request{Version: Version, Publish: &p}); err != nil {
		return c.failed(err)
	}
	return nil
}

// Publish tells the agent what became of a sandbox.
func (c Client) Publish(ctx context.Context, p Publish) (PublishReply, error) {
	reply, err := c.ask(ctx, Request{Publish: &p})
	if err != nil {
		return PublishReply{}, err
	}
	if reply.Publish == nil {
		return PublishReply{}, c.failed(errors.New("it sent an unexpected reply"))
	}
	reply.Publish.Blind = reply.Blind
	return *reply.Publish, nil
}

func (c Client) failed(err error) error {
	return cnierror.Errorf(types.ErrTryAgainLater, "%w at %s: %w (check that the DaemonSet multibond-agent runs on this node)", ErrNoAgent, c.Socket, err)
}

func (c Client) ask(ctx context.Context, request Request) (Reply, error) {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	request.Version = Version
	reply, err := c.exchange(ctx, request)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return Reply{}, c.failed(err)
	}
	// The version is checked first: an agent that is too new may have another form of
	// answer.
	if err := CheckVersion(Version, reply.Version); err != nil {
		return Reply{}, err
	}
	if reply.Error != nil {
		return Reply{}, reply.Error
	}
	return reply, nil
}

// exchange dials, sends one message and reads one.
func (c Client) exchange(ctx context.Context, request Request) (reply Reply, err error) {
	conn, err := c.dial()
	if err != nil {
		return reply, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if request.Watch != nil {
		if err := writeFile(conn, request.Watch.Events); err != nil {
			return reply, err
		}
	}
	if err := Write(conn, request); err != nil {
		return reply, err
	}
	return reply, Read(conn, &reply)
}

// dial connects to the agent. A unix socket answers at once, whether somebody listens or
// not. net.Dialer would link the resolver of names into the plugin.
func (c Client) dial() (*net.UnixConn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: c.Socket, Net: "unix"})
}
