package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/multibond/multibond/tests/lab"
)

// runBoth shows the demo without Kubernetes while the cluster of the other demo is
// being built, and then the demo on that cluster.
func runBoth(ctx context.Context, kernel, plugin, nodeFile, clusterFile string, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := startBuild(ctx)
	if err != nil {
		return err
	}
	defer func() { cancel(); <-b.done }()
	heading(out, "Two demos: first without Kubernetes; the cluster of the second is being built meanwhile (%s)", b.log)
	if err := runAndReport(ctx, kernel, plugin, nodeFile, out); err != nil {
		return err
	}
	heading(out, "Now with Kubernetes: what the cluster needs")
	if err := b.follow(out); err != nil {
		return err
	}
	return runCluster(ctx, kernel, clusterFile, out)
}

// build makes what the cluster needs, in the background. The lab's VM goes first.
type build struct {
	log  string
	done chan struct{} // closed when make has ended
	err  error         // of make, once it has ended
}

// startBuild starts make, which ends with the context, with all that it started.
func startBuild(ctx context.Context) (*build, error) {
	b := &build{log: filepath.Join("build", "cluster-setup.log"), done: make(chan struct{})}
	log, err := os.Create(filepath.Join(lab.Root(), b.log))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, "nice", "make", "--no-print-directory", "image", "tool", "cluster-setup")
	cmd.Dir, cmd.Stdout, cmd.Stderr = lab.Root(), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		b.err = cmd.Wait()
		close(b.done)
	}()
	return b, nil
}

// follow prints the log until make has ended.
func (b *build) follow(out io.Writer) error {
	log, err := os.Open(filepath.Join(lab.Root(), b.log))
	if err != nil {
		return err
	}
	defer log.Close()
	for {
		select {
		case <-b.done:
			if _, err := io.Copy(out, log); err != nil {
				return err
			}
			if b.err != nil {
				return fmt.Errorf("make image tool cluster-setup: %w", b.err)
			}
			return nil
		case <-time.After(200 * time.Millisecond):
			if _, err := io.Copy(out, log); err != nil {
				return err
			}
		}
	}
}
