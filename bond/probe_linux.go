package bond

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// probe is a [Probe]. Both of its sockets are in the link's namespace, and keep it alive.
type probe struct {
	link      int
	is6       bool
	ident     uint16
	echo      int              // a raw socket that receives only from the target
	events    *nl.SocketHandle // of this namespace only, which needs no capability
	announced int
}

// echo types, of RFC 792 and RFC 4443.
const (
	echoRequest, echoReply   = 8, 0
	echoRequest6, echoReply6 = 128, 129
	echoSize                 = 8 // of a message without data
)

func (n *namespace) OpenProbe(link Link, target netip.Addr) (Probe, error) {
	p := &probe{link: link.Index, is6: target.Is6(), ident: uint16(os.Getpid()), echo: -1}
	err := n.inside(func() error {
		if err := p.openEcho(link.Name, target); err != nil {
			return fmt.Errorf("asking %s over %s: %w", target, link.Name, err)
		}
		socket, err := nl.SubscribeAt(-1, -1, unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
		if err != nil {
			return fmt.Errorf("hearing of %s: %w", link.Name, err)
		}
		p.events = &nl.SocketHandle{Socket: socket}
		return unix.SetNonblock(socket.GetFd(), true)
	})
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *probe) openEcho(link string, target netip.Addr) (err error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	var to unix.Sockaddr = &unix.SockaddrInet4{Addr: as4(target)}
	if p.is6 {
		family, protocol, to = unix.AF_INET6, unix.IPPROTO_ICMPV6, &unix.SockaddrInet6{Addr: target.As16()}
	}
	if p.echo, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol); err != nil {
		return err
	}
	if err := unix.BindToDevice(p.echo, link); err != nil {
		return err
	}
	return unix.Connect(p.echo, to)
}

// as4 returns an IPv4 address as bytes, and zeros for any other.
func as4(ip netip.Addr) (out [4]byte) {
	if ip.Is4() {
		out = ip.As4()
	}
	return out
}

func (p *probe) Send(number uint16) error {
	message := make([]byte, echoSize)
	message[0] = echoRequest
	binary.BigEndian.PutUint16(message[4:], p.ident)
	binary.BigEndian.PutUint16(message[6:], number)
	if p.is6 {
		message[0] = echoRequest6 // the kernel adds the checksum
	} else {
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	_, err := unix.Write(p.echo, message)
	return err
}

func (p *probe) Answers(until time.Time, answered func(number uint16)) error {
	for {
		wait := max(time.Until(until), 0)
		one := []unix.PollFd{{Fd: int32(p.echo), Events: unix.POLLIN}}
		timeout := unix.NsecToTimespec(int64(wait))
		n, err := unix.Ppoll(one, &timeout, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0 && wait == 0:
			return nil
		case n == 0:
			continue
		}
		if err := p.receive(answered); err != nil {
			return err
		}
	}
}

// unreachable are what a socket is told of packets that did not arrive.
var unreachable = []error{unix.EAGAIN, unix.EINTR, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EPROTO, unix.ECONNREFUSED, unix.EACCES}

// receive reads one packet.
func (p *probe) receive(answered func(number uint16)) error {
	buffer := make([]byte, 2048)
	n, err := unix.Read(p.echo, buffer)
	if err != nil {
		if slices.ContainsFunc(unreachable, func(u error) bool { return errors.Is(err, u) }) {
			return nil
		}
		return fmt.Errorf("waiting for answers: %w", err)
	}
	if number, is := p.parse(buffer[:n]); is {
		answered(number)
	}
	return nil
}

// parse reads a packet. An IPv4 socket gets it with its header, whose length is in units of
// four bytes (RFC 791, section 3.1).
func (p *probe) parse(packet []byte) (number uint16, is bool) {
	reply := byte(echoReply6)
	if !p.is6 {
		if len(packet) == 0 {
			return 0, false
		}
		reply, packet = echoReply, packet[min(len(packet), int(packet[0]&0xf)*4):]
	}
	if len(packet) < echoSize || packet[0] != reply || binary.BigEndian.Uint16(packet[4:]) != p.ident {
		return 0, false
	}
	return binary.BigEndian.Uint16(packet[6:]), true
}

func (p *probe) Announced() (int, error) {
	err := readEvents(p.events.Socket.GetFd(), func(e Event) {
		if e.Announced && e.Link.Index == p.link {
			p.announced++
		}
	})
	if err != nil {
		return 0, fmt.Errorf("reading events: %w", err)
	}
	return p.announced, nil
}

func (p *probe) Close() error {
	if p.events != nil {
		p.events.Close()
	}
	if p.echo < 0 {
		return nil
	}
	return unix.Close(p.echo)
}
