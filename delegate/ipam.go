package delegate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/record"
)

// localIPAM are the IPAM plugins that look at nothing in the pod. They run while the
// bond is made, which takes longer. Others, such as dhcp, need the bond.
var localIPAM = []string{"host-local", "static", "whereabouts"}

// buildBesideIPAM makes the bond while the IPAM plugin runs.
func (h *Host) buildBesideIPAM(ctx context.Context, s sandbox, rec *record.Record) (bond.Link, *current.Result, error) {
	answer, err := h.startIPAM(ctx, rec, rec.Plan.IfName)
	if err != nil {
		return bond.Link{}, nil, err
	}
	made, failed := h.build(s, rec)
	result, err := answer()
	if failed != nil {
		return made, nil, failed
	}
	return made, result, err
}

// askIPAM executes ADD of the IPAM plugin of an interface, which is there.
func (h *Host) askIPAM(ctx context.Context, rec *record.Record, ifName string) (*current.Result, error) {
	answer, err := h.startIPAM(ctx, rec, ifName)
	if err != nil {
		return nil, err
	}
	return answer()
}

// startIPAM starts ADD of the IPAM plugin of an interface, with the configuration as it was
// given, and returns a function that waits for its result. Without an IPAM plugin the
// result is empty.
func (h *Host) startIPAM(ctx context.Context, rec *record.Record, ifName string) (answer func() (*current.Result, error), err error) {
	ipam := rec.Plan.IPAMOf(ifName).Type
	if ipam == "" {
		return func() (*current.Result, error) { return withDNS(rec, &current.Result{}), nil }, nil
	}
	rec.SetIPAM(ifName, record.IPAM{Asked: true})
	if err := h.Store.Update(rec); err != nil {
		return nil, cnierror.With(types.ErrIOFailure, err)
	}
	wait := h.start(ctx, rec.IPAMCall("ADD", rec.Plan.Netns, ifName))
	return func() (*current.Result, error) {
		out, err := wait()
		if err != nil {
			rec.SetIPAM(ifName, record.IPAM{Asked: true, Refused: errors.Is(err, invoke.ErrNotExecuted), Failed: true})
			return nil, cnierror.With(cnierror.Delegate, fmt.Errorf("ipam: %w", err))
		}
		result, err := invoke.ParseResult(out, rec.Plan.Config.CNIVersion)
		if err != nil {
			return nil, cnierror.With(cnierror.Delegate, fmt.Errorf("ipam: %s: %w", ipam, err))
		}
		if len(result.IPs) == 0 {
			return nil, cnierror.Errorf(cnierror.Delegate, "ipam: %s returned no address", ipam)
		}
		if rec.Plan.BlockOf(ifName) != nil {
			for _, ip := range result.IPs {
				ip.Gateway = nil // which host-local makes up
			}
		}
		return withDNS(rec, result), nil
	}, nil
}

// withDNS gives a result the DNS of the configuration, if it has any.
func withDNS(rec *record.Record, result *current.Result) *current.Result {
	if own := rec.Plan.Config.DNS; !own.IsEmpty() {
		result.DNS = own
	}
	return result
}

// addressesOf turns a CNI result into addresses and routes. A route without a gateway
// gets the first gateway of its family, as in the CNI project's own plugins.
func addressesOf(result *current.Result) (bond.Addresses, error) {
	var a bond.Addresses
	gateways := map[bool]netip.Addr{}
	for _, ip := range result.IPs {
		prefix, err := prefixOf(ip.Address)
		if err != nil {
			return a, err
		}
		a.IPs = append(a.IPs, prefix)
		if gw, ok := netip.AddrFromSlice(ip.Gateway); ok && !gateways[prefix.Addr().Is4()].IsValid() {
			gateways[prefix.Addr().Is4()] = gw.Unmap()
		}
	}
	for _, r := range result.Routes {
		dst, err := prefixOf(r.Dst)
		if err != nil {
			return a, err
		}
		route := bond.Route{Dst: dst, Gateway: gateways[dst.Addr().Is4()], MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority, Scope: r.Scope}
		if gw, ok := netip.AddrFromSlice(r.GW); ok {
			route.Gateway = gw.Unmap()
		}
		if r.Table != nil {
			route.Table = *r.Table
		}
		a.Routes = append(a.Routes, route)
	}
	return a, nil
}

func prefixOf(n net.IPNet) (netip.Prefix, error) {
	ip, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if ip = ip.Unmap(); ip.Is4() && bits == 128 {
		ones, bits = ones-96, 32
	}
	p := netip.PrefixFrom(ip, ones)
	if !ok || bits != ip.BitLen() || !p.IsValid() {
		return netip.Prefix{}, fmt.Errorf("%v with mask %v is not an address with a prefix length", n.IP, n.Mask)
	}
	return p, nil
}
