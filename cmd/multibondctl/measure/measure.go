// Package measure finds out what passes between two pods, in both of which it runs: loss,
// round trips, the largest packet, throughput. It needs no capability, and no other program in
// the pods. Only what travels between two processes is here; who starts them is not.
package measure

import (
	"net/netip"
	"time"
)

// Port is where a server answers: what comes by UDP is sent back, what comes by TCP is counted.
const Port = 9478

// Way is what a client is asked to measure.
type Way struct {
	Interface string     // by which everything leaves, and by which answers come
	To        netip.Addr // where a server is
	Count     int        // of packets whose answers are counted

	// Throughput is how long data is sent by TCP. If it is not 0, nothing else is measured.
	Throughput time.Duration
}

// Found is what a client has found, and prints in JSON.
type Found struct {
	Sent     int      `json:"sent"`
	Received int      `json:"received"`
	RTT      *float64 `json:"rttMilliseconds,omitempty"` // the average
	MTU      int      `json:"mtu"`                       // of the interface
	Largest  int      `json:"mtuLargest,omitempty"`      // the largest packet that passes whole in both directions
	Mbit     *float64 `json:"mbitPerSecond,omitempty"`   // that the server has received
}
