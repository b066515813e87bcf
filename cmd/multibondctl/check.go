package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/kubeclient"
)

// checkReport is what check prints.
type checkReport struct {
	header
	Connections []connection `json:"connections"`
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
	Reason   string   `json:"reason,omitempty"`

	pod *corev1.Pod
}

// The results of a connection.
const (
	resultOK      = "ok"
	resultLoss    = "loss"
	resultMTU     = "mtu" // small packets arrive, and large ones do not
	resultDown    = "down"
	resultUnknown = "unknown"
)

// checked is what a check looks at.
type checked struct {
	scope
	all           bool
	network, from string
	count         int
}

// pingsAtOnce is how many connections are checked at the same time.
const pingsAtOnce = 8

func newCheck(e *env) *cobra.Command {
	var k checked
	c := &cobra.Command{
		Use:   "check",
		Short: "Check that pods of a network reach each other",
		Long: `Check that pods of a network reach each other: on each network, each pod pings the next one
in a ring, which is as many connections as pods, and crosses nodes wherever it can. Packets
of the size of the interface's MTU are sent as well. The pods need ping, you the right to
exec in them.`,
		Example: "  kubectl multibond check -A\n  kubectl multibond check -n demo --network demo/bond-net1 --from web-0",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := e.within(&k.scope, k.all); err != nil {
				return err
			}
			if k.count < 1 || k.count > 100 {
				return fmt.Errorf("--count is %d, want 1 to 100", k.count)
			}
			return e.check(c.Context(), k)
		},
	}
	c.Flags().BoolVarP(&k.all, "all-namespaces", "A", false, "Pods of all namespaces")
	c.Flags().StringVarP(&k.selector, "selector", "l", "", "Label `selector` of pods")
	c.Flags().StringVar(&k.network, "network", "", "Only this `network`, such as demo/bond-net1")
	c.Flags().StringVar(&k.from, "from", "", "From this `pod` to all others, instead of a ring")
	c.Flags().IntVar(&k.count, "count", 5, "How many packets each connection gets")
	return c
}

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
		connections, unseen := connect(network, ends[network], k.from)
		r.Connections, r.Unseen = append(r.Connections, connections...), append(r.Unseen, unseen...)
	}
	if len(r.Connections) == 0 {
		r.Unseen = append(r.Unseen, "no two pods are on one network")
	}
	e.ping(ctx, r.Connections, k.count)
	if err := e.print(r, func(out *page) { printCheck(out, r) }); err != nil {
		return err
	}
	return r.verdict()
}

// end is an interface of a pod, with an address.
type end struct {
	pod       *corev1.Pod
	ifName    string
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
		var entries []kubeclient.NetworkStatus
		_ = json.Unmarshal([]byte(pod.Annotations[nettypes.NetworkStatusAnnot]), &entries)
		for _, s := range entries {
			if s.Default || !isRunning(pod) || network != "" && s.Name != network {
				continue
			}
			one := end{pod: pod, ifName: s.Interface, mtu: s.Mtu}
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
		var entries []kubeclient.NetworkStatus
		err := json.Unmarshal([]byte(pod.Annotations[nettypes.NetworkStatusAnnot]), &entries)
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

// connect returns the connections of a network: a ring, or those from one pod to all others.
// In the ring, what has no address of the family of its neighbour is left out. It also returns
// what cannot be checked.
func connect(network string, ends []end, from string) (out []connection, unseen []string) {
	for i, a := range ends {
		switch {
		case from == "" && len(ends) > 1:
			found := false
			for k := 1; k < len(ends) && !found; k++ {
				ways := waysTo(network, a, ends[(i+k)%len(ends)])
				out, found = append(out, ways...), len(ways) > 0
			}
			if !found {
				unseen = append(unseen, fmt.Sprintf("network %s: no other pod has an address of a family that %s %s has", network, a.name(), a.ifName))
			}
		case from == a.pod.Name || from == a.name():
			for _, b := range ends {
				ways := waysTo(network, a, b)
				out = append(out, ways...)
				if len(ways) == 0 && a.pod != b.pod {
					unseen = append(unseen, fmt.Sprintf("network %s: %s %s and %s %s have no addresses of one family", network, a.name(), a.ifName, b.name(), b.ifName))
				}
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

// ping checks connections, some at a time.
func (e *env) ping(ctx context.Context, all []connection, packets int) {
	defer e.progress("")
	slots := make(chan struct{}, pingsAtOnce)
	var running sync.WaitGroup
	for i := range all {
		slots <- struct{}{}
		e.progress("%d of %d connections", i, len(all))
		running.Go(func() {
			all[i].try(ctx, e.exec, packets)
			<-slots
		})
	}
	running.Wait()
}

// execFunc executes a command in a pod.
type execFunc func(context.Context, *corev1.Pod, []string) (executed, error)

var (
	counted  = regexp.MustCompile(`(\d+) packets transmitted, (\d+) (?:packets )?received`)
	averaged = regexp.MustCompile(`= [\d.]+/([\d.]+)/`)
)

// try pings, first with small packets, then with one as large as the MTU allows, which must
// not be fragmented. What ping prints is that of iputils or of busybox, which cannot do the
// latter.
func (c *connection) try(ctx context.Context, exec execFunc, packets int) {
	done, err := exec(ctx, c.pod, []string{"ping", "-c", strconv.Itoa(packets), "-W", "1", "-I", c.Interface, c.Address})
	found := counted.FindStringSubmatch(done.out)
	if err != nil || found == nil {
		c.Result, c.Reason = resultUnknown, strings.TrimSpace(cmp.Or(done.errs, done.out))
		if err != nil {
			c.Reason = err.Error()
		}
		return
	}
	c.Sent, _ = strconv.Atoi(found[1])
	c.Received, _ = strconv.Atoi(found[2])
	if average := averaged.FindStringSubmatch(done.out); average != nil {
		rtt, _ := strconv.ParseFloat(average[1], 64)
		c.RTT = &rtt
	}
	switch {
	case c.Received == 0:
		c.Result, c.Reason = resultDown, "no packet was answered: check the switch, the VLAN and the address"
		return
	case c.Received < c.Sent:
		c.Result = resultLoss
	default:
		c.Result = resultOK
	}
	c.tryLarge(ctx, exec)
}

// tryLarge pings with a packet as large as the MTU.
func (c *connection) tryLarge(ctx context.Context, exec execFunc) {
	headers := 28 // of IPv4 and ICMP
	if strings.Contains(c.Address, ":") {
		headers = 48
	}
	if c.MTU <= headers {
		return
	}
	done, err := exec(ctx, c.pod, []string{"ping", "-c", "2", "-W", "1", "-M", "do", "-s", strconv.Itoa(c.MTU - headers), "-I", c.Interface, c.Address})
	found := counted.FindStringSubmatch(done.out)
	if err != nil || found == nil {
		return // this ping cannot do it
	}
	c.Passes = new(found[2] != "0")
	if !*c.Passes {
		c.Result, c.Reason = resultMTU, fmt.Sprintf("packets of %d bytes are lost on the way: check the MTU of PFs and switches", c.MTU)
	}
}

func (r checkReport) verdict() error {
	number := map[string]int{}
	for _, c := range r.Connections {
		number[c.Result]++
	}
	bad := len(r.Connections) - number[resultOK] - number[resultUnknown]
	switch {
	case bad > 0:
		return wrong(fmt.Sprintf("%d of %d connections are not ok", bad, len(r.Connections)))
	case number[resultUnknown] > 0:
		return fmt.Errorf("%s could not be checked", count(number[resultUnknown], "connection"))
	case len(r.Connections) == 0:
		return fmt.Errorf("nothing could be checked: %s", strings.Join(r.Unseen, "; "))
	case len(r.Unseen) > 0:
		return notSeen(r.Unseen)
	}
	return nil
}

func printCheck(out *page, r checkReport) {
	if len(r.Connections) > 0 {
		rows := [][]string{{"NETWORK", "FROM", "INTERFACE", "TO", "ADDRESS", "LOSS", "RTT", "MTU", "RESULT"}}
		if out.wide {
			rows[0] = append(rows[0], "FROM NODE", "TO NODE")
		}
		for _, c := range r.Connections {
			rows = append(rows, c.row(out.wide))
		}
		out.table(rows...)
	}
	for _, c := range r.Connections {
		if c.Reason != "" {
			out.line("%s to %s: %s", c.From, c.Address, c.Reason)
		}
	}
	out.unseen(r.Unseen)
}

func (c connection) row(wide bool) []string {
	loss, rtt, mtu := "-", "-", number(c.MTU)
	if c.Sent > 0 {
		loss = fmt.Sprintf("%d/%d", c.Sent-c.Received, c.Sent)
	}
	if c.RTT != nil {
		rtt = fmt.Sprintf("%.2f ms", *c.RTT)
	}
	if c.Passes == nil && c.MTU > 0 {
		mtu += "?"
	}
	row := []string{c.Network, c.From, c.Interface, c.To, c.Address, loss, rtt, mtu, c.Result}
	if wide {
		row = append(row, c.FromNode, c.ToNode)
	}
	return row
}
