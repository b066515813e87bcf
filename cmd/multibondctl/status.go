package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/kubeclient"
)

// statusReport is what status prints.
type statusReport struct {
	header
	Findings []finding    `json:"findings"`
	Bonds    bondCount    `json:"bonds"`
	Nodes    []nodeStatus `json:"nodes"`
}

// bondCount counts bonds by state.
type bondCount struct {
	Total    int `json:"total"`
	Up       int `json:"up"`
	Degraded int `json:"degraded"`
	Down     int `json:"down"`
}

func (c *bondCount) add(state string) {
	c.Total++
	switch state {
	case kubeclient.BondUp, kubeclient.BondStarting:
		c.Up++
	case kubeclient.BondDegraded:
		c.Degraded++
	default:
		c.Down++
	}
}

// nodeStatus is a node that has an agent, or bonds.
type nodeStatus struct {
	Name    string    `json:"name"`
	Agent   string    `json:"agent"` // ok, down, missing
	Version string    `json:"version,omitempty"`
	Kernel  string    `json:"kernel,omitempty"`
	PFs     int       `json:"pfs"`
	PFsUp   int       `json:"pfsUp"`
	Records int       `json:"records"`
	Bonds   bondCount `json:"bonds"`
}

func newStatus(e *env) *cobra.Command {
	s := scope{events: true}
	var wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the whole cluster on one screen, the worst first",
		Example: "  kubectl multibond status\n" +
			"  kubectl multibond status --wait --timeout 5m   # until all is well",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, r, err := e.status(c.Context(), s)
			if wait && (err != nil || verdict(r.Findings) != nil) {
				p, r, err = e.await(c.Context(), s, timeout)
			}
			if err != nil {
				return err
			}
			if err := e.print(r, func(out *page) { printStatus(out, p, r) }); err != nil {
				return err
			}
			return verdict(r.Findings)
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "Wait until all is well")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "How long to wait")
	e.scopeFlags(c, &s, nil)
	return c
}

func (e *env) status(ctx context.Context, s scope) (*picture, statusReport, error) {
	p, err := e.look(ctx, s)
	if err != nil {
		return nil, statusReport{}, err
	}
	return p, p.status(), nil
}

// await looks until all is well or the time is over, and returns the last look.
func (e *env) await(ctx context.Context, s scope, timeout time.Duration) (p *picture, r statusReport, err error) {
	const every = 15 * time.Second // as often as agents tell what has changed
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errors.New("the time of --timeout is over"))
	defer cancel()
	defer e.progress("")
	for {
		was, wasReport := p, r
		if p, r, err = e.status(ctx, s); err == nil && verdict(r.Findings) == nil {
			return p, r, nil
		}
		if ctx.Err() != nil && was != nil {
			return was, wasReport, nil
		}
		if err == nil {
			e.progress("waiting: %d findings, %d of %d bonds up", len(r.Findings), r.Bonds.Up, r.Bonds.Total)
		}
		select {
		case <-ctx.Done():
			if p == nil {
				return nil, r, cmp.Or(err, context.Cause(ctx))
			}
			return p, r, nil
		case <-time.After(every):
		}
	}
}

// status returns how a cluster is.
func (p *picture) status() statusReport {
	r := statusReport{header: headerOf("Status"), Findings: p.findings(), Nodes: []nodeStatus{}}
	if r.Findings == nil {
		r.Findings = []finding{}
	}
	nodes := map[string]*nodeStatus{}
	node := func(name string) *nodeStatus {
		if nodes[name] == nil {
			nodes[name] = &nodeStatus{Name: name, Agent: "missing"}
		}
		return nodes[name]
	}
	for i := range p.agents {
		a := &p.agents[i]
		if a.Spec.NodeName == "" || a.Status.Phase == corev1.PodSucceeded {
			continue
		}
		one := node(a.Spec.NodeName)
		one.Agent = "down"
		if isReady(a) {
			one.Agent = "ok"
		}
	}
	for name, report := range p.reports {
		one := node(name)
		one.Version, one.Kernel, one.PFs, one.Records = report.Version, report.Kernel, len(report.PFs), report.Records.Count
		for _, pf := range report.PFs {
			if pf.Carrier {
				one.PFsUp++
			}
		}
	}
	for _, v := range p.bonds() {
		r.Bonds.add(v.State)
		node(v.Node).Bonds.add(v.State)
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		r.Nodes = append(r.Nodes, *nodes[name])
	}
	slices.SortStableFunc(r.Nodes, func(a, b nodeStatus) int { return b.badness() - a.badness() })
	return r
}

// badness sorts nodes, the worst first.
func (n nodeStatus) badness() int {
	bad := n.Bonds.Down*1000 + n.Bonds.Degraded
	if n.Agent != "ok" {
		bad += 1000000
	}
	return bad
}

// onOneScreen is how many findings and nodes status shows.
const onOneScreen = 20

func printStatus(out *page, p *picture, r statusReport) {
	if len(r.Findings) == 0 {
		out.line("%s      all is well", out.paint("ok"))
	}
	most := onOneScreen
	if out.wide {
		most = len(r.Findings) + len(r.Nodes)
	}
	out.findings(r.Findings, most)
	out.line("")
	out.line("Bonds: %d, %d up, %d degraded, %d down. Nodes with agents: %d.", r.Bonds.Total, r.Bonds.Up, r.Bonds.Degraded, r.Bonds.Down, len(p.reports))
	if len(r.Nodes) == 0 {
		return
	}
	rows := [][]string{{"NODE", "AGENT", "VERSION", "BONDS", "UP", "DEGRADED", "DOWN", "PFS", "RECORDS"}}
	if out.wide {
		rows[0] = append(rows[0], "KERNEL")
	}
	for i, n := range r.Nodes {
		if i == most {
			break
		}
		row := []string{n.Name, n.Agent, dash(n.Version), fmt.Sprint(n.Bonds.Total), fmt.Sprint(n.Bonds.Up), fmt.Sprint(n.Bonds.Degraded), fmt.Sprint(n.Bonds.Down), fmt.Sprintf("%d/%d", n.PFsUp, n.PFs), fmt.Sprint(n.Records)}
		if out.wide {
			row = append(row, dash(n.Kernel))
		}
		rows = append(rows, row)
	}
	out.table(rows...)
	if len(r.Nodes) > most {
		out.line("... and %d more nodes: -o wide", len(r.Nodes)-most)
	}
}
