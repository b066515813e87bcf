package main

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const noAnswer = "no packet was answered: check the switch, the VLAN and the address"

// execFunc executes a command in a pod.
type execFunc func(context.Context, *corev1.Pod, []string) (executed, error)

var (
	counted  = regexp.MustCompile(`(\d+) packets transmitted, (\d+) (?:packets )?received`)
	averaged = regexp.MustCompile(`= [\d.]+/([\d.]+)/`)
)

// try pings, first with small packets, then with one as large as the MTU allows, which must
// not be fragmented. What ping prints is that of iputils or of busybox, which cannot do the
// latter.
func (c *connection) try(ctx context.Context, exec execFunc, packets int) {
	done, err := exec(ctx, c.pod, []string{"ping", "-c", strconv.Itoa(packets), "-W", "1", "-I", c.Interface, c.Address})
	found := counted.FindStringSubmatch(done.out)
	if err != nil || found == nil {
		c.Result, c.Reason = resultUnknown, strings.TrimSpace(cmp.Or(done.errs, done.out))
		if err != nil {
			c.Reason = err.Error()
		}
		return
	}
	c.Sent, _ = strconv.Atoi(found[1])
	c.Received, _ = strconv.Atoi(found[2])
	if average := averaged.FindStringSubmatch(done.out); average != nil {
		rtt, _ := strconv.ParseFloat(average[1], 64)
		c.RTT = &rtt
	}
	switch {
	case c.Received == 0:
		c.Result, c.Reason = resultDown, noAnswer
		return
	case c.Received < c.Sent:
		c.Result = resultLoss
	default:
		c.Result = resultOK
	}
	c.tryLarge(ctx, exec)
}

// tryLarge pings with a packet as large as the MTU.
func (c *connection) tryLarge(ctx context.Context, exec execFunc) {
	headers := 28 // of IPv4 and ICMP
	if strings.Contains(c.Address, ":") {
		headers = 48
	}
	if c.MTU <= headers {
		return
	}
	done, err := exec(ctx, c.pod, []string{"ping", "-c", "2", "-W", "1", "-M", "do", "-s", strconv.Itoa(c.MTU - headers), "-I", c.Interface, c.Address})
	found := counted.FindStringSubmatch(done.out)
	if err != nil || found == nil {
		return // this ping cannot do it
	}
	c.Passes = new(found[2] != "0")
	if !*c.Passes {
		c.Result, c.Reason = resultMTU, fmt.Sprintf("packets of %d bytes are lost on the way: check the MTU of PFs and switches", c.MTU)
	}
}
