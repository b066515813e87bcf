package delegate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/plan"
)

// Pods with ipvlan in mode l3 answer no ARP. What one of them sends goes by the routes that
// its host has over the NIC on which the link was made. Keep sets these: for each other host
// and each interface of a network, the host's part of the subnet via the host's address in a
// network of that NIC.

const (
	routeLook   = 20 * time.Second // between two looks at the routes: somebody may have removed one
	routePause  = time.Second      // between two looks at most, whatever happens
	tellTimeout = 2 * time.Second  // for the agent to hear how the routes are
)

// router is what Keep knows of the routes to other hosts.
type router struct {
	rails  map[plan.Key][]rail // of the Records that need routes
	unread error               // why it is not known which do; nil: it is
	due    time.Time           // when to look at the routes; zero: never
	looked time.Time
	now    agentapi.Routes // how they are
	told   agentapi.Routes // what the agent knows
	said   string          // what was printed last

	telling bool            // the agent is being told
	again   bool            // and may be another one by now
	answers chan routesTold // to what it is told
}

// routesTold is whether the agent has taken what it was told.
type routesTold struct {
	told agentapi.Routes
	err  error
}

// noteRails takes over which interfaces of a Record need routes.
func (k *keeper) noteRails(key plan.Key, rails []rail) {
	if slices.EqualFunc(k.routes.rails[key], rails, func(a, b rail) bool { return a.key() == b.key() }) {
		return
	}
	k.routes.rails[key] = rails
	if len(rails) == 0 {
		delete(k.routes.rails, key)
	}
	k.lookAtRoutes()
}

// lookForRoutes has the routes looked at if an earlier keep may have left some: there is a file
// of hosts only on a node with a network that is for several hosts.
func (k *keeper) lookForRoutes() {
	if _, err := os.Stat(k.hostsFile()); k.Yield || !errors.Is(err, fs.ErrNotExist) {
		k.lookAtRoutes()
	}
}

// hostsFile is where the agent writes the other hosts.
func (k *keeper) hostsFile() string {
	return filepath.Join(filepath.Dir(k.Agent), filepath.Base(agentapi.HostsFile))
}

// lookAtRoutes has the routes looked at soon.
func (k *keeper) lookAtRoutes() {
	at := time.Now()
	if earliest := k.routes.looked.Add(routePause); at.Before(earliest) {
		at = earliest
	}
	if k.routes.due.IsZero() || at.Before(k.routes.due) {
		k.routes.due = at
	}
}

// hearOfRoutes has the routes looked at after an event of a NIC: the kernel removes those over
// one that is set down.
func (k *keeper) hearOfRoutes(e bond.Event) {
	for _, rails := range k.routes.rails {
		if slices.ContainsFunc(rails, func(r rail) bool { return r.master == e.Link.Name }) {
			k.lookAtRoutes()
			return
		}
	}
}

// keepRoutes makes the routes as they should be, if that is due.
func (k *keeper) keepRoutes(ctx context.Context) {
	if r := &k.routes; r.due.IsZero() || time.Now().Before(r.due) {
		return
	}
	k.routes.due, k.routes.looked = time.Time{}, time.Now()
	k.routes.now = k.setRoutes()
	if len(k.routes.rails) > 0 {
		k.routes.due = time.Now().Add(routeLook)
	}
	k.sayRoutes(k.routes.now)
	k.tellRoutes(ctx)
}

// tellRoutes has the agent told how the routes are, if that is news, and does not wait for its
// answer. An agent that is away hears of it when it is back.
func (k *keeper) tellRoutes(ctx context.Context) {
	now := k.routes.now
	if k.routes.telling || now.Equal(k.routes.told) {
		return
	}
	k.routes.telling, k.routes.again = true, false
	to := agentapi.Client{Socket: k.Agent, Timeout: tellTimeout}
	go func() { k.routes.answers <- routesTold{now, to.TellRoutes(ctx, now)} }()
}

// hearAnswer notes what the agent knows, and has it told what is news meanwhile.
func (k *keeper) hearAnswer(ctx context.Context, a routesTold) {
	k.routes.telling = false
	switch {
	case a.err == nil && !k.routes.again:
		k.routes.told = a.told
	case !k.routes.again:
		return // at the next look
	}
	k.tellRoutes(ctx)
}

// tellAnew has an agent that has started told how the routes are.
func (k *keeper) tellAnew() {
	k.routes.told, k.routes.again = agentapi.Routes{}, true
	if len(k.routes.rails) > 0 {
		k.lookAtRoutes()
	}
}

// sayRoutes prints how the routes are, if that is news.
func (k *keeper) sayRoutes(now agentapi.Routes) {
	text := strings.Join(append([]string{now.String()}, now.Problems...), "; ")
	if text != k.routes.said && (k.routes.said != "" || !now.Equal(agentapi.Routes{})) {
		k.say("%s", text)
		k.routes.said = text
	}
}

// setRoutes removes the routes of earlier networks and hosts, and adds those that are missing.
// A destination of which somebody else has a route to a part, or to more, is left to that.
func (k *keeper) setRoutes() (now agentapi.Routes) {
	have, err := k.host.Routes()
	if err != nil {
		now.Fail("", err)
		return now
	}
	if k.routes.unread != nil && !k.Yield {
		now.Wait("", k.routes.unread)
	}
	want, unknown := k.wantedRoutes(&now)
	if unknown != nil {
		now.Wait("", unknown)
	}
	others := k.othersOf(have)
	set := k.removeRoutes(have, others, want, unknown == nil, &now)
	for _, w := range sortedWays(want) {
		err := others.inTheWay(w)
		if err == nil && !set[w] {
			err = k.host.AddRoute(w.index, w.route())
		}
		if err != nil {
			now.Fail(want[w], err)
		} else {
			now.Set++
		}
	}
	return now
}

// removeRoutes removes what Keep has set and what is not wanted any more, or has come between
// by somebody else's route. It returns those that stay. hosts is whether the other hosts are
// known.
func (k *keeper) removeRoutes(have []bond.Multipath, others otherRoutes, want map[way]string, hosts bool, now *agentapi.Routes) map[way]bool {
	stay, mayNeed := map[way]bool{}, k.mayNeed(want, hosts)
	for _, r := range have {
		if !isOurs(r) {
			continue
		}
		w := way{r.Dst, r.Hops[0].Gateway, r.Hops[0].Index}
		_, wanted := want[w]
		if others.inTheWay(w) == nil && (wanted || mayNeed(w)) {
			stay[w] = true
		} else if err := k.host.RemoveRoute(w.index, w.route()); err != nil {
			now.Fail("", err)
		}
	}
	return stay
}

// mayNeed returns a function that reports whether a route that Keep has set, and that is not
// wanted, may still be needed: by a Record that cannot be read, or, while the hosts are not
// known, by an interface that is in its subnet.
func (k *keeper) mayNeed(want map[way]string, hosts bool) func(way) bool {
	subnets, wanted := k.subnets(), map[netip.Prefix]bool{}
	for w := range want {
		wanted[w.dst] = true
	}
	return func(w way) bool {
		switch {
		case k.Yield:
			return false
		case !hosts && slices.ContainsFunc(subnets, w.dst.Overlaps):
			return true
		}
		return k.routes.unread != nil && !wanted[w.dst]
	}
}

// otherRoutes are the routes that Keep has not set, without default routes. Those of the
// host's own networks are among them.
type otherRoutes []bond.Multipath

// othersOf lists the other routes that have to do with a subnet of this node's pods.
func (k *keeper) othersOf(have []bond.Multipath) (others otherRoutes) {
	subnets := k.subnets()
	for _, r := range have {
		if !isOurs(r) && r.Dst.Bits() > 0 && slices.ContainsFunc(subnets, r.Dst.Overlaps) {
			others = append(others, r)
		}
	}
	return others
}

// inTheWay returns an error if a route would take traffic from one of the others, or have
// some of its own taken.
func (o otherRoutes) inTheWay(w way) error {
	for _, r := range o {
		switch {
		case r.Dst == w.dst:
			return fmt.Errorf("somebody else has a route to %s, of protocol %d (see ip route show %s; remove it, if it is not to be there)", w.dst, r.Protocol, w.dst)
		case r.Dst.Overlaps(w.dst):
			return fmt.Errorf("somebody else has a route to %s, of protocol %d, which overlaps %s (see ip route show %s; give the network another subnet)", r.Dst, r.Protocol, w.dst, r.Dst)
		}
	}
	return nil
}

// isOurs reports whether Keep has set a route.
func isOurs(r bond.Multipath) bool { return r.Protocol == bond.ProtocolRoutes && len(r.Hops) == 1 }

// routesLeft names the routes that Keep has set.
func (h *Host) routesLeft() (left []string, err error) {
	host, err := h.Kernel.Host()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	all, err := host.Routes()
	for _, r := range all {
		if isOurs(r) {
			left = append(left, "the route to "+r.String())
		}
	}
	return left, err
}
