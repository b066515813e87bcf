package bond

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func (n *namespace) Routing() (Routing, error) {
	var all Routing
	if err := n.readRules(&all); err != nil {
		return Routing{}, fmt.Errorf("reading the routing rules: %w", err)
	}
	err := n.eachRoute(func(head *nl.RtMsg, r Route, hops []Hop) {
		all.Tables = append(all.Tables, r.Table)
		if len(hops) > 1 && setBySomebody(head) {
			r.Gateway = netip.Addr{}
			all.Paths = append(all.Paths, Multipath{r, hops})
		}
	})
	if err != nil {
		return Routing{}, fmt.Errorf("reading the routes: %w", err)
	}
	slices.Sort(all.Tables)
	all.Tables = slices.DeleteFunc(slices.Compact(all.Tables), IsOwnTable)
	return all, nil
}

func (n *namespace) Routes() (all []Multipath, err error) {
	err = n.eachRoute(func(_ *nl.RtMsg, r Route, hops []Hop) {
		if r.Table != tableMain {
			return
		}
		if len(hops) == 1 {
			hops[0].Gateway = r.Gateway
		}
		r.Gateway = netip.Addr{}
		all = append(all, Multipath{r, hops})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the routes: %w", err)
	}
	return all, nil
}

// readRules adds the rules that lead to a table, and their tables.
func (n *namespace) readRules(all *Routing) error {
	messages, err := n.dump(unix.RTM_GETRULE, &nl.RtMsg{}, unix.RTM_NEWRULE)
	if err != nil {
		return err
	}
	for _, m := range messages {
		head := nl.DeserializeRtMsg(m)
		attrs, err := attributes(m[head.Len():])
		if err != nil {
			return err
		}
		isIP := head.Family == unix.AF_INET || head.Family == unix.AF_INET6
		if rule := parseRule(head, attrs); isIP && head.Type == unix.FR_ACT_TO_TBL {
			all.Rules, all.Tables = append(all.Rules, rule), append(all.Tables, rule.Table)
		}
	}
	return nil
}

// parseRule reads a rule. Its head is struct fib_rule_hdr, which is like that of a route.
func parseRule(head *nl.RtMsg, attrs []syscall.NetlinkRouteAttr) Rule {
	r := Rule{Table: int(head.Table)}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.FRA_SRC:
			if from, ok := netip.AddrFromSlice(a.Value); ok {
				r.From = netip.PrefixFrom(from, int(head.Src_len))
			}
		case unix.FRA_TABLE:
			r.Table = int(decodeUint(a.Value))
		case unix.FRA_PRIORITY:
			r.Priority = int(decodeUint(a.Value))
		}
	}
	return r
}

func (n *namespace) AddRouting(r Routing) error {
	var errs []error
	for _, rule := range r.Rules {
		if err := n.ruleRequest(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, rule); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("adding rule %s: %w", rule, err))
		}
	}
	for _, path := range r.Paths {
		if err := n.pathRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, path); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("adding route %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

func (n *namespace) RemoveRouting(r Routing) error {
	var errs []error
	for _, path := range r.Paths {
		if err := n.pathRequest(unix.RTM_DELROUTE, 0, path); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("removing route %s: %w", path, err))
		}
	}
	for _, rule := range r.Rules {
		if err := n.ruleRequest(unix.RTM_DELRULE, 0, rule); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("removing rule %s: %w", rule, err))
		}
	}
	return errors.Join(errs...)
}

func (n *namespace) ruleRequest(kind, flags int, rule Rule) error {
	r := n.request(kind, flags|unix.NLM_F_ACK)
	r.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(familyOf(rule.From.Addr())), Src_len: uint8(rule.From.Bits()), Type: unix.FR_ACT_TO_TBL}})
	r.AddData(nl.NewRtAttr(unix.FRA_SRC, rule.From.Masked().Addr().AsSlice()))
	r.AddData(nl.NewRtAttr(unix.FRA_TABLE, uint32Attr(rule.Table)))
	r.AddData(nl.NewRtAttr(unix.FRA_PRIORITY, uint32Attr(rule.Priority)))
	return do(r)
}

// pathRequest adds or removes a multipath route.
func (n *namespace) pathRequest(kind, flags int, path Multipath) error {
	route, payload := path.Route, []byte{}
	if direct := !slices.ContainsFunc(path.Hops, func(h Hop) bool { return h.Gateway.IsValid() }); !direct && route.Scope == nil {
		route.Scope = new(unix.RT_SCOPE_UNIVERSE)
	}
	for _, hop := range path.Hops {
		payload = append(payload, hop.encode(route.Dst.Addr().Is4())...)
	}
	r := n.routeMessage(kind, flags, route)
	r.AddData(nl.NewRtAttr(unix.RTA_MULTIPATH, payload))
	return do(r)
}

// encode returns struct rtnexthop (include/uapi/linux/rtnetlink.h) with the gateway. is4 is
// the family of the route.
func (h Hop) encode(is4 bool) []byte {
	var gateway []byte
	if h.Gateway.IsValid() {
		gateway = gatewayAttr(h.Gateway, is4).Serialize()
	}
	out := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtNexthop+len(gateway)))
	out = append(out, 0, 0) // flags, and the weight less one
	out = binary.NativeEndian.AppendUint32(out, uint32(h.Index))
	return append(out, gateway...)
}
