package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/tests/demo/event"
)

// listen tells of announcements that come in by an interface, until ctx ends.
// Without an interface there is nothing to do.
func listen(ctx context.Context, tell *teller, name string) error {
	if name == "" {
		return nil
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer unix.Close(fd)
	if err := errors.Join(
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
	); err != nil {
		return fmt.Errorf("packet socket on %s: %w", name, err)
	}
	frame := make([]byte, 2048)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, frame, 0)
		if err != nil {
			continue // the time is over, or the interface is down for now
		}
		if address, mac, ok := announcement(frame[:n]); ok {
			tell.now(event.Event{Kind: event.Heard, What: name, Value: address.String() + " " + mac.String()})
		}
	}
	return nil
}

const (
	etherARP, etherIPv6 = 0x0806, 0x86dd
	etherSize, ipv6Size = 14, 40
	arpSize             = 28
	protoICMPv6         = 58
	advertisement       = 136
)

// announcement reads a frame that says without being asked who has an address: a
// gratuitous ARP (RFC 5227, section 3) or an unsolicited neighbour advertisement
// (RFC 4861, section 7.2.6).
func announcement(f []byte) (netip.Addr, net.HardwareAddr, bool) {
	if len(f) < etherSize {
		return netip.Addr{}, nil, false
	}
	mac, body := net.HardwareAddr(f[6:12]), f[etherSize:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case etherARP:
		if len(body) >= arpSize && [4]byte(body[14:18]) == [4]byte(body[24:28]) {
			return netip.AddrFrom4([4]byte(body[14:18])), mac, true
		}
	case etherIPv6:
		const solicited = 1 << 6
		if len(body) >= ipv6Size+24 && body[6] == protoICMPv6 && body[ipv6Size] == advertisement && body[ipv6Size+4]&solicited == 0 {
			return netip.AddrFrom16([16]byte(body[ipv6Size+8 : ipv6Size+24])), mac, true
		}
	}
	return netip.Addr{}, nil, false
}
