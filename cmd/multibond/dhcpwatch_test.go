package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// dhcpWatch prints each DHCP message that an interface receives, by type, with the
// client's address. CNI's dhcp daemon sends its DHCPRELEASE from 0.0.0.0 to the server's
// address, which the kernel keeps from a server that reads a UDP socket.
func dhcpWatch() {
	link, err := net.InterfaceByName(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	ip := binary.NativeEndian.Uint16([]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff})
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, int(ip))
	if err != nil {
		log.Fatal(err)
	}
	if err := unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: link.Index}); err != nil {
		log.Fatal(err)
	}
	packet := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(socket, packet, 0)
		if err != nil {
			log.Fatal(err)
		}
		if kind, client := dhcpMessage(packet[:n]); kind != "" {
			fmt.Println(kind, client)
		}
	}
}

// dhcpTypes are the values of the option "DHCP Message Type" (RFC 2132, section 9.6).
var dhcpTypes = []string{"", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"}

// dhcpMessage returns the type of the DHCP message in an IPv4 packet and the client's
// address, or "" if there is none.
func dhcpMessage(packet []byte) (kind string, client net.IP) {
	const udp, bootp, options, messageType = 17, 8, 240, 53
	if len(packet) < 20 || packet[9] != udp {
		return "", nil
	}
	payload := packet[int(packet[0]&0xf)*4:]
	if len(payload) < bootp+options || binary.BigEndian.Uint16(payload[2:]) != 67 {
		return "", nil
	}
	message := payload[bootp:]
	for o := message[options:]; len(o) > 2 && len(o) >= 2+int(o[1]); o = o[2+o[1]:] {
		if o[0] == messageType && o[1] == 1 && int(o[2]) < len(dhcpTypes) {
			return dhcpTypes[o[2]], net.IP(message[12:16])
		}
	}
	return "", nil
}
