package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/multibond/multibond/delegate"
)

const keepUsage = `usage: multibond keep [flags]

Looks after the bonds of this node until it is ended: it brings back VFs that were made
anew, takes the carrier from VFs whose PF has lost its own, lets the agent watch the bonds,
and sets routes to the pods of other hosts for networks that need them. It needs root,
NET_ADMIN and NET_BROADCAST in the host's network namespace, and nothing of the API. It is
optional: deploy/keep, or deploy/keep-inside, with -netns.
`

// keepOf runs "multibond keep". It prints what it does to standard error, one line each. It
// returns the exit status. A signal may end it at any time.
func keepOf(args []string) (status int) {
	flags := flag.NewFlagSet("keep", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), keepUsage)
		flags.PrintDefaults()
	}
	var c delegate.KeepConfig
	flags.StringVar(&c.Agent, "agent", "/run/multibond/agent.sock", "the agent's socket")
	flags.DurationVar(&c.HoldOff, "hold-off", 0, "how long a PF must have its carrier back before its VFs get theirs")
	flags.StringVar(&c.Netns, "netns", "", "`directory` of the pods' network namespaces, which keep may then enter; it needs SYS_ADMIN for that")
	given := flags.Bool("given-back", false, "do nothing but tell whether all that keep has taken is given back: the exit status is 0 then, else 1")
	relay := flags.Bool("relay", true, "take the carrier from VFs whose PF has none, and set routes to other hosts; false gives back what was taken, too: run keep so before you remove it")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	c.Yield = !*relay
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "multibond keep: unexpected argument %q: all arguments are flags\n", flags.Arg(0))
		return 2
	}
	say := func(line string) { fmt.Fprintln(os.Stderr, "multibond keep:", line) }
	host, err := newHost(&skel.CmdArgs{})
	switch {
	case err != nil:
	case *given:
		err = isGivenBack(host)
	default:
		err = host.Keep(context.Background(), c, say)
	}
	if err != nil {
		say(err.Error())
		return 1
	}
	return 0
}

// isGivenBack returns an error that names what keep has not given back.
func isGivenBack(host *delegate.Host) error {
	taken, err := host.Taken()
	if err == nil && len(taken) > 0 {
		err = fmt.Errorf("not given back yet: %s", strings.Join(taken, ", "))
	}
	return err
}
