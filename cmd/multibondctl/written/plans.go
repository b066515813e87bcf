package written

import (
	"slices"
	"strings"

	"github.com/multibond/multibond/bond/code"
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
	Plugins   []string `json:"plugins,omitempty"` // that are executed
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
		all = append(all, s.plan(&s.pods[i], judge))
	}
	return all
}

// plan returns what an ADD would do for a pod.
func (s *Set) plan(p *pod, judge kubeclient.Judge) PodPlan {
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
			one.Plugins = pluginsOf(j)
			out.Unknown = append(out.Unknown, unknownOf(j, one)...)
			r.Findings = append(r.Findings, s.lookForPlugins(&out, one)...)
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
	for _, l := range j.Plan.Links {
		if strings.Contains(l.Device, " ") && !slices.Contains(of, l.Device) {
			of = append(of, l.Device)
		}
	}
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
	return unknown
}

// pluginsOf lists the CNI plugins that are executed for a network.
func pluginsOf(j kubeclient.Judged) (plugins []string) {
	for _, l := range j.Plan.Links {
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
	return slices.Compact(plugins)
}

// lookForPlugins returns which plugins of a network the pod's node does not have, and adds to the
// plan of which that is unknown.
func (s *Set) lookForPlugins(p *PodPlan, n NetworkPlan) (missing []Finding) {
	var unknown []string
	for _, plugin := range n.Plugins {
		has, known := false, false
		if s.Has != nil {
			has, known = s.Has(p.Node, plugin)
		}
		switch {
		case !known:
			unknown = append(unknown, plugin)
		case !has:
			missing = append(missing, Finding{
				Level: Warning, Code: code.NoPlugin, Object: p.Object, Context: n.Path + ": network " + n.Network + ": ",
				Text: "the CNI plugin " + plugin + " is not in the directory of plugins of node " + p.Node,
				Hint: "install it there, unless the runtime has it in another directory",
			})
		}
	}
	if unknown != nil {
		p.Unknown = append(p.Unknown, n.Interface+": whether the node has the plugins "+strings.Join(unknown, ", "))
	}
	return missing
}
