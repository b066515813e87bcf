package delegate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// rail is an interface of a pod of this node, which needs routes to other hosts.
type rail struct {
	plan.Block
	master string    // the NIC on which it was made
	since  time.Time // when the ADD of its pod began
}

// railsOf lists the interfaces of a Record that need routes: they are in the pod, and its DEL
// has not begun. A Record that was damaged does not know whether its ADD is complete.
func (h *Host) railsOf(rec *record.Record) (rails []rail) {
	attached := rec.Phase() == record.Complete || rec.Phase() == record.AllAttached
	if rec.BootID != h.BootID || !attached || !rec.Tried.IsZero() {
		return nil
	}
	for _, l := range rec.Plan.Links {
		if l.NeedsRoutes() {
			rails = append(rails, rail{*l.Block, masterOf(l), rec.Created})
		}
	}
	return rails
}

// masterOf returns the NIC on which the plugin of a link has made it, by name, or "".
func masterOf(l plan.Link) string {
	var given struct{ Master string }
	for _, p := range l.Plugins {
		if p.Type == "ipvlan" {
			_ = json.Unmarshal(p.Config.Raw, &given) // the plugin has read it
		}
	}
	return given.Master
}

// allRails lists the interfaces that need routes, each once, those of the oldest pods first.
func (k *keeper) allRails() (all []rail) {
	for _, rails := range k.routes.rails {
		all = append(all, rails...)
	}
	slices.SortFunc(all, func(a, b rail) int { return cmp.Or(a.since.Compare(b.since), strings.Compare(a.key(), b.key())) })
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(r rail) bool {
		twice := seen[r.key()]
		seen[r.key()] = true
		return twice
	})
}

// subnets lists those of the interfaces that need routes.
func (k *keeper) subnets() (all []netip.Prefix) {
	for _, r := range k.allRails() {
		all = append(all, r.Subnets...)
	}
	return all
}

// withoutConflict returns those of interfaces, the oldest first, whose subnets agree with
// those of earlier ones, and tells of the others.
func withoutConflict(rails []rail, now *agentapi.Routes) (agree []rail) {
	for _, r := range rails {
		if err := r.conflict(agree); err != nil {
			now.Fail("", err)
		} else {
			agree = append(agree, r)
		}
	}
	return agree
}

// conflict returns an error if the interface's subnet overlaps an earlier one, unless both are
// the same and divided alike. One network would get traffic of the other.
func (r rail) conflict(earlier []rail) error {
	for _, e := range earlier {
		alike := r.InterfaceBits == e.InterfaceBits && r.HostBits == e.HostBits
		for _, s := range r.Subnets {
			for _, other := range e.Subnets {
				if s.Overlaps(other) && (s != other || !alike) {
					return fmt.Errorf("the subnet %s of pods overlaps %s, of earlier pods, and is divided otherwise: no routes are set for it (give one of the networks another subnet)", s, other)
				}
			}
		}
	}
	return nil
}

// key is the same for interfaces that need the same routes.
func (r rail) key() string {
	return fmt.Sprint(r.Subnets, r.InterfaceBits, r.HostBits, r.Interface, r.Host, r.master)
}

// checkHost returns why there can be no route to a host: its number has no place in the
// subnet, or is the one by which the pods of this host have their addresses.
func (r rail) checkHost(h agentapi.PeerHost) error {
	switch {
	case h.Index >= r.Hosts():
		return fmt.Errorf("it is host %d, but hostBlock is %d, which is room for %d hosts", h.Index, r.HostBits, r.Hosts())
	case h.Index == r.Host:
		return fmt.Errorf("it is host %d, by which number pods of this host have their addresses: delete these pods", h.Index)
	}
	return nil
}
