package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/multibond/multibond/cmd/multibondctl/written"
)

// migrateReport is what migrate prints.
type migrateReport struct {
	header
	written.Migration
}

func newMigrate(e *env) *cobra.Command {
	var all bool
	var agents string
	c := &cobra.Command{
		Use:   "migrate FILE... | -A",
		Short: "Show what takes the place of bond-cni, multi-nic-cni and Multus",
		Long: `Show what takes the place of what other plugins need, as a diff, and what differs:

  a bond of bond-cni over networks of the pod   one NAD, and an annotation with one network
  a MultiNicNetwork of multi-nic-cni            a NAD for each namespace
  the configuration of Multus                   the ConfigMap of the cluster's configuration

A bond of bond-cni over interfaces of the host needs no change: Multibond takes its
configuration as it is. Nothing is changed here. With -o yaml the new objects are printed,
for kubectl apply -f -, and what differs is on standard error.
What is new has names of its own where pods still need what is old.`,
		Example: `  kubectl multibond migrate deploy/examples/three-attachments.yaml
  kubectl multibond migrate -A -o yaml > new.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("name files, or the whole cluster by -A")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			set, err := e.written(c, args, agents)
			if err != nil {
				return err
			}
			m := set.Migrate()
			if e.output == "yaml" {
				_, err = fmt.Fprint(e.Out, m.Manifests())
				printAbout(&page{out: e.ErrOut}, m)
			} else {
				err = e.print(migrateReport{headerOf("Migration"), m}, func(p *page) { printMigration(p, m) })
			}
			if err == nil && len(m.Problems) > 0 {
				return wrong(count(len(m.Problems), "thing") + " could not be migrated")
			}
			return err
		},
	}
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "Look at all that the cluster has")
	agentsFlag(c, &agents)
	return c
}

func printMigration(p *page, m written.Migration) {
	if len(m.Changes)+len(m.Problems) == 0 {
		p.line("There is nothing to migrate")
		return
	}
	for _, c := range m.Changes {
		p.line("%s", c.Diff())
	}
	printAbout(p, m)
}

// printAbout prints what there is to know of a migration.
func printAbout(p *page, m written.Migration) {
	p.section("What differs", func() {
		for _, n := range m.Notes {
			p.line("  %s %s: %s", n.Kind, n.Name, n.Text)
		}
	}, len(m.Notes))
	p.section("Not needed, once all pods are new", func() {
		for _, what := range m.Unused {
			p.line("  %s", what)
		}
	}, len(m.Unused))
	p.section("Not migrated", func() {
		for _, what := range m.Problems {
			p.line("  %s", what)
		}
	}, len(m.Problems))
	p.section("About what is new", func() { printFindings(p, written.Report{Findings: m.Findings}) }, len(m.Findings))
}

// section prints a title and what is below it, if there is anything.
func (p *page) section(title string, print func(), n int) {
	if n > 0 {
		p.line("")
		p.line("%s:", title)
		print()
	}
}
