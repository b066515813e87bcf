package bond

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/multibond/multibond/bond/code"
)

// gateway is the target of ARP monitoring that stands for the gateway that IPAM names.
const gateway = "gateway"

// gatewayWait bounds how long WatchGateways waits for answers. Of IPv6, nothing is sent
// until the bond's own link-local address is known to be unique, which takes up to 2 s from
// its carrier on (RFC 4862, section 5.4.2).
const gatewayWait = 5 * time.Second

// targetOptions are the options that name targets, with the IP version of each.
var targetOptions = []struct {
	key string
	of  func(netip.Addr) bool
}{{arpIPTarget, netip.Addr.Is4}, {nsIP6Target, netip.Addr.Is6}}

// needTargets are the options that have no meaning without a target.
var needTargets = []string{arpInterval, arpValidate, "arpAllTargets", "arpMissedMax"}

// AwaitsGateway reports whether a target is the gateway that IPAM names.
func (o Options) AwaitsGateway() bool {
	return o[arpIPTarget] == gateway || o[nsIP6Target] == gateway
}

// WithGateways returns the options of a bond whose gateways have answered, those of both
// IP versions. If no target is left, the bond has miimon instead of ARP monitoring.
func (o Options) WithGateways(answered []netip.Addr) Options {
	if !o.AwaitsGateway() {
		return o
	}
	out := maps.Clone(o)
	for _, target := range targetOptions {
		if out[target.key] != gateway {
			continue
		}
		delete(out, target.key)
		if i := slices.IndexFunc(answered, target.of); i >= 0 {
			out[target.key] = answered[i].String()
		}
	}
	if out[arpIPTarget] != "" || out[nsIP6Target] != "" {
		delete(out, Miimon)
		return out
	}
	for _, key := range needTargets {
		delete(out, key)
	}
	return out
}

// WatchGateways has a bond with the options o, which has its addresses, monitored by those
// of the gateways that answer, and returns them. gateways are those that IPAM has named.
// The first one of each IP version counts. One that o asks for, and that is missing or does
// not answer, is a problem.
func WatchGateways(n Namespace, name string, o Options, gateways []netip.Addr) (answered []netip.Addr, problems Problems, err error) {
	b, err := n.Link(name)
	if err != nil {
		return nil, nil, err
	}
	asked := map[string]netip.Addr{}
	for _, target := range targetOptions {
		i := slices.IndexFunc(gateways, target.of)
		switch {
		case o[target.key] != gateway:
		case i < 0:
			problems.Add(code.NoGateway, target.key, "name one in the configuration of ipam, or set miimon", "is %s, but IPAM has named none", gateway)
		default:
			asked[target.key] = gateways[i]
		}
	}
	answered, err = awaitNeighbours(n, b.Index, slices.SortedFunc(maps.Values(asked), netip.Addr.Compare))
	if err != nil {
		return nil, nil, err
	}
	for _, target := range targetOptions {
		if ip, is := asked[target.key]; is && !slices.Contains(answered, ip) {
			problems.Add(code.SilentGateway, target.key, "check cable, switch and VLAN", "is %s, but %s did not answer within %s", gateway, ip, gatewayWait)
		}
	}
	if len(answered) > 0 {
		if err := n.Change(b.Index, Change{Options: o.WithGateways(answered).since(o.WithGateways(nil))}); err != nil {
			return nil, nil, fmt.Errorf("probing %s by %s: %w", strings.Trim(fmt.Sprint(answered), "[]"), name, err)
		}
	}
	return answered, problems, nil
}

// since returns those of o that are not in earlier, or not with the same value.
func (o Options) since(earlier Options) Options {
	out := maps.Clone(o)
	maps.DeleteFunc(out, func(key, text string) bool { return earlier[key] == text })
	return out
}

// awaitNeighbours waits until all neighbours have answered, or for gatewayWait, and returns
// those that have.
func awaitNeighbours(n Namespace, index int, neighbours []netip.Addr) ([]netip.Addr, error) {
	for deadline := time.Now().Add(gatewayWait); ; time.Sleep(carrierPause) {
		var answered []netip.Addr
		for _, ip := range neighbours {
			answers, err := n.Solicit(index, ip)
			if err != nil {
				return nil, err
			}
			if answers {
				answered = append(answered, ip)
			}
		}
		if len(answered) == len(neighbours) || time.Now().After(deadline) {
			return answered, nil
		}
	}
}
