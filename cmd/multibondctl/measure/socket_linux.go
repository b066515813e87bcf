package measure

import (
	"cmp"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// largest is the size of the largest IP packet.
const largest = 1<<16 - 1

// network returns Go's name of a protocol over IPv4 or IPv6.
func network(protocol string, ip netip.Addr) string {
	if ip.Is4() {
		return protocol + "4"
	}
	return protocol + "6"
}

// control returns what binds a socket to an interface, which needs no capability since Linux
// 5.7. Packets of UDP are not fragmented, whatever the kernel believes of the path
// (IP_PMTUDISC_PROBE). An IPv6 address that is still tentative can be bound to.
func control(ifName string, ip netip.Addr) func(string, string, syscall.RawConn) error {
	return func(protocol, _ string, c syscall.RawConn) (err error) {
		set := func(fd int) error {
			err := unix.BindToDevice(fd, ifName)
			if !ip.Is4() {
				err = cmp.Or(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1))
			}
			switch protocol {
			case "udp4":
				err = cmp.Or(err, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE))
			case "udp6":
				err = cmp.Or(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE))
			}
			return err
		}
		failed := c.Control(func(fd uintptr) { err = set(int(fd)) })
		return cmp.Or(failed, err)
	}
}
