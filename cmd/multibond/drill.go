package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/multibond/multibond/delegate"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

const drillUsage = `usage: multibond drill -container ID | -netns PATH | -pod NAMESPACE/NAME [flags]

Sets down, in the pod, the link that carries the traffic of a bond, as if it had failed,
and sets it up again. Meanwhile it asks an address for answers, and tells what was lost.
It refuses if no other link works. The link is set up in any case, also if this program
is interrupted or killed. It needs root on the node.

Exit status: 0 if the bond failed over in time, 1 if it did not, 2 if that is not known.
`

const (
	drillMost  = time.Minute
	drillGuard = "drill-guard" // the verb of the guard
)

// The exit statuses of a drill.
const (
	drillWell = iota
	drillLost
	drillUnknown
)

// drilled names the bond of a drill, in one of three ways.
type drilled struct{ container, netns, pod, ifName string }

// drillOf runs "multibond drill". It prints what was seen to standard output. It returns the
// exit status.
func drillOf(args []string) (status int) {
	var of drilled
	var target, output string
	r := delegate.DrillRequest{Guard: startGuard}
	flags := flag.NewFlagSet("drill", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), drillUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&of.container, "container", "", "the ID of the pod's sandbox (CNI_CONTAINERID)")
	flags.StringVar(&of.netns, "netns", "", "the pod's network namespace (CNI_NETNS)")
	flags.StringVar(&of.pod, "pod", "", "the pod, as namespace/name")
	flags.StringVar(&of.ifName, "ifname", "", "the bond's name (default: the pod's only bond)")
	flags.DurationVar(&r.For, "for", 5*time.Second, "how long the link is down, at most "+drillMost.String())
	flags.StringVar(&target, "target", "", "the address that is asked (default: the gateway that IPAM has named)")
	flags.StringVar(&output, "o", "", "json: for machines")
	if err := flags.Parse(args); err != nil {
		return drillUnknown
	}
	report, err := runDrill(flags, of, r, target, output)
	if err != nil {
		fmt.Fprintln(os.Stderr, "multibond drill:", err)
		return drillUnknown
	}
	if output == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = printDrill(os.Stdout, report)
	}
	switch {
	case err != nil:
		return drillUnknown
	case len(report.Problems) > 0:
		return drillLost
	}
	return drillWell
}

func runDrill(flags *flag.FlagSet, of drilled, r delegate.DrillRequest, target, output string) (delegate.Drill, error) {
	var err error
	switch {
	case flags.NArg() > 0:
		return delegate.Drill{}, fmt.Errorf("unexpected argument %q: all arguments are flags", flags.Arg(0))
	case output != "" && output != "json":
		return delegate.Drill{}, fmt.Errorf(`-o is %q, want json`, output)
	case r.For < time.Second || r.For > drillMost:
		return delegate.Drill{}, fmt.Errorf("-for is %s, want 1s to %s", r.For, drillMost)
	}
	if target != "" {
		if r.Target, err = netip.ParseAddr(target); err != nil {
			return delegate.Drill{}, fmt.Errorf("-target: %w", err)
		}
	}
	host, err := newHost(&skel.CmdArgs{})
	if err != nil {
		return delegate.Drill{}, err
	}
	if r.Key, err = of.find(host.Store); err != nil {
		return delegate.Drill{}, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return host.Drill(ctx, r)
}

// find returns the key of the one bond that is meant.
func (of drilled) find(store record.Store) (plan.Key, error) {
	given := 0
	for _, flag := range []string{of.container, of.netns, of.pod} {
		if flag != "" {
			given++
		}
	}
	if given != 1 {
		return plan.Key{}, errors.New("give one of -container, -netns and -pod")
	}
	keys, err := store.List()
	if err != nil {
		return plan.Key{}, err
	}
	var found []plan.Key
	var names []string
	for _, k := range keys {
		if rec, err := store.Load(k); err == nil && of.is(rec) {
			found, names = append(found, k), append(names, k.String())
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		what := strings.TrimSpace("bond " + of.ifName)
		return plan.Key{}, fmt.Errorf("%s has no %s on this node (the Records are in %s)", cmp.Or(of.container, of.netns, of.pod), what, stateDir)
	}
	return plan.Key{}, fmt.Errorf("there are several bonds: %s (give -container and -ifname)", strings.Join(names, ", "))
}

func (of drilled) is(rec *record.Record) bool {
	pod := rec.Plan.Group.Pod
	return rec.Plan.IsBond() && (of.ifName == "" || of.ifName == rec.Plan.IfName) &&
		(of.container == "" || of.container == rec.Plan.ContainerID) &&
		(of.netns == "" || of.netns == rec.Plan.Netns) &&
		(of.pod == "" || of.pod == pod.Namespace+"/"+pod.Name)
}

// startGuard starts a process that ends the drill of a bond when this one ends, even if it is
// killed. It has a session of its own, so that a signal from a terminal does not reach it.
func startGuard(k plan.Key, until time.Time) (release func(), err error) {
	guard := exec.Command("/proc/self/exe", drillGuard, k.ContainerID, k.IfName, until.Format(time.RFC3339Nano))
	guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	guard.Stderr = os.Stderr
	alive, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("starting the process that sets the link up if this one is killed: %w", err)
	}
	return func() {
		alive.Close()
		guard.Wait()
	}, nil
}

// guardOf runs "multibond drill-guard". Its standard input ends with the process that drills.
func guardOf(args []string) (status int) {
	if len(args) != 3 {
		fmt.Fprint(os.Stderr, drillUsage)
		return drillUnknown
	}
	io.Copy(io.Discard, os.Stdin)
	until, err := time.Parse(time.RFC3339Nano, args[2])
	if err == nil {
		err = endDrill(plan.Key{ContainerID: args[0], IfName: args[1]}, until)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "multibond drill:", err)
		return drillUnknown
	}
	return drillWell
}

func endDrill(k plan.Key, until time.Time) error {
	host, err := newHost(&skel.CmdArgs{})
	if err != nil {
		return err
	}
	return host.EndDrill(context.Background(), k, until)
}

// printDrill prints a drill for people.
func printDrill(w io.Writer, d delegate.Drill) error {
	out := &strings.Builder{}
	whose := "container " + d.Container
	if d.Pod != nil {
		whose = "pod " + d.Pod.Namespace + "/" + d.Pod.Name
	}
	fmt.Fprintf(out, "%s of %s, network %s: %s, %s\n", d.Bond, whose, d.Network, d.Mode, d.Monitor)
	fmt.Fprintf(out, "%s was set down and up again; %s was asked every %.0f ms\n\n", d.Link, d.Target, d.Interval)
	const row = "%-8s%-17s%9s%7s%7s%13s%11s\n"
	fmt.Fprintf(out, row, "PART", "ACTIVE", "NOTICED", "SENT", "LOST", "LONGEST GAP", "ANNOUNCED")
	for _, p := range d.Parts {
		noticed := "-"
		if p.Noticed != nil {
			noticed = fmt.Sprintf("%.0f ms", *p.Noticed)
		}
		fmt.Fprintf(out, row, p.Part, cmp.Or(p.Active, "-"), noticed, fmt.Sprint(p.Sent), fmt.Sprint(p.Lost), fmt.Sprintf("%.0f ms", p.LongestGap), fmt.Sprint(p.Announced))
	}
	fmt.Fprintln(out)
	for _, problem := range d.Problems {
		fmt.Fprintln(out, "PROBLEM:", problem)
	}
	if len(d.Problems) == 0 {
		fmt.Fprintf(out, "No more was lost than %s allows: %.0f ms per part.\n", d.Monitor, d.Allowed)
	}
	_, err := io.WriteString(w, out.String())
	return err
}
