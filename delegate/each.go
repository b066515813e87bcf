package delegate

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/delegate/strictjson"
)

// Links that are not bonded are interfaces of the pod. Each has addresses of its own, which
// can be in one subnet, and a routing table for what leaves from them.

// eachSteps attach the links, and give each its addresses.
func (h *Host) eachSteps(ctx context.Context, s sandbox, rec *record.Record, o *outcome) []step {
	steps := append(h.attachSteps(ctx, s, rec), step{"up", func() error { return setUp(s, rec) }})
	results := map[string]*current.Result{}
	for _, a := range rec.Plan.IPAMs() {
		steps = append(steps, step{"ipam " + a.IfName, func() (err error) {
			if results[a.IfName], err = h.askIPAM(ctx, rec, a.IfName); err != nil {
				err = cnierror.With(cnierror.Code(err), fmt.Errorf("%s: %w", a.IfName, err))
			}
			return err
		}})
	}
	return append(steps,
		step{"configure", func() error { return h.configureEach(s, rec, results) }},
		step{"announce", func() error { return announceEach(s, rec, o) }},
		step{"finish", func() error { return finishEach(s, rec, results) }})
}

// setUp sets the links up, each with the MTU of the network and for its own addresses only.
func setUp(s sandbox, rec *record.Record) error {
	for _, l := range rec.Plan.Links {
		now := rec.Attached[l.Name].Link
		c := bond.Change{Up: new(true), OwnARP: true, AcceptRA: rec.Plan.AcceptRA}
		mtu := rec.Plan.MTU
		change := mtu != 0 && mtu != now.MTU
		if change || rec.Plan.AcceptRA == "0" {
			// Many drivers change the MTU only while the link is down. That also ends what a
			// router's advertisement has given to a link that its plugin has set up.
			if err := s.pod.Change(now.Index, bond.Change{Up: new(false)}); err != nil {
				return cnierror.With(cnierror.Kernel, fmt.Errorf("setting %s down: %w", l.Name, err))
			}
		}
		if change {
			c.MTU = &mtu
		}
		if err := s.pod.Change(now.Index, c); err != nil {
			return cnierror.With(cnierror.Kernel, fmt.Errorf("setting %s up: %w", l.Name, err))
		}
	}
	return nil
}

// configureEach gives the links their addresses, routes and rules.
func (h *Host) configureEach(s sandbox, rec *record.Record, results map[string]*current.Result) error {
	own, err := addressesOfEach(rec, results)
	if err != nil {
		return err
	}
	rec.Paths = takePaths(rec, own)
	for _, l := range rec.Plan.Links {
		if a, there := own[l.Name]; there {
			a.Routes = append(a.Routes, tableOf(l, a, rec.Paths, rec.Attached[l.Name].Link.Index, results[l.Name])...)
			rec.SetAddresses(l.Name, a)
		}
	}
	if err := h.Store.Update(rec); err != nil {
		return cnierror.With(types.ErrIOFailure, err)
	}
	for _, l := range rec.Plan.Links {
		if err := s.pod.Configure(rec.Attached[l.Name].Link.Index, rec.Interfaces[l.Name].Addresses); err != nil {
			return cnierror.With(cnierror.Kernel, fmt.Errorf("%s: %w", l.Name, err))
		}
	}
	return cnierror.With(cnierror.Kernel, s.pod.AddRouting(rec.Routing()))
}

// addressesOfEach returns the addresses and routes that IPAM has given to each link. Two
// links must not have one address.
func addressesOfEach(rec *record.Record, results map[string]*current.Result) (map[string]bond.Addresses, error) {
	own, owner := map[string]bond.Addresses{}, map[netip.Addr]string{}
	for _, a := range rec.Plan.IPAMs() {
		got, err := addressesOf(results[a.IfName])
		if err != nil {
			return nil, cnierror.With(cnierror.Delegate, fmt.Errorf("%s: IPAM plugin %s: %w", a.IfName, a.Type, err))
		}
		for _, ip := range got.IPs {
			if first, twice := owner[ip.Addr()]; twice {
				return nil, cnierror.Errorf(cnierror.Delegate, `ipam: %s gave %s to %s, which %s already has (give each link an ipam of its own: "links": [{"ipam": {...}, ...}, ...])`, a.Type, ip.Addr(), a.IfName, first)
			}
			owner[ip.Addr()] = a.IfName
		}
		own[a.IfName] = got
	}
	return own, nil
}

// takePaths takes the routes that several links have from their own ones, and returns each
// as one route over these links. Their gateways can differ.
func takePaths(rec *record.Record, own map[string]bond.Addresses) (paths []bond.Multipath) {
	count := map[string]int{}
	for _, a := range own {
		var keys []string
		for _, r := range a.Routes {
			if canShare(r) {
				keys = append(keys, pathKey(r))
			}
		}
		slices.Sort(keys)
		for _, key := range slices.Compact(keys) {
			count[key]++
		}
	}
	isShared := func(r bond.Route) bool { return canShare(r) && count[pathKey(r)] > 1 }
	for _, l := range rec.Plan.Links {
		a := own[l.Name]
		for _, r := range a.Routes {
			if !isShared(r) {
				continue
			}
			hop := bond.Hop{Index: rec.Attached[l.Name].Link.Index, Gateway: r.Gateway}
			at := slices.IndexFunc(paths, func(p bond.Multipath) bool { return pathKey(p.Route) == pathKey(r) })
			if at < 0 {
				r.Gateway = netip.Addr{}
				paths, at = append(paths, bond.Multipath{Route: r}), len(paths)
			}
			paths[at].Hops = append(paths[at].Hops, hop)
		}
		a.Routes = slices.DeleteFunc(slices.Clone(a.Routes), isShared)
		if _, there := own[l.Name]; there {
			own[l.Name] = a
		}
	}
	return paths
}

// canShare reports whether a route can lead over several links. The kernel has no such IPv6
// route without a gateway.
func canShare(r bond.Route) bool { return r.Dst.Addr().Is4() || r.Gateway.IsValid() }

// pathKey is equal for routes that differ only in their gateway.
func pathKey(r bond.Route) string {
	r.Gateway, r.Dst = netip.Addr{}, r.Dst.Masked()
	return string(strictjson.Encode(r))
}

// tableOf returns the routes of a link's own table: to its networks, its routes and its part
// of the routes over several links. What leaves from its addresses for anywhere else goes to
// the gateway that IPAM names.
func tableOf(l plan.Link, a bond.Addresses, paths []bond.Multipath, index int, result *current.Result) (table []bond.Route) {
	var routes []bond.Route
	for _, ip := range a.IPs {
		if !ip.IsSingleIP() {
			routes = append(routes, bond.Route{Dst: ip.Masked(), Source: ip.Addr()})
		}
	}
	routes = append(routes, a.Routes...)
	for _, p := range paths {
		for _, hop := range p.Hops {
			if r := p.Route; hop.Index == index {
				r.Gateway = hop.Gateway
				routes = append(routes, r)
			}
		}
	}
	for _, r := range defaultRoutes(result, nil) {
		if !slices.ContainsFunc(routes, func(other bond.Route) bool { return other.Dst == r.Dst }) {
			routes = append(routes, r)
		}
	}
	for _, r := range routes {
		if r.Table == 0 {
			r.Table = l.Table
			table = append(table, r)
		}
	}
	return table
}

// announceWait bounds how long ADD waits for the carriers of all links together. A VF gets
// its carrier a second or two after it is set up.
const announceWait = 3 * time.Second

// announceEach announces the addresses of each link once it has a carrier. If it gets none
// in time, neighbours still find them, only later. A link whose NIC has none is not waited
// for.
func announceEach(s sandbox, rec *record.Record, o *outcome) error {
	deadline := time.Now().Add(announceWait)
	for _, a := range rec.Plan.IPAMs() {
		var addrs []netip.Addr
		for _, ip := range rec.Interfaces[a.IfName].Addresses.IPs {
			addrs = append(addrs, ip.Addr())
		}
		until := deadline
		if isCut(s, rec, a.IfName) {
			until = time.Time{}
		}
		if err := announceOne(s.pod, a.IfName, addrs, until); err != nil {
			warning := fmt.Sprintf("network %s: %v", rec.Plan.Network, err)
			rec.Warnings = append(rec.Warnings, warning)
			o.warn("%s", warning)
		}
	}
	return nil
}

// isCut reports whether the NIC on which a link is made, or the PF of a VF that follows it,
// has no carrier.
func isCut(s sandbox, rec *record.Record, name string) bool {
	for _, l := range rec.Plan.Links {
		if l.Name != name {
			continue
		}
		lower := l.PF
		switch vf := rec.Attached[name].VF; {
		case l.NIC != nil && l.Source == netconf.FromConfig:
			lower = l.NIC.Name
		case vf == nil || vf.LinkState != bond.LinkAuto:
			return false
		}
		now, there, err := bond.LinkIfThere(s.host, lower)
		return err == nil && there && !now.Carrier
	}
	return false
}

func announceOne(pod bond.Namespace, name string, addrs []netip.Addr, deadline time.Time) error {
	for {
		l, err := pod.Link(name)
		switch {
		case err != nil:
			return err
		case l.Carrier:
			return pod.Announce(l.Index, addrs)
		case deadline.IsZero():
			return fmt.Errorf("%s has no carrier, as its NIC has none; its addresses were not announced", name)
		case time.Now().After(deadline):
			return fmt.Errorf("%s has no carrier after %s; its addresses were not announced", name, announceWait)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// finishEach makes one result of those of IPAM: all links with their addresses, and each
// route once for each gateway.
func finishEach(s sandbox, rec *record.Record, results map[string]*current.Result) error {
	links, err := s.pod.Links()
	if err != nil {
		return cnierror.With(cnierror.Kernel, err)
	}
	all := withDNS(rec, &current.Result{CNIVersion: current.ImplementedSpecVersion})
	for i, l := range rec.Plan.Links {
		now, _ := bond.Find(links, func(x bond.Link) bool { return x.Name == l.Name })
		seen := rec.Attached[l.Name]
		seen.MAC = now.MAC
		rec.Attached[l.Name] = seen
		all.Interfaces = append(all.Interfaces, &current.Interface{Name: l.Name, Mac: now.MAC, Mtu: now.MTU, Sandbox: rec.Plan.Netns, PciID: now.Device})
		one := cmp.Or(results[l.Name], &current.Result{})
		for _, ip := range one.IPs {
			ip.Interface = current.Int(i)
			all.IPs = append(all.IPs, ip)
		}
		for _, r := range one.Routes {
			if !slices.ContainsFunc(all.Routes, func(other *types.Route) bool { return other.String() == r.String() }) {
				all.Routes = append(all.Routes, r)
			}
		}
		if all.DNS.IsEmpty() {
			all.DNS = one.DNS
		}
	}
	complete(rec, all)
	return nil
}

// eachParts lists the parts of the way back of links that are not bonded. An address is
// released after its link has gone, which would answer for it, unless IPAM needs the link.
func (w *wayBack) eachParts() (all []part) {
	if w.rec.BootID == w.BootID {
		all = append(all, part{way: w, restore: w.removeRules})
	} else {
		w.rec.HasNoRules()
	}
	for _, l := range slices.Backward(w.rec.Plan.Links) {
		ipam := w.rec.Plan.IPAMOf(l.Name).Type
		release := part{way: w, since: w.rec.UnansweredSince(ipam, l.Name), restore: func(ctx context.Context) error {
			return w.startRelease(ctx, l.Name)()
		}}
		local := slices.Contains(localIPAM, ipam)
		if !local {
			all = append(all, release)
		}
		if w.rec.BootID == w.BootID && slices.Contains(w.rec.Started, l.Name) && !slices.Contains(w.rec.Restored, l.Name) {
			all = append(all, w.linkParts(l, func(ctx context.Context) error { return w.restoreLink(ctx, l) })...)
		}
		if local {
			all = append(all, release)
		}
	}
	return all
}

// removeRules removes the rules that lead to the tables of the links. The routes go with
// the links. A Record that was damaged does not know the rules, but its plan the tables,
// which nobody else had.
func (w *wayBack) removeRules(context.Context) error {
	switch {
	case len(w.rec.Started) < len(w.rec.Plan.Links):
		return nil // the rules come last
	case w.pod == nil:
		w.rec.HasNoRules()
		return nil
	}
	now, err := w.pod.Routing()
	if err != nil {
		return err
	}
	tables := w.rec.Plan.Tables()
	now.Rules = slices.DeleteFunc(now.Rules, func(r bond.Rule) bool {
		ours := slices.Contains(tables, r.Table) && r.Priority == record.RulePriority && r.From.IsSingleIP()
		return !ours // the pod may have rules of its own for our tables
	})
	if len(now.Rules) > 0 {
		if err := w.pod.RemoveRouting(bond.Routing{Rules: now.Rules}); err != nil {
			return err
		}
	}
	w.rec.HasNoRules()
	return nil
}
