// Command lab runs a command, or a shell, in the lab's VM.
//
//	lab run [-kernel 6.1] [-pfs 4] [-vfs 2] [-networkd] [-files guest=host,...] -- command...
//	lab shell [-kernel 6.1] [-pfs 4] [-vfs 2] [-networkd] [-files guest=host,...]
//
// A run ends with the command's exit status. Leaving the shell powers the VM off.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/multibond/multibond/tests/lab"
)

func main() {
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func run(args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("usage: lab run [flags] -- command... | lab shell [flags]")
	}
	o := lab.Options{Log: os.Stderr, Files: map[string]string{}}
	flags := flag.NewFlagSet("lab "+args[0], flag.ExitOnError)
	flags.StringVar(&o.Kernel, "kernel", "", "one of "+strings.Join(lab.Kernels(), ", ")+"(default: the newest)")
	flags.IntVar(&o.PFs, "pfs", 2, "number of physical functions, at most 4")
	flags.IntVar(&o.VFs, "vfs", 4, "number of virtual functions of each, at most 7")
	flags.BoolVar(&o.Networkd, "networkd", false, "have systemd-networkd set up every interface that appears")
	flags.DurationVar(&o.Timeout, "timeout", 0, "time after which the VM is shut down (default: 15 minutes for a run, none for a shell)")
	flags.StringVar(&o.Disk, "disk", "", "image `file` that becomes /dev/vda of the guest, which then has an uplink too")
	flags.Func("files", "guest=host,...: `files` to put below /lab", func(s string) error { return addFiles(o.Files, s) })
	flags.Parse(args[1:])

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch args[0] {
	case "run":
		return command(ctx, o, flags.Args())
	case "shell":
		return 0, lab.Shell(ctx, o)
	default:
		return 2, fmt.Errorf("lab %s: no such verb", args[0])
	}
}

func addFiles(files map[string]string, list string) error {
	for pair := range strings.SplitSeq(list, ",") {
		guest, host, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%q is not guest=host", pair)
		}
		files[guest] = host
	}
	return nil
}

func command(ctx context.Context, o lab.Options, args []string) (status int, err error) {
	vm, err := lab.Boot(ctx, o)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	out, err := vm.Run(ctx, lab.Cmd{Args: args, Stdout: os.Stdout, Stderr: os.Stderr})
	return out.Exit, err
}
