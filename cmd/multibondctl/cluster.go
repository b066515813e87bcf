package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/multibond/multibond/kubeclient"
)

const (
	agentLabel     = "app=multibond-agent"
	agentComponent = "multibond-agent"
)

// picture is what was asked of the API server, at one time. What could not be seen is in
// unseen.
type picture struct {
	pods    []corev1.Pod
	agents  []corev1.Pod
	sets    []appsv1.DaemonSet
	events  []corev1.Event // of the agents, the newest last
	reports map[string]*kubeclient.NodeReport
	unseen  []string
	doubts  []finding // what is not known of single nodes
	now     time.Time
}

// scope is what a command looks at.
type scope struct {
	namespace string // of pods; "" for all
	selector  string // of pods
	agents    string // the namespace of the agents
	events    bool
}

// clients returns clients of the API server.
func (e *env) clients() (*coreclient.CoreV1Client, *appsclient.AppsV1Client, error) {
	config, err := e.config()
	if err != nil {
		return nil, nil, err
	}
	config.UserAgent, config.QPS = "kubectl-multibond", -1
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.WarningHandler = rest.NoWarnings{}
	core, err := coreclient.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	apps, err := appsclient.NewForConfig(config)
	return core, apps, err
}

// config returns how to reach the cluster. Without a kubeconfig, and outside a cluster,
// client-go would try this machine.
func (e *env) config() (*rest.Config, error) {
	config, err := e.flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	if raw, err := e.flags.ToRawKubeConfigLoader().RawConfig(); err == nil && api.IsConfigEmpty(&raw) && config.BearerToken == "" {
		return nil, errors.New("there is no kubeconfig: set KUBECONFIG, or name it with --kubeconfig")
	}
	return config, nil
}

// lookedIn adds to an error of the API server in which namespace an object was looked for.
func lookedIn(namespace string, err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%w in namespace %s (-n names another)", err, namespace)
	}
	return err
}

// look asks the API server for what is in scope. Without the pods there is nothing to show.
// Without the rest the picture has less.
func (e *env) look(ctx context.Context, s scope) (*picture, error) {
	core, apps, err := e.clients()
	if err != nil {
		return nil, err
	}
	e.progress("looking at pods")
	defer e.progress("")
	p, err := e.podsIn(ctx, core, s)
	if err != nil {
		return nil, err
	}
	p.lookAtAgents(ctx, core, s.agents)
	if !s.events {
		return p, nil
	}
	e.progress("looking at events")
	sets, err := apps.DaemonSets(s.agents).List(ctx, metav1.ListOptions{LabelSelector: agentLabel})
	p.cannot("the agents' DaemonSet", err)
	if err == nil {
		p.sets = sets.Items
	}
	events, err := allEvents(ctx, core, s.namespace, "reportingComponent="+agentComponent)
	p.cannot("events", err)
	p.takeEvents(events)
	return p, nil
}

// podsIn returns a picture with nothing but pods.
func (e *env) podsIn(ctx context.Context, core *coreclient.CoreV1Client, s scope) (*picture, error) {
	p := e.newPicture()
	pods, err := core.Pods(s.namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0", LabelSelector: s.selector})
	if err != nil {
		return nil, fmt.Errorf("pods: %w", err)
	}
	p.take(withNetworks(pods.Items))
	return p, nil
}

// take takes pods over, and notes those whose status cannot be read.
func (p *picture) take(pods []corev1.Pod) {
	p.pods = pods
	for i := range pods {
		pod := &pods[i]
		if _, err := statusOf(pod); err != nil {
			text := fmt.Sprintf("its annotation %s cannot be read: %v", nettypes.NetworkStatusAnnot, err)
			p.doubts = append(p.doubts, finding{Severity: isUnknown, Node: pod.Spec.NodeName, Pod: pod.Namespace + "/" + pod.Name, Text: text, Hint: "somebody else has written it", cause: byPod})
		}
	}
}

// statusOf returns the entries of a pod's network-status.
func statusOf(pod *corev1.Pod) (entries []kubeclient.NetworkStatus, err error) {
	if text := pod.Annotations[nettypes.NetworkStatusAnnot]; text != "" {
		err = json.Unmarshal([]byte(text), &entries)
	}
	return entries, err
}

// withNetworks returns the pods that have networks or ask for them, and those that do not run,
// because their networks may be why. Most pods of a cluster are none of these.
func withNetworks(pods []corev1.Pod) (out []corev1.Pod) {
	for _, pod := range pods {
		a := pod.Annotations
		if a[kubeclient.NetworksAnnotation] != "" || a[nettypes.NetworkStatusAnnot] != "" || !isRunning(&pod) {
			out = append(out, pod)
		}
	}
	return out
}

func (e *env) newPicture() *picture {
	return &picture{now: e.now(), reports: map[string]*kubeclient.NodeReport{}}
}

// lookAtAgents asks for the agents, and reads what they tell of their nodes.
func (p *picture) lookAtAgents(ctx context.Context, core *coreclient.CoreV1Client, namespace string) {
	agents, err := core.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: agentLabel})
	p.cannot("the agents", err)
	if err == nil {
		p.agents = agents.Items
		p.readReports()
	}
}

// pageSize limits how much is asked of the API server at once. What it has in its cache it gives
// whole.
const pageSize = 500

// allEvents returns the events of a namespace, or of all, that a field selector selects.
func allEvents(ctx context.Context, core *coreclient.CoreV1Client, namespace, selector string) (all []corev1.Event, err error) {
	options := metav1.ListOptions{FieldSelector: selector, Limit: pageSize}
	for {
		page, err := core.Events(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if options.Continue = page.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// takeEvents takes events over, the newest last.
func (p *picture) takeEvents(events []corev1.Event) {
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	p.events = events
}

// cannot notes what cannot be seen.
func (p *picture) cannot(what string, err error) {
	if err != nil {
		p.unseen = append(p.unseen, fmt.Sprintf("%s: %v", what, err))
	}
}

// readReports reads what each agent tells. Of two agents of a node, which there are while one
// takes over from the other, the one that is ready counts.
func (p *picture) readReports() {
	slices.SortStableFunc(p.agents, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Spec.NodeName, b.Spec.NodeName), boolCompare(isReady(&a), isReady(&b)))
	})
	current := map[string]bool{}
	for i := range p.agents {
		a := &p.agents[i]
		r, err := kubeclient.ReadNodeReport(a)
		switch {
		case err != nil:
			p.doubt(a.Spec.NodeName, err.Error())
		case r != nil:
			p.reports[a.Spec.NodeName], current[a.Spec.NodeName] = r, isReady(a)
		case isReady(a):
			p.doubt(a.Spec.NodeName, "its agent has not reported yet")
		}
	}
	for _, node := range slices.Sorted(maps.Keys(p.reports)) {
		at := p.reports[node].At
		switch {
		case !current[node]:
			p.doubt(node, "its agent is not ready: what is shown of the node may be out of date")
		case at != nil && p.now.Sub(*at) > kubeclient.ReportLife:
			p.doubt(node, "its agent last reported "+ago(*at, p.now)+" ago: what is shown of the node may be out of date")
		}
	}
}

// doubt notes what is not known of a node.
func (p *picture) doubt(node, text string) {
	p.doubts = append(p.doubts, finding{Severity: isUnknown, Node: node, Text: text, cause: byOthers})
}

// allUnseen lists what could not be seen, of these nodes too, or of all if none is named.
func (p *picture) allUnseen(nodes ...string) []string {
	out := slices.Clone(p.unseen)
	for _, d := range p.doubts {
		if len(nodes) == 0 || slices.Contains(nodes, d.Node) {
			out = append(out, d.where()+d.Text)
		}
	}
	return out
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func isReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// bondView is a bond of a pod: what its status says, and what the agent of its node adds.
type bondView struct {
	Namespace    string       `json:"namespace"`
	Pod          string       `json:"pod"`
	Node         string       `json:"node"`
	Bond         string       `json:"bond"`
	Network      string       `json:"network,omitempty"`
	State        string       `json:"state"`
	Mode         string       `json:"mode,omitempty"`
	Active       string       `json:"active,omitempty"`
	Working      int          `json:"working"`
	Wanted       int          `json:"wanted"`
	IPs          []string     `json:"ips,omitempty"`
	MTU          int          `json:"mtu,omitempty"`
	Created      metav1.Time  `json:"created"` // its pod
	Failovers    *int         `json:"failovers,omitempty"`
	LastFailover *metav1.Time `json:"lastFailover,omitempty"`
	Links        []linkView   `json:"links"`
	Warnings     []string     `json:"warnings,omitempty"`

	report *kubeclient.BondReport
}

// linkView is a link of a bond, and its PF.
type linkView struct {
	Name     string  `json:"name"`
	State    string  `json:"state"`
	Active   bool    `json:"active,omitempty"`
	Device   string  `json:"device,omitempty"`
	MAC      string  `json:"mac,omitempty"`
	PF       string  `json:"pf,omitempty"`
	NUMA     *int    `json:"numa,omitempty"`
	Speed    int     `json:"speed,omitempty"` // Mbit/s
	Failures *uint32 `json:"failures,omitempty"`
	Partner  *bool   `json:"partner,omitempty"`

	pf *kubeclient.PFReport
}

// bonds returns the bonds of all pods, by namespace, pod and interface.
func (p *picture) bonds() (out []bondView) {
	for i := range p.pods {
		out = append(out, p.bondsOf(&p.pods[i])...)
	}
	slices.SortFunc(out, func(a, b bondView) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Bond, b.Bond))
	})
	return out
}

// bondsOf returns the bonds of a pod. Beside Multus its status has none, and the agent of
// its node knows them.
func (p *picture) bondsOf(pod *corev1.Pod) (out []bondView) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	entries, _ := statusOf(pod) // a doubt tells what cannot be read
	reported := p.reported(pod)
	for _, s := range entries {
		if s.Links != nil && s.Bond != nil {
			out = append(out, p.view(pod, &s, reported[s.Interface]))
		}
		if s.Links != nil {
			delete(reported, s.Interface)
		}
	}
	for _, r := range reported {
		out = append(out, p.view(pod, nil, r))
	}
	return out
}

// reported returns what the agent of a pod's node knows of its bonds.
func (p *picture) reported(pod *corev1.Pod) map[string]*kubeclient.BondReport {
	out := map[string]*kubeclient.BondReport{}
	node := p.reports[pod.Spec.NodeName]
	if node == nil {
		return out
	}
	for i, b := range node.Bonds {
		if b.Namespace == pod.Namespace && b.Pod == pod.Name {
			out[b.Bond] = &node.Bonds[i]
		}
	}
	return out
}

// view joins a bond's entry of network-status and what the agent knows. Either can be nil.
// The status of a pod is the newer one.
func (p *picture) view(pod *corev1.Pod, s *kubeclient.NetworkStatus, r *kubeclient.BondReport) bondView {
	v := bondView{Namespace: pod.Namespace, Pod: pod.Name, Node: pod.Spec.NodeName, Created: pod.CreationTimestamp, Links: []linkView{}, report: r}
	if r != nil {
		v.Bond, v.Network, v.State, v.Mode, v.MTU, v.Wanted, v.Failovers, v.Warnings = r.Bond, r.Network, r.State, r.Mode, r.MTU, r.Wanted, &r.Failovers, r.Warnings
		if r.LastFailover != nil {
			v.LastFailover = &metav1.Time{Time: *r.LastFailover}
		}
		for _, l := range r.Links {
			v.Links = append(v.Links, linkView{Name: l.Name, State: l.State, Active: l.Active, Device: l.Device, PF: l.PF, Failures: &l.Failures, Partner: l.Partner})
			if l.Active && hasActive(v.Mode) {
				v.Active = l.Name
			}
		}
	}
	if s != nil {
		v.join(s)
	}
	for i := range v.Links {
		p.addPF(v.Node, &v.Links[i])
		if v.Links[i].State == kubeclient.BondUp {
			v.Working++
		}
	}
	return v
}

// hasActive reports whether one link of a bond in this mode carries the traffic.
func hasActive(mode string) bool {
	return slices.Contains([]string{"active-backup", "balance-tlb", "balance-alb"}, mode)
}

// join takes over what a pod's status says of its bond.
func (v *bondView) join(s *kubeclient.NetworkStatus) {
	v.Bond, v.Network, v.IPs, v.MTU, v.Active = s.Interface, s.Name, s.IPs, cmp.Or(v.MTU, s.Mtu), s.Bond.Active
	v.Wanted = max(v.Wanted, len(s.Links))
	switch {
	case v.State == kubeclient.BondDeleted:
	case !s.Bond.Up:
		v.State = kubeclient.BondDown
	case s.Bond.Degraded:
		v.State = kubeclient.BondDegraded
	default:
		v.State = kubeclient.BondUp
	}
	for _, l := range s.Links {
		i := slices.IndexFunc(v.Links, func(known linkView) bool { return known.Name == l.Name })
		if i < 0 {
			i = len(v.Links)
			v.Links = append(v.Links, linkView{Name: l.Name})
		}
		one := &v.Links[i]
		one.State, one.MAC, one.Active = cmp.Or(l.State, one.State), l.Mac, l.Name == s.Bond.Active || one.Active && s.Bond.Active == ""
		if l.DeviceInfo != nil && l.DeviceInfo.Pci != nil {
			one.Device = l.DeviceInfo.Pci.PciAddress
		}
	}
}

// addPF adds what is known of the PF of a link.
func (p *picture) addPF(node string, l *linkView) {
	r := p.reports[node]
	if r == nil || l.PF == "" {
		return
	}
	i := slices.IndexFunc(r.PFs, func(pf kubeclient.PFReport) bool { return pf.Name == l.PF })
	if i >= 0 {
		l.pf = &r.PFs[i]
		l.NUMA, l.Speed = l.pf.NUMA, l.pf.Speed
	}
}

// pfs lists the PFs of a bond's links.
func (v bondView) pfs() (out []string) {
	for _, l := range v.Links {
		if l.PF != "" {
			out = append(out, l.PF)
		}
	}
	return out
}
