package written

import (
	"slices"
	"strings"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/kubeclient"
)

// PodPlan is what an ADD would do for a pod.
type PodPlan struct {
	Object
	Node     string        `json:"node,omitempty"` // "": the scheduler has not chosen one
	Networks []NetworkPlan `json:"networks"`
	Unknown  []string      `json:"unknown,omitempty"` // what only the node can tell
	Findings []Finding     `json:"findings,omitempty"`
}

// NetworkPlan is what an ADD would do for one network.
type NetworkPlan struct {
	Path      string   `json:"path"` // in the annotation: "networks[0]"
	Network   string   `json:"network"`
	Interface string   `json:"interface"`
	Kind      string   `json:"kind"` // bond, each or plugins
	Steps     []string `json:"steps"`
}

// Plans returns what an ADD would do for each pod.
func (s *Set) Plans() (all []PodPlan) {
	var cluster agentapi.Cluster
	for _, c := range s.clusters {
		if read, err := netconf.ParseCluster(c.raw); err == nil {
			cluster = read.Cluster
		}
	}
	judge := s.judge(cluster)
	for i := range s.pods {
		all = append(all, s.pods[i].plan(judge))
	}
	return all
}

// plan returns what an ADD would do for the pod.
func (p *pod) plan(judge kubeclient.Judge) PodPlan {
	out := PodPlan{Object: p.Object, Node: p.Spec.NodeName, Networks: []NetworkPlan{}}
	var r Report
	for _, j := range r.addPod(p, judge, nil) {
		if j.Err != nil {
			continue
		}
		one := planOf(j)
		if j.Unseen {
			out.Unknown = append(out.Unknown, "what the network "+one.Network+" is: its NAD is not here, or has no spec.config")
			one.Steps = []string{}
		} else {
			out.Unknown = append(out.Unknown, unknownOf(j, one)...)
		}
		out.Networks = append(out.Networks, one)
	}
	out.Findings = r.Findings
	return out
}

func planOf(j kubeclient.Judged) NetworkPlan {
	e := j.Attachment.Element
	one := NetworkPlan{Path: e.Path, Network: e.Network.String(), Interface: e.Interface, Kind: "plugins", Steps: strings.Split(j.Plan.String(), "\n")}
	switch {
	case j.Plan.IsBond():
		one.Kind = "bond"
	case j.Plan.IsEach():
		one.Kind = "each"
	}
	return one
}

// unknownOf lists what only the node can tell of a network.
func unknownOf(j kubeclient.Judged, one NetworkPlan) (unknown []string) {
	var of []string
	var plugins []string
	for _, l := range j.Plan.Links {
		if strings.Contains(l.Device, " ") && !slices.Contains(of, l.Device) {
			of = append(of, l.Device)
		}
		for _, p := range l.Plugins {
			plugins = append(plugins, p.Type)
		}
	}
	for _, p := range j.Plan.After {
		plugins = append(plugins, p.Type)
	}
	for _, a := range j.Plan.IPAMs() {
		plugins = append(plugins, a.Type)
	}
	slices.Sort(plugins)
	plugins = slices.Compact(plugins)
	say := func(text string) { unknown = append(unknown, one.Interface+": "+text) }
	if len(of) > 0 {
		say("which of the node's devices: " + strings.Join(of, ", "))
	}
	if j.Plan.IsBond() && j.Plan.Bond.Options["mtu"] == "" {
		say("its mtu, the smallest of its links'")
	}
	if !j.Plan.IsChain() {
		say("whether its links are as require says, and whether anybody has them")
	}
	if len(plugins) > 0 {
		say("whether the node has the plugins " + strings.Join(plugins, ", "))
	}
	return unknown
}
