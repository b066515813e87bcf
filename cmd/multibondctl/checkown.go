package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/multibond/multibond/cmd/multibondctl/measure"
	"github.com/multibond/multibond/cmd/multibondctl/written"
)

// ownCheck is a check of one network by pods of its own.
type ownCheck struct {
	network    types.NamespacedName
	namespace  string // of the pods
	agents     string // the namespace of the agents
	nodes      []string
	selector   string // of nodes
	image      string
	pairs      bool
	count      int
	throughput time.Duration // 0: it is not measured
	timeout    time.Duration // for the pods to start
	lives      time.Duration // of the pods, at most
}

// checkOwn checks a network by pods of its own, which it removes whatever becomes of the check.
func (e *env) checkOwn(ctx context.Context, k ownCheck) error {
	core, _, err := e.clients()
	if err != nil {
		return err
	}
	defer e.progress("")
	r := checkReport{header: headerOf("Check"), Connections: []connection{}}
	pods, err := e.podsFor(ctx, core, k, &r)
	if err != nil {
		return err
	}
	if err := e.removeOwn(ctx, core, pods[0], "of an earlier check"); err != nil {
		return err
	}
	err = e.withPods(ctx, core, k, pods, &r)
	left := e.removeAfter(ctx, core, pods[0])
	switch {
	case ctx.Err() != nil && left == nil:
		return fmt.Errorf("%w: the pods of the check are removed", context.Cause(ctx))
	case ctx.Err() != nil:
		return errors.Join(context.Cause(ctx), left)
	case err != nil:
		return errors.Join(err, left)
	}
	return errors.Join(e.print(r, func(out *page) { printOwn(out, r) }), r.verdict(), left)
}

// removeAfter removes the pods of a check at its end, also of one that was interrupted.
func (e *env) removeAfter(ctx context.Context, core *coreclient.CoreV1Client, pod *corev1.Pod) error {
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := e.removeOwn(after, core, pod, ""); err != nil {
		return fmt.Errorf("pods of the check may stay, and keep their devices: %w (kubectl delete pods -n %s -l app=%s,%s=%s removes them)",
			err, pod.Namespace, checkLabel, checkNetworkLabel, pod.Labels[checkNetworkLabel])
	}
	return nil
}

// podsFor returns the pods that a check makes. The report gets the nodes without one, and why.
func (e *env) podsFor(ctx context.Context, core *coreclient.CoreV1Client, k ownCheck, r *checkReport) ([]*corev1.Pod, error) {
	config, err := e.config()
	if err != nil {
		return nil, err
	}
	e.progress("looking at network %s", k.network)
	needs, err := written.Needs(ctx, config, k.network)
	if err != nil {
		return nil, err
	}
	if k.selector != "" {
		nodes, err := core.Nodes().List(ctx, metav1.ListOptions{LabelSelector: k.selector})
		if err != nil {
			return nil, err
		}
		for _, n := range nodes.Items {
			k.nodes = append(k.nodes, n.Name)
		}
		if k.nodes == nil {
			return nil, fmt.Errorf("no node has the labels %s", k.selector)
		}
	}
	p := e.newPicture()
	p.lookAtAgents(ctx, core, k.agents)
	if p.unseen != nil {
		return nil, errors.New(p.unseen[0])
	}
	nodes, unseen := p.nodesFor(needs, k.nodes)
	r.Unseen = unseen
	if len(nodes) == 1 && p.room(nodes[0], needs, 2) == "" {
		nodes = append(nodes, nodes[0])
	}
	if len(nodes) < 2 {
		return nil, fmt.Errorf("two pods with network %s, which needs %s each, have no room%s", k.network, describeNeeds(needs), because(unseen))
	}
	k.lives = k.atMost(len(nodes))
	var pods []*corev1.Pod
	for i, node := range nodes {
		pods = append(pods, ownPod(k, i, node, needs, cmp.Or(k.image, p.imageOn(node))))
	}
	return pods, nil
}

func because(reasons []string) string {
	if len(reasons) == 0 {
		return " on nodes with agents"
	}
	return ": " + strings.Join(reasons, "; ")
}

func describeNeeds(needs map[string]int) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		words = append(words, fmt.Sprintf("%d x %s", needs[name], name))
	}
	return cmp.Or(strings.Join(words, ", "), "no devices")
}

// nodesFor returns the nodes that have room for a pod with such needs, of those that are named,
// or of all. It also returns why the others have none. That a node has nothing of a resource is
// no reason to mention it if nobody has named it.
func (p *picture) nodesFor(needs map[string]int, named []string) (nodes, unseen []string) {
	for _, node := range named {
		if p.reports[node] == nil {
			unseen = append(unseen, fmt.Sprintf("node %s: no agent tells of it", node))
		}
	}
	for _, node := range slices.Sorted(maps.Keys(p.reports)) {
		if named != nil && !slices.Contains(named, node) {
			continue
		}
		i := slices.IndexFunc(p.doubts, func(d finding) bool { return d.Node == node })
		switch why := p.room(node, needs, 1); {
		case i >= 0:
			unseen = append(unseen, "node "+node+": "+p.doubts[i].Text)
		case why == "":
			nodes = append(nodes, node)
		case named != nil || p.hasSome(node, needs):
			unseen = append(unseen, "node "+node+": "+why)
		}
	}
	return nodes, unseen
}

// room returns why a node has no room for so many pods with such needs, or "".
func (p *picture) room(node string, needs map[string]int, pods int) string {
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		devices, allocated := p.resource(node, name)
		if devices-allocated < needs[name]*pods {
			return fmt.Sprintf("%d of %d devices of %s are allocated", allocated, devices, name)
		}
	}
	return ""
}

// hasSome reports whether a node has devices of each resource.
func (p *picture) hasSome(node string, needs map[string]int) bool {
	for name := range needs {
		if devices, _ := p.resource(node, name); devices == 0 {
			return false
		}
	}
	return true
}

func (p *picture) resource(node, name string) (devices, allocated int) {
	for _, r := range p.reports[node].Resources {
		if r.Name == name {
			return r.Devices, r.Allocated
		}
	}
	return 0, 0
}

// withPods makes the pods, and measures between them.
func (e *env) withPods(ctx context.Context, core *coreclient.CoreV1Client, k ownCheck, pods []*corev1.Pod, r *checkReport) error {
	for i, pod := range pods {
		e.progress("%d of %d pods made", i, len(pods))
		if _, err := core.Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	attached, err := e.awaitOwn(ctx, core, k, pods, r)
	if err != nil {
		return err
	}
	ends := endsOf(attached, k.network.String())[k.network.String()]
	connections, unseen := ring(k.network.String(), ends)
	if k.pairs {
		connections, unseen = toAll(k.network.String(), ends, func(end) bool { return true })
	}
	r.Connections, r.Unseen = append(r.Connections, connections...), append(r.Unseen, unseen...)
	e.tryAll(r.Connections, pingsAtOnce, "%d of %d connections checked", func(c *connection) { c.measure(ctx, e.exec, k.count) })
	if k.throughput > 0 { // one after the other: two would share a NIC
		e.tryAll(r.Connections, 1, "throughput of %d of %d connections measured", func(c *connection) { c.stream(ctx, e.exec, k.throughput) })
	}
	return ctx.Err()
}

// measure measures loss, round trips, and what is the largest packet that passes.
func (c *connection) measure(ctx context.Context, exec execFunc, packets int) {
	found, err := c.ask(ctx, exec, "-count", strconv.Itoa(packets))
	if err != nil {
		c.Result, c.Reason = resultUnknown, err.Error()
		return
	}
	c.Sent, c.Received, c.RTT, c.MTU, c.Largest = found.Sent, found.Received, found.RTT, found.MTU, found.Largest
	switch {
	case c.Received == 0:
		c.Result, c.Reason = resultDown, noAnswer
		return
	case c.Largest < c.MTU:
		c.Result, c.Reason = resultMTU, fmt.Sprintf("packets of more than %d bytes are lost on the way, and the MTU is %d: check the MTU of PFs and switches", c.Largest, c.MTU)
	case c.Received < c.Sent:
		c.Result = resultLoss
	default:
		c.Result = resultOK
	}
	c.Passes = new(c.Largest >= c.MTU)
}

// stream measures throughput, if packets pass.
func (c *connection) stream(ctx context.Context, exec execFunc, lasts time.Duration) {
	if c.Received == 0 {
		return
	}
	found, err := c.ask(ctx, exec, "-throughput", lasts.String())
	if err != nil {
		c.Result, c.Reason = cmp.Or(map[string]string{resultOK: resultUnknown}[c.Result], c.Result), "throughput: "+err.Error()
		return
	}
	c.Mbit = found.Mbit
}

// ask has the pod measure the connection.
func (c *connection) ask(ctx context.Context, exec execFunc, args ...string) (found measure.Found, err error) {
	command := append([]string{"/multibond-agent", "measure", "-interface", c.Interface, "-to", c.Address}, args...)
	done, err := exec(ctx, c.pod, command)
	switch {
	case err != nil:
		return found, err
	case done.code != 0:
		return found, errors.New(cmp.Or(strings.TrimSpace(done.errs), fmt.Sprintf("it ended with code %d", done.code)))
	}
	return found, json.Unmarshal([]byte(done.out), &found)
}

// ofOwn is the line of a table for the connections between two pods.
type ofOwn struct {
	from, to    string
	connections []connection
}

// printOwn prints a line for each pair of nodes, as multi-nic-cni's check does, or with -o wide
// one for each interface.
func printOwn(out *page, r checkReport) {
	if out.wide {
		printCheck(out, r)
		return
	}
	var pairs []ofOwn
	for _, c := range r.Connections {
		i := slices.IndexFunc(pairs, func(p ofOwn) bool { return p.connections[0].From == c.From && p.connections[0].To == c.To })
		if i < 0 {
			i = len(pairs)
			pairs = append(pairs, ofOwn{from: r.label(c.From, c.FromNode), to: r.label(c.To, c.ToNode)})
		}
		pairs[i].connections = append(pairs[i].connections, c)
	}
	rows := [][]string{{"FROM", "TO", "CONNECTED", "ADDRESSES", "LOSS", "RTT", "MTU", "THROUGHPUT", "RESULT"}}
	for _, p := range pairs {
		rows = append(rows, p.row())
	}
	if !slices.ContainsFunc(r.Connections, func(c connection) bool { return c.Mbit != nil }) {
		for i, row := range rows {
			rows[i] = slices.Delete(row, 7, 8)
		}
	}
	if len(pairs) > 0 {
		out.table(rows...)
	}
	for _, c := range r.Connections {
		if c.Reason != "" {
			out.line("%s to %s, %s to %s: %s", r.label(c.From, c.FromNode), r.label(c.To, c.ToNode), c.Interface, c.Address, c.Reason)
		}
	}
	printAbsent(out, r)
}

// label names the node of a pod, with the pod's number if the node has several.
func (r checkReport) label(name, node string) string {
	n, own := 0, 0
	for _, p := range r.Pods {
		if p.Node == node {
			n++
		}
		if p.Name == name {
			own = n
		}
	}
	if n < 2 {
		return node
	}
	return fmt.Sprintf("%s (%d)", node, own)
}

func (p ofOwn) row() []string {
	var addresses, speeds []string
	var connected, sent, received, mtu, largest int
	var rtt float64
	result := resultOK
	for _, c := range p.connections {
		addresses = append(addresses, c.Address)
		if c.Mbit != nil {
			speeds = append(speeds, gigabits(*c.Mbit))
		}
		if c.Received > 0 {
			connected++
			if mtu == 0 || c.Largest < largest {
				mtu, largest = c.MTU, c.Largest
			}
		}
		if c.RTT != nil {
			rtt = max(rtt, *c.RTT)
		}
		sent, received = sent+c.Sent, received+c.Received
		if slices.Index(results, c.Result) > slices.Index(results, result) {
			result = c.Result
		}
	}
	loss, trip := "-", "-"
	if sent > 0 {
		loss = fmt.Sprintf("%d/%d", sent-received, sent)
	}
	if connected > 0 {
		trip = fmt.Sprintf("%.2f ms", rtt)
	}
	return []string{p.from, p.to, fmt.Sprintf("%d/%d", connected, len(p.connections)), strings.Join(addresses, " "), loss, trip, mtuCell(mtu, largest), dash(strings.Join(speeds, ", ")), result}
}

// mtuCell shows an MTU, and how much of it passes.
func mtuCell(mtu, largest int) string {
	if largest < mtu {
		return fmt.Sprintf("%d of %d", largest, mtu)
	}
	return number(mtu)
}

// gigabits returns a throughput for people.
func gigabits(mbit float64) string {
	if mbit < 1000 {
		return fmt.Sprintf("%.0f Mbit/s", mbit)
	}
	return fmt.Sprintf("%.2f Gbit/s", mbit/1000)
}
