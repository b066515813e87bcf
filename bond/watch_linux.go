package bond

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// eventBuffer is how much the kernel keeps for a socket of events, in bytes. One event
// takes 1,500. A PF that fails under 110 bonds makes 660 at once.
const eventBuffer = 8 << 20

// OpenEvents opens a socket of events (NETLINK_LISTEN_ALL_NSID in netlink(7)).
func (System) OpenEvents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a socket of events: %w", err)
	}
	groups := uint32(1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_NSID-1))
	for _, err := range []error{
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBuffer),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}),
	} {
		if err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("opening a socket of events: %w", err)
		}
	}
	return os.NewFile(uintptr(fd), "events"), nil
}

// AwaitEvents waits until there is something to hear on a socket that [Kernel] has
// opened. Its error is compatible with errors.Is(err, os.ErrClosed) once the socket is
// closed.
func AwaitEvents(socket *os.File) error {
	raw, err := socket.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool { return isReady(int(fd)) })
	}
	if err != nil {
		return fmt.Errorf("waiting for events: %w", err)
	}
	return nil
}

// isReady reports whether reading from a socket returns something, be it an error.
func isReady(fd int) bool {
	one := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(one, 0); !errors.Is(err, unix.EINTR) {
			return n != 0
		}
	}
}

// ReadEvents passes all that the kernel has told by now to hear, and does not wait for
// more. If the error is compatible with errors.Is(err, ErrEventsLost), the socket is empty
// and still good: what is read of the links from now on, and the events after it, are
// complete again.
func ReadEvents(socket *os.File, hear func(Event)) error {
	raw, err := socket.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { failed = readEvents(int(fd), hear) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		return fmt.Errorf("reading events: %w", err)
	}
	return nil
}

func readEvents(fd int, hear func(Event)) error {
	// The kernel sends one message at a time, and no larger ones than this.
	buffer, control := make([]byte, 32<<10), make([]byte, 64)
	for {
		n, controls, _, _, err := unix.Recvmsg(fd, buffer, control, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			drain(fd, buffer)
			return fmt.Errorf("%w: %w", ErrEventsLost, err)
		case err != nil:
			return err
		}
		events, err := parseEvents(hostSys, nsidOf(control[:controls]), buffer[:n])
		for _, e := range events {
			hear(e)
		}
		if err != nil {
			return err
		}
	}
}

// drain discards what the socket still holds. After it was full once, the kernel adds
// nothing until it is empty (NETLINK_S_CONGESTED in net/netlink/af_netlink.c).
func drain(fd int, buffer []byte) {
	for {
		if _, _, _, _, err := unix.Recvmsg(fd, buffer, nil, 0); errors.Is(err, unix.EAGAIN) {
			return
		}
	}
}

// parseEvents splits what was received into its messages (netlink(7)).
func parseEvents(sys fs.FS, nsid int, received []byte) (events []Event, err error) {
	for len(received) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(received))
		if size < unix.SizeofNlMsghdr || size > len(received) {
			return events, fmt.Errorf("a message of %d bytes in %d", size, len(received))
		}
		e, known, err := parseEvent(sys, nsid, binary.NativeEndian.Uint16(received[4:]), received[unix.SizeofNlMsghdr:size])
		if err != nil {
			return events, err
		}
		if known {
			events = append(events, e)
		}
		received = received[min(len(received), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return events, nil
}

// nsidOf returns the number of the namespace that a message is from.
func nsidOf(control []byte) int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return OwnNamespace
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
			return int(int32(binary.NativeEndian.Uint32(m.Data)))
		}
	}
	return OwnNamespace
}

// netnsaFD is the attribute with a namespace's descriptor (NETNSA_FD in
// include/uapi/linux/net_namespace.h).
const netnsaFD = 3

// Number costs one request, which the kernel answers with the number, unless the namespace
// has one already.
func (n *namespace) Number(other Namespace) (int, error) {
	of, ours := other.(*namespace)
	if !ours {
		return 0, fmt.Errorf("a namespace of another kernel: %w", unix.EINVAL)
	}
	number, err := n.number(n.namespaceRequest(unix.RTM_NEWNSID, unix.NLM_F_ECHO, of, nl.NewRtAttr(netnsaNSID, uint32Attr(-1))))
	if errors.Is(err, unix.EEXIST) {
		number, err = n.number(n.namespaceRequest(unix.RTM_GETNSID, 0, of))
	}
	if err != nil {
		return 0, fmt.Errorf("giving a network namespace a number: %w", err)
	}
	return number, nil
}

func (n *namespace) Observe(number int) ([]Event, error) { return n.observe(number) }

// ObserveIn does without the kernel's own words: the library expects the echo of the request
// before them, and a list that is refused has none. It would panic.
func (n *namespace) ObserveIn(number int) ([]Event, error) {
	if err := n.route.Socket.SetExtAck(false); err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	defer n.route.Socket.SetExtAck(true)
	return n.observe(number, nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, uint32Attr(number)))
}

// observe lists links. where tells of which namespace, if it is not this one.
func (n *namespace) observe(number int, where ...nl.NetlinkRequestData) ([]Event, error) {
	messages, err := n.dump(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), unix.RTM_NEWLINK, where...)
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	events := make([]Event, len(messages))
	for i, m := range messages {
		if events[i], _, err = parseEvent(hostSys, number, unix.RTM_NEWLINK, m); err != nil {
			return nil, fmt.Errorf("listing links: %w", err)
		}
	}
	return events, nil
}

// number returns the number of a namespace, with which the kernel answers a request.
func (n *namespace) number(r *nl.NetlinkRequest) (int, error) {
	messages, err := execute(r, unix.RTM_NEWNSID)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		if e, known, err := parseForgotten(m); known && err == nil { // the same form
			return e.NSID, nil
		}
	}
	return 0, errors.New("the kernel answered without one")
}

func (n *namespace) namespaceRequest(kind, flags int, of *namespace, more ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	r := n.request(kind, flags)
	r.AddData(&nl.RtGenMsg{RtGenmsg: unix.RtGenmsg{Family: unix.AF_UNSPEC}})
	r.AddData(nl.NewRtAttr(netnsaFD, uint32Attr(int(of.file.Fd()))))
	for _, d := range more {
		r.AddData(d)
	}
	return r
}
