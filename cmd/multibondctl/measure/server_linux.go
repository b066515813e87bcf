package measure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Server answers clients on addresses of its pod.
type Server struct {
	packets []net.PacketConn
	streams []net.Listener
}

// Address is an address of an interface.
type Address struct {
	Interface string
	IP        netip.Addr
}

// defaultInterface is that of a pod's default network, which is not measured.
const defaultInterface = "eth0"

// Addresses returns the addresses of this pod's networks, without those of the default one.
func Addresses() (all []Address, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Flags&net.FlagLoopback != 0 || l.Name == defaultInterface {
			continue
		}
		addresses, err := l.Addrs()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.Name, err)
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
				all = append(all, Address{l.Name, p.Addr()})
			}
		}
	}
	return all, nil
}

// Listen opens a server's sockets. Each is of one address, so that answers have it as their
// source, and of one interface, so that they leave by it.
func Listen(addresses []Address, port uint16) (*Server, error) {
	s := &Server{}
	for _, a := range addresses {
		config := net.ListenConfig{Control: control(a.Interface, a.IP)}
		at := netip.AddrPortFrom(a.IP, port).String()
		packets, err := config.ListenPacket(context.Background(), network("udp", a.IP), at)
		if err == nil {
			s.packets = append(s.packets, packets)
		}
		streams, err2 := config.Listen(context.Background(), network("tcp", a.IP), at)
		if err2 == nil {
			s.streams = append(s.streams, streams)
		}
		if err := errors.Join(err, err2); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", a.Interface, err), s.Close())
		}
	}
	return s, nil
}

// Serve answers until the context ends.
func (s *Server) Serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { s.Close() })()
	var running sync.WaitGroup
	for _, p := range s.packets {
		running.Go(func() { echo(p) })
	}
	for _, l := range s.streams {
		running.Go(func() { accept(l) })
	}
	<-ctx.Done()
	running.Wait()
	return nil
}

// Close closes the sockets.
func (s *Server) Close() (err error) {
	for _, p := range s.packets {
		err = errors.Join(err, p.Close())
	}
	for _, l := range s.streams {
		err = errors.Join(err, l.Close())
	}
	return err
}

// echo sends packets back until the socket is closed. One that is too large for the way back
// is not answered, and none that comes from a server: a single packet with a forged source
// would go to and fro between two servers without end.
func echo(p net.PacketConn) {
	buffer, own := make([]byte, largest), portOf(p.LocalAddr())
	for {
		n, from, err := p.ReadFrom(buffer)
		if err != nil {
			return
		}
		if portOf(from) != own {
			_, _ = p.WriteTo(buffer[:n], from)
		}
	}
}

func portOf(a net.Addr) int { return a.(*net.UDPAddr).Port }

// accept counts what streams bring until the socket is closed.
func accept(l net.Listener) {
	for {
		stream, err := l.Accept()
		if err != nil {
			return
		}
		go counted(stream)
	}
}

// patience is how long a stream may bring nothing.
const patience = 10 * time.Second

// counted counts what a stream brings, and answers with how many bytes came in how many
// nanoseconds.
func counted(stream net.Conn) {
	defer stream.Close()
	buffer := make([]byte, 1<<18)
	var began time.Time
	var bytes uint64
	for {
		_ = stream.SetDeadline(time.Now().Add(patience))
		n, err := stream.Read(buffer)
		if began.IsZero() {
			began = time.Now()
		}
		bytes += uint64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return
		}
	}
	answer := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, bytes), uint64(time.Since(began)))
	_, _ = stream.Write(answer)
}
