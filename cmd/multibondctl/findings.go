package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/kubeclient"
)

// finding is something that is wrong, or that nobody knows.
type finding struct {
	Severity severity `json:"severity"`
	Node     string   `json:"node,omitempty"`
	Pod      string   `json:"pod,omitempty"` // demo/p
	Text     string   `json:"text"`
	Hint     string   `json:"hint,omitempty"`

	cause int // what comes before is the cause of what comes after
}

// where names what a finding is about, for what follows it.
func (f finding) where() string {
	switch {
	case f.Pod != "":
		return f.Pod + ": "
	case f.Node != "":
		return "node " + f.Node + ": "
	}
	return ""
}

type severity string

const (
	isError   severity = "error"   // something does not work
	isWarning severity = "warning" // something works, and is not as it should be
	isUnknown severity = "unknown" // nobody knows
)

var severities = []severity{isError, isWarning, isUnknown}

// The causes of findings, from the first. One fault can make several findings: the one that
// has to be mended comes first.
const (
	byAgent = iota
	byConfig
	byPlugin
	byPF
	byResource
	byBond
	byPod
	byRecord
	byOthers
)

// findings returns what is wrong in a picture, the worst first.
func (p *picture) findings() (out []finding) {
	bonds := p.bonds()
	out = append(out, p.agentFindings(bonds)...)
	using := usersOf(bonds)
	for _, node := range slices.Sorted(maps.Keys(p.reports)) {
		out = append(out, p.nodeFindings(node, p.reports[node], using)...)
	}
	for _, v := range bonds {
		out = append(out, v.findings()...)
	}
	out = append(out, p.podFindings()...)
	out = append(out, p.doubts...)
	for _, u := range p.unseen {
		out = append(out, finding{Severity: isUnknown, Text: u, cause: byOthers})
	}
	slices.SortStableFunc(out, func(a, b finding) int {
		return cmp.Or(cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)), cmp.Compare(a.cause, b.cause))
	})
	return out
}

// agentFindings finds nodes without an agent. Nodes cannot be listed by those who may only
// view, so the DaemonSet counts them.
func (p *picture) agentFindings(bonds []bondView) (out []finding) {
	ready := map[string]bool{}
	for i := range p.agents {
		ready[p.agents[i].Spec.NodeName] = ready[p.agents[i].Spec.NodeName] || isReady(&p.agents[i])
	}
	say := func(node, text, hint string) {
		out = append(out, finding{Severity: isError, Node: node, Text: text, Hint: hint, cause: byAgent})
	}
	if len(p.agents) == 0 && len(p.sets) == 0 {
		if p.unseen == nil {
			say("", "no agent runs in this cluster", "install Multibond, or name the agents' namespace with --agent-namespace")
		}
		return out
	}
	named := 0
	for _, node := range slices.Sorted(maps.Keys(ready)) {
		if !ready[node] {
			named++
			say(node, "its agent is not ready: pods with networks do not start there", "kubectl -n "+p.agents[0].Namespace+" describe pods -l "+agentLabel)
		}
	}
	for _, node := range p.nodesOf(bonds) {
		if _, known := ready[node]; !known {
			named++
			say(node, "no agent runs there, and pods with networks do not start", "look at the DaemonSet's events and the node's taints")
		}
	}
	for _, set := range p.sets {
		if missing := int(set.Status.DesiredNumberScheduled - set.Status.NumberAvailable); missing > named {
			say("", fmt.Sprintf("%d of %d agents of %s/%s are not available", missing, set.Status.DesiredNumberScheduled, set.Namespace, set.Name), "kubectl -n "+set.Namespace+" get pods -o wide -l "+agentLabel)
		}
	}
	return out
}

// nodesOf returns the nodes that have pods with networks.
func (p *picture) nodesOf(bonds []bondView) []string {
	nodes := map[string]bool{}
	for _, v := range bonds {
		nodes[v.Node] = true
	}
	for i := range p.pods {
		if pod := &p.pods[i]; pod.Annotations[kubeclient.NetworksAnnotation] != "" && pod.Status.Phase == corev1.PodPending && pod.Spec.NodeName != "" {
			nodes[pod.Spec.NodeName] = true
		}
	}
	return slices.Sorted(maps.Keys(nodes))
}

// nodeFindings finds what is wrong with a node.
func (p *picture) nodeFindings(node string, r *kubeclient.NodeReport, of pfUsers) (out []finding) {
	say := func(s severity, cause int, hint, format string, args ...any) {
		out = append(out, finding{Severity: s, Node: node, Text: fmt.Sprintf(format, args...), Hint: hint, cause: cause})
	}
	if r.Config.State != "" && !r.Config.OK {
		say(isError, byConfig, "", "%s", r.Config.Message)
	}
	for _, plugin := range r.Plugins {
		if plugin.Missing {
			say(isWarning, byPlugin, "install it there, unless the runtime has it in another directory", "the CNI plugin %s is not in the node's directory of plugins; needed by %s", plugin.Name, users(plugin))
		}
	}
	for _, pf := range r.PFs {
		using := of[onPF{node, pf.Name}]
		if pf.Carrier || len(using) == 0 && !isPooled(pf.Name, r.Resources) {
			continue
		}
		s, what := isWarning, "has no carrier"
		if len(using) > 0 {
			s = isError
		}
		if !pf.Up {
			what = "is set down"
		}
		say(s, byPF, "check cable, transceiver and switch port", "PF %s %s%s", pf.Name, what, withLinks(using))
	}
	for _, res := range r.Resources {
		if len(res.PFs) > 1 {
			say(isWarning, byResource, "give each PF a resource of its own, so that a bond's links are on different PFs", "resource %s has VFs of %d PFs: %s", res.Name, len(res.PFs), strings.Join(res.PFs, ", "))
		}
	}
	for _, rec := range r.Records.Aside {
		say(isWarning, byRecord, "look at the VF, then restart the node or remove the file in /var/lib/cni/multibond/aside", "a Record of %s was set aside: %s", owner(rec), cmp.Or(rec.Left, "not everything is as before"))
	}
	for _, rec := range r.Records.Stale {
		say(isWarning, byRecord, "a GC of the runtime undoes it, and so does the next ADD that wants one of its devices", "a Record of %s is stale: its pod is gone%s", owner(rec), withDevices(rec.Devices))
	}
	for _, vf := range r.Orphans {
		say(isWarning, byRecord, "a process may still keep the namespace of a pod that has ended: lsns -t net on the node", "VF %s is orphaned: it is not in the host, and no pod and no Record has it", vf)
	}
	if !r.Watching {
		say(isUnknown, byAgent, "wait for the next ADD or STATUS of the container runtime", "the agent receives no bond events")
	}
	for _, u := range r.Unseen {
		say(isUnknown, byOthers, "", "the agent cannot see %s", u)
	}
	return out
}

// users names networks that need a plugin.
func users(p kubeclient.PluginReport) string {
	if p.More > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(p.Networks, ", "), p.More)
	}
	return cmp.Or(strings.Join(p.Networks, ", "), "every bond")
}

func owner(r kubeclient.RecordOwner) string {
	return cmp.Or(r.Pod, "container "+r.Container) + " " + r.Interface
}

func withDevices(devices []string) string {
	if len(devices) == 0 {
		return ""
	}
	return ", and it holds " + strings.Join(devices, ", ")
}

// onPF is a PF of a node.
type onPF struct{ node, pf string }

// pfUsers has the bonds that have a link on each PF.
type pfUsers map[onPF][]string

func usersOf(bonds []bondView) pfUsers {
	out := pfUsers{}
	for _, v := range bonds {
		pfs := v.pfs()
		slices.Sort(pfs)
		for _, pf := range slices.Compact(pfs) {
			out[onPF{v.Node, pf}] = append(out[onPF{v.Node, pf}], v.Namespace+"/"+v.Pod+" "+v.Bond)
		}
	}
	return out
}

func isPooled(pf string, resources []kubeclient.ResourceReport) bool {
	return slices.ContainsFunc(resources, func(r kubeclient.ResourceReport) bool { return slices.Contains(r.PFs, pf) })
}

func withLinks(bonds []string) string {
	switch len(bonds) {
	case 0:
		return ""
	case 1:
		return ", and " + bonds[0] + " has a link on it"
	}
	return fmt.Sprintf(", and %d bonds have links on it", len(bonds))
}

// few lists the first n of many.
func few(all []string, n int) string {
	if len(all) <= n {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:n], ", "), len(all)-n)
}

// findings finds what is wrong with a bond.
func (v bondView) findings() (out []finding) {
	say := func(s severity, hint, format string, args ...any) {
		out = append(out, finding{Severity: s, Node: v.Node, Pod: v.Namespace + "/" + v.Pod, Text: v.Bond + ": " + fmt.Sprintf(format, args...), Hint: hint, cause: byBond})
	}
	switch v.State {
	case kubeclient.BondDeleted:
		say(isError, "delete the pod: the bond does not come back", "its application has deleted the bond")
	case kubeclient.BondDown:
		say(isError, "", "no link works: %s", v.broken())
	case kubeclient.BondDegraded:
		say(isWarning, "", "%d of %d links work: %s", v.Working, v.Wanted, v.broken())
	}
	for _, l := range v.Links {
		if l.Partner != nil && !*l.Partner && l.State == kubeclient.BondUp {
			say(isWarning, "configure LACP at the switch port of its PF; VFs of one PF cannot have partners of their own, so use active-backup", "%s has no LACP partner: 802.3ad over VFs passes its traffic only if the switch answers", l.describe())
		}
		if l.pf != nil && l.pf.MTU > 0 && v.MTU > l.pf.MTU {
			say(isWarning, fmt.Sprintf("ip link set %s mtu %d on node %s", l.PF, v.MTU, v.Node), "its MTU is %d, but PF %s has %d", v.MTU, l.PF, l.pf.MTU)
		}
	}
	if pf := twice(v.pfs()); pf != "" {
		say(isWarning, "use resources of different PFs", "two of its links are on PF %s, and fail together", pf)
	}
	for _, w := range v.Warnings {
		say(isWarning, "", "%s", w)
	}
	return out
}

// twice returns what is twice in a list, or "".
func twice(list []string) string {
	for i, one := range list {
		if slices.Contains(list[:i], one) {
			return one
		}
	}
	return ""
}

// broken says of each link that does not work why.
func (v bondView) broken() string {
	var words []string
	for _, l := range v.Links {
		if l.State != kubeclient.BondUp {
			words = append(words, l.describe()+" "+l.why())
		}
	}
	if missing := v.Wanted - len(v.Links); missing > 0 {
		words = append(words, fmt.Sprintf("%d were not attached", missing))
	}
	return cmp.Or(strings.Join(words, ", "), "the bond has no carrier")
}

func (l linkView) describe() string {
	switch {
	case l.PF != "":
		return fmt.Sprintf("%s (VF %s of %s)", l.Name, l.Device, l.PF)
	case l.Device != "":
		return fmt.Sprintf("%s (%s)", l.Name, l.Device)
	}
	return l.Name
}

func (l linkView) why() string {
	switch {
	case l.State == "gone":
		return "is not in the bond any more"
	case l.pf != nil && !l.pf.Carrier:
		return "has failed: its PF has no carrier"
	case l.pf != nil:
		return "has failed, although its PF has a carrier: check switch port, VLAN and ARP targets"
	}
	return "has failed"
}

// podFindings finds pods whose networks failed and that have not started since, by the last
// event of each, and those that started with a warning.
func (p *picture) podFindings() (out []finding) {
	last, warned := map[string]corev1.Event{}, map[string]corev1.Event{}
	for _, ev := range p.events {
		switch {
		case ev.InvolvedObject.Kind != "Pod":
		case ev.Reason == "NetworksWarned":
			warned[string(ev.InvolvedObject.UID)] = ev
		default:
			last[string(ev.InvolvedObject.UID)] = ev
		}
	}
	for i := range p.pods {
		pod := &p.pods[i]
		ev, told := last[string(pod.UID)]
		if w, is := warned[string(pod.UID)]; is && !p.hasWarnings(pod) {
			out = append(out, finding{Severity: isWarning, Node: pod.Spec.NodeName, Pod: pod.Namespace + "/" + pod.Name, Text: w.Message, cause: byPod})
		}
		if !told || ev.Reason != "NetworksFailed" || pod.Status.Phase != corev1.PodPending && pod.DeletionTimestamp == nil {
			continue
		}
		text := "its networks could not be attached: "
		if pod.DeletionTimestamp != nil {
			text = "it does not end: "
		}
		out = append(out, finding{Severity: isError, Node: pod.Spec.NodeName, Pod: pod.Namespace + "/" + pod.Name, Text: text + ev.Message, cause: byPod})
	}
	return append(out, p.waiting(last)...)
}

// hasWarnings reports whether the agent knows the warnings of a pod's bonds from their
// Records: then they are told with the bonds.
func (p *picture) hasWarnings(pod *corev1.Pod) bool {
	for _, b := range p.reported(pod) {
		if len(b.Warnings) > 0 {
			return true
		}
	}
	return false
}

// patience is how long a pod on a node may wait for its networks before that is said.
const patience = 2 * time.Minute

// waiting finds pods that wait for their networks, and of which nobody has told why.
func (p *picture) waiting(told map[string]corev1.Event) (out []finding) {
	for i := range p.pods {
		pod := &p.pods[i]
		since := pod.Status.StartTime
		if _, is := told[string(pod.UID)]; is || pod.Status.Phase != corev1.PodPending || pod.DeletionTimestamp != nil || pod.Annotations[kubeclient.NetworksAnnotation] == "" {
			continue
		}
		if since == nil || p.now.Sub(since.Time) < patience || isSandboxed(pod) {
			continue
		}
		out = append(out, finding{Severity: isUnknown, Node: pod.Spec.NodeName, Pod: pod.Namespace + "/" + pod.Name, Text: "it has been waiting for its networks since " + since.UTC().Format(time.RFC3339), Hint: "kubectl describe pod", cause: byPod})
	}
	return out
}

// isSandboxed reports whether a pod has its networks.
func isSandboxed(pod *corev1.Pod) bool {
	const made corev1.PodConditionType = "PodReadyToStartContainers"
	return pod.Status.PodIP != "" || slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == made && c.Status == corev1.ConditionTrue })
}

// verdict returns what a command that prints findings ends with.
func verdict(all []finding) error {
	number := map[severity]int{}
	for _, f := range all {
		number[f.Severity]++
	}
	switch {
	case number[isError]+number[isWarning] > 0:
		return wrong(count(number[isError], "error") + ", " + count(number[isWarning], "warning"))
	case number[isUnknown] > 0:
		return fmt.Errorf("%s could not be found out", count(number[isUnknown], "thing"))
	}
	return nil
}

// screenWidth is how long a line can be before a hint gets a line of its own.
const screenWidth = 100

// findings prints findings, at most so many.
func (p *page) findings(all []finding, most int) {
	for i, f := range all {
		if i == most {
			p.line("... and %d more: kubectl multibond doctor", len(all)-most)
			return
		}
		where := f.where()
		indent := strings.Repeat(" ", len(isWarning)+1)
		text, hint := where+f.Text, ""
		if f.Hint != "" {
			hint = " (" + f.Hint + ")"
		}
		if len(indent+text+hint) > screenWidth {
			hint = strings.Replace(hint, " ", "\n"+indent, 1)
		}
		p.line("%s%s %s%s", p.paint(string(f.Severity)), strings.Repeat(" ", len(isWarning)-len(f.Severity)), text, hint)
	}
}
