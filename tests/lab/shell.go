package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Shell boots a VM whose console is this process's terminal, with a shell on it,
// and returns when that is left. Options.Timeout does not apply.
func Shell(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	s, err := newShare(o.Files)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	// The guest gets the interrupt key, not QEMU.
	console := []string{"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"}
	cmd := exec.CommandContext(ctx, qemu(), append(arguments(o, s.dir, "lab_shell"), console...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	fmt.Fprintf(o.Log, "lab: booting kernel %s; leaving the shell turns the VM off; /lab is %s\n", o.Kernel, s.dir)
	exited, err := startQEMU(cmd)
	if err != nil {
		return errors.Join(fmt.Errorf("lab: %w", err), s.remove())
	}
	<-exited
	return s.remove()
}
