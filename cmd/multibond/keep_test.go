package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// keepOnly executes a program with the capabilities that deploy/keep gives to keep, and no
// other: "keeponly PROGRAM ARGS...". Root has those of its bounding set (capabilities(7)).
func keepOnly() {
	runtime.LockOSThread()
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if c != unix.CAP_NET_ADMIN && c != unix.CAP_NET_BROADCAST {
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
