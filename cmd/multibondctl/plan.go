package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/multibond/multibond/cmd/multibondctl/written"
)

// planReport is what plan prints.
type planReport struct {
	header
	Pods []written.PodPlan `json:"pods"`
}

func newPlan(e *env) *cobra.Command {
	var files []string
	var agents string
	c := &cobra.Command{
		Use:   "plan POD | -f FILE...",
		Short: "Show what would be done for a pod's networks, without doing it",
		Long: `Show what an ADD would do for each network of a pod: the links, the bond and its options,
addresses and further plugins, in order. What only the node can tell is listed as unknown,
such as which device the kubelet gives. On the node itself, multibond plan knows it. Whether a
pod's node has the plugins is what its agent tells.

With -f the pods are those of files, with the NADs beside them.`,
		Example: `  kubectl multibond plan database -n prod
  kubectl multibond plan -f deploy/examples/bond.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if (len(args) == 1) == (len(files) > 0) || len(args) > 1 {
				return errors.New("name one pod, or files by -f")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			set, err := e.planned(c, args, files, agents)
			if err != nil {
				return err
			}
			r := planReport{headerOf("Plan"), set.Plans()}
			if len(r.Pods) == 0 {
				return errors.New("there is no pod, and nothing that pods are made from")
			}
			if err := e.print(r, func(p *page) { printPlans(p, r.Pods) }); err != nil {
				return err
			}
			return refused(r.Pods)
		},
	}
	c.Flags().StringSliceVarP(&files, "filename", "f", nil, "Files, directories, or - for standard input")
	agentsFlag(c, &agents)
	return c
}

// planned reads files, or one pod of the cluster with its networks, and what the agents tell of
// their nodes.
func (e *env) planned(c *cobra.Command, args, files []string, agents string) (*written.Set, error) {
	if len(files) > 0 {
		return written.Read(files, e.In, cmp.Or(*e.flags.Namespace, "default"))
	}
	config, err := e.config()
	if err != nil {
		return nil, err
	}
	namespace, _, err := e.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	set, err := written.OnePod(c.Context(), config, agents, namespace, args[0])
	if err != nil {
		return nil, lookedIn(namespace, err)
	}
	core, _, err := e.clients()
	if err != nil {
		return nil, err
	}
	p := e.newPicture()
	p.lookAtAgents(c.Context(), core, agents)
	set.Has = p.hasPlugin
	return set, nil
}

// hasPlugin reports whether a node has a CNI plugin, and whether its agent tells.
func (p *picture) hasPlugin(node, plugin string) (has, known bool) {
	if r := p.reports[node]; r != nil {
		for _, one := range r.Plugins {
			if one.Name == plugin {
				return !one.Missing, true
			}
		}
	}
	return false, false
}

// refused returns an error if an ADD would refuse a pod.
func refused(pods []written.PodPlan) error {
	n := 0
	for _, p := range pods {
		for _, f := range p.Findings {
			if f.Level == written.Error {
				n++
				break
			}
		}
	}
	if n == 0 {
		return nil
	}
	return wrong(fmt.Sprintf("%s would not start", count(n, "pod")))
}

func printPlans(p *page, pods []written.PodPlan) {
	for i, one := range pods {
		if i > 0 {
			p.line("")
		}
		where := "on the node that the scheduler chooses"
		if one.Node != "" {
			where = "on node " + one.Node
		}
		p.line("%s %s, %s", one.Kind, one.Name, where)
		for _, n := range one.Networks {
			p.line("  %s: %s, %s as %s", n.Path, n.Network, n.Kind, n.Interface)
			for _, step := range n.Steps {
				p.line("    %s", step)
			}
		}
		if len(one.Networks) == 0 && len(one.Findings) == 0 {
			p.line("  no networks but the default one")
		}
		if len(one.Unknown) > 0 {
			p.line("  unknown until the pod is on its node:")
		}
		for _, what := range one.Unknown {
			p.line("    %s", what)
		}
		printFindings(p, written.Report{Findings: one.Findings})
	}
}
