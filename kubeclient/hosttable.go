package kubeclient

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/multibond/multibond/delegate/agentapi"
)

// hostTable has the Leases of hosts, as the watch tells them and this agent makes them. A Lease
// that it has made is its own at once, and then what the watch says of it.
type hostTable struct {
	node string

	lock   sync.Mutex
	own    map[string]*coordinationv1.Lease // those of this node's name, by name
	unseen map[string]bool                  // of own: the watch has not shown them yet
	peers  map[string]peer                  // those of the other nodes, by name
	lost   map[int]bool                     // numbers that this host has had
}

// peer is another host, by one of its Leases.
type peer struct {
	agentapi.PeerHost
	err error // why its NICs are not known
}

func newHostTable(node string) hostTable {
	return hostTable{node: node, own: map[string]*coordinationv1.Lease{}, unseen: map[string]bool{}, peers: map[string]peer{}, lost: map[int]bool{}}
}

// had notes a number that this host had before the agent has started.
func (t *hostTable) had(index int) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.lost[index] = true
}

// seen takes over a Lease that is new or has changed.
func (t *hostTable) seen(lease *coordinationv1.Lease) {
	index, is := indexOf(lease.Name)
	t.lock.Lock()
	defer t.lock.Unlock()
	if !is || t.late(lease) {
		return
	}
	delete(t.unseen, lease.Name)
	if holder := holderOf(lease); holder != t.node {
		t.lose(lease.Name)
		nics, err := nicsOf(lease)
		t.peers[lease.Name] = peer{agentapi.PeerHost{Index: index, Node: holder, NICs: nics}, err}
		return
	}
	delete(t.peers, lease.Name)
	delete(t.lost, index)
	t.own[lease.Name] = lease
}

// gone takes over that a Lease was deleted.
func (t *hostTable) gone(lease *coordinationv1.Lease) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if !t.late(lease) {
		delete(t.peers, lease.Name)
		t.lose(lease.Name)
	}
}

// late reports whether the watch tells of a Lease what was before this agent has made it.
func (t *hostTable) late(lease *coordinationv1.Lease) bool {
	if !t.unseen[lease.Name] {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(lease.ResourceVersion, t.own[lease.Name].ResourceVersion)
	return err == nil && order < 0
}

// made takes over a Lease that the agent has made.
func (t *hostTable) made(lease *coordinationv1.Lease) {
	index, _ := indexOf(lease.Name)
	t.lock.Lock()
	defer t.lock.Unlock()
	delete(t.lost, index)
	delete(t.peers, lease.Name)
	if seen := t.own[lease.Name]; seen == nil || seen.UID != lease.UID {
		t.own[lease.Name], t.unseen[lease.Name] = lease, true
	}
}

// notThere takes over that the API server does not have a Lease of this host.
func (t *hostTable) notThere(lease *coordinationv1.Lease) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if now := t.own[lease.Name]; now != nil && now.UID == lease.UID {
		t.lose(lease.Name)
	}
}

// lose notes that a Lease is not of this host, if it was.
func (t *hostTable) lose(name string) {
	if _, had := t.own[name]; had {
		index, _ := indexOf(name)
		t.lost[index] = true
		delete(t.own, name)
		delete(t.unseen, name)
	}
}

// full reports whether this host has as many numbers as others take from it.
func (t *hostTable) full() bool {
	t.lock.Lock()
	defer t.lock.Unlock()
	return len(t.own) >= maxNumbers
}

// held returns the number that this host has: the lowest, if it has several.
func (t *hostTable) held(self nodeRef) (index int, has bool) {
	t.lock.Lock()
	defer t.lock.Unlock()
	for name, lease := range t.own {
		if one, _ := indexOf(name); self.owns(lease) && (!has || one < index) {
			index, has = one, true
		}
	}
	return index, has
}

// earlier returns the name of a Lease of an earlier Node of this one's name, or "".
func (t *hostTable) earlier(self nodeRef) string {
	t.lock.Lock()
	defer t.lock.Unlock()
	for _, name := range slices.Sorted(maps.Keys(t.own)) {
		if !self.owns(t.own[name]) {
			return name
		}
	}
	return ""
}

// toTell lists the Leases of this host whose annotation is not nics, or that the watch has
// not shown yet.
func (t *hostTable) toTell(self nodeRef, nics string) (all []*coordinationv1.Lease) {
	t.lock.Lock()
	defer t.lock.Unlock()
	for name, lease := range t.own {
		if self.owns(lease) && (t.unseen[name] || lease.Annotations[nicsAnnotation] != nics) {
			all = append(all, lease)
		}
	}
	return all
}

// lostNumbers lists the numbers that this host has had.
func (t *hostTable) lostNumbers() []int {
	t.lock.Lock()
	defer t.lock.Unlock()
	return slices.Sorted(maps.Keys(t.lost))
}

func (t *hostTable) hasLost() bool { return len(t.lostNumbers()) > 0 }

// forget forgets a number that this host has had.
func (t *hostTable) forget(index int) {
	t.lock.Lock()
	defer t.lock.Unlock()
	delete(t.lost, index)
}

// holder returns which other node has a number.
func (t *hostTable) holder(index int) (node string, taken bool) {
	t.lock.Lock()
	defer t.lock.Unlock()
	p, taken := t.peers[leaseName(index)]
	return p.Node, taken
}

// addTaken adds the numbers that hosts have.
func (t *hostTable) addTaken(taken map[int]bool) {
	t.lock.Lock()
	defer t.lock.Unlock()
	for _, p := range t.peers {
		taken[p.Index] = true
	}
	for name := range t.own {
		index, _ := indexOf(name)
		taken[index] = true
	}
}

// choose returns the number to try: one that this host has had, or one of the lowest that
// are free. It is below least, unless all of these are taken.
func (t *hostTable) choose(taken map[int]bool, among, least int) int {
	had := slices.DeleteFunc(t.lostNumbers(), func(index int) bool { return taken[index] })
	if len(had) > 0 && had[0] < least {
		return had[0]
	}
	var free []int
	for index := 0; len(free) < among && index < least; index++ {
		if !taken[index] {
			free = append(free, index)
		}
	}
	switch {
	case len(free) > 0:
		return free[rand.N(len(free))]
	case len(had) > 0:
		return had[0]
	}
	for least = max(least, 0); taken[least]; least++ {
	}
	return least
}

// maxNumbers is how many numbers one host can have. It has several if it has taken lower ones
// for networks with less room.
const maxNumbers = 8

// others lists the other hosts that are named, by their numbers, without those that have more
// than maxNumbers, which are greedy.
func (t *hostTable) others() (all []peer, greedy []string) {
	t.lock.Lock()
	defer t.lock.Unlock()
	numbers := map[string]int{}
	for _, p := range t.peers {
		numbers[p.Node]++
	}
	for _, p := range t.peers {
		if p.Node != "" && numbers[p.Node] <= maxNumbers {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b peer) int { return a.Index - b.Index })
	for node, count := range numbers {
		if node != "" && count > maxNumbers {
			greedy = append(greedy, node)
		}
	}
	slices.Sort(greedy)
	return all, greedy
}
