package measure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

const (
	every    = 100 * time.Millisecond // between two packets that are counted
	waits    = time.Second            // for the answer of each of them
	settling = 10 * time.Second       // the interfaces of a pod that has just started lose packets
	steady   = 3                      // packets in a row whose answers show that this is over
	tries    = 2                      // of a packet of one size
	soon     = 300 * time.Millisecond // for the answer of each of these
	least    = 8                      // bytes of data in a packet: its number
)

// Measure measures what passes on a way, to a server at a port. No answer is no error.
func (w Way) Measure(ctx context.Context, port uint16) (f Found, err error) {
	link, err := net.InterfaceByName(w.Interface)
	if err != nil {
		return f, fmt.Errorf("%s: %w", w.Interface, err)
	}
	f.MTU = link.MTU
	if w.Throughput > 0 {
		err = w.stream(ctx, port, &f)
		return f, err
	}
	dialer := net.Dialer{Control: control(w.Interface, w.To)}
	socket, err := dialer.DialContext(ctx, network("udp", w.To), netip.AddrPortFrom(w.To, port).String())
	if err != nil {
		return f, err
	}
	defer socket.Close()
	c := &client{ctx: ctx, socket: socket, overhead: headers(w.To), soon: soon, buffer: make([]byte, largest)}
	c.settle()
	c.count(w.Count, &f)
	if f.Received > 0 {
		f.Largest = c.largestUpTo(min(f.MTU, largest))
	}
	return f, ctx.Err()
}

// client asks one server, one packet at a time.
type client struct {
	ctx      context.Context
	socket   net.Conn
	overhead int           // bytes of headers
	soon     time.Duration // how long it waits for answers that only show what passes
	number   uint64
	buffer   []byte
}

// ask sends a packet of a size, headers included, and reports whether it came back.
func (c *client) ask(size int, wait time.Duration) bool {
	c.number++
	packet := make([]byte, max(size-c.overhead, least))
	binary.BigEndian.PutUint64(packet, c.number)
	if _, err := c.socket.Write(packet); err != nil { // too large for the interface, or told that nobody listens
		c.pause(every)
		return false
	}
	deadline := time.Now().Add(wait)
	_ = c.socket.SetReadDeadline(deadline)
	for c.ctx.Err() == nil && time.Now().Before(deadline) {
		n, err := c.socket.Read(c.buffer)
		if err == nil && n == len(packet) && binary.BigEndian.Uint64(c.buffer) == c.number {
			return true
		}
		if errors.Is(err, net.ErrClosed) {
			return false
		}
		if err != nil {
			c.pause(min(every, time.Until(deadline)))
		}
	}
	return false
}

func (c *client) pause(d time.Duration) {
	select {
	case <-c.ctx.Done():
	case <-time.After(d):
	}
}

// settle asks until answers come steadily, or the time for that is over.
func (c *client) settle() {
	until := time.Now().Add(settling)
	for row := 0; row < steady && c.ctx.Err() == nil && time.Now().Before(until); {
		if c.ask(0, c.soon) {
			row++
		} else {
			row = 0
		}
	}
}

// count asks so many times, and notes how many answers there were, and how fast.
func (c *client) count(times int, f *Found) {
	var sum time.Duration
	for range times {
		began := time.Now()
		if f.Sent++; c.ask(0, waits) {
			sum += time.Since(began)
			f.Received++
		}
		c.pause(every - time.Since(began))
	}
	if f.Received > 0 {
		f.RTT = new(float64(sum.Microseconds()) / 1000 / float64(f.Received))
	}
}

// largestUpTo returns the size of the largest packet that comes back, or 0.
func (c *client) largestUpTo(mtu int) int {
	if c.fits(mtu) {
		return mtu
	}
	passes, fails := 0, mtu
	for low := c.overhead + least; fails-max(passes, low) > 1 && c.ctx.Err() == nil; {
		if half := (max(passes, low) + fails) / 2; c.fits(half) {
			passes = half
		} else {
			fails = half
		}
	}
	return passes
}

// fits reports whether a packet of a size comes back.
func (c *client) fits(size int) bool {
	for range tries {
		if c.ask(size, c.soon) {
			return true
		}
	}
	return false
}

// stream sends data by TCP, and notes how fast the server has received it.
func (w Way) stream(ctx context.Context, port uint16, f *Found) error {
	dialer := net.Dialer{Control: control(w.Interface, w.To), Timeout: patience}
	stream, err := dialer.DialContext(ctx, network("tcp", w.To), netip.AddrPortFrom(w.To, port).String())
	if err != nil {
		return err
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.Close() })()
	_ = stream.SetDeadline(time.Now().Add(w.Throughput + patience))
	data := make([]byte, 1<<18)
	for began := time.Now(); time.Since(began) < w.Throughput; {
		if _, err := stream.Write(data); err != nil {
			return err
		}
	}
	if err := stream.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	var answer [16]byte
	if _, err := io.ReadFull(stream, answer[:]); err != nil {
		return fmt.Errorf("the server's figures: %w", err)
	}
	bytes, took := binary.BigEndian.Uint64(answer[:8]), time.Duration(binary.BigEndian.Uint64(answer[8:]))
	f.Mbit = new(float64(bytes) * 8 / 1e6 / max(took, time.Microsecond).Seconds())
	return nil
}

// headers is the size of the headers of an UDP packet.
func headers(to netip.Addr) int {
	if to.Is4() {
		return 28
	}
	return 48
}
