// Command cluster starts a Kubernetes cluster with real SR-IOV VFs, installs
// Multibond, and says how to use it. Lines that are typed run on the node. It
// ends with its input, or when it is interrupted.

package main

import (
	"bufio"
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
	flag.StringVar(&o.Kernel, "kernel", "", "kernel of the node (default: the newest)")
	flag.IntVar(&o.PFs, "pfs", 2, "number of physical functions, at most 4")
	flag.IntVar(&o.VFs, "vfs", 7, "number of virtual functions of each, at most 7")
	flag.DurationVar(&o.Timeout, "timeout", 24*time.Hour, "time after which the node is shut down")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := cluster.Start(ctx, o)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Deploy(ctx); err != nil {
		return err
	}
	fmt.Printf("The cluster is up. In another terminal:\n\n  export KUBECONFIG=%s\n  export PATH=%s:$PATH\n  kubectl get nodes\n\nWhat you type here runs on the node. Interrupt ends it all.\n", c.Kubeconfig, c.Bin())
	lines := bufio.NewScanner(os.Stdin)
	go func() {
		for lines.Scan() {
			out, err := c.On(ctx, "sh", "-c", lines.Text())
			fmt.Print(out)
			if err != nil {
				fmt.Println(err)
			}
		}
		stop()
	}()
	<-ctx.Done()
	return nil
}
