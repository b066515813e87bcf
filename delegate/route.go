package delegate

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

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
func (h *Host) moveDefaultRoutes(s sandbox, recs []*record.Record) error {
	for _, rec := range recs {
		if rec.Plan.DefaultRoute == nil {
			continue
		}
		if err := h.moveDefaultRoute(s, rec, recs); err != nil {
			return fmt.Errorf("network %s: default-route: %w", rec.Plan.Network, err)
		}
	}
	return nil
}

func (h *Host) moveDefaultRoute(s sandbox, to *record.Record, recs []*record.Record) error {
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
		if err := dropDefaults(s, links, r.Dst); err != nil {
			return cnierror.With(cnierror.Kernel, err)
		}
		for _, rec := range recs {
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

// dropDefaults removes the pod's default routes to dst, in the main table.
func dropDefaults(s sandbox, links []bond.Link, dst netip.Prefix) error {
	const mainTable = 254
	for _, l := range links {
		now, err := s.pod.Addresses(l.Index)
		if err != nil {
			return err
		}
		for _, r := range now.Routes {
			if r.Dst != dst || r.Table != 0 && r.Table != mainTable {
				continue
			}
			if err := s.pod.RemoveRoute(l.Index, r); err != nil {
				return fmt.Errorf("%s: %w", l.Name, err)
			}
		}
	}
	return nil
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
	if !to.Plan.IsChain() {
		to.Addresses.Routes = append(to.Addresses.Routes, routes...)
	}
	for _, rec := range recs {
		if err := h.Store.Update(rec); err != nil {
			return cnierror.With(types.ErrIOFailure, err)
		}
	}
	return nil
}
