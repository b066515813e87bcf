package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// countInstructions counts the instructions that the plugin and an empty program
// execute from exec to exit. It steps through them one by one, because virtual
// machines have no counter for that.
func (r *Report) countInstructions(ctx context.Context, given programs) error {
	fmt.Println("counting instructions, which takes some minutes")
	r.Instructions = map[string]int{}
	programs := []string{"noop", "multibond"}
	if given["other"] != nil {
		programs = append(programs, "other")
	}
	for _, program := range programs {
		n, err := instructions(ctx, filepath.Join(binDir, program), "CNI_COMMAND=VERSION")
		if err != nil {
			return fmt.Errorf("counting the instructions of %s: %w", program, err)
		}
		r.Instructions[program] = n
	}
	fmt.Println("instructions of VERSION:", r.Instructions)
	return nil
}

// instructions executes a program step by step (ptrace(2)), with all its threads,
// and counts the instructions in user space.
func instructions(ctx context.Context, program, env string) (count int, err error) {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	cmd := exec.Command(program)
	// A traced thread is so slow that the runtime would preempt its goroutines for
	// running too long.
	cmd.Env = []string{env, "GODEBUG=asyncpreemptoff=1"}
	cmd.Stdin = null
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer cmd.Process.Release()
	defer cmd.Process.Kill() // if it still runs
	first := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(first, &status, 0, nil); err != nil {
		return 0, err
	}
	if err := unix.PtraceSetOptions(first, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
		return 0, err
	}
	for thread := first; ctx.Err() == nil; {
		signal := 0
		if stop := status.StopSignal(); status.Stopped() && stop != unix.SIGTRAP && stop != unix.SIGSTOP {
			signal = int(stop)
		}
		if status.Stopped() {
			if err := stepOn(thread, signal); err != nil && !errors.Is(err, unix.ESRCH) {
				return 0, err
			}
		}
		if thread, err = unix.Wait4(-1, &status, unix.WALL, nil); err != nil {
			return 0, err
		}
		switch {
		case thread == first && (status.Exited() || status.Signaled()):
			if status.ExitStatus() != 0 {
				err = fmt.Errorf("it exited with status %d", status.ExitStatus())
			}
			return count, err
		case status.Stopped() && status.StopSignal() == unix.SIGTRAP:
			count++
		}
	}
	return 0, ctx.Err()
}

// stepOn lets a thread execute one instruction, and delivers a signal to it unless
// signal is 0.
func stepOn(thread, signal int) error {
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SINGLESTEP, uintptr(thread), 0, uintptr(signal), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
