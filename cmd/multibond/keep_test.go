package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// keepOnly executes a program with the capabilities that deploy/keep gives to keep, and no
// other: "keeponly PROGRAM ARGS...".
func keepOnly() { executeWith(unix.CAP_NET_ADMIN, unix.CAP_NET_BROADCAST) }

// keepInside does the same with those of deploy/keep-inside.
func keepInside() { executeWith(unix.CAP_NET_ADMIN, unix.CAP_NET_BROADCAST, unix.CAP_SYS_ADMIN) }

// executeWith executes the program in its arguments with capabilities and no other. Root has
// those of its bounding set (capabilities(7)).
func executeWith(powers ...uintptr) {
	runtime.LockOSThread()
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if !slices.Contains(powers, c) {
			_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // a kernel may not know the last ones
		}
	}
	program, err := exec.LookPath(os.Args[1])
	if err == nil {
		err = unix.Exec(program, os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
