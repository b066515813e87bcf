package bond

import (
	"cmp"
	"fmt"
	"strconv"
	"time"
)

// Probe asks a target for answers over one link, and hears how often the link announces its
// addresses.
type Probe interface {
	// Send asks the target once (ICMP echo, RFC 792 and RFC 4443). An error means that
	// nothing was sent.
	Send(number uint16) error
	// Answers passes the numbers of the requests that the target answers until a time, and has
	// answered before, also if that time is over.
	Answers(until time.Time, answered func(number uint16)) error
	// Announced returns how often the kernel has announced the link's addresses since the
	// probe was opened.
	Announced() (int, error)
	// Close closes the sockets.
	Close() error
}

// Monitor describes by what a bond with these options, which are those that the kernel
// reports, notices that a link has failed, and how long that can take.
func (o Options) Monitor() (by string, within time.Duration) {
	number := func(key string) time.Duration {
		n, _ := strconv.Atoi(o[key]) // what the kernel reports is a number
		return time.Duration(n)
	}
	if interval := number(arpInterval); interval > 0 {
		missed, _ := strconv.Atoi(cmp.Or(o["arpMissedMax"], "2"))
		return fmt.Sprintf("arpInterval %d, arpMissedMax %d", interval, missed), time.Duration(missed+1) * interval * time.Millisecond
	}
	by = "miimon " + cmp.Or(o[Miimon], "0")
	if down := number(downdelay); down > 0 {
		by += fmt.Sprintf(", downdelay %d", down)
	}
	return by, (number(Miimon) + number(downdelay)) * time.Millisecond
}

// Settles returns how long a bond with these options waits before it uses a link that works
// again.
func (o Options) Settles() time.Duration {
	n, _ := strconv.Atoi(o[updelay])
	return time.Duration(n) * time.Millisecond
}
