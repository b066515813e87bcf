package agentapi

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

// fakeAgent answers each connection with what answer writes, after it has
// read a request.
func fakeAgent(t *testing.T, answer func(Request, net.Conn)) Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var r Request
				if Read(conn, &r) == nil {
					answer(r, conn)
				}
			}()
		}
	}()
	return Client{Socket: socket, Timeout: time.Minute}
}

func says(reply Reply) func(Request, net.Conn) {
	return func(_ Request, conn net.Conn) { Write(conn, reply) }
}

func TestMessagesArriveWhole(t *testing.T) {
	asked := make(chan Request, 2)
	want := LookupReply{Pod: Pod{"demo", "p", "u"}, Warnings: []string{"w"}, Attachments: []Attachment{
		{Name: "demo/bond-net1", IfName: "bond0", Config: json.RawMessage(`{"a":1}`), Bond: true, Devices: []string{"0000:01:10.0"}},
		{Name: "demo/lan", IfName: "net2", Config: json.RawMessage(`{}`), DefaultRoute: []netip.Addr{}},
		{Name: "demo/lan", IfName: "net3", Config: json.RawMessage(`{}`), DefaultRoute: []netip.Addr{netip.MustParseAddr("10.0.0.1")}},
	}}
	c := fakeAgent(t, func(r Request, conn net.Conn) {
		asked <- r
		Write(conn, Reply{Version: Version, Lookup: &want, Publish: &PublishReply{Queued: "why"}})
	})
	lookup := Lookup{ContainerID: "c", Netns: "/n", IfName: "eth0", Pod: want.Pod, Cluster: Cluster{Isolated: true, Network: "n", Global: []string{}, System: []string{}}, Secondary: true}
	got, err := c.Lookup(t.Context(), lookup)
	assert.NoError(t, err)
	assert.Empty(t, cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })))
	assert.Nil(t, got.Attachments[0].DefaultRoute)
	require.NotNil(t, got.Attachments[1].DefaultRoute)
	publish := Publish{Verb: "ADD", Pod: want.Pod, Steps: []Step{{"bond", 1.5}}, Failure: types.NewError(7, "m", ""),
		Attachments: []Result{{Name: "n", IfName: "eth0", Result: &current.Result{CNIVersion: "1.1.0", Interfaces: []*current.Interface{{Name: "eth0", PciID: "0000:01:10.0"}}}}}}
	published, err := c.Publish(t.Context(), publish)
	assert.NoError(t, err)
	assert.Equal(t, "why", published.Queued)
	for _, want := range []Request{{Version: Version, Lookup: &lookup}, {Version: Version, Publish: &publish}} {
		assert.Equal(t, want, <-asked)
	}
}

func TestAgentsErrorHasItsCode(t *testing.T) {
	c := fakeAgent(t, says(Reply{Version: Version, Error: types.NewError(7, "networks[0]: wrong", "")}))
	_, err := c.Lookup(t.Context(), Lookup{})
	assert.EqualValues(t, 7, cnierror.Code(err))
	assert.EqualError(t, err, "networks[0]: wrong")
	assert.NotErrorIs(t, err, ErrNoAgent)
}

// tryAgain fails the test unless err is the kind that a runtime repeats.
func tryAgain(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	require.EqualValues(t, types.ErrTryAgainLater, cnierror.Code(err))
	require.ErrorIs(t, err, kind)
	for _, w := range words {
		assert.ErrorContains(t, err, w)
	}
}

func TestNoAgent(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	l.Close()
	plain := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))
	for _, socket := range []string{dead, plain, filepath.Join(dir, "none"), ""} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tryAgain(t, Client{Socket: socket, Timeout: time.Hour}.Ready(ctx), ErrNoAgent, socket, "DaemonSet")
		assert.NoError(t, ctx.Err(), socket)
	}
}

func TestAgentThatDoesNotAnswer(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	c := fakeAgent(t, func(Request, net.Conn) { <-hang })
	c.Timeout = 20 * time.Millisecond
	tryAgain(t, c.Ready(t.Context()), ErrNoAgent)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Timeout = time.Minute
	tryAgain(t, c.Ready(ctx), context.Canceled)

	ends := fakeAgent(t, func(Request, net.Conn) {})
	tryAgain(t, ends.Ready(t.Context()), ErrNoAgent)
	babbles := fakeAgent(t, func(_ Request, conn net.Conn) { io.WriteString(conn, "hello\n") })
	tryAgain(t, babbles.Ready(t.Context()), ErrNoAgent)
	other := fakeAgent(t, says(Reply{Version: Version}))
	_, err := other.Lookup(t.Context(), Lookup{})
	tryAgain(t, err, ErrNoAgent)
	_, err = other.Publish(t.Context(), Publish{})
	tryAgain(t, err, ErrNoAgent)
}

func TestVersions(t *testing.T) {
	for _, theirs := range []int{Version - 1, Version, Version + 1} {
		err := fakeAgent(t, says(Reply{Version: theirs})).Ready(t.Context())
		assert.NoError(t, err, theirs)
	}
	newer := Reply{Version: Version + 2, Error: types.NewError(1, "in a way of its own", "")}
	err := fakeAgent(t, says(newer)).Ready(t.Context())
	tryAgain(t, err, ErrVersion, "the plugin speaks version 1, but the agent speaks 3", "update the plugin")
	tryAgain(t, CheckVersion(5, 3), ErrVersion, "update the agent")
}

func TestMessageHasALimit(t *testing.T) {
	assert.ErrorContains(t, Read(strings.NewReader(`{"version":1,"lookup":{"ifName":"`+strings.Repeat("x", maxMessage)), &Request{}), "more than 8388608 bytes")
	assert.ErrorIs(t, Read(strings.NewReader(`{"version":1`), &Request{}), io.ErrUnexpectedEOF)
}
