// Command cluster starts a Kubernetes cluster with real SR-IOV VFs, says how to
// use it, and ends it when it is interrupted.

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/multibond/multibond/tests/cluster"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	o := cluster.Options{Log: os.Stderr}
	flag.StringVar(&o.Kernel, "kernel", "", "of the node; default the newest")
	flag.IntVar(&o.PFs, "pfs", 2, "physical functions, at most 4")
	flag.IntVar(&o.VFs, "vfs", 7, "virtual functions of each, at most 7")
	flag.DurationVar(&o.Timeout, "timeout", 24*time.Hour, "of the node's life")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := cluster.Start(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("The cluster is up. In another terminal:\n\n  export KUBECONFIG=%s\n  export PATH=%s:$PATH\n  kubectl get nodes\n\nInterrupt ends it.\n", c.Kubeconfig, c.Bin())
	<-ctx.Done()
	return c.Close()
}
