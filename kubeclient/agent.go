package kubeclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// Options configures an Agent.
type Options struct {
	Node       string // name of the node in the API; required
	Kubeconfig string // empty: the credentials that every pod gets
	Socket     string // unix socket on which the plugin asks
	StateDir   string // directory of the queue of what is not published yet
	Listen     string // address of metrics and health; empty for none
	Peer       int    // user ID that may ask: 0
	Kubelet    Kubelet
	Machine    Machine
	ConfDir    string // path of Machine.ConfDir, to watch it; empty: not watched
	Version    string // of the agent, for people
	Log        *slog.Logger

	// Records returns the Records of the node, for people; nil: not seen.
	Records func() ([]Recorded, error)

	// Misconfigured is why the cluster's configuration was not installed, which an event
	// on the node tells.
	Misconfigured error

	// HostsFile is where the agent writes the other hosts for keep.
	HostsFile string
}

// The timeouts of an agent. All requests of one lookup fit into workTimeout.
// The plugin waits longer, because its runtime gives it minutes.
const (
	apiTimeout   = 3 * time.Second
	edgeTimeout  = 5 * time.Second
	workTimeout  = 20 * time.Second
	gracePeriod  = 10 * time.Second
	firstRetry   = 500 * time.Millisecond
	lastRetry    = 15 * time.Second // while the API server cannot be reached
	longestRetry = 5 * time.Minute  // of one outcome that it refuses
	parallelWork = 64
	portRetry    = time.Second // how often an agent looks at the port of its pages
)

// errNoNode is returned by NewAgent when Options has no node name.
var errNoNode = errors.New("the node's name is not set; without it the agent would watch the pods of the whole cluster (set --node-name, or NODE_NAME from spec.nodeName)")

// Agent answers the CNI plugin of its node and publishes what the plugin reports.
type Agent struct {
	options    Options
	source     source
	kubelet    Kubelet
	machine    Machine
	publisher  *publisher
	neighbours *neighbours
	watcher    *watcher
	teller     *teller
	routes     *routeTeller
	node       *nodeTeller // nil: the agent has no pod
	hosts      *hosts
	metrics    *Metrics
	listening  atomic.Bool
	nodeless   bool        // its token names its pod, and no node
	socket     os.FileInfo // the agent's own, to see whether another agent has replaced it
	log        *slog.Logger
}

// NewAgent returns an agent. It does nothing until Run is called.
func NewAgent(o Options) (*Agent, error) {
	if o.Node == "" {
		return nil, errNoNode
	}
	config, err := clusterConfig(o.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of the API server: %w", err)
	}
	return newAgent(o, config)
}

func newAgent(o Options, config *rest.Config) (*Agent, error) {
	o.Log = calmLog(o.Log)
	metrics := NewMetrics()
	api, err := newAPI(config, apiTimeout, func(verb, resource string) { metrics.requests.WithLabelValues(verb, resource).Inc() })
	if err != nil {
		return nil, fmt.Errorf("creating a client of the API server: %w", err)
	}
	a := &Agent{options: o, kubelet: o.Kubelet, machine: o.Machine, metrics: metrics, log: o.Log, source: source{node: o.Node, api: api}}
	own, node := podOf(config.BearerToken)
	a.nodeless = own.Name != "" && node.Name == ""
	if a.nodeless {
		o.Log.Warn(namesNoNode)
	}
	if a.source.pods, err = watch(api.podsOf(o.Node), &corev1.Pod{}, trimPod, o.Log); err != nil {
		return nil, err
	}
	budget := &cacheBudget{left: maxNADs, kept: map[types.UID]int{}}
	if a.source.nads, err = watch(api.allNADs(), &nettypes.NetworkAttachmentDefinition{}, budget.trim, o.Log); err != nil {
		return nil, err
	}
	if _, err = a.source.nads.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: budget.released}); err != nil {
		return nil, err
	}
	kept, err := openQueue(o.StateDir)
	if err != nil {
		return nil, err
	}
	a.publisher = &publisher{
		queue: kept, api: api, source: a.source, metrics: metrics, log: o.Log, now: time.Now,
		firstWait: firstRetry, lastWait: lastRetry, longestWait: longestRetry, wake: make(chan struct{}, 1), turns: turns{},
	}
	metrics.watchQueue(kept.length)
	a.neighbours = &neighbours{machine: o.Machine, dir: o.ConfDir, node: o.Node, send: api.createEvent, metrics: metrics, log: o.Log}
	a.routes = newRouteTeller(o.Node, api.createEvent, metrics, o.Log)
	a.watcher = newWatcher(a.report, o.Log)
	a.teller = newTeller(a.publisher, a.watcher.statuses)
	a.watcher.changed = a.teller.changed
	if _, err = a.source.pods.informer.AddEventHandler(a.teller.handler()); err != nil {
		return nil, err
	}
	metrics.registry.MustRegister(a.watcher)
	if a.hosts, err = newHosts(api, func() nodeRef { return nodeOf(config) }, o.Node, own.Namespace, o.HostsFile, o.Machine.NICs, o.Log); err != nil {
		return nil, err
	}
	if own.Name != "" {
		a.node = &nodeTeller{own: own, version: o.Version, machine: o.Machine, kubelet: o.Kubelet, records: o.Records, source: a.source, watcher: a.watcher, log: o.Log}
	}
	return a, nil
}

// UseLog makes client-go log to log.
func UseLog(log *slog.Logger) { klog.SetSlogLogger(calmLog(log)) }

// Run serves until ctx ends. Requests in progress then have a grace period to
// finish. What is not published by then stays in the queue.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	parts := []func(context.Context) error{a.follow, a.publishQueued, a.teller.follow, a.hosts.follow, a.routes.follow}
	if a.options.Misconfigured != nil {
		parts = append(parts, a.tellMisconfigured)
	}
	if a.options.ConfDir != "" {
		parts = append(parts, a.neighbours.follow)
	}
	if a.node != nil {
		parts = append(parts, a.node.follow)
	}
	socket, err := listen(a.options.Socket)
	if err != nil {
		return err
	}
	if a.socket, err = os.Lstat(a.options.Socket); err != nil {
		return fmt.Errorf("the agent's socket: %w", err)
	}
	a.listening.Store(true)
	if a.options.Listen != "" {
		parts = append(parts, a.show)
	}
	parts = append(parts, func(ctx context.Context) error { return a.server().serve(ctx, socket) })
	return runAll(ctx, stop, parts)
}

// runAll runs all parts until one fails or ctx ends, then ends the others.
func runAll(ctx context.Context, stop func(), parts []func(context.Context) error) error {
	errs := make([]error, len(parts))
	var running sync.WaitGroup
	for i, part := range parts {
		running.Go(func() {
			if errs[i] = part(ctx); errs[i] != nil {
				stop()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// follow keeps the caches up to date until ctx ends.
func (a *Agent) follow(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { a.source.pods.informer.RunWithContext(ctx) })
	running.Go(func() { a.source.nads.informer.RunWithContext(ctx) })
	running.Wait()
	return nil
}

func (a *Agent) publishQueued(ctx context.Context) error {
	a.publisher.run(ctx)
	return nil
}

func (a *Agent) server() server {
	return server{
		answer: a.answer, peer: a.options.Peer, slots: parallelWork,
		edge: edgeTimeout, work: workTimeout, grace: gracePeriod, log: a.log,
	}
}

// answer answers one request of the plugin. An answer says whether the agent needs a Watch.
func (a *Agent) answer(ctx context.Context, r agentapi.Request) agentapi.Reply {
	reply := a.answerOne(ctx, r)
	reply.Blind = a.watcher.blind()
	return reply
}

func (a *Agent) answerOne(ctx context.Context, r agentapi.Request) agentapi.Reply {
	switch {
	case r.Watch != nil:
		if err := a.watcher.take(*r.Watch); err != nil {
			return failure(cnierror.With(cnitypes.ErrDecodingFailure, err))
		}
		return agentapi.Reply{}
	case r.Routes != nil:
		a.routes.take(*r.Routes)
		return agentapi.Reply{}
	case r.Lookup != nil:
		reply, err := a.Lookup(ctx, *r.Lookup)
		if err != nil {
			a.log.WarnContext(ctx, "lookup failed", "pod", r.Lookup.Pod.String(), "container", r.Lookup.ContainerID, "code", cnierror.Code(err), "error", err)
			return failure(err)
		}
		return agentapi.Reply{Lookup: &reply}
	case r.Publish != nil:
		reply, err := a.Publish(ctx, *r.Publish)
		if err != nil {
			return failure(err)
		}
		return agentapi.Reply{Publish: &reply}
	}
	if err := a.ready(); err != nil {
		return failure(cnierror.With(cnitypes.ErrTryAgainLater, err))
	}
	return agentapi.Reply{}
}

// Publish sends the outcome of a sandbox to the API server: at once if the
// server can be reached, otherwise later. It also counts the steps and failures
// that the plugin reports.
func (a *Agent) Publish(ctx context.Context, p agentapi.Publish) (reply agentapi.PublishReply, err error) {
	a.metrics.reported(p)
	if p.Verb == "DEL" {
		a.watcher.end(p.Pod)
	}
	e, err := entryOf(p, a.source.known(p.Pod), a.watcher.add(p.Bonds), a.publisher.now())
	if err != nil {
		return reply, err
	}
	reply.Queued, err = a.publisher.publish(ctx, e)
	return reply, err
}

// report publishes an event about a pod's bond. A pod that is being deleted, or has ended, is
// told nothing: its DEL takes the bond apart.
func (a *Agent) report(pod agentapi.Pod, o outcome) {
	if a.source.leaving(pod) {
		return
	}
	if _, err := a.publisher.publish(context.Background(), entry{Pod: pod, Events: []outcome{o}}); err != nil {
		a.metrics.untold.WithLabelValues("event").Inc()
		a.log.Error("an event about a bond is lost", "pod", pod.String(), "event", o.Reason, "error", err)
	}
}
