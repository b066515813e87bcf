package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/multibond/multibond/tests/demo/event"
)

// echoSize is that of an echo message: type, code, checksum, identifier, sequence
// number; no data.
const echoSize = 8

// protocol is ICMP's echo in one address family.
type protocol struct {
	network, local string
	request, reply byte
}

var (
	icmp   = protocol{"ip4:icmp", "0.0.0.0", 8, 0}     // RFC 792
	icmpv6 = protocol{"ip6:ipv6-icmp", "::", 128, 129} // RFC 4443, section 4; the kernel computes the checksum
)

// ping sends echo requests until ctx ends, and takes answers a while longer: one
// that is late is not lost. Without an address there is nothing to do.
func ping(ctx context.Context, tell *teller, to string, every, late time.Duration) error {
	if to == "" {
		return nil
	}
	addr := net.ParseIP(to)
	if addr == nil {
		return fmt.Errorf("%q is not an IP address", to)
	}
	proto := icmpv6
	if addr.To4() != nil {
		proto = icmp
	}
	conn, err := net.ListenPacket(proto.network, proto.local)
	if err != nil {
		return err
	}
	id := uint16(os.Getpid())
	received := make(chan struct{})
	go func() {
		proto.receive(conn, tell, id)
		close(received)
	}()
	proto.send(ctx, conn, tell, &net.IPAddr{IP: addr}, id, every)
	time.Sleep(late)
	err = conn.Close()
	<-received
	return err
}

// send sends at an even pace. A request that the kernel refuses counts as sent:
// to a program its packet is lost.
func (p protocol) send(ctx context.Context, conn net.PacketConn, tell *teller, to net.Addr, id uint16, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		e := event.Event{At: now(), Kind: event.Sent, Probe: n}
		if _, err := conn.WriteTo(echo(p.request, id, uint16(n)), to); err != nil {
			e.Value = err.Error()
		}
		tell.tell(e)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// receive tells of replies until the connection is closed. Sequence numbers have
// 16 bits, and so many requests take ten minutes.
func (p protocol) receive(conn net.PacketConn, tell *teller, id uint16) {
	packet := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(packet)
		if err != nil {
			return
		}
		at := now()
		if got, seq, ok := p.parseReply(packet[:n]); ok && got == id {
			tell.tell(event.Event{At: at, Kind: event.Answered, Probe: int(seq)})
		}
	}
}

func echo(kind byte, id, seq uint16) []byte {
	p := make([]byte, echoSize)
	p[0] = kind
	binary.BigEndian.PutUint16(p[4:], id)
	binary.BigEndian.PutUint16(p[6:], seq)
	binary.BigEndian.PutUint16(p[2:], checksum(p))
	return p
}

func (proto protocol) parseReply(p []byte) (id, seq uint16, ok bool) {
	if len(p) < echoSize || p[0] != proto.reply {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(p[4:]), binary.BigEndian.Uint16(p[6:]), true
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(p []byte) uint16 {
	var sum uint32
	for i := 0; i < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
