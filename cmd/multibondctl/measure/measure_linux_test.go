package measure

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serveOn starts a server on an address of the loopback, and returns its port.
func serveOn(t *testing.T, ip string) uint16 {
	t.Helper()
	port := freePort(t, ip)
	s, err := Listen([]Address{{"lo", netip.MustParseAddr(ip)}}, port)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-done)
	})
	return port
}

func freePort(t *testing.T, ip string) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	require.NoError(t, err)
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// TestMeasure: all packets are answered, also those of the size of the interface's MTU, and the
// server tells what it has received.
func TestMeasure(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			port := serveOn(t, ip)
			way := Way{Interface: "lo", To: netip.MustParseAddr(ip), Count: 3}
			f, err := way.Measure(t.Context(), port)
			require.NoError(t, err)
			require.NotNil(t, f.RTT)
			assert.Equal(t, Found{Sent: 3, Received: 3, RTT: f.RTT, MTU: f.MTU, Largest: min(f.MTU, largest)}, f)
			way.Throughput = 50 * time.Millisecond
			f, err = way.Measure(t.Context(), port)
			require.NoError(t, err)
			require.NotNil(t, f.Mbit)
			assert.Positive(t, *f.Mbit)
		})
	}
}

// TestNoEcho: a server does not answer what has the port of a server as its source.
func TestNoEcho(t *testing.T) {
	port := serveOn(t, "127.0.0.1")
	server := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)}
	for source, want := range map[int]bool{0: true, int(port): false} {
		socket, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: source}, server)
		require.NoError(t, err)
		defer socket.Close()
		_, err = socket.Write([]byte("packet"))
		require.NoError(t, err)
		limit := map[bool]time.Duration{true: 10 * time.Second, false: 200 * time.Millisecond}[want]
		require.NoError(t, socket.SetReadDeadline(time.Now().Add(limit)))
		_, err = socket.Read(make([]byte, 10))
		assert.Equal(t, want, err == nil, source)
	}
}

// clientOf returns a client of an IPv4 server.
func clientOf(t *testing.T, server string) *client {
	t.Helper()
	socket, err := net.Dial("udp4", server)
	require.NoError(t, err)
	t.Cleanup(func() { socket.Close() })
	return &client{ctx: t.Context(), socket: socket, overhead: 28, soon: 30 * time.Millisecond, buffer: make([]byte, largest)}
}

// TestLargest: of a way that loses large packets, the largest that passes is found.
func TestLargest(t *testing.T) {
	const passes = 1450
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	go func() {
		buffer := make([]byte, largest)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			if n+28 <= passes {
				server.WriteTo(buffer[:n], from)
			}
		}
	}()
	c := clientOf(t, server.LocalAddr().String())
	assert.Equal(t, passes, c.largestUpTo(9000))
	assert.Equal(t, passes, c.largestUpTo(passes))
}

// TestNoServer: that nobody answers is what was found, and no error. Without an interface
// nothing is found.
func TestNoServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	way := Way{Interface: "lo", To: netip.MustParseAddr("127.0.0.1"), Count: 1}
	c := clientOf(t, netip.AddrPortFrom(way.To, freePort(t, "127.0.0.1")).String())
	var f Found
	c.count(way.Count, &f)
	assert.Equal(t, Found{Sent: 1}, f)

	way.Interface = "none"
	_, err := way.Measure(ctx, Port)
	assert.ErrorContains(t, err, "none: ")
	way.Interface, way.Throughput = "lo", time.Second
	_, err = way.Measure(ctx, freePort(t, "127.0.0.1"))
	assert.ErrorContains(t, err, "connection refused")
}
