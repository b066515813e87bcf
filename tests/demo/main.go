package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	kernel := flag.String("kernel", "6.12", "the guest's kernel, a directory below build/lab/kernels")
	plugin := flag.String("plugin", "build/multibond", "the plugin")
	file := flag.String("report", "build/report/demo-node.json", "file for the report")
	clusterFile := flag.String("cluster-report", "build/report/demo.json", "file for the report of the cluster")
	both := flag.Bool("cluster", false, "then run on a Kubernetes cluster as well, which is built meanwhile")
	failover := flag.Bool("failover", false, "instead of the demo, run all modes and faults; with arguments, only those whose names have all these words")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *failover:
		err = runTrials(ctx, *kernel, *plugin, *file, strings.Join(flag.Args(), " "), os.Stdout)
	case *both:
		err = runBoth(ctx, *kernel, *plugin, *file, *clusterFile, os.Stdout)
	default:
		err = runAndReport(ctx, *kernel, *plugin, *file, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		stop()
		os.Exit(1)
	}
}

// runAndReport writes a report in any case: of a demo that fails, it says how far
// it came.
func runAndReport(ctx context.Context, kernel, plugin, file string, out io.Writer) error {
	began := time.Now()
	d := &demo{out: out}
	err := d.run(ctx, kernel, plugin)
	d.report.WallS = float64(time.Since(began).Milliseconds()) / 1000
	if err != nil {
		d.report.Error = err.Error()
	}
	if written := d.report.write(file); err == nil {
		err = written
	}
	if err != nil {
		return err
	}
	d.summary(file)
	return nil
}

// run boots the lab and goes through the demo.
func (d *demo) run(ctx context.Context, kernel, plugin string) error {
	return d.inLab(ctx, kernel, plugin, d.parts)
}

// inLab does something in the lab, which it boots for it.
func (d *demo) inLab(ctx context.Context, kernel, plugin string, do func(context.Context) error) error {
	dir, err := os.MkdirTemp("", "multibond-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	heading(d.out, "The lab: a VM with three SR-IOV NICs on one switch")
	probe, err := buildProbe(ctx, dir)
	if err != nil {
		return err
	}
	if d.guest, err = boot(ctx, kernel, plugin, probe, d.out); err != nil {
		return err
	}
	defer d.guest.vm.Close()
	return do(ctx)
}

func heading(out io.Writer, format string, args ...any) {
	fmt.Fprintf(out, "\n== "+format+"\n", args...)
}

func say(out io.Writer, format string, args ...any) {
	fmt.Fprintf(out, "   "+format+"\n", args...)
}
