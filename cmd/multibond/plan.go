package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

const planUsage = `usage: multibond plan [flags] < configuration
       multibond plan -container ID [-ifname NAME]

Prints what an ADD of a bond network would do now, one step per line, without
doing it; or what the ADD of a container planned, and what of it was given up.
`

// planOf runs "multibond plan". It prints the plan to standard output, and warnings and
// problems to standard error, one per line. It returns the exit status.
func planOf(args []string) (status int) {
	var container, devices string
	var number int
	cni := skel.CmdArgs{IfName: "bond0", Path: "/opt/cni/bin"}
	flags := flag.NewFlagSet("plan", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), planUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&container, "container", "", "print the plan in the Record of this container")
	flags.StringVar(&cni.IfName, "ifname", cni.IfName, "the bond's name (CNI_IFNAME)")
	flags.StringVar(&cni.Netns, "netns", "", "the pod's network namespace (CNI_NETNS; default: an empty one)")
	flags.StringVar(&cni.Path, "path", cni.Path, "directories of the plugins (CNI_PATH)")
	flags.StringVar(&devices, "devices", "", "PCI addresses, separated by commas, for links by resourceName or request")
	flags.IntVar(&number, "host", 0, "the number of this host, for an ipam of type multibond")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	p, warnings, err := plan.Plan{}, []string(nil), error(nil)
	if container != "" {
		p, warnings, err = recorded(plan.Key{ContainerID: container, IfName: cni.IfName}, &cni)
	} else {
		p, warnings, err = dryRun(&cni, devices, number)
	}
	for _, w := range warnings {
		fmt.Fprintln(os.Stderr, "warning:", w)
	}
	if err == nil {
		fmt.Println(p)
		return 0
	}
	var problems bond.Problems
	if !errors.As(err, &problems) {
		fmt.Fprintln(os.Stderr, "error:", code.Text(err))
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, "error:", code.Text(problem))
	}
	return 1
}

func recorded(k plan.Key, cni *skel.CmdArgs) (plan.Plan, []string, error) {
	host, err := newHost(cni)
	if err != nil {
		return plan.Plan{}, nil, err
	}
	rec, notes, err := host.Store.Find(k)
	if err != nil {
		return plan.Plan{}, notes, err
	}
	// The plan as it was carried out: with the MTU that the links turned out to have.
	carriedOut := rec.Plan
	carriedOut.Bond = rec.Bond()
	return carriedOut, append(notes, rec.Warnings...), nil
}

func dryRun(cni *skel.CmdArgs, devices string, number int) (plan.Plan, []string, error) {
	var err error
	if cni.StdinData, err = io.ReadAll(os.Stdin); err != nil {
		return plan.Plan{}, nil, err
	}
	if devices != "" {
		if cni.StdinData, err = netconf.WithDevices(cni.StdinData, strings.Split(devices, ",")); err != nil {
			return plan.Plan{}, nil, err
		}
	}
	r := requestFromEnv(cni)
	r.HostIndex = &number
	if r.Network, err = netconf.ParseNetwork(cni.StdinData, cni.IfName); err != nil {
		return plan.Plan{}, nil, err
	}
	host, err := newHost(cni)
	if err != nil {
		return plan.Plan{}, nil, err
	}
	return host.DryRun(r)
}
