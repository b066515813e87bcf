package delegate

import (
	"fmt"
	"net/netip"

	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/record"
)

// watchGateways has the bond probe the gateways that IPAM has named, once each has
// answered. One that does not answer would take down every link. It is a warning, and the
// bond goes on as it is.
func watchGateways(s sandbox, rec *record.Record, result *current.Result, o *outcome) error {
	answered, problems, err := bond.WatchGateways(s.pod, rec.Plan.IfName, rec.Plan.Bond.Options, gatewaysOf(result))
	rec.Gateways = answered
	if err != nil || len(problems) == 0 {
		return cnierror.With(cnierror.Kernel, err)
	}
	warning := fmt.Sprintf("network %s: %v; %s", rec.Plan.Network, problems, monitored(rec.Bond().Options))
	rec.Warnings = append(rec.Warnings, warning)
	o.warn("%s", warning)
	return nil
}

// monitored says by what a bond notices a dead link.
func monitored(o bond.Options) string {
	if o[bond.Miimon] != "" {
		return fmt.Sprintf("the bond sees only the carrier of its links (miimon %s)", o[bond.Miimon])
	}
	return "the bond has its other targets"
}

// gatewaysOf lists the gateways that IPAM names for its addresses, and then those of its
// default routes.
func gatewaysOf(result *current.Result) (gateways []netip.Addr) {
	for _, ip := range result.IPs {
		if gw, ok := netip.AddrFromSlice(ip.Gateway); ok {
			gateways = append(gateways, gw.Unmap())
		}
	}
	for _, r := range result.Routes {
		ones, _ := r.Dst.Mask.Size()
		if gw, ok := netip.AddrFromSlice(r.GW); ok && ones == 0 {
			gateways = append(gateways, gw.Unmap())
		}
	}
	return gateways
}
