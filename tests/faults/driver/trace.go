package main

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// killAfter starts a program, lets it and its threads enter so many system calls,
// and kills it. It reports whether it came to that. Programs that it starts are
// not counted.
func killAfter(cmd *exec.Cmd, calls int) (killed bool, err error) {
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	cmd.Stdout, cmd.Stderr = nil, nil
	if err := cmd.Start(); err != nil {
		return false, err
	}
	pid := cmd.Process.Pid
	defer func() {
		_ = cmd.Process.Kill()
		reap()
		_ = cmd.Wait() // which finds nobody, and ends what fed standard input
	}()
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		return false, err
	}
	options := unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD
	if err := errors.Join(unix.PtraceSetOptions(pid, options), unix.PtraceSyscall(pid, 0)); err != nil {
		return false, err
	}
	for stops := 0; ; {
		thread, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, nil // all have ended
		}
		switch {
		case status.Exited() || status.Signaled():
			if thread == pid {
				return false, nil
			}
			continue
		case !status.Stopped():
			continue
		}
		signal := status.StopSignal()
		switch {
		case signal == unix.SIGTRAP|0x80: // entry and exit of a call
			if stops++; stops >= 2*calls {
				return true, nil
			}
			signal = 0
		case signal == unix.SIGTRAP || signal == unix.SIGSTOP: // a new thread
			signal = 0
		}
		_ = unix.PtraceSyscall(thread, int(signal)) // it may have ended
	}
}

// reap waits for all threads that this one traces: the process is not over before
// each has been waited for.
func reap() {
	for {
		if _, err := unix.Wait4(-1, nil, unix.WALL|unix.WNOTHREAD, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
