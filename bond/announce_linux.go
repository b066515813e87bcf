package bond

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announce tells neighbours and switches where the addresses are now. It sends a
// gratuitous ARP request for an IPv4 address (RFC 5227, section 3) and an
// unsolicited neighbour advertisement for an IPv6 address (RFC 4861, section
// 7.2.6). It announces nothing on links of other types than Ethernet, because over
// InfiniBand an address is announced by the kernel alone, and nothing on a link without
// ARP, such as an ipvlan in mode l3, which has no neighbours and drops what is sent to all.
func (n *namespace) Announce(index int, addrs []netip.Addr) error {
	link, err := n.byIndex(index)
	if err != nil {
		return err
	}
	if link.Type != Ethernet || link.Flags != nil && *link.Flags&iffNoarp != 0 {
		return nil
	}
	mac, err := net.ParseMAC(link.MAC)
	if err != nil {
		return fmt.Errorf("announcing on %s: %w", link.Name, err)
	}
	if n.packet < 0 {
		err := n.inside(func() (err error) {
			n.packet, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return fmt.Errorf("announcing on %s: %w", link.Name, err)
		}
	}
	var errs []error
	for _, ip := range addrs {
		frame := announcement(mac, ip)
		to := &unix.SockaddrLinklayer{Ifindex: index, Protocol: binary.NativeEndian.Uint16(frame[12:])}
		if err := unix.Sendto(n.packet, frame, 0, to); err != nil {
			errs = append(errs, fmt.Errorf("announcing %s on %s: %w", ip, link.Name, err))
		}
	}
	return errors.Join(errs...)
}

func announcement(mac net.HardwareAddr, ip netip.Addr) []byte {
	if ip.Is4() {
		return gratuitousARP(mac, ip)
	}
	return unsolicitedNA(mac, ip)
}

func ethernet(dst, src net.HardwareAddr, proto uint16) []byte {
	frame := append(append([]byte{}, dst...), src...)
	return binary.BigEndian.AppendUint16(frame, proto)
}

func gratuitousARP(mac net.HardwareAddr, ip netip.Addr) []byte {
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	frame := ethernet(all, mac, unix.ETH_P_ARP)
	frame = append(frame, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, their lengths, request
	frame = append(append(frame, mac...), ip.AsSlice()...)
	return append(append(frame, make([]byte, 6)...), ip.AsSlice()...)
}

func unsolicitedNA(mac net.HardwareAddr, ip netip.Addr) []byte {
	allNodes := netip.MustParseAddr("ff02::1")
	message := []byte{136, 0, 0, 0, 0x20, 0, 0, 0} // type 136; flags: override
	message = append(message, ip.AsSlice()...)
	message = append(append(message, 2, 1), mac...) // option: target's link-layer address
	binary.BigEndian.PutUint16(message[2:], checksumICMPv6(ip, allNodes, message))

	frame := ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, unix.ETH_P_IPV6)
	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, unix.IPPROTO_ICMPV6, 255)
	frame = append(append(frame, ip.AsSlice()...), allNodes.AsSlice()...)
	return append(frame, message...)
}

// checksumICMPv6 returns the checksum over pseudo-header and message (RFC 8200,
// section 8.1).
func checksumICMPv6(src, dst netip.Addr, message []byte) uint16 {
	header := append(append([]byte{}, src.AsSlice()...), dst.AsSlice()...)
	header = binary.BigEndian.AppendUint32(header, uint32(len(message)))
	header = append(header, 0, 0, 0, unix.IPPROTO_ICMPV6)
	return checksum(header, message)
}

// checksum returns the Internet checksum over parts, each of which has an even
// number of bytes (RFC 1071).
func checksum(parts ...[]byte) uint16 {
	sum := uint32(0)
	for _, part := range parts {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
