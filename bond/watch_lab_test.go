//go:build lab

package bond

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ear is a socket of events, and what was read of it and not looked at yet.
type ear struct {
	*os.File
	heard []Event
}

// listen opens a socket of events for one test.
func listen(t *testing.T) *ear {
	t.Helper()
	socket, err := System{}.OpenEvents()
	require.NoError(t, err)
	t.Cleanup(func() { socket.Close() })
	require.NoError(t, socket.SetReadDeadline(time.Now().Add(time.Minute)))
	return &ear{File: socket}
}

// hear reads events until one is as is wants.
func hear(t *testing.T, socket *ear, what string, is func(Event) bool) Event {
	t.Helper()
	for {
		for len(socket.heard) > 0 {
			e := socket.heard[0]
			socket.heard = socket.heard[1:]
			if is(e) {
				return e
			}
		}
		require.NoError(t, AwaitEvents(socket.File), what)
		require.NoError(t, ReadEvents(socket.File, func(e Event) { socket.heard = append(socket.heard, e) }), what)
	}
}

// pair makes a bond over two veths in a namespace. Its links are v1 and v2, and setting
// p1 or p2 down takes the carrier from one of them.
func pair(t *testing.T, n *namespace, name string) Link {
	t.Helper()
	b := create(t, n, "bond0", Options{Mode: "active-backup", "miimon": "10"})
	for _, i := range []string{"1", "2"} {
		ip(t, "-n "+name+" link add v"+i+" type veth peer name p"+i)
		ip(t, "-n "+name+" link set p"+i+" up")
		ip(t, "-n "+name+" link set v"+i+" master bond0")
	}
	ip(t, "-n "+name+" link set bond0 up")
	return b
}

// TestLabWatch: one socket hears of every bond of a machine: its links, a failover, its end.
func TestLabWatch(t *testing.T) {
	n := space(t, "watched")
	socket := listen(t)
	id, err := host(t).Number(n)
	require.NoError(t, err)
	again, err := host(t).Number(n)
	require.NoError(t, err)
	assert.Equal(t, id, again)
	require.GreaterOrEqual(t, id, 0)

	b := pair(t, n, "watched")
	v1, v2 := find(t, n, "v1"), find(t, n, "v2")
	of := func(l Link) func(Event) bool {
		return func(e Event) bool { return e.NSID == id && e.Kind == Changed && e.Link.Index == l.Index }
	}
	member := func(l Link, want Member) func(Event) bool {
		return func(e Event) bool {
			return of(l)(e) && e.Member != nil && *e.Member == want && e.Link.Master == b.Index
		}
	}
	hear(t, socket, "v1 is active", member(v1, Member{Active: true}))
	hear(t, socket, "v2 is ready", member(v2, Member{}))

	began := time.Now()
	ip(t, "-n watched link set p1 down")
	hear(t, socket, "v1 has failed", func(e Event) bool {
		return of(v1)(e) && e.Member != nil && e.Member.MII == MIIDown && e.Member.Failures == 1
	})
	over := hear(t, socket, "v2 takes over", func(e Event) bool { return of(b)(e) && e.FailedOver })
	t.Logf("the failover was heard %s after the command that caused it began (miimon 10)", time.Since(began))
	assert.Equal(t, v2.Index, over.ActiveLink)
	assert.True(t, over.Link.Carrier)
	assert.Equal(t, "active-backup", over.Link.Options[Mode])

	ip(t, "-n watched link set p2 down")
	down := hear(t, socket, "the bond is down", func(e Event) bool { return of(b)(e) && !e.Link.Carrier })
	assert.False(t, down.FailedOver)
	assert.Zero(t, down.ActiveLink)
	ip(t, "-n watched link set p2 up")
	hear(t, socket, "the bond is back", func(e Event) bool { return of(b)(e) && e.Link.Carrier })

	seen, err := n.Observe(id)
	require.NoError(t, err)
	at := slices.IndexFunc(seen, func(e Event) bool { return e.Link.Index == v2.Index })
	require.GreaterOrEqual(t, at, 0)
	assert.Equal(t, id, seen[at].NSID)
	assert.Equal(t, &Member{Active: true, Failures: 1}, seen[at].Member)

	require.NoError(t, n.Delete(b.Index))
	hear(t, socket, "the bond is gone", func(e Event) bool { return e.NSID == id && e.Kind == Vanished && e.Link.Index == b.Index })
	left := find(t, n, "v2")
	assert.Zero(t, left.Master)
}

// TestLabForgotten: the end of a namespace is heard, and then the next one.
func TestLabForgotten(t *testing.T) {
	socket, home := listen(t), host(t)
	ip(t, "netns add first")
	first, err := System{}.Open("/run/netns/first")
	require.NoError(t, err)
	id, err := home.Number(first)
	require.NoError(t, err)
	require.NoError(t, first.Close())
	ip(t, "netns del first")
	hear(t, socket, "the end of the first", func(e Event) bool { return e.Kind == Forgotten && e.NSID == id })
	second := space(t, "second")
	next, err := home.Number(second)
	require.NoError(t, err)
	require.GreaterOrEqual(t, next, 0)
	ip(t, "-n second link add d0 type dummy")
	hear(t, socket, "a link of the second", func(e Event) bool { return e.NSID == next && e.Link.Name == "d0" })
}

// TestLabEventsLost: a socket that nobody reads says that events were lost, and goes on.
func TestLabEventsLost(t *testing.T) {
	socket := listen(t)
	raw, err := socket.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16384) }))
	n := space(t, "noisy")
	_, err = host(t).Number(n)
	require.NoError(t, err)
	for i := range 40 {
		ip(t, "-n noisy link add d"+strconv.Itoa(i)+" type dummy")
	}
	lost := false
	for !lost {
		require.NoError(t, AwaitEvents(socket.File))
		err := ReadEvents(socket.File, func(Event) {})
		if lost = err != nil; lost {
			require.ErrorIs(t, err, ErrEventsLost)
		}
	}
	ip(t, "-n noisy link add last type dummy")
	hear(t, socket, "what comes after", func(e Event) bool { return e.Link.Name == "last" })
}

// TestLabWithoutCapabilities: who got the socket needs no capability to listen. The test
// executes itself as another user, with the socket as file 3.
func TestLabWithoutCapabilities(t *testing.T) {
	const child = "MULTIBOND_LISTENER"
	if os.Getenv(child) != "" {
		hearWithoutCapabilities(t)
		return
	}
	n, socket := space(t, "quiet"), listen(t)
	_, err := host(t).Number(n)
	require.NoError(t, err)
	listener := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	listener.Env = append(os.Environ(), child+"=1")
	listener.ExtraFiles = []*os.File{socket.File}
	listener.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var out strings.Builder
	listener.Stdout, listener.Stderr = &out, &out
	require.NoError(t, listener.Start())
	ip(t, "-n quiet link add heard type dummy")
	require.NoError(t, listener.Wait(), out.String())
	assert.Contains(t, out.String(), "PASS")
}

func hearWithoutCapabilities(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	require.Contains(t, string(status), "CapEff:\t0000000000000000")
	_, err = System{}.OpenEvents()
	require.ErrorIs(t, err, os.ErrPermission)
	e := hear(t, &ear{File: os.NewFile(3, "events")}, "a link of the pod", func(e Event) bool { return e.Link.Name == "heard" })
	assert.GreaterOrEqual(t, e.NSID, 0)
}
