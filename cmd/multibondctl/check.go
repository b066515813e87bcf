package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/kubeclient"
)

// checkReport is what check prints.
type checkReport struct {
	header
	Connections []connection `json:"connections"`
	Pods        []checkedPod `json:"pods,omitempty"` // that the check has made, and removed
	Unseen      []string     `json:"unseen,omitempty"`
}

// connection is a way from an interface of one pod to the address of another.
type connection struct {
	Network   string `json:"network"`
	From      string `json:"from"` // demo/p
	FromNode  string `json:"fromNode"`
	Interface string `json:"interface"`
	To        string `json:"to"`
	ToNode    string `json:"toNode"`
	Address   string `json:"address"`

	Result   string   `json:"result"` // ok, loss, mtu, down, unknown
	Sent     int      `json:"sent"`
	Received int      `json:"received"`
	RTT      *float64 `json:"rttMilliseconds,omitempty"` // the average
	MTU      int      `json:"mtu,omitempty"`             // of the interface
	Passes   *bool    `json:"mtuPasses,omitempty"`       // whether a packet of that size arrives whole
	Largest  int      `json:"mtuLargest,omitempty"`      // the largest packet that arrives whole
	Mbit     *float64 `json:"mbitPerSecond,omitempty"`   // by TCP
	Reason   string   `json:"reason,omitempty"`

	pod *corev1.Pod
}

// results are the results of a connection, the worst last.
var results = []string{resultOK, resultUnknown, resultLoss, resultMTU, resultDown}

const (
	resultOK      = "ok"
	resultLoss    = "loss"
	resultMTU     = "mtu" // small packets arrive, and large ones do not
	resultDown    = "down"
	resultUnknown = "unknown"
)

// checked is what a check of pods that run looks at.
type checked struct {
	scope
	all           bool
	network, from string
	count         int
}

// pingsAtOnce is how many connections are checked at the same time.
const pingsAtOnce = 8

// Flags that are for pods that run only, and for pods of the check's own only.
var (
	forRunning = []string{"all-namespaces", "selector", "network", "from"}
	forOwn     = []string{"nodes", "node-selector", "image", "pairs", "throughput", "timeout", "agent-namespace"}
)

func newCheck(e *env) *cobra.Command {
	var k checked
	var own ownCheck
	c := &cobra.Command{
		Use:   "check [NETWORK]",
		Short: "Check that pods of a network reach each other",
		Long: `With a NETWORK: make pods on the nodes that have room for it, check the ways between them on
each of their interfaces, and remove them. Loss, round trip and the largest packet that
passes are measured, with --throughput also how much TCP carries. The pods have the agents'
image and no privilege. You need the right to create and delete pods, and to exec in them.

Without: check the pods that run, by their own ping.

Each pod asks the next one in a ring, which is as many ways as pods, and crosses nodes
wherever it can.`,
		Example: `  kubectl multibond check demo/bond-net1
  kubectl multibond check rails -n demo --nodes n1,n2 --throughput
  kubectl multibond check -n demo --from web-0   # pods that run`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeNetworks,
		RunE: func(c *cobra.Command, args []string) error {
			if err := allowed(c, len(args) > 0); err != nil {
				return err
			}
			if k.count < 1 || k.count > 100 {
				return fmt.Errorf("--count is %d, want 1 to 100", k.count)
			}
			if len(args) == 0 {
				if err := e.within(&k.scope, k.all); err != nil {
					return err
				}
				return e.check(c.Context(), k)
			}
			own.count = k.count
			if err := e.named(&own, args[0]); err != nil {
				return err
			}
			return e.checkOwn(c.Context(), own)
		},
	}
	f := c.Flags()
	f.IntVar(&k.count, "count", 5, "How many packets each connection gets")
	f.BoolVarP(&k.all, "all-namespaces", "A", false, "Pods that run: those of all namespaces")
	f.StringVarP(&k.selector, "selector", "l", "", "Pods that run: those with these `labels`")
	f.StringVar(&k.network, "network", "", "Pods that run: only this `network`, such as demo/bond-net1")
	f.StringVar(&k.from, "from", "", "Pods that run: from this `pod` to all others, instead of a ring")
	f.StringSliceVar(&own.nodes, "nodes", nil, "Only these `nodes` (default: all that have room)")
	f.StringVar(&own.selector, "node-selector", "", "Only nodes with these `labels`; you need the right to list nodes")
	f.StringVar(&own.image, "image", "", "An `image` with /multibond-agent (default: that of each node's agent)")
	f.BoolVar(&own.pairs, "pairs", false, "Each pod asks each other one, instead of a ring")
	f.DurationVar(&own.throughput, "throughput", 0, "Measure throughput, each interface for so long")
	f.Lookup("throughput").NoOptDefVal = "3s"
	f.DurationVar(&own.timeout, "timeout", 2*time.Minute, "How long the pods may take to start")
	agentsFlag(c, &own.agents)
	return c
}

// allowed returns an error if flags of the other kind of check are set.
func allowed(c *cobra.Command, own bool) error {
	others, kind := forOwn, "name a NETWORK"
	if own {
		others, kind = forRunning, "leave out NETWORK"
	}
	for _, name := range others {
		if c.Flags().Changed(name) {
			return fmt.Errorf("--%s: to use it, %s", name, kind)
		}
	}
	return nil
}

// named sets the network of a check, and the namespace of its pods: that of -n, or the
// network's own.
func (e *env) named(k *ownCheck, network string) error {
	current, isSet, err := e.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return err
	}
	namespace, name, has := strings.Cut(network, "/")
	if !has {
		namespace, name = current, network
	}
	if namespace == "" || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("%q is no network, want NAME or NAMESPACE/NAME", network)
	}
	k.network, k.namespace = types.NamespacedName{Namespace: namespace, Name: name}, namespace
	if isSet && *e.flags.Namespace != "" {
		k.namespace = current
	}
	if k.throughput < 0 || k.throughput > time.Minute {
		return fmt.Errorf("--throughput is %s, want at most 1m", k.throughput)
	}
	return nil
}

// check checks pods that run.
func (e *env) check(ctx context.Context, k checked) error {
	core, _, err := e.clients()
	if err != nil {
		return err
	}
	p, err := e.podsIn(ctx, core, k.scope)
	if err != nil {
		return err
	}
	r := checkReport{header: headerOf("Check"), Connections: []connection{}, Unseen: silent(p.pods)}
	ends := endsOf(p.pods, k.network)
	for _, network := range slices.Sorted(maps.Keys(ends)) {
		if len(ends[network]) < 2 {
			r.Unseen = append(r.Unseen, fmt.Sprintf("network %s: only pod %s is on it", network, ends[network][0].name()))
		}
		connections, unseen := k.connect(network, ends[network])
		r.Connections, r.Unseen = append(r.Connections, connections...), append(r.Unseen, unseen...)
	}
	if len(r.Connections) == 0 {
		r.Unseen = append(r.Unseen, "no two pods are on one network")
	}
	e.tryAll(r.Connections, pingsAtOnce, "%d of %d connections checked", func(c *connection) { c.try(ctx, e.exec, k.count) })
	if err := e.print(r, func(out *page) { printCheck(out, r) }); err != nil {
		return err
	}
	return r.verdict()
}

// connect returns the connections of a network: a ring, or those from one pod to all others.
func (k checked) connect(network string, ends []end) (out []connection, unseen []string) {
	if k.from == "" {
		return ring(network, ends)
	}
	return toAll(network, ends, func(n end) bool { return n.pod.Name == k.from || n.name() == k.from })
}

// tryAll tries connections, some at a time.
func (e *env) tryAll(all []connection, atOnce int, progress string, try func(*connection)) {
	defer e.progress("")
	slots := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for i := range all {
		slots <- struct{}{}
		e.progress(progress, i, len(all))
		running.Go(func() {
			try(&all[i])
			<-slots
		})
	}
	running.Wait()
}

// end is an interface of a pod, with an address.
type end struct {
	pod       *corev1.Pod
	ifName    string
	rail      int // which of the pod's interfaces on the network it is
	addresses []netip.Addr
	mtu       int
}

func (n end) name() string { return n.pod.Namespace + "/" + n.pod.Name }

// endsOf returns the interfaces of running pods by network, without those of the default
// network. Each network's pods are in an order in which neighbours are on different nodes
// as long as there are several.
func endsOf(pods []corev1.Pod, network string) map[string][]end {
	out := map[string][]end{}
	for i := range pods {
		pod := &pods[i]
		entries, _ := statusOf(pod) // silent tells of those that cannot be read
		rails := map[string]int{}
		for _, s := range entries {
			if s.Default || !isRunning(pod) || network != "" && s.Name != network {
				continue
			}
			one := end{pod: pod, ifName: s.Interface, rail: rails[s.Name], mtu: s.Mtu}
			rails[s.Name]++
			for _, text := range s.IPs {
				if ip, err := netip.ParseAddr(text); err == nil {
					one.addresses = append(one.addresses, ip)
				}
			}
			if one.addresses != nil {
				out[s.Name] = append(out[s.Name], one)
			}
		}
	}
	for network, all := range out {
		out[network] = spread(all)
	}
	return out
}

// isRunning reports whether a pod runs, and does not end.
func isRunning(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil
}

// silent lists the running pods that ask for networks, and whose status has none.
func silent(pods []corev1.Pod) (out []string) {
	for i := range pods {
		pod := &pods[i]
		entries, err := statusOf(pod)
		asks := pod.Annotations[kubeclient.NetworksAnnotation] != ""
		if isRunning(pod) && asks && (err != nil || !slices.ContainsFunc(entries, func(s kubeclient.NetworkStatus) bool { return !s.Default })) {
			out = append(out, fmt.Sprintf("pod %s/%s asks for networks, but its status has none", pod.Namespace, pod.Name))
		}
	}
	return out
}

// spread orders ends so that one of each node comes after the other.
func spread(all []end) (out []end) {
	slices.SortFunc(all, func(a, b end) int {
		return cmp.Or(cmp.Compare(a.pod.Spec.NodeName, b.pod.Spec.NodeName), cmp.Compare(a.name(), b.name()), cmp.Compare(a.ifName, b.ifName))
	})
	byNode := map[string][]end{}
	for _, n := range all {
		byNode[n.pod.Spec.NodeName] = append(byNode[n.pod.Spec.NodeName], n)
	}
	nodes := slices.Sorted(maps.Keys(byNode))
	for i := 0; len(out) < len(all); i++ {
		for _, node := range nodes {
			if i < len(byNode[node]) {
				out = append(out, byNode[node][i])
			}
		}
	}
	return out
}

// ring connects each end with the next one, of which it has an address of the family. Networks
// of several interfaces have a switch for each, so the first interface of a pod asks the first
// of another if there is one. It also returns what cannot be checked.
func ring(network string, ends []end) (out []connection, unseen []string) {
	if len(ends) < 2 {
		return nil, nil
	}
	for i, a := range ends {
		next := slices.Concat(ends[i+1:], ends[:i])
		slices.SortStableFunc(next, func(b, c end) int { return boolCompare(c.rail == a.rail, b.rail == a.rail) })
		found := false
		for k := 0; k < len(next) && !found; k++ {
			ways := waysTo(network, a, next[k])
			out, found = append(out, ways...), len(ways) > 0
		}
		if !found {
			unseen = append(unseen, fmt.Sprintf("network %s: no other pod has an address of a family that %s %s has", network, a.name(), a.ifName))
		}
	}
	return out, unseen
}

// toAll connects some ends with all of other pods. An interface of another pod is asked by the
// one that is its like, if the pod has one. It also returns what cannot be checked.
func toAll(network string, ends []end, asks func(end) bool) (out []connection, unseen []string) {
	for _, a := range ends {
		if !asks(a) {
			continue
		}
		for _, b := range ends {
			isLike := func(other end) bool { return other.pod == a.pod && other.rail == b.rail }
			if a.pod == b.pod || a.rail != b.rail && slices.ContainsFunc(ends, isLike) {
				continue
			}
			ways := waysTo(network, a, b)
			out = append(out, ways...)
			if len(ways) == 0 {
				unseen = append(unseen, fmt.Sprintf("network %s: %s %s and %s %s have no addresses of one family", network, a.name(), a.ifName, b.name(), b.ifName))
			}
		}
	}
	return out, unseen
}

// waysTo returns the connections from an interface to the addresses of one of another pod.
func waysTo(network string, a, b end) (out []connection) {
	if a.pod == b.pod {
		return nil
	}
	for _, address := range b.addresses {
		if slices.ContainsFunc(a.addresses, func(own netip.Addr) bool { return own.Is4() == address.Is4() }) {
			out = append(out, connection{
				Network: network, From: a.name(), FromNode: a.pod.Spec.NodeName, Interface: a.ifName,
				To: b.name(), ToNode: b.pod.Spec.NodeName, Address: address.String(), MTU: a.mtu, pod: a.pod,
			})
		}
	}
	return out
}

func (r checkReport) verdict() error {
	number := map[string]int{}
	for _, c := range r.Connections {
		number[c.Result]++
	}
	bad := len(r.Connections) - number[resultOK] - number[resultUnknown]
	absent := len(r.notAttached())
	switch {
	case bad > 0:
		return wrong(fmt.Sprintf("%d of %d connections are not ok", bad, len(r.Connections)))
	case absent > 0:
		return wrong(fmt.Sprintf("%d of %d pods are not on the network", absent, len(r.Pods)))
	case number[resultUnknown] > 0:
		return fmt.Errorf("%s could not be checked", count(number[resultUnknown], "connection"))
	case len(r.Connections) == 0:
		return fmt.Errorf("nothing could be checked: %s", strings.Join(r.Unseen, "; "))
	case len(r.Unseen) > 0:
		return notSeen(r.Unseen)
	}
	return nil
}

// notAttached lists the pods that were placed on their nodes, and are not on the network.
func (r checkReport) notAttached() (out []checkedPod) {
	for _, p := range r.Pods {
		if !p.Attached && p.Node != "" {
			out = append(out, p)
		}
	}
	return out
}

func printCheck(out *page, r checkReport) {
	fast := slices.ContainsFunc(r.Connections, func(c connection) bool { return c.Mbit != nil })
	if len(r.Connections) > 0 {
		rows := [][]string{{"NETWORK", "FROM", "INTERFACE", "TO", "ADDRESS", "LOSS", "RTT", "MTU", "RESULT"}}
		if fast {
			rows[0] = append(rows[0], "THROUGHPUT")
		}
		if out.wide {
			rows[0] = append(rows[0], "FROM NODE", "TO NODE")
		}
		for _, c := range r.Connections {
			rows = append(rows, c.row(out.wide, fast))
		}
		out.table(rows...)
	}
	for _, c := range r.Connections {
		if c.Reason != "" {
			out.line("%s to %s: %s", c.From, c.Address, c.Reason)
		}
	}
	printAbsent(out, r)
}

// printAbsent says which pods are not on the network, and what was not seen.
func printAbsent(out *page, r checkReport) {
	for _, p := range r.notAttached() {
		out.line("%s   node %s: pod %s is not on the network: %s", out.paint("error"), p.Node, p.Name, p.Reason)
	}
	out.unseen(r.Unseen)
}

func (c connection) row(wide, fast bool) []string {
	loss, rtt, mtu, speed := "-", "-", number(c.MTU), "-"
	if c.Sent > 0 {
		loss = fmt.Sprintf("%d/%d", c.Sent-c.Received, c.Sent)
	}
	if c.RTT != nil {
		rtt = fmt.Sprintf("%.2f ms", *c.RTT)
	}
	switch {
	case c.Largest > 0:
		mtu = mtuCell(c.MTU, c.Largest)
	case c.Passes == nil && c.MTU > 0:
		mtu += "?"
	}
	if c.Mbit != nil {
		speed = gigabits(*c.Mbit)
	}
	row := []string{c.Network, c.From, c.Interface, c.To, c.Address, loss, rtt, mtu, c.Result}
	if fast {
		row = append(row, speed)
	}
	if wide {
		row = append(row, c.FromNode, c.ToNode)
	}
	return row
}
