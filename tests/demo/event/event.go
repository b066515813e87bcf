// Package event is what the demo's probe tells, from inside the guest, a JSON
// object per line. All times are of the guest's CLOCK_MONOTONIC, which is one
// for all its processes and namespaces, so that events of several probes can be
// put in one order.
package event

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Kind is what an event is about.
type Kind string

const (
	Ready    Kind = "ready"    // the probe runs; Value is its process id
	Sent     Kind = "sent"     // echo request Probe left, or was refused: Value has the error
	Answered Kind = "answered" // the echo reply to Probe came
	Seen     Kind = "seen"     // the file What has Value: first what it was, then each change
	Heard    Kind = "heard"    // an announcement on the interface What: Value is the address and its MAC
	Began    Kind = "began"    // the command Value is about to be started
	Ended    Kind = "ended"    // the command Value has ended
)

// Event is one thing that happened.
type Event struct {
	At    int64  `json:"at"` // ns
	Kind  Kind   `json:"kind"`
	Probe int    `json:"probe,omitempty"` // from 1
	What  string `json:"what,omitempty"`  // a file below /sys/class/net, as bond0/bonding/active_slave
	Value string `json:"value,omitempty"`
	Where string `json:"-"` // whose probe said so: a pod or the host; the receiver knows
}

// Now is the guest's time for [Event.At].
func Now() (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("clock_gettime: %w", err)
	}
	return t.Nano(), nil
}
