package bond

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// requestTimeout bounds one netlink request. A MAC change of an iavf VF holds the
// kernel's lock for up to 2.5 s, and other requests wait for it.
const requestTimeout = 30 * time.Second

// System is the running kernel.
type System struct{}

// Host opens the namespace of this process. It opens that of the current thread:
// /proc/self has the namespace of the first thread, which can be in another one at
// the moment. It needs no capability, because no thread has to enter the namespace.
func (System) Host() (Namespace, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return openPath("/proc/thread-self/ns/net", func(_ *namespace, f func() error) error { return f() })
}

// Open opens the namespace at path. If there is none, the error is compatible with
// errors.Is(err, fs.ErrNotExist): the path does not exist, or is only the empty
// file on which a namespace was mounted.
func (System) Open(path string) (Namespace, error) {
	return openPath(path, (*namespace).inside)
}

// openPath opens the namespace at path. enter calls a function that opens sockets in it.
func openPath(path string, enter func(n *namespace, f func() error) error) (Namespace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		file.Close()
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	if st.Type != unix.NSFS_MAGIC && st.Type != unix.PROC_SUPER_MAGIC {
		file.Close()
		return nil, fmt.Errorf("%s is not a network namespace: %w", path, fs.ErrNotExist)
	}
	n, err := open(file, enter)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return n, nil
}

// namespace speaks to the kernel through sockets that were opened in the network
// namespace, so no thread has to stay there.
type namespace struct {
	file   *os.File
	id     string
	route  *nl.SocketHandle
	packet int // AF_PACKET; -1 until it is needed
}

func open(file *os.File, enter func(n *namespace, f func() error) error) (*namespace, error) {
	n := &namespace{file: file, packet: -1}
	err := enter(n, func() (err error) {
		n.route, err = openRoute()
		return err
	})
	if err != nil {
		return nil, err
	}
	if n.id, err = identify(file, n.route.Socket.GetFd()); err != nil {
		n.route.Close()
		return nil, err
	}
	return n, nil
}

// identify returns the cookie of the namespace in which socket was opened. The
// kernel never reuses a cookie until the next boot. Kernels before 5.14 have no
// cookies; there identify returns the file's inode, which the kernel can reuse.
func identify(file *os.File, socket int) (string, error) {
	cookie, err := unix.GetsockoptUint64(socket, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err == nil {
		return fmt.Sprintf("cookie:%d", cookie), nil
	}
	if !errors.Is(err, unix.ENOPROTOOPT) {
		return "", fmt.Errorf("reading the namespace's cookie: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino), nil
}

func openRoute() (*nl.SocketHandle, error) {
	socket, err := nl.GetNetlinkSocketAt(-1, -1, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	timeout := unix.NsecToTimeval(int64(requestTimeout))
	for _, err := range []error{socket.SetSendTimeout(&timeout), socket.SetReceiveTimeout(&timeout), socket.SetExtAck(true)} {
		if err != nil {
			socket.Close()
			return nil, fmt.Errorf("opening a netlink socket: %w", err)
		}
	}
	return &nl.SocketHandle{Socket: socket}, nil
}

// inside runs f on a thread that is in the namespace. If the thread cannot return
// to its own namespace, it ends with its goroutine, so that no other goroutine
// runs in the wrong namespace.
func (n *namespace) inside(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- err
			return
		}
		defer back.Close()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("entering the network namespace: %w", err)
			return
		}
		err = f()
		if unix.Setns(int(back.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

func (n *namespace) ID() string { return n.id }

func (n *namespace) Close() error {
	n.route.Close()
	if n.packet >= 0 {
		unix.Close(n.packet)
	}
	return n.file.Close()
}

// request makes a netlink request for the namespace's socket.
func (n *namespace) request(kind, flags int) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(kind, flags)
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: n.route}
	return r
}

// do sends a request that changes something and waits for the acknowledgement.
func do(r *nl.NetlinkRequest) error {
	_, err := execute(r, 0)
	return err
}

// execute sends a request and returns the answers of one type. If none comes
// within requestTimeout, the error is compatible with errors.Is(err, unix.EAGAIN).
func execute(r *nl.NetlinkRequest, answer uint16) ([][]byte, error) {
	messages, err := r.Execute(unix.NETLINK_ROUTE, answer)
	if errors.Is(err, unix.EAGAIN) {
		return nil, fmt.Errorf("the kernel did not answer within %s: %w", requestTimeout, err)
	}
	return messages, err
}

// dumpTries bounds how often dump asks for a list that changes while it is read.
const dumpTries = 10

// dump asks for a list of all objects of one kind.
func (n *namespace) dump(kind int, head nl.NetlinkRequestData, answer uint16, more ...nl.NetlinkRequestData) ([][]byte, error) {
	for range dumpTries {
		r := n.request(kind, unix.NLM_F_DUMP)
		r.AddData(head)
		for _, d := range more {
			r.AddData(d)
		}
		messages, err := execute(r, answer)
		if !errors.Is(err, nl.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return messages, err
		}
	}
	return nil, fmt.Errorf("the list changed during each of %d readings", dumpTries)
}
