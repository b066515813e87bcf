package kubeclient

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
)

// fakeNode makes and deletes pods with bonds, and tells of them as the kernel does: in
// order, to each open socket, with numbers of namespaces that are used again at once. The
// watcher hears of it whenever it reads, or at the latest when it is woken.
type fakeNode struct {
	t       *testing.T
	w       *watcher
	metrics *prometheus.Registry
	opened  time.Time // of the last Watch
	pods    map[int]agentapi.Bond

	mu     sync.Mutex
	queues map[*os.File][]bond.Event
}

func newFakeNode(t *testing.T) *fakeNode {
	n := &fakeNode{t: t, metrics: prometheus.NewRegistry(), opened: time.Now(), pods: map[int]agentapi.Bond{}, queues: map[*os.File][]bond.Event{}}
	n.w = newWatcher((&told{}).tell, slog.New(slog.DiscardHandler))
	n.w.await = func(*os.File) error { return os.ErrClosed } // it is never woken
	n.w.read = n.read
	n.metrics.MustRegister(n.w)
	return n
}

func (n *fakeNode) read(socket *os.File, hear func(bond.Event)) error {
	n.mu.Lock()
	events := n.queues[socket]
	n.queues[socket] = nil
	n.mu.Unlock()
	for _, e := range events {
		hear(e)
	}
	return nil
}

// say tells something on each socket.
func (n *fakeNode) say(events ...bond.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for socket := range n.queues {
		n.queues[socket] = append(n.queues[socket], events...)
	}
}

// eventsOf returns what the kernel says of a bond whose links all work.
func eventsOf(b agentapi.Bond) (out []bond.Event) {
	for _, e := range []bond.Event{masterEvent(firstLink, true, false), memberEvent(firstLink, bond.Member{Active: true}), memberEvent(secondLink, bond.Member{})} {
		e.NSID = b.NSID
		out = append(out, e)
	}
	return out
}

// attach makes a pod's namespace and bond. The plugin has not told of it yet.
func (n *fakeNode) attach(name string) agentapi.Bond {
	b := aBond()
	b.Pod.Name, b.Pod.UID, b.NSID = name, "uid-"+name, 0
	for _, taken := n.pods[b.NSID]; taken; _, taken = n.pods[b.NSID] {
		b.NSID++
	}
	n.pods[b.NSID] = b
	n.say(eventsOf(b)...)
	return b
}

// end ends a pod's namespace.
func (n *fakeNode) end(nsid int) {
	delete(n.pods, nsid)
	n.say(bond.Event{NSID: nsid, Kind: bond.Forgotten})
}

// fail has the active link of a bond fail, and the other take over.
func (n *fakeNode) fail(b agentapi.Bond) {
	for _, e := range []bond.Event{memberEvent(firstLink, bond.Member{MII: bond.MIIDown, Failures: 1}), memberEvent(secondLink, bond.Member{Active: true}), masterEvent(secondLink, true, true)} {
		e.NSID = b.NSID
		n.say(e)
	}
}

// open opens a socket.
func (n *fakeNode) open() *os.File {
	socket, err := os.Open(os.DevNull)
	require.NoError(n.t, err)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queues[socket] = nil
	return socket
}

// snapshot is the Watch that a plugin sends which has opened a socket.
func (n *fakeNode) snapshot(socket *os.File) agentapi.Watch {
	n.opened = n.opened.Add(time.Millisecond)
	w := agentapi.Watch{Events: socket, At: n.opened}
	for _, b := range n.pods {
		w.Bonds = append(w.Bonds, b)
		w.Now = append(w.Now, eventsOf(b)...)
	}
	return w
}

// shown returns the pods in the metrics, with the number of their working links.
func (n *fakeNode) shown() (out []string) {
	families, err := n.metrics.Gather()
	require.NoError(n.t, err)
	for _, f := range families {
		if f.GetName() == "multibond_bond_links_up" {
			for _, m := range f.Metric {
				out = append(out, fmt.Sprint(m.Label[2].GetValue(), " ", m.Gauge.GetValue()))
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestThousandPods: pods are made and deleted while the watcher lags behind. No pod's
// metrics are those of another one, or missing, although each number of a namespace is
// used again at once.
func TestThousandPods(t *testing.T) {
	n, random := newFakeNode(t), rand.New(rand.NewPCG(1, 2))
	require.NoError(t, n.w.take(n.snapshot(n.open())))
	var want []string
	for i := range 1000 {
		for len(n.pods) > random.IntN(110) {
			for nsid := range n.pods {
				n.end(nsid)
				break
			}
		}
		n.w.add([]agentapi.Bond{n.attach(fmt.Sprint("p", i))})
		if i%10 > 0 {
			continue
		}
		want = nil
		for _, b := range n.pods {
			want = append(want, b.Pod.Name+" 2")
		}
		slices.Sort(want)
		require.Equal(t, want, n.shown(), "after %d pods", i+1)
	}
	require.False(t, n.w.blind())
}

// TestWatchAmongEvents: what happens between the opening of a socket and its arrival is
// neither lost nor counted twice.
func TestWatchAmongEvents(t *testing.T) {
	n := newFakeNode(t)
	require.NoError(t, n.w.take(n.snapshot(n.open())))
	stays, ends := n.attach("stays"), n.attach("ends")
	n.w.add([]agentapi.Bond{stays, ends})

	second := n.open()
	n.end(ends.NSID)
	early := n.attach("early") // it has the number of the one before, and is in the snapshot
	late := n.attach("late")
	given := n.snapshot(second)
	n.fail(stays)
	n.end(late.NSID) // it is in the snapshot, and gone
	require.NoError(t, n.w.take(given))
	assert.Equal(t, []string{"early 2", "stays 1"}, n.shown())
	assert.Equal(t, 1, n.w.table.bonds[linkKey{stays.NSID, stays.Index}].failovers)
	assert.True(t, n.w.table.bonds[linkKey{early.NSID, early.Index}].is(early))
}

// TestOlderThanTheSocket: an ADD whose bond was made before the socket was opened, and
// ended after the state of all bonds was read, has the plugin send a Watch once more.
func TestOlderThanTheSocket(t *testing.T) {
	n := newFakeNode(t)
	given := n.snapshot(n.open())
	b := aBond() // nothing more is heard of it
	require.NoError(t, n.w.take(given))
	require.False(t, n.w.blind())
	n.w.add([]agentapi.Bond{b})
	assert.Empty(t, n.shown(), "a bond without links would be one that is down")
	assert.True(t, n.w.blind())
}

// TestManyBondsFail: the PF of 110 bonds fails. Each is counted once, and the pods are told.
func TestManyBondsFail(t *testing.T) {
	n := newFakeNode(t)
	require.NoError(t, n.w.take(n.snapshot(n.open())))
	var o told
	n.w.tell = o.tell
	for i := range 110 {
		n.w.add([]agentapi.Bond{n.attach(fmt.Sprint("p", i))})
	}
	n.w.mu.Lock()
	for _, b := range n.w.table.bonds {
		b.last.next = time.Time{}
	}
	n.w.mu.Unlock()
	for _, b := range n.pods {
		n.fail(b)
	}
	shown := n.shown()
	assert.Len(t, shown, 110)
	for _, one := range shown {
		assert.True(t, strings.HasSuffix(one, " 1"), one)
	}
	// What one failure does is told together.
	eventually(t, func(c *assert.CollectT) { assert.Len(c, o.all(), 220) })
	assert.Contains(t, o.all(), "demo/p0 BondFailedOver")
	assert.Contains(t, o.all(), "demo/p0 BondDegraded")
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	assert.Zero(t, n.w.resyncs)
	for _, b := range n.w.table.bonds {
		assert.Equal(t, firstPause, b.last.pause, "%s was told twice", b.Pod)
	}
}
