package kubeclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

// The times of hosts. Leases that change at the same time cost one file.
const (
	nicsEvery    = 10 * time.Second // how often the addresses of the host are read, and told if they have changed
	hostsSettle  = time.Second
	conflictWait = 200 * time.Millisecond // at most, before another number is tried
)

// hosts numbers this host, for networks whose ipam divides subnets, tells the others the
// addresses of its NICs, and keep theirs. It asks the API server nothing before the first
// such network of the node.
type hosts struct {
	api       *api
	node      nodeRef
	namespace string // of the agent
	file      string // agentapi.HostsFile, for keep
	nics      func() ([]bond.NIC, error)
	leases    watched[*coordinationv1.Lease]
	log       *slog.Logger

	every, settle, conflict time.Duration

	want    func()        // begins to watch the Leases
	wanted  chan struct{} // is closed then
	changed chan struct{} // a Lease has changed

	taking   sync.Mutex // one lookup at a time takes a number
	lock     sync.Mutex
	made     *coordinationv1.Lease // the last one that this agent has made; the cache may not have it yet
	previous int                   // the number that this host has had; -1: none
}

func newHosts(api *api, node nodeRef, namespace, file string, nics func() ([]bond.NIC, error), log *slog.Logger) (*hosts, error) {
	h := &hosts{
		api: api, node: node, namespace: namespace, file: file, nics: nics, log: log,
		wanted: make(chan struct{}), changed: make(chan struct{}, 1), previous: -1,
		every: nicsEvery, settle: hostsSettle, conflict: conflictWait,
	}
	h.want = sync.OnceFunc(func() { close(h.wanted) })
	var err error
	if h.leases, err = watch(api.hostLeases(namespace), &coordinationv1.Lease{}, trimLease, log); err != nil {
		return nil, err
	}
	_, err = h.leases.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { h.wake() }, UpdateFunc: func(any, any) { h.wake() }, DeleteFunc: h.deleted,
	})
	return h, err
}

func (h *hosts) wake() {
	select {
	case h.changed <- struct{}{}:
	default: // it is awake
	}
}

// deleted forgets a Lease of this host that somebody has deleted.
func (h *hosts) deleted(object any) {
	if last, is := object.(cache.DeletedFinalStateUnknown); is {
		object = last.Obj
	}
	if lease, is := object.(*coordinationv1.Lease); is {
		h.lock.Lock()
		if h.made != nil && h.made.Name == lease.Name {
			h.made = nil
		}
		h.lock.Unlock()
	}
	h.wake()
}

// follow watches the Leases once they are wanted, or if an agent before this one has, until
// ctx ends.
func (h *hosts) follow(ctx context.Context) error {
	if before, err := agentapi.ReadHosts(h.file); err == nil && before.Self.Node == h.node.Name {
		h.lock.Lock()
		h.previous = before.Self.Index
		h.lock.Unlock()
		h.want()
	}
	select {
	case <-h.wanted:
	case <-ctx.Done():
		return nil
	}
	var running sync.WaitGroup
	running.Go(func() { h.leases.informer.RunWithContext(ctx) })
	running.Go(func() { h.tell(ctx) })
	running.Wait()
	return nil
}

// index returns the number of this host, and takes one if it has none. least is how many
// hosts there is room for. The code of an error is 11.
func (h *hosts) index(ctx context.Context, least int) (int, error) {
	index, err := h.own(ctx, least)
	if err != nil {
		return 0, cnierror.With(cnitypes.ErrTryAgainLater, fmt.Errorf("the number of this host: %w", err))
	}
	return index, nil
}

var errNoLeases = errors.New("the API server has not answered yet, or denies access to Leases (apply deploy/rbac.yaml of this release)")

func (h *hosts) own(ctx context.Context, least int) (int, error) {
	if h.node.UID == "" {
		return 0, errors.New("the agent's token does not name its node, as that of a pod does from Kubernetes 1.32 on")
	}
	h.want()
	if !cache.WaitForCacheSync(ctx.Done(), h.leases.informer.HasSynced) {
		return 0, errNoLeases
	}
	h.taking.Lock()
	defer h.taking.Unlock()
	if index, has := h.held(); has {
		return index, nil
	}
	return h.take(ctx, least)
}

// held returns the number that this host has. If two agents of the host have taken one each,
// it is the lower one.
func (h *hosts) held() (index int, has bool) {
	for _, lease := range h.mine() {
		if one, _ := indexOf(lease); !has || one < index {
			index, has = one, true
		}
	}
	return index, has
}

// mine lists the Leases of this host.
func (h *hosts) mine() (all []*coordinationv1.Lease) {
	for _, lease := range h.all() {
		if _, is := indexOf(lease); is && h.node.isOf(lease) {
			all = append(all, lease)
		}
	}
	h.lock.Lock()
	defer h.lock.Unlock()
	if made := h.made; made != nil && !slices.ContainsFunc(all, func(l *coordinationv1.Lease) bool { return l.Name == made.Name }) {
		all = append(all, made)
	}
	return all
}

func (h *hosts) all() (all []*coordinationv1.Lease) {
	for _, object := range h.leases.informer.GetStore().List() {
		if lease, is := object.(*coordinationv1.Lease); is {
			all = append(all, lease)
		}
	}
	return all
}

// take takes the number that the host had before, or else a free one. Of many agents that
// begin at once each tries one of as many numbers as seem to be wanted: twice as many as were
// taken since its last try. So few of them try the same one, and the numbers stay low.
func (h *hosts) take(ctx context.Context, least int) (int, error) {
	nics, err := h.described()
	if err != nil {
		return 0, err
	}
	taken := map[int]bool{}
	h.addTaken(taken)
	for among := 1; ; {
		index := h.choose(taken, among, least)
		lease := leaseOf(h.node, h.namespace, index, nics)
		switch err := h.api.createLease(ctx, lease); {
		case err == nil:
			h.lock.Lock()
			h.made, h.previous = lease, index
			h.lock.Unlock()
			h.log.InfoContext(ctx, "this host has a number, for networks whose ipam divides subnets", "number", index)
			h.wake()
			return index, nil
		case !apierrors.IsAlreadyExists(err):
			return 0, fmt.Errorf("making Lease %s/%s: %w", h.namespace, lease.Name, err)
		}
		before := len(taken)
		taken[index] = true
		pause(ctx, rand.N(h.conflict))
		if index, has := h.held(); has || ctx.Err() != nil {
			return index, ctx.Err() // a request that was sent twice has succeeded the first time
		}
		h.addTaken(taken)
		among = 2 * (len(taken) - before)
	}
}

// addTaken adds the numbers that hosts have.
func (h *hosts) addTaken(taken map[int]bool) {
	for _, lease := range h.all() {
		if index, is := indexOf(lease); is {
			taken[index] = true
		}
	}
}

// choose returns the number to try: the one before, or one of the lowest that are free. It
// is below least, unless all of these are taken.
func (h *hosts) choose(taken map[int]bool, among, least int) int {
	h.lock.Lock()
	previous := h.previous
	h.lock.Unlock()
	if previous >= 0 && !taken[previous] {
		return previous
	}
	var free []int
	for index := 0; len(free) < among && (index < least || len(free) == 0); index++ {
		if !taken[index] {
			free = append(free, index)
		}
	}
	return free[rand.N(len(free))]
}

// described returns the NICs of the host with global addresses, as JSON.
func (h *hosts) described() (string, error) {
	nics, err := h.nics()
	if err != nil {
		return "", fmt.Errorf("reading the addresses of the host: %w", err)
	}
	own := []agentapi.HostNIC{}
	for _, n := range nics {
		global := slices.DeleteFunc(slices.Clone(n.IPs), func(ip netip.Prefix) bool { return !ip.Addr().IsGlobalUnicast() })
		slices.SortFunc(global, netip.Prefix.Compare)
		if len(global) > 0 {
			own = append(own, agentapi.HostNIC{Name: n.Link.Name, Addresses: global})
		}
	}
	slices.SortFunc(own, func(a, b agentapi.HostNIC) int { return strings.Compare(a.Name, b.Name) })
	return string(strictjson.Encode(own)), nil
}

// tell keeps the annotation of the host's Lease and the file for keep as things are, until
// ctx ends.
func (h *hosts) tell(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), h.leases.informer.HasSynced) {
		return
	}
	next := time.Now()
	for ctx.Err() == nil {
		if !time.Now().Before(next) {
			if err := h.tellNICs(ctx); err != nil {
				h.log.WarnContext(ctx, "other hosts do not know the addresses of this one yet", "error", err)
			}
			next = time.Now().Add(h.every)
		}
		if err := h.writeFile(); err != nil {
			h.log.WarnContext(ctx, "keep does not know the other hosts yet", "error", err)
		}
		select {
		case <-h.changed:
			pause(ctx, h.settle)
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
		}
	}
}

// tellNICs makes the annotations of the host's Leases what the host has. A host whose Lease
// was deleted takes its number again.
func (h *hosts) tellNICs(ctx context.Context) error {
	mine := h.mine()
	h.lock.Lock()
	lost := len(mine) == 0 && h.previous >= 0
	h.lock.Unlock()
	if lost {
		_, err := h.own(ctx, 1)
		return err
	}
	nics, err := h.described()
	for _, lease := range mine {
		if err == nil && lease.Annotations[nicsAnnotation] != nics {
			err = h.api.annotateLease(ctx, lease, nics)
		}
	}
	return err
}

// writeFile writes the hosts for keep, if they have changed and this one has a number.
func (h *hosts) writeFile() error {
	index, has := h.held()
	if !has {
		return nil
	}
	now := agentapi.Hosts{Self: agentapi.Self{Index: index, Node: h.node.Name}, Hosts: []agentapi.PeerHost{}}
	for _, lease := range h.all() {
		peer, is := indexOf(lease)
		if !is || holderOf(lease) == h.node.Name || holderOf(lease) == "" {
			continue
		}
		nics, err := nicsOf(lease)
		if err != nil {
			h.log.Warn("a host does not tell its addresses", "lease", lease.Name, "node", holderOf(lease), "error", err)
		}
		now.Hosts = append(now.Hosts, agentapi.PeerHost{Index: peer, Node: holderOf(lease), NICs: nics})
	}
	slices.SortFunc(now.Hosts, func(a, b agentapi.PeerHost) int { return a.Index - b.Index })
	if before, err := agentapi.ReadHosts(h.file); err == nil && reflect.DeepEqual(before, now) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.file), 0o700); err != nil {
		return err
	}
	return now.Write(h.file)
}
