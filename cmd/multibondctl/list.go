package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/multibond/multibond/cmd/multibondctl/written"
)

// bondList is what list prints.
type bondList struct {
	header
	Items  []bondView `json:"items"`
	Unseen []string   `json:"unseen,omitempty"`
}

func newList(e *env) *cobra.Command {
	var s scope
	var all bool
	var node string
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List bonds, one a line",
		Example: "  kubectl multibond list -A\n  kubectl multibond list -A --node n1 -o wide",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := e.within(&s, all); err != nil {
				return err
			}
			p, err := e.look(c.Context(), s)
			if err != nil {
				return err
			}
			r := bondList{header: headerOf("BondList"), Items: p.bonds(), Unseen: p.allUnseen()}
			r.Items = slices.DeleteFunc(append([]bondView{}, r.Items...), func(v bondView) bool { return node != "" && v.Node != node })
			if err := e.print(r, func(out *page) { printBonds(out, r, s.namespace, p.now) }); err != nil {
				return err
			}
			return notSeen(r.Unseen)
		},
	}
	e.scopeFlags(c, &s, &all)
	c.Flags().StringVarP(&s.selector, "selector", "l", "", "Label `selector` of pods")
	c.Flags().StringVar(&node, "node", "", "Only bonds of this `node`")
	return c
}

// scopeFlags adds the flags that say what a command looks at.
func (e *env) scopeFlags(c *cobra.Command, s *scope, all *bool) {
	if all != nil {
		c.Flags().BoolVarP(all, "all-namespaces", "A", false, "Pods of all namespaces")
	}
	agentsFlag(c, &s.agents)
}

// agentsFlag adds the flag for the namespace of the agents.
func agentsFlag(c *cobra.Command, namespace *string) {
	c.Flags().StringVar(namespace, "agent-namespace", written.SystemNamespace, "Where the agents and the cluster's configuration are")
}

// within sets the namespace of a scope.
func (e *env) within(s *scope, all bool) (err error) {
	if !all {
		s.namespace, _, err = e.flags.ToRawKubeConfigLoader().Namespace()
	}
	return err
}

func printBonds(out *page, r bondList, namespace string, now time.Time) {
	switch {
	case len(r.Items) == 0 && namespace != "":
		out.line("No bonds found in namespace %s (-A looks in all).", namespace)
	case len(r.Items) == 0:
		out.line("No bonds found.")
	default:
		rows := [][]string{{"NAMESPACE", "POD", "BOND", "MODE", "ACTIVE", "LINKS", "PFS", "AGE", "STATE"}}
		if out.wide {
			rows[0] = append(rows[0], "NODE", "NETWORK", "IPS", "MTU", "FAILOVERS")
		}
		for _, v := range r.Items {
			row := []string{v.Namespace, v.Pod, v.Bond, dash(v.Mode), dash(v.Active), fmt.Sprintf("%d/%d", v.Working, v.Wanted), dash(strings.Join(v.pfs(), ",")), ago(v.Created.Time, now), v.State}
			if out.wide {
				failovers := "-"
				if v.Failovers != nil {
					failovers = fmt.Sprint(*v.Failovers)
				}
				row = append(row, v.Node, dash(v.Network), dash(strings.Join(v.IPs, ",")), number(v.MTU), failovers)
			}
			rows = append(rows, row)
		}
		out.table(rows...)
	}
	out.unseen(r.Unseen)
}

// notSeen returns what a command ends with that has found nothing wrong, but has not seen
// everything.
func notSeen(what []string) error {
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("%s could not be found out", count(len(what), "thing"))
}

// unseen says what could not be seen.
func (p *page) unseen(what []string) {
	for _, w := range what {
		p.line("Not seen: %s", w)
	}
}

func dash(text string) string { return cmp.Or(text, "-") }

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// ago returns an age. The clock of a node can be ahead of this one.
func ago(then, now time.Time) string {
	if then.IsZero() {
		return "-"
	}
	return duration.HumanDuration(max(0, now.Sub(then)))
}
