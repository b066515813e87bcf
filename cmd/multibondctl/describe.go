package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient"
)

// description is what describe prints.
type description struct {
	header
	Namespace string          `json:"namespace"`
	Pod       string          `json:"pod"`
	Node      string          `json:"node"`
	Networks  string          `json:"networks,omitempty"` // as the pod asks for them
	Findings  []finding       `json:"findings"`
	Bonds     []describedBond `json:"bonds"`
	Events    []podEvent      `json:"events"`
	Unseen    []string        `json:"unseen,omitempty"`
}

// describedBond is a bond with what its Record has.
type describedBond struct {
	bondView
	Attached *time.Time               `json:"attached,omitempty"`
	Planned  []kubeclient.PlannedLink `json:"planned,omitempty"`
	Steps    []agentapi.Step          `json:"steps,omitempty"`

	brief bool // the agent leaves out the plan and the steps of bonds that are up
}

// podEvent is an event that the agent has published about a pod.
type podEvent struct {
	Time    metav1.Time `json:"time"`
	Object  string      `json:"object"` // demo/web, or a node
	Type    string      `json:"type"`
	Reason  string      `json:"reason"`
	Message string      `json:"message"`
}

func newDescribe(e *env) *cobra.Command {
	s := scope{}
	c := &cobra.Command{
		Use:               "describe POD",
		Short:             "Show the bonds of a pod: what was planned, what was done, how it is",
		Args:              onePod,
		ValidArgsFunction: e.completePods,
		RunE: func(c *cobra.Command, args []string) error {
			if err := e.within(&s, false); err != nil {
				return err
			}
			core, _, err := e.clients()
			if err != nil {
				return err
			}
			pod, err := core.Pods(s.namespace).Get(c.Context(), args[0], metav1.GetOptions{})
			if err != nil {
				return lookedIn(s.namespace, err)
			}
			p := e.newPicture()
			p.take([]corev1.Pod{*pod})
			p.lookAtAgents(c.Context(), core, s.agents)
			events, err := allEvents(c.Context(), core, s.namespace, fields.Set{"involvedObject.name": pod.Name, "reportingComponent": agentComponent}.String())
			p.cannot("events", err)
			p.takeEvents(events)
			d := p.describe(pod)
			if err := e.print(d, func(out *page) { printDescription(out, d, p.now) }); err != nil {
				return err
			}
			return cmp.Or(verdict(d.Findings), notSeen(d.Unseen))
		},
	}
	e.scopeFlags(c, &s, nil)
	return c
}

// describe returns what is known of a pod, the only one of the picture.
func (p *picture) describe(pod *corev1.Pod) description {
	d := description{header: headerOf("Description"), Namespace: pod.Namespace, Pod: pod.Name, Node: pod.Spec.NodeName, Networks: pod.Annotations[kubeclient.NetworksAnnotation], Findings: []finding{}, Bonds: []describedBond{}, Unseen: p.allUnseen(pod.Spec.NodeName)}
	for _, v := range p.bonds() {
		one := describedBond{bondView: v}
		if v.report != nil {
			one.Attached, one.Planned, one.Steps, one.brief = v.report.Attached, v.report.Planned, v.report.Steps, p.reports[v.Node].Brief
		} else {
			d.Unseen = append(d.Unseen, fmt.Sprintf("what the agent knows of %s: it has not told of it", v.Bond))
		}
		d.Bonds = append(d.Bonds, one)
		d.Findings = append(d.Findings, v.findings()...)
	}
	d.Findings = append(d.Findings, p.podFindings()...)
	d.Events = published(slices.DeleteFunc(p.events, func(ev corev1.Event) bool { return ev.InvolvedObject.UID != pod.UID }))
	return d
}

func printDescription(out *page, d description, now time.Time) {
	out.line("Pod %s/%s on node %s, networks %s", d.Namespace, d.Pod, dash(d.Node), dash(d.Networks))
	out.findings(d.Findings, len(d.Findings))
	if len(d.Bonds) == 0 {
		out.line("The pod has no bond.")
	}
	for _, b := range d.Bonds {
		out.line("")
		printBond(out, b, now)
	}
	if len(d.Events) > 0 {
		out.line("")
		rows := [][]string{{"AGE", "TYPE", "REASON", "MESSAGE"}}
		for _, ev := range d.Events {
			rows = append(rows, []string{ago(ev.Time.Time, now), ev.Type, ev.Reason, ev.Message})
		}
		out.table(rows...)
	}
	out.unseen(d.Unseen)
}

func printBond(out *page, b describedBond, now time.Time) {
	out.line("%s (%s): %s, %d of %d links work", b.Bond, b.Network, out.paint(b.State), b.Working, b.Wanted)
	words := []string{"mode " + dash(b.Mode), "MTU " + number(b.MTU), "addresses " + dash(strings.Join(b.IPs, ", "))}
	if b.Failovers != nil {
		words = append(words, count(*b.Failovers, "failover"))
	}
	if b.LastFailover != nil {
		words = append(words, "the last "+ago(b.LastFailover.Time, now)+" ago")
	}
	out.line("  %s", strings.Join(words, ", "))
	rows := [][]string{{"LINK", "PLANNED", "ATTACHED", "NOW", "ACTIVE", "PF", "NUMA", "SPEED", "CARRIER", "FAILURES", "MAC"}}
	for _, name := range b.linkNames() {
		rows = append(rows, b.row(name))
	}
	if !out.wide {
		for i, row := range rows {
			rows[i] = row[:len(row)-1]
		}
	}
	out.table(rows...)
	if b.Attached == nil {
		return
	}
	var total float64
	var steps []string
	for _, s := range b.Steps {
		total += s.Milliseconds
		steps = append(steps, fmt.Sprintf("%s %.0f", s.What, s.Milliseconds))
	}
	if steps == nil {
		out.line("  attached %s ago%s", ago(*b.Attached, now), b.whyNoSteps())
		return
	}
	out.line("  attached %s ago in %.0f ms: %s", ago(*b.Attached, now), total, strings.Join(steps, ", "))
}

// whyNoSteps says why nothing is known of how a bond was made.
func (b describedBond) whyNoSteps() string {
	if b.brief {
		return "; its plan and its steps are only in the Record, because the node has many bonds"
	}
	return ""
}

// linkNames lists the links that were planned or are there.
func (b describedBond) linkNames() (names []string) {
	for _, l := range b.Planned {
		names = append(names, l.Name)
	}
	for _, l := range b.Links {
		if !slices.Contains(names, l.Name) {
			names = append(names, l.Name)
		}
	}
	return names
}

// row returns a link: as planned, as done, as it is.
func (b describedBond) row(name string) []string {
	row := []string{name, "-", "-", "missing", "-", "-", "-", "-", "-", "-", "-"}
	for _, l := range b.Planned {
		if l.Name == name {
			row[1], row[2] = dash(l.Device), "no"
			if l.Attached {
				row[2] = "yes"
			}
		}
	}
	for _, l := range b.Links {
		if l.Name != name {
			continue
		}
		if row[1] == "-" {
			row[1] = dash(l.Device)
		}
		row[3], row[5], row[6], row[7], row[9], row[10] = l.State, dash(l.PF), optional(l.NUMA), speed(l.Speed), optional(l.Failures), dash(l.MAC)
		if l.Active {
			row[4] = "yes"
		}
		if l.pf != nil {
			row[8] = carrier(*l.pf)
		}
	}
	return row
}
