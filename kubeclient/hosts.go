package kubeclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
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

// reasonNumberLost is the reason of the event on a node whose number another one has.
const reasonNumberLost = "HostNumberLost"

// hosts numbers this host, for networks whose ipam divides subnets, tells the others the
// addresses of its NICs, and keep theirs. It asks the API server nothing before the first
// such network of the node.
type hosts struct {
	api       *api
	node      string
	self      func() nodeRef // the Node, as the agent's token names it now
	namespace string         // of the agent
	file      string         // agentapi.HostsFile, for keep
	nics      func() ([]bond.NIC, error)
	leases    cache.SharedIndexInformer
	seenAll   func() bool // whether the Leases that there were at first are in own and peers
	log       *slog.Logger

	every, settle, conflict time.Duration

	want    func()        // begins to watch the Leases
	wanted  chan struct{} // is closed then
	changed chan struct{} // a Lease has changed

	taking sync.Mutex // one lookup at a time takes a number
	hostTable
	claimed time.Time // when tell has last taken a lost number again
	written writtenHosts
}

func newHosts(api *api, self func() nodeRef, node, namespace, file string, nics func() ([]bond.NIC, error), log *slog.Logger) (*hosts, error) {
	h := &hosts{
		api: api, node: node, self: self, namespace: namespace, file: file, nics: nics, log: log,
		wanted: make(chan struct{}), changed: make(chan struct{}, 1), hostTable: newHostTable(node),
		every: nicsEvery, settle: hostsSettle, conflict: conflictWait,
	}
	h.want = sync.OnceFunc(func() { close(h.wanted) })
	budget := &cacheBudget{left: maxAllNICs, kept: map[types.UID]int{}}
	leases, err := watch(api.hostLeases(namespace), &coordinationv1.Lease{}, trimLease(budget), log)
	if err != nil {
		return nil, err
	}
	h.leases = leases.informer
	handler, err := h.leases.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: h.follows(h.seen), UpdateFunc: func(_, now any) { h.follows(h.seen)(now) }, DeleteFunc: h.follows(func(l *coordinationv1.Lease) {
			budget.release(l.UID)
			h.gone(l)
		}),
	})
	if err != nil {
		return nil, err
	}
	h.seenAll = handler.HasSynced
	return h, nil
}

// follows returns a handler that has a change of a Lease taken over, and wakes tell.
func (h *hosts) follows(take func(*coordinationv1.Lease)) func(any) {
	return func(object any) {
		if last, is := object.(cache.DeletedFinalStateUnknown); is {
			object = last.Obj
		}
		if lease, is := object.(*coordinationv1.Lease); is {
			take(lease)
			h.wake()
		}
	}
}

func (h *hosts) wake() {
	select {
	case h.changed <- struct{}{}:
	default: // it is awake
	}
}

// follow watches the Leases once they are wanted, or if an agent before this one has, until
// ctx ends.
func (h *hosts) follow(ctx context.Context) error {
	if before, err := agentapi.ReadHosts(h.file); err == nil && before.Self.Node == h.node {
		h.had(before.Self.Index)
		h.want()
	}
	select {
	case <-h.wanted:
	case <-ctx.Done():
		return nil
	}
	var running sync.WaitGroup
	running.Go(func() { h.leases.RunWithContext(ctx) })
	running.Go(func() { h.tell(ctx) })
	running.Wait()
	return nil
}

// index returns the number of this host, and takes one if it has none for which there is
// room. least is how many hosts there is room for. The code of an error is 11.
func (h *hosts) index(ctx context.Context, least int) (int, error) {
	index, err := h.claim(ctx, least)
	if err != nil {
		return 0, cnierror.With(cnitypes.ErrTryAgainLater, fmt.Errorf("the number of this host: %w", err))
	}
	return index, nil
}

var (
	errNoLeases = errors.New("the API server has not answered yet, or denies access to Leases (apply deploy/rbac.yaml of this release)")
	errNoUID    = errors.New("the agent's token does not name its node, as that of a pod does from Kubernetes 1.32 on")
)

func (h *hosts) claim(ctx context.Context, least int) (int, error) {
	self := h.self()
	if self.UID == "" {
		return 0, errNoUID
	}
	h.want()
	if !cache.WaitForCacheSync(ctx.Done(), h.seenAll) {
		return 0, errNoLeases
	}
	h.taking.Lock()
	defer h.taking.Unlock()
	switch index, has := h.held(self); {
	case has && index < least:
		return index, nil
	case !has:
		if name := h.earlier(self); name != "" {
			return 0, fmt.Errorf("the Lease %s/%s is of an earlier Node %s, with which Kubernetes collects it soon (if it stays, delete it)", h.namespace, name, h.node)
		}
	}
	return h.take(ctx, self, least)
}

// take takes a number that the host had before, or else a free one. Of many agents that
// begin at once each tries one of as many numbers as seem to be wanted: twice as many as were
// taken since its last try. So few of them try the same one, and the numbers stay low. A host
// whose numbers are too high for a network takes one more, if a lower one is free.
func (h *hosts) take(ctx context.Context, self nodeRef, least int) (int, error) {
	taken := map[int]bool{}
	h.addTaken(taken)
	for among := 1; ; {
		index := h.choose(taken, among, least)
		if held, has := h.held(self); has && (held < least || index >= least || h.full()) || ctx.Err() != nil {
			return held, ctx.Err() // perhaps a request that was sent twice has succeeded the first time
		}
		if err := h.create(ctx, self, index); !apierrors.IsAlreadyExists(err) {
			return index, err
		}
		before := len(taken)
		taken[index] = true
		pause(ctx, rand.N(h.conflict))
		h.addTaken(taken)
		among = 2 * (len(taken) - before)
	}
}

// create takes a number.
func (h *hosts) create(ctx context.Context, self nodeRef, index int) error {
	nics, err := h.described()
	if err != nil {
		return err
	}
	lease := leaseOf(self, h.namespace, index, nics)
	if err := h.api.createLease(ctx, lease); err != nil {
		return fmt.Errorf("making Lease %s/%s: %w", h.namespace, lease.Name, err)
	}
	h.made(lease)
	h.log.InfoContext(ctx, "this host has a number, for networks whose ipam divides subnets", "number", index)
	h.wake()
	return nil
}

// described returns the NICs of the host with global addresses, as JSON.
func (h *hosts) described() (string, error) {
	nics, err := h.nics()
	if err != nil {
		return "", fmt.Errorf("reading the addresses of the host: %w", err)
	}
	own, addresses := []agentapi.HostNIC{}, 0
	for _, n := range nics {
		global := slices.DeleteFunc(slices.Concat(n.IPs, n.Learnt), func(ip netip.Prefix) bool { return !ip.Addr().IsGlobalUnicast() })
		slices.SortFunc(global, netip.Prefix.Compare)
		if len(global) > 0 {
			own = append(own, agentapi.HostNIC{Name: n.Link.Name, Addresses: global})
			addresses += len(global)
		}
	}
	slices.SortFunc(own, func(a, b agentapi.HostNIC) int { return strings.Compare(a.Name, b.Name) })
	text := strictjson.Encode(own)
	for all := len(own); len(text) > maxNICs || addresses > maxAddresses; text = strictjson.Encode(own) {
		last := own[len(own)-1]
		h.log.Warn("other hosts do not know the addresses of a NIC: there are too many", "nic", last.Name, "nics", all)
		own, addresses = own[:len(own)-1], addresses-len(last.Addresses)
	}
	return string(text), nil
}

// tell keeps the host's numbers, the annotation of its Leases and the file for keep as they
// should be, until ctx ends.
func (h *hosts) tell(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), h.seenAll) {
		return
	}
	var looked time.Time
	for news := true; ctx.Err() == nil; {
		if time.Since(looked) >= h.every {
			looked = time.Now()
			if err := h.tellNICs(ctx); err != nil {
				h.log.WarnContext(ctx, "other hosts do not know the addresses of this one yet", "error", err)
			}
		}
		h.claimAgain(ctx)
		if news || h.written.replaced(h.file) {
			err := h.writeFile()
			if news = err != nil; news {
				h.log.WarnContext(ctx, "keep does not know the other hosts yet", "error", err)
			}
		}
		select {
		case <-h.changed:
			news = true
			h.claimAgain(ctx)
			pause(ctx, h.settle)
		case <-time.After(time.Until(looked.Add(h.every))):
		case <-ctx.Done():
		}
	}
}

// tellNICs makes the annotations of the host's Leases what the host has. One that the watch
// has not shown yet is written to in any case, which tells whether it is there.
func (h *hosts) tellNICs(ctx context.Context) error {
	nics, err := h.described()
	if err != nil {
		return err
	}
	var errs []error
	for _, lease := range h.toTell(h.self(), nics) {
		err := h.api.annotateLease(ctx, lease, nics)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
			h.notThere(lease)
		} else if err != nil {
			errs = append(errs, fmt.Errorf("the Lease %s/%s: %w", h.namespace, lease.Name, err))
		}
	}
	return errors.Join(errs...)
}

// claimAgain takes the numbers again that this host has lost: at once, but at most once in
// every, because a Lease whose owner is gone is collected again.
func (h *hosts) claimAgain(ctx context.Context) {
	if !h.hasLost() || time.Since(h.claimed) < h.every {
		return
	}
	h.claimed = time.Now()
	h.taking.Lock()
	defer h.taking.Unlock()
	for _, index := range h.lostNumbers() {
		if err := h.claimLost(ctx, index); err != nil {
			h.log.WarnContext(ctx, "this host has lost a number, and does not have it again yet", "number", index, "error", err)
		}
	}
}

// claimLost takes a number again. If another host has it by now, an event on the node tells
// that. This host then takes another one, because keep learns only from a host with a number
// who has the old one.
func (h *hosts) claimLost(ctx context.Context, index int) error {
	self := h.self()
	if self.UID == "" {
		return errNoUID
	}
	holder, taken := h.holder(index)
	if !taken {
		return h.create(ctx, self, index)
	}
	if _, has := h.held(self); !has && h.earlier(self) == "" {
		if _, err := h.take(ctx, self, 1); err != nil {
			return err
		}
	}
	if err := h.tellLost(ctx, index, holder); err != nil {
		return err
	}
	h.forget(index)
	return nil
}

// tellLost publishes that another host has a number that this one had.
func (h *hosts) tellLost(ctx context.Context, index int, holder string) error {
	text := fmt.Sprintf("node %s has number %d, which this host had until its Lease %s/%s was deleted; delete the pods of this node that have addresses by that number", holder, index, h.namespace, leaseName(index))
	h.log.ErrorContext(ctx, text)
	return h.api.createEvent(ctx, nodeEvent(h.node, outcome{Type: corev1.EventTypeWarning, Reason: reasonNumberLost, Message: text, Time: time.Now()}))
}
