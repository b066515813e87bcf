package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/netip"

	"github.com/multibond/multibond/cmd/multibondctl/measure"
)

// measured is what runs in the pods of kubectl multibond check: a server that answers on all of
// the pod's networks, or a client that prints what passes on the way to one. It returns the exit
// code.
func measured(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var way measure.Way
	flags := flag.NewFlagSet("multibond-agent measure", flag.ContinueOnError)
	flags.SetOutput(stderr)
	serve := flags.Bool("serve", false, "answer until SIGTERM")
	flags.StringVar(&way.Interface, "interface", "", "`name` of the interface to measure by")
	flags.TextVar(&way.To, "to", netip.Addr{}, "`address` of a server")
	port := flags.Uint("port", measure.Port, "`number` of the port of servers")
	flags.IntVar(&way.Count, "count", 5, "how many packets are counted")
	flags.DurationVar(&way.Throughput, "throughput", 0, "send data by TCP for so long, instead")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	err := errors.New("want -serve, or -interface and -to, and no other arguments")
	switch {
	case flags.NArg() > 0 || *serve == way.To.IsValid() || *port > math.MaxUint16:
	case *serve:
		err = serveMeasure(ctx, uint16(*port))
	default:
		err = printMeasured(ctx, way, uint16(*port), stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "multibond-agent measure:", err)
		return 1
	}
	return 0
}

func serveMeasure(ctx context.Context, port uint16) error {
	addresses, err := measure.Addresses()
	if err != nil {
		return err
	}
	server, err := measure.Listen(addresses, port)
	if err != nil {
		return err
	}
	return server.Serve(ctx)
}

func printMeasured(ctx context.Context, way measure.Way, port uint16, stdout io.Writer) error {
	found, err := way.Measure(ctx, port)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(found)
}
