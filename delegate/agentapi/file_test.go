package agentapi

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWatchBringsItsFile: an open file arrives with its message.
func TestWatchBringsItsFile(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	require.NoError(t, err)
	defer l.Close()
	sent, err := os.Create(filepath.Join(t.TempDir(), "sent"))
	require.NoError(t, err)
	defer sent.Close()
	answered := make(chan error, 1)
	go func() {
		answered <- Client{Socket: socket}.Watch(t.Context(), Watch{Events: sent, Bonds: []Bond{{IfName: "bond0"}}})
	}()
	conn, err := l.AcceptUnix()
	require.NoError(t, err)
	defer conn.Close()
	from := FileReader{Conn: conn}
	defer from.Close()
	var r Request
	require.NoError(t, Read(&from, &r))
	require.NotNil(t, r.Watch)
	assert.Equal(t, []Bond{{IfName: "bond0"}}, r.Watch.Bonds)
	got := from.Take()
	require.NotNil(t, got)
	defer got.Close()
	assert.Nil(t, from.Take())
	want, err := sent.Stat()
	require.NoError(t, err)
	have, err := got.Stat()
	require.NoError(t, err)
	assert.True(t, os.SameFile(want, have))
	require.NoError(t, Write(conn, Reply{Version: Version}))
	assert.NoError(t, <-answered)
}

// TestFileReaderEnds: a connection that breaks, or is silent for too long, is an error as
// on any other reader.
func TestFileReaderEnds(t *testing.T) {
	here, there := socketPair(t)
	require.NoError(t, here.SetReadDeadline(time.Unix(1, 0)))
	from := FileReader{Conn: here}
	n, err := from.Read(make([]byte, 10))
	assert.Zero(t, n)
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, here.SetReadDeadline(time.Time{}))
	require.NoError(t, there.Close())
	n, err = from.Read(make([]byte, 10))
	assert.Zero(t, n)
	assert.ErrorIs(t, err, io.EOF)
}

func socketPair(t *testing.T) (*net.UnixConn, *net.UnixConn) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "pair.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	require.NoError(t, err)
	defer l.Close()
	there, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket})
	require.NoError(t, err)
	here, err := l.AcceptUnix()
	require.NoError(t, err)
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}
