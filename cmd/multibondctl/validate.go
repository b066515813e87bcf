package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/multibond/multibond/cmd/multibondctl/written"
)

// validateReport is what validate prints.
type validateReport struct {
	header
	written.Report
}

// failLevels are the values of --fail-on.
var failLevels = []string{written.Error, "warn", "never"}

func newValidate(e *env) *cobra.Command {
	var all bool
	var failOn, agents string
	c := &cobra.Command{
		Use:   "validate FILE... | -A",
		Short: "Check NADs, pods and the cluster's configuration, with or without a cluster",
		Long: `Check what was written, with the code that runs when a pod starts:
NetworkAttachmentDefinitions, the annotations of pods and of what pods are made from, and
the cluster's configuration (a conflist, or a ConfigMap with one). What only a node can
tell is not checked, such as whether a device exists: see plan.

FILE is YAML or JSON, a directory of such files, or - for standard input. That a NAD does
not exist is an error if the files have another NAD of its namespace.

If nothing is wrong, but the cluster refuses to list something, or there is nothing to check,
the exit code is 2.`,
		Example: `  kubectl multibond validate deploy/ --fail-on warn
  kustomize build . | kubectl multibond validate -
  kubectl multibond validate -A`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case !slices.Contains(failLevels, failOn):
				return fmt.Errorf("--fail-on is %q, want %s", failOn, strings.Join(failLevels, ", "))
			case all == (len(args) > 0):
				return errors.New("name files, or the whole cluster by -A")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			set, err := e.written(c, args, agents)
			if err != nil {
				return err
			}
			r := validateReport{headerOf("Validation"), set.Report()}
			summary := r.summary()
			unknown := r.unknown()
			failed := r.Errors > 0 && failOn != "never" || r.Warnings > 0 && failOn == "warn"
			err = e.print(r, func(p *page) {
				printFindings(p, r.Report)
				if !failed && unknown == nil {
					p.line("%s", summary)
				}
			})
			switch {
			case err != nil:
				return err
			case failed:
				return wrong(summary)
			}
			return unknown
		},
	}
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "Check all that the cluster has")
	c.Flags().StringVar(&failOn, "fail-on", written.Error, "Exit with code 1 on: error, warn or never")
	agentsFlag(c, &agents)
	_ = c.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions(failLevels, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// written reads files, or the cluster if there are none.
func (e *env) written(c *cobra.Command, files []string, agents string) (*written.Set, error) {
	if len(files) > 0 {
		set, err := written.Read(files, e.In, cmp.Or(*e.flags.Namespace, "default"))
		if err == nil {
			set.Agents = agents
		}
		return set, err
	}
	config, err := e.config()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	e.progress("reading NADs and pods")
	defer e.progress("")
	return written.FromCluster(c.Context(), config, agents)
}

// unknown returns an error if it could not be found out whether all is right.
func (r validateReport) unknown() error {
	switch {
	case r.Objects == 0:
		return errors.New("there is no NAD, no pod, nothing that pods are made from, and no cluster configuration")
	case r.Unseen > 0:
		return fmt.Errorf("%s, but %s could not be read", r.summary(), count(r.Unseen, "kind"))
	}
	return nil
}

// summary counts what was found.
func (r validateReport) summary() string {
	objects := count(r.Objects, "object")
	if r.Errors+r.Warnings == 0 {
		return "No problems found in " + objects
	}
	return fmt.Sprintf("%s and %s in %s", count(r.Errors, "error"), count(r.Warnings, "warning"), objects)
}

// printFindings prints a line for each finding.
func printFindings(p *page, r written.Report) {
	for _, f := range r.Findings {
		words := []string{p.paint(f.Level)}
		if f.Code != 0 {
			words = append(words, "["+f.Code.String()+"]")
		}
		if f.Place != "" {
			words = append(words, f.Place)
		}
		p.line("%s %s %s: %s", strings.Join(words, " "), f.Kind, f.Name, f)
	}
	for _, what := range r.Unchecked {
		p.line("not checked: %s", what)
	}
}
