package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/multibond/multibond/kubeclient"
)

// doctorReport is what doctor prints.
type doctorReport struct {
	header
	Findings []finding    `json:"findings"`
	Nodes    []doctorNode `json:"nodes"`
}

// doctorNode is a node, as its agent tells.
type doctorNode struct {
	Name string `json:"name"`
	*kubeclient.NodeReport
}

func newDoctor(e *env) *cobra.Command {
	s := scope{events: true}
	c := &cobra.Command{
		Use:   "doctor [NODE...]",
		Short: "Examine nodes: NICs, resources, plugins, Records, neighbours",
		Long: `Examine nodes: the bonding module, CNI plugins and their versions, the file that the
container runtime takes, PFs with carrier, MTU and mode, resources and the PFs that share
one, Records that need somebody, VFs that nobody has. What is wrong comes first.`,
		RunE: func(c *cobra.Command, nodes []string) error {
			p, err := e.look(c.Context(), s)
			if err != nil {
				return err
			}
			for _, node := range nodes {
				if p.reports[node] == nil {
					p.cannot("node "+node, fmt.Errorf("no agent tells of it (nodes with agents: %s)", cmp.Or(few(slices.Sorted(maps.Keys(p.reports)), 10), "none")))
				}
			}
			r := p.doctor(nodes)
			if err := e.print(r, func(out *page) { printDoctor(out, r, p.bonds()) }); err != nil {
				return err
			}
			return verdict(r.Findings)
		},
	}
	e.scopeFlags(c, &s, nil)
	return c
}

// doctor returns what is wrong with nodes, and how they are; with all if none is named. What
// concerns no node concerns all.
func (p *picture) doctor(nodes []string) doctorReport {
	is := func(node string) bool { return len(nodes) == 0 || slices.Contains(nodes, node) }
	r := doctorReport{header: headerOf("Doctor"), Findings: []finding{}, Nodes: []doctorNode{}}
	for _, f := range p.findings() {
		if f.Node == "" || is(f.Node) {
			r.Findings = append(r.Findings, f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.reports)) {
		if is(name) {
			r.Nodes = append(r.Nodes, doctorNode{name, p.reports[name]})
		}
	}
	return r
}

func printDoctor(out *page, r doctorReport, bonds []bondView) {
	if len(r.Findings) == 0 {
		out.line("%s      nothing is wrong", out.paint("ok"))
	}
	out.findings(r.Findings, len(r.Findings))
	using := usersOf(bonds)
	for _, n := range r.Nodes {
		out.line("")
		printNode(out, n, using)
	}
}

func printNode(out *page, n doctorNode, of pfUsers) {
	bonding := "not loaded (the first bond loads it)"
	if n.Bonding {
		bonding = "loaded"
	}
	out.line("Node %s: agent %s, kernel %s, bonding %s, %s, %s", n.Name, dash(n.Version), dash(n.Kernel), bonding, count(len(n.Bonds), "bond"), count(n.Records.Count, "Record"))
	out.line("CNI: %s", dash(n.Config.Message))
	if len(n.Plugins) > 0 {
		out.line("Plugins: %s", strings.Join(pluginNames(n.Plugins), ", "))
	}
	if len(n.PFs) > 0 {
		rows := [][]string{{"PF", "DEVICE", "DRIVER", "NUMA", "SPEED", "MTU", "CARRIER", "MODE", "VFS", "BONDS"}}
		for _, pf := range n.PFs {
			rows = append(rows, []string{pf.Name, pf.Device, dash(pf.Driver), optional(pf.NUMA), speed(pf.Speed), number(pf.MTU), carrier(pf), mode(pf), fmt.Sprint(pf.VFs), fmt.Sprint(len(of[onPF{n.Name, pf.Name}]))})
		}
		out.table(rows...)
	}
	if len(n.Resources) > 0 {
		rows := [][]string{{"RESOURCE", "PFS", "DEVICES", "ALLOCATED"}}
		for _, r := range n.Resources {
			rows = append(rows, []string{r.Name, dash(strings.Join(r.PFs, ",")), fmt.Sprint(r.Devices), fmt.Sprint(r.Allocated)})
		}
		out.table(rows...)
	}
}

func pluginNames(all []kubeclient.PluginReport) (out []string) {
	for _, p := range all {
		switch {
		case p.Missing:
			out = append(out, p.Name+" (missing)")
		case p.Version != "":
			out = append(out, p.Name+" "+p.Version)
		default:
			out = append(out, p.Name)
		}
	}
	return out
}

func carrier(pf kubeclient.PFReport) string {
	switch {
	case pf.Carrier:
		return "up"
	case !pf.Up:
		return "off"
	}
	return "down"
}

func mode(pf kubeclient.PFReport) string {
	if pf.Switchdev {
		return "switchdev"
	}
	return "legacy"
}

// speed returns a speed in Mbit/s in short: 25G.
func speed(mbit int) string {
	if mbit > 0 && mbit%1000 == 0 {
		return fmt.Sprintf("%dG", mbit/1000)
	}
	if mbit > 0 {
		return fmt.Sprintf("%dM", mbit)
	}
	return "-"
}

func optional[T any](value *T) string {
	if value == nil {
		return "-"
	}
	return fmt.Sprint(*value)
}
