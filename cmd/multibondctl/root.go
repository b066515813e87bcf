package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/multibond/multibond/cmd/multibondctl/written"
)

// The exit codes.
const (
	exitWell    = 0
	exitWrong   = 1
	exitUnknown = 2
)

// wrong is the error of a command that has found out, and printed, that something is
// wrong. Any other error means that it could not find out.
type wrong string

func (w wrong) Error() string { return string(w) }

// env is what a command works with.
type env struct {
	genericiooptions.IOStreams
	flags  *genericclioptions.ConfigFlags
	output string // of -o
	now    func() time.Time
	exec   execFunc
	every  time.Duration // how often pods are looked at that somebody waits for
}

// commands makes the commands, each of which has a file.
var commands = []func(*env) *cobra.Command{newStatus, newList, newDescribe, newDoctor, newCheck, newDrill, newValidate, newPlan, newMigrate, newExplain, newBundle, newVersion}

// run is main with its environment as arguments. It returns the exit code.
func run(args []string, streams genericiooptions.IOStreams, now func() time.Time) int {
	e := &env{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true), now: now, every: 500 * time.Millisecond}
	e.exec = e.execInPod
	return runWith(e, args)
}

func runWith(e *env, args []string) int {
	root := newRoot(args[0], e)
	root.SetArgs(args[1:])
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	err := root.ExecuteContext(ctx)
	var found wrong
	switch {
	case err == nil:
		return exitWell
	case errors.As(err, &found):
		fmt.Fprintln(e.ErrOut, err)
		return exitWrong
	}
	fmt.Fprintln(e.ErrOut, "error:", err)
	return exitUnknown
}

// shown lists the flags of kubectl that the help has. The others work as well.
var shown = []string{"context", "kubeconfig", "namespace"}

// newRoot returns the command that has all others. program is how it was called.
func newRoot(program string, e *env) *cobra.Command {
	name := filepath.Base(program)
	root := &cobra.Command{
		Use:   name,
		Short: "Show and check the bonds of a cluster.",
		Long: `Show and check the bonds of a cluster. Begin with status; it says what is wrong, and doctor
has the rest.

The kubeconfig, its contexts and all global flags are kubectl's.
Exit codes: 0 all is well, 1 something is wrong, 2 it could not be found out.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	if strings.HasPrefix(name, "kubectl-") {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl " + strings.TrimPrefix(name, "kubectl-")}
	}
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.ErrOut)
	flags := root.PersistentFlags()
	e.flags.AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(shown, f.Name) })
	flags.StringVarP(&e.output, "output", "o", "", "Output `format`: wide, json or yaml")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return checkFormat(e.output) }
	for _, command := range commands {
		root.AddCommand(command(e))
	}
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return root
}

// completePods completes the names of pods that have a bond.
func (e *env) completePods(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var s scope
	core, _, err := e.clients()
	if err != nil || e.within(&s, false) != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	p, err := e.podsIn(c.Context(), core, s)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, v := range p.bonds() {
		names = append(names, v.Pod)
	}
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

// completeNetworks completes the names of networks of the namespace.
func (e *env) completeNetworks(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var s scope
	config, err := e.config()
	if err != nil || e.within(&s, false) != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := written.Networks(c.Context(), config, s.namespace)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// onePod is for commands that want the name of a pod.
func onePod(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the name of one pod, have %d: %s (-h shows more)", len(args), c.UseLine())
	}
	return nil
}
