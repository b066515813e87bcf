package invoke

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// containerEnv marks every process that a plugin starts, and the plugin itself, with the
// container that it works for. Unlike CNI_CONTAINERID, no other meta plugin sets it.
const containerEnv = "MULTIBOND_CONTAINER"

// orphanPatience limits the wait for the end of a process that was killed. It ends at once
// unless the kernel is at work for it.
const orphanPatience = time.Second

// EndOrphans kills the processes that earlier calls for a container have left behind. If
// this program is killed, the plugin that it waits for is killed with it, but not what
// the plugin has started: an IPAM that waits for its own lock would then allocate an
// address that nobody knows of. The caller holds the container's lock, so no other call
// for the container is executing plugins. What waits for this process is left alone: it is
// a Multibond that a plugin of another one has executed. So is a process that has begun a
// session of its own, as daemons do.
func (Exec) EndOrphans(ctx context.Context, containerID string) error {
	for limit := time.Now().Add(orphanPatience); ; time.Sleep(time.Millisecond) {
		left := killMarked(containerEnv + "=" + containerID)
		if len(left) == 0 {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(limit) {
			return fmt.Errorf("processes %v, which a plugin started in an earlier call, do not end", left)
		}
	}
}

// killMarked kills the processes that were started with a variable in their environment,
// and returns them.
func killMarked(variable string) (pids []int) {
	waiting := callers()
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is well-formed
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || slices.Contains(waiting, pid) {
			continue
		}
		// The process is opened first: its number may become another's after it was read.
		process, err := os.FindProcess(pid)
		if err != nil {
			continue
		}
		environ, _ := os.ReadFile(file) // it may have ended, or be another user's
		if !isDaemon(pid) && slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(one []byte) bool { return string(one) == variable }) {
			process.Kill() // what cannot be killed is found again
			pids = append(pids, pid)
		}
		process.Release()
	}
	return pids
}

// callers lists this process and those that it descends from.
func callers() (pids []int) {
	for pid := os.Getpid(); pid > 0; pid = parentOf(pid) {
		pids = append(pids, pid)
	}
	return pids
}

// parentOf returns the parent of a process, or 0 (proc_pid_stat(5)).
func parentOf(pid int) (parent int) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	afterName := stat[bytes.LastIndexByte(stat, ')')+1:]
	if fields := bytes.Fields(afterName); len(fields) > 1 {
		parent, _ = strconv.Atoi(string(fields[1]))
	}
	return parent
}

// isDaemon reports whether the group of a process is that of its session. A plugin has a
// group of its own in the session of this process.
func isDaemon(pid int) bool {
	group, err := unix.Getpgid(pid)
	if err != nil {
		return false
	}
	session, err := unix.Getsid(pid)
	return err == nil && group == session
}
