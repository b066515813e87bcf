package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	bootTime = 3 * time.Minute  // 10 s on an idle machine
	offTime  = 20 * time.Second // 10 ms on an idle machine
)

// VM is a machine that runs.
type VM struct {
	log     io.Writer
	share   *share
	cmd     *exec.Cmd
	console console
	client  *client
	monitor *monitor
	conns   []net.Conn
	life    *time.Timer

	exited <-chan struct{} // closed once QEMU has ended
	gone   chan struct{}   // closed once the receiver has, too
	mu     sync.Mutex
	cause  error // why we killed it, if we did
}

func boot(ctx context.Context, o Options) (*VM, error) {
	began := time.Now()
	fmt.Fprintf(o.Log, "lab: booting kernel %s, %d PFs with %d VFs each\n", o.Kernel, o.PFs, o.VFs)
	vm := &VM{log: o.Log, gone: make(chan struct{})}
	if err := vm.start(o); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), vm.clean())
	}
	if err := vm.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, vm.Close())
	}
	fmt.Fprintf(o.Log, "lab: up after %.1f s\n", time.Since(began).Seconds())
	return vm, nil
}

// start makes the share, and QEMU with the two sockets that it is reached by.
func (vm *VM) start(o Options) error {
	var err error
	if vm.share, err = newShare(o.Files); err != nil {
		return err
	}
	agent, agentGuest, err := socketPair()
	if err != nil {
		return err
	}
	monitor, monitorGuest, err := socketPair()
	if err != nil {
		agent.Close()
		agentGuest.Close()
		return err
	}
	vm.conns = []net.Conn{agent, monitor}
	defer agentGuest.Close()
	defer monitorGuest.Close()

	vm.client, vm.monitor = newClient(agent), newMonitor(monitor)
	vm.cmd = exec.Command(qemu(), append(arguments(o, vm.share.dir), controlled()...)...)
	vm.cmd.Stdout, vm.cmd.Stderr = &vm.console, &vm.console
	vm.cmd.ExtraFiles = []*os.File{agentFD - 3: agentGuest, monitorFD - 3: monitorGuest}
	if o.Trunk != nil {
		vm.cmd.ExtraFiles = append(vm.cmd.ExtraFiles, o.Trunk) // trunkFD
	}
	if vm.exited, err = startQEMU(vm.cmd); err != nil {
		return err
	}
	vm.life = time.AfterFunc(o.Timeout, func() {
		vm.kill(fmt.Errorf("its time limit of %v has passed", o.Timeout))
	})
	go func() {
		vm.client.receive(vm.death)
		close(vm.gone)
	}()
	return nil
}

// startQEMU has the kernel kill QEMU when this process dies, however it dies. That
// is bound to the thread that starts it, so the thread is kept until QEMU's end,
// which closes the channel.
func startQEMU(cmd *exec.Cmd) (<-chan struct{}, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the state is in cmd
			close(exited)
		}
	}()
	return exited, <-started
}

func (vm *VM) awaitReady(ctx context.Context) error {
	late := time.NewTimer(bootTime)
	defer late.Stop()
	select {
	case <-vm.client.ready:
		return nil
	case <-vm.gone:
		return vm.client.err
	case <-ctx.Done():
		vm.kill(ctx.Err())
	case <-late.C:
		vm.kill(fmt.Errorf("it did not boot within %v", bootTime))
	}
	<-vm.gone
	return vm.client.err
}

// death is called when the stream to the agent has ended: QEMU has, or will.
func (vm *VM) death(err error) error {
	select {
	case <-vm.exited:
	case <-time.After(offTime):
		vm.kill(fmt.Errorf("its agent is gone: %w", err))
		<-vm.exited
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.cause == nil {
		vm.cause = errors.New(vm.cmd.ProcessState.String())
	}
	return fmt.Errorf("lab: the VM ended: %w; the end of its console:\n%s", vm.cause, vm.console.tail(100))
}

func (vm *VM) kill(cause error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.cause == nil {
		vm.cause = cause
	}
	vm.cmd.Process.Kill()
}

// Run runs a command to its end. The error is that it could not be run to its
// end: see [Process.Wait]. If the VM died, it has the end of the console.
func (vm *VM) Run(ctx context.Context, c Cmd) (Output, error) {
	return vm.client.run(ctx, c)
}

// Start starts a command, which is killed when the context ends. Its output comes
// through c's writers, and from Wait.
func (vm *VM) Start(ctx context.Context, c Cmd) (*Process, error) {
	p, err := vm.client.start(c)
	if err != nil {
		return nil, err
	}
	go func() {
		select {
		case <-ctx.Done():
			_ = p.Kill()
		case <-p.done:
		}
	}()
	return p, nil
}

// Share is the directory that is /lab in the guest.
func (vm *VM) Share() string { return vm.share.dir }

// Console is what the guest's kernel and its init have said.
func (vm *VM) Console() string { return vm.console.tail(-1) }

// Close turns the VM off, as by its switch, and removes the share: nothing in the
// guest outlives it, so nothing needs to be shut down.
func (vm *VM) Close() error {
	vm.kill(errors.New("it was closed"))
	<-vm.gone
	return vm.clean()
}

// clean takes down what start made, as far as it came.
func (vm *VM) clean() error {
	if vm.life != nil {
		vm.life.Stop()
	}
	for _, c := range vm.conns {
		c.Close()
	}
	return vm.share.remove()
}

// socketPair returns our end as a connection, QEMU's as a file.
func socketPair() (net.Conn, *os.File, error) {
	ends, err := socketFiles(syscall.SOCK_STREAM)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := ends[0], ends[1]
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// socketFiles returns the two ends of a pair of sockets.
func socketFiles(kind int) (ends [2]*os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, kind|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return ends, fmt.Errorf("socketpair: %w", err)
	}
	for i, fd := range fds {
		ends[i] = os.NewFile(uintptr(fd), "socketpair")
	}
	return ends, nil
}
