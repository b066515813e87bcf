package delegate

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/delegate/strictjson"
)

// moveDefaultRoutes makes the pod's default route go over the network that the pod asks
// for, for each address family of its gateways (NPWG multi-network standard v1.3,
// "default-route"). It removes the default routes and gateways of the other networks.
func (h *Host) moveDefaultRoutes(s sandbox, recs []*record.Record, o *outcome) error {
	for _, rec := range recs {
		if rec.Plan.DefaultRoute == nil {
			continue
		}
		if err := h.moveDefaultRoute(s, rec, recs, o); err != nil {
			return fmt.Errorf("network %s: default-route: %w", rec.Plan.Network, err)
		}
	}
	return nil
}

func (h *Host) moveDefaultRoute(s sandbox, to *record.Record, recs []*record.Record, o *outcome) error {
	result, err := invoke.DecodeResult(to.Result)
	if err != nil {
		return err
	}
	routes := defaultRoutes(result, to.Plan.DefaultRoute)
	if len(routes) == 0 {
		return cnierror.Errorf(cnierror.Node, "no gateway is set, and the network's result has none")
	}
	links, err := s.pod.Links()
	if err != nil {
		return cnierror.With(cnierror.Kernel, err)
	}
	for _, r := range routes {
		cut, err := dropDefaults(s, links, r.Dst)
		if err != nil {
			return cnierror.With(cnierror.Kernel, err)
		}
		warnOfCut(to, r, cut, o)
		for _, rec := range recs {
			if err := dropPaths(s, rec, r.Dst); err != nil {
				return cnierror.With(cnierror.Kernel, err)
			}
			if err := dropDefault(rec, r.Dst); err != nil {
				return err
			}
		}
	}
	over, there := bond.Find(links, func(l bond.Link) bool { return l.Name == to.Plan.IfName })
	if !there {
		return cnierror.Errorf(cnierror.Kernel, "the pod has no interface %s", to.Plan.IfName)
	}
	if err := s.pod.Configure(over.Index, bond.Addresses{Routes: routes}); err != nil {
		return cnierror.With(cnierror.Kernel, fmt.Errorf("%s: %w", over.Name, err))
	}
	return h.storeDefault(to, routes, recs)
}

// defaultRoutes returns default routes over the gateways, or over those of the result if
// none is given: one for each address family.
func defaultRoutes(result *current.Result, gateways []netip.Addr) (routes []bond.Route) {
	if len(gateways) == 0 {
		for _, ip := range result.IPs {
			if gw, ok := netip.AddrFromSlice(ip.Gateway); ok {
				gateways = append(gateways, gw.Unmap())
			}
		}
	}
	for _, gw := range gateways {
		r := bond.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: gw}
		if gw.Is6() {
			r.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if !slices.ContainsFunc(routes, func(other bond.Route) bool { return other.Dst == r.Dst }) {
			routes = append(routes, r)
		}
	}
	return routes
}

// cut is a link of the pod that has lost its default route.
type cut struct {
	link  string
	gone  bond.Route
	still bond.Addresses
}

// dropDefaults removes the pod's default routes to dst, in the main table.
func dropDefaults(s sandbox, links []bond.Link, dst netip.Prefix) (lost []cut, err error) {
	const mainTable = 254
	for _, l := range links {
		now, err := s.pod.Addresses(l.Index)
		if err != nil {
			return nil, err
		}
		isDefault := func(r bond.Route) bool { return r.Dst == dst && (r.Table == 0 || r.Table == mainTable) }
		still := now
		still.Routes = slices.DeleteFunc(slices.Clone(now.Routes), isDefault)
		for _, r := range now.Routes {
			if !isDefault(r) {
				continue
			}
			if err := s.pod.RemoveRoute(l.Index, r); err != nil {
				return nil, fmt.Errorf("%s: %w", l.Name, err)
			}
			lost = append(lost, cut{l.Name, r, still})
		}
	}
	return lost, nil
}

// warnOfCut warns of each other interface that had the pod's default route and has no
// gateway left. Everything behind it, the cluster's services and the pods of other nodes
// among them, was reached through it. An interface with routes over a gateway has what
// its administrator has planned.
func warnOfCut(to *record.Record, now bond.Route, lost []cut, o *outcome) {
	for _, c := range lost {
		reached := c.reaches(now.Dst.Addr().Is4())
		if c.link == to.Plan.IfName || reached == nil {
			continue
		}
		warning := fmt.Sprintf("network %s: default-route: the pod's default route %s over %s was removed for %s over %s; %s reaches only %s now, and services of the cluster and pods of other nodes may be unreachable (add routes to them in the configuration of that network, or leave default-route out)",
			to.Plan.Network, c.gone, c.link, now, to.Plan.IfName, c.link, strings.Join(reached, ", "))
		to.Warnings = append(to.Warnings, warning)
		o.warn("%s", warning)
	}
}

// reaches lists what the link reaches in one address family. It is nil if there is a
// gateway for some of it.
func (c cut) reaches(is4 bool) []string {
	all := []string{}
	for _, ip := range c.still.IPs {
		if ip.Addr().Is4() == is4 {
			all = append(all, ip.Masked().String())
		}
	}
	for _, r := range c.still.Routes {
		switch {
		case r.Dst.Addr().Is4() != is4:
		case r.Gateway.IsValid():
			return nil
		default:
			all = append(all, r.Dst.String())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// dropDefault removes a default route from a Record, so that CHECK does not miss it.
func dropDefault(rec *record.Record, dst netip.Prefix) error {
	isDefault := func(d net.IPNet) bool {
		p, err := prefixOf(d)
		return err == nil && p == dst
	}
	result, err := invoke.DecodeResult(rec.Result)
	if err != nil {
		return err
	}
	result.Routes = slices.DeleteFunc(result.Routes, func(r *types.Route) bool { return isDefault(r.Dst) })
	rec.Result = strictjson.Encode(result)
	rec.Addresses.Routes = slices.DeleteFunc(rec.Addresses.Routes, func(r bond.Route) bool { return r.Dst == dst })
	return nil
}

// dropPaths removes the default routes over several links of a network, and from its Record
// those over one of them. Their own tables keep theirs.
func dropPaths(s sandbox, rec *record.Record, dst netip.Prefix) error {
	isDefault := func(p bond.Multipath) bool { return p.Dst == dst && bond.IsOwnTable(p.Table) }
	for _, p := range rec.Paths {
		if !isDefault(p) {
			continue
		}
		if err := s.pod.RemoveRouting(bond.Routing{Paths: []bond.Multipath{p}}); err != nil {
			return err
		}
	}
	rec.Paths = slices.DeleteFunc(rec.Paths, isDefault)
	for name, i := range rec.Interfaces {
		i.Addresses.Routes = slices.DeleteFunc(i.Addresses.Routes, func(r bond.Route) bool { return r.Dst == dst && bond.IsOwnTable(r.Table) })
		rec.SetAddresses(name, i.Addresses)
	}
	return nil
}

// storeDefault writes the new default routes into the Records.
func (h *Host) storeDefault(to *record.Record, routes []bond.Route, recs []*record.Record) error {
	result, err := invoke.DecodeResult(to.Result)
	if err != nil {
		return err
	}
	for _, r := range routes {
		dst := net.IPNet{IP: r.Dst.Addr().AsSlice(), Mask: net.CIDRMask(0, r.Dst.Addr().BitLen())}
		result.Routes = append(result.Routes, &types.Route{Dst: dst, GW: r.Gateway.AsSlice()})
	}
	to.Result = strictjson.Encode(result)
	if to.Plan.IsBond() {
		to.Addresses.Routes = append(to.Addresses.Routes, routes...)
	}
	for _, rec := range recs {
		if err := h.Store.Update(rec); err != nil {
			return cnierror.With(types.ErrIOFailure, err)
		}
	}
	return nil
}
