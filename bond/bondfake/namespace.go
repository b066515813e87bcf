package bondfake

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"

	"github.com/multibond/multibond/bond"
	"golang.org/x/sys/unix"
)

type namespace struct {
	k         *Kernel
	id        string
	lastIndex int
}

// lock begins a verb; the caller unlocks what it gets, error or not.
func (n *namespace) lock(verb, name string) (unlock func(), err error) {
	if n.k.Fail != nil {
		if err := n.k.Fail(verb + " " + name); err != nil {
			return func() {}, err
		}
	}
	n.k.mu.Lock()
	return n.k.mu.Unlock, nil
}

func (n *namespace) byIndex(index int) (*link, error) {
	for _, l := range n.k.in(n) {
		if l.Index == index {
			return l, nil
		}
	}
	return nil, fmt.Errorf("link %d: %w", index, unix.ENODEV)
}

// read is byIndex with the error of the verbs that read the link first.
func (n *namespace) read(index int) (*link, error) {
	l, err := n.byIndex(index)
	if err != nil {
		return nil, fmt.Errorf("link %d: %w", index, fs.ErrNotExist)
	}
	return l, nil
}

// nameOf is for the name of a verb, before it locks.
func (n *namespace) nameOf(index int) string {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	if l, err := n.byIndex(index); err == nil {
		return l.Name
	}
	return strconv.Itoa(index)
}

func (n *namespace) ID() string { return n.id }

func (n *namespace) Close() error { return nil }

func (n *namespace) Links() ([]bond.Link, error) {
	unlock, err := n.lock("Links", "")
	defer unlock()
	if err != nil {
		return nil, err
	}
	var out []bond.Link
	for _, l := range n.k.in(n) {
		out = append(out, l.report())
	}
	return out, nil
}

// report is the link as the kernel reads it back.
func (l *link) report() bond.Link {
	out := l.Link
	out.AltNames, out.Options = slices.Clone(l.AltNames), maps.Clone(l.Options)
	if l.Kind != "bond" {
		return out
	}
	delete(out.Options, activeSlave)
	slaves := l.ns.k.slaves(l)
	out.Carrier = l.Up && slices.ContainsFunc(slaves, func(s *link) bool { return s.Carrier })
	out.Options[bond.MTU], out.Options[bond.MAC] = strconv.Itoa(l.MTU), l.MAC
	primary := l.Options[bond.Primary]
	if !slices.ContainsFunc(slaves, func(s *link) bool { return s.Name == primary }) {
		delete(out.Options, bond.Primary) // until it is part of the bond
	}
	return out
}

func (n *namespace) Link(name string) (bond.Link, error) {
	unlock, err := n.lock("Link", name)
	defer unlock()
	if err != nil {
		return bond.Link{}, err
	}
	l := n.k.named(n, name)
	if l == nil {
		return bond.Link{}, fmt.Errorf("link %s: %w", name, fs.ErrNotExist)
	}
	return l.report(), nil
}

func (n *namespace) CreateBond(name string, o bond.Options) (bond.Link, error) {
	unlock, err := n.lock("CreateBond", name)
	defer unlock()
	if err != nil {
		return bond.Link{}, err
	}
	switch {
	case n.k.noBonding:
		return bond.Link{}, fmt.Errorf("creating bond %s: %w: %w", name, bond.ErrNoBonding, unix.EOPNOTSUPP)
	case n.k.named(n, name) != nil:
		return bond.Link{}, fmt.Errorf("creating bond %s: %w", name, unix.EEXIST)
	case o[bond.Primary] != "" && n.k.named(n, o[bond.Primary]) == nil:
		return bond.Link{}, fmt.Errorf("creating bond %s: primary: link %s: %w", name, o[bond.Primary], fs.ErrNotExist)
	}
	l := n.k.addLink(n, bond.Link{Name: name, Kind: "bond", MTU: 1500, MaxMTU: 65535, MAC: o[bond.MAC]})
	l.macGiven = o[bond.MAC] != ""
	if mtu, err := strconv.Atoi(o[bond.MTU]); err == nil {
		l.MTU = mtu
	}
	l.Options = maps.Clone(o)
	return l.report(), nil
}

func (n *namespace) Delete(index int) error {
	unlock, err := n.lock("Delete", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	l, err := n.byIndex(index)
	switch {
	case err != nil:
		return fmt.Errorf("deleting link %d: %w", index, err)
	case l.Device != "":
		return fmt.Errorf("deleting link %d: %w", index, unix.EOPNOTSUPP)
	}
	n.k.deleteBond(l)
	return nil
}

// Change does its parts in the kernel's order, and keeps those that were done
// before one fails (do_setlink in net/core/rtnetlink.c).
func (n *namespace) Change(index int, c bond.Change) error {
	unlock, err := n.lock("Change", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	l, err := n.byIndex(index)
	if err != nil {
		return err
	}
	if c.Namespace != nil {
		if err := l.move(c.Namespace.(*namespace), c.Name); err != nil {
			return err
		}
	}
	if c.MAC != nil {
		if err := l.changeMAC(*c.MAC); err != nil {
			return err
		}
	}
	if c.MTU != nil {
		if err := l.changeMTU(*c.MTU); err != nil {
			return err
		}
	}
	if c.Name != nil {
		if err := l.changeName(*c.Name); err != nil {
			return err
		}
	}
	if c.Up != nil {
		l.changeUp(*c.Up)
	}
	if c.Master != nil {
		if err := l.changeMaster(*c.Master); err != nil {
			return err
		}
	}
	return l.changeOptions(c.Options)
}

const activeSlave = "activeSlave"

// changeOptions sets options of a link in a bond, or makes one of a bond's the
// active one.
func (l *link) changeOptions(o bond.Options) error {
	for key, text := range o {
		if key != activeSlave {
			if l.Master == 0 {
				return unix.EOPNOTSUPP
			}
			l.Options[key] = text
			continue
		}
		s := l.ns.k.named(l.ns, text)
		if s == nil || s.Master != l.Index || !s.Carrier {
			return unix.EINVAL
		}
		l.active = s
		if l.takesActiveMAC() {
			l.MAC = s.MAC
		}
	}
	return nil
}

// move takes the new name only where the link's own is taken; else the name is
// changed after the move, and can fail then.
func (l *link) move(to *namespace, name *string) error {
	k := l.ns.k
	switch {
	case to == l.ns:
		return nil
	case l.Kind == "bond":
		return unix.EINVAL
	case k.taken(to, l):
		if name == nil || k.named(to, *name) != nil {
			return unix.EEXIST
		}
		l.Name = *name
	}
	for _, alt := range l.AltNames {
		if k.named(to, alt) != nil {
			return unix.EEXIST
		}
	}
	k.place(l, to)
	return nil
}

func (l *link) changeMAC(mac string) error {
	switch {
	case mac == l.MAC || l.takesActiveMAC():
		return nil
	case !l.takesMAC():
		return unix.EADDRNOTAVAIL
	}
	slaves := l.ns.k.slaves(l)
	for _, s := range slaves {
		if !s.takesMAC() {
			return unix.EADDRNOTAVAIL
		}
	}
	for _, s := range slaves {
		s.setMAC(mac)
	}
	l.setMAC(mac)
	l.macGiven = true
	return nil
}

// setMAC changes the MAC, which the PF of a VF then reports as the VF's.
func (l *link) setMAC(mac string) {
	l.MAC = mac
	if d := l.ns.k.devices[l.Device]; d != nil && d.pf != "" {
		d.admin.MAC = mac
	}
}

// takesMAC is the PF's word on a VF that changes its MAC.
func (l *link) takesMAC() bool {
	d := l.ns.k.devices[l.Device]
	return d == nil || d.pf == "" || !d.macSet || *d.admin.Trust
}

// takesActiveMAC says whether a bond leaves its links their MACs and has the
// active one's itself; setting its MAC then succeeds and does nothing.
func (l *link) takesActiveMAC() bool {
	return l.Options[bond.Mode] == bond.ActiveBackup && l.Options[bond.FailOverMac] == "active" && len(l.ns.k.slaves(l)) > 0
}

func (l *link) changeMTU(mtu int) error {
	all := append(l.ns.k.slaves(l), l)
	for _, one := range all {
		if !one.takesMTU(mtu) {
			return unix.EINVAL
		}
	}
	for _, one := range all {
		one.setMTU(mtu, ifDifferent)
	}
	return nil
}

func (l *link) setMTU(mtu int, tell bool) {
	if l.MTU != mtu || tell {
		l.MTU = mtu
		l.reset()
	}
}

func (l *link) takesMTU(mtu int) bool {
	return mtu >= 68 && (l.MaxMTU == 0 || mtu <= l.MaxMTU)
}

// changeName refuses a link that is up, as kernels before 6.2 do.
func (l *link) changeName(name string) error {
	switch other := l.ns.k.named(l.ns, name); {
	case name == l.Name:
		return nil
	case l.Up:
		return unix.EBUSY
	case other != nil:
		return unix.EEXIST
	}
	l.Name = name
	return nil
}

func (l *link) changeMaster(index int) error {
	if l.Master == index {
		return nil
	}
	l.ns.k.release(l, ifDifferent)
	if index == 0 {
		return nil
	}
	b, err := l.ns.byIndex(index)
	switch {
	case err != nil:
		return unix.EINVAL
	case b.Kind != "bond":
		return unix.EOPNOTSUPP
	case l.Up:
		return unix.EPERM
	case !l.takesMTU(b.MTU):
		return unix.EINVAL
	}
	return l.enslave(b)
}

func (l *link) enslave(b *link) error {
	first := len(l.ns.k.slaves(b)) == 0
	bondMAC := b.MAC
	if first && !b.macGiven {
		b.MAC = l.MAC
	}
	l.ownMTU, l.Master = l.MTU, b.Index
	l.Options = bond.Options{"queueId": "0", "prio": "0"}
	l.setMTU(b.MTU, ifDifferent)
	l.ownMAC = l.MAC
	follow := b.Options[bond.Mode] == bond.ActiveBackup && b.Options[bond.FailOverMac] == "follow"
	switch {
	case b.takesActiveMAC():
	case follow && !first:
	case b.Options[bond.Mode] == bond.BalanceTLB || b.Options[bond.Mode] == bond.BalanceALB:
	case l.MAC != b.MAC && !l.takesMAC():
		l.Master, l.Options, b.MAC = 0, nil, bondMAC
		l.setMTU(l.ownMTU, ifDifferent)
		return unix.EADDRNOTAVAIL
	default:
		l.setMAC(b.MAC)
	}
	l.changeUp(true)
	b.chooseActive(l)
	return nil
}

// changeUp: a link that goes down loses its routes and its IPv6 addresses.
func (l *link) changeUp(up bool) {
	if l.Up && !up {
		l.addrs.IPs = slices.DeleteFunc(l.addrs.IPs, func(p netip.Prefix) bool { return p.Addr().Is6() })
		maps.DeleteFunc(l.addrs.Peers, func(p netip.Prefix, _ netip.Addr) bool { return p.Addr().Is6() })
		l.addrs.Routes = nil
		l.reset()
	}
	l.Up, l.Carrier = up, up
}

// reset is what igbvf does when it is closed, and when it is told an MTU: it
// takes the MAC that its PF has set, or tells the PF its own; and that is its
// permanent one from then on, so permanent it is not.
func (l *link) reset() {
	d := l.ns.k.devices[l.Device]
	if d == nil || d.pf == "" {
		return
	}
	if d.macSet && !*d.admin.Trust {
		l.MAC = d.admin.MAC
	}
	d.admin.MAC, l.PermMAC = l.MAC, l.MAC
}

func (n *namespace) Addresses(index int) (bond.Addresses, error) {
	unlock, err := n.lock("Addresses", n.nameOf(index))
	defer unlock()
	if err != nil {
		return bond.Addresses{}, err
	}
	l, err := n.read(index)
	if err != nil {
		return bond.Addresses{}, err
	}
	isDefault := slices.ContainsFunc(l.addrs.Routes, func(r bond.Route) bool { return r.Dst.Bits() == 0 })
	return bond.Addresses{IPs: slices.Clone(l.addrs.IPs), Peers: maps.Clone(l.addrs.Peers), Routes: slices.Clone(l.addrs.Routes), Default: isDefault}, nil
}

func (n *namespace) Flush(index int) error {
	unlock, err := n.lock("Flush", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	l, err := n.byIndex(index)
	if err == nil {
		l.addrs = bond.Addresses{}
	}
	return err
}

func (n *namespace) Configure(index int, a bond.Addresses) error {
	unlock, err := n.lock("Configure", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	l, err := n.byIndex(index)
	if err != nil {
		return err
	}
	for _, ip := range a.IPs {
		if !slices.Contains(l.addrs.IPs, ip) {
			l.addAddr(ip, a.Peers[ip])
		}
	}
	for _, viaGateway := range []bool{false, true} {
		for _, r := range a.Routes {
			if r.Gateway.IsValid() != viaGateway {
				continue
			}
			if err := l.addRoute(asReadBack(r)); err != nil {
				return fmt.Errorf("adding route %s: %w", r, err)
			}
		}
	}
	return nil
}

func (n *namespace) RemoveRoute(index int, r bond.Route) error {
	unlock, err := n.lock("RemoveRoute", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	l, err := n.byIndex(index)
	if err == nil {
		l.addrs.Routes = slices.DeleteFunc(l.addrs.Routes, func(other bond.Route) bool { return reflect.DeepEqual(other, asReadBack(r)) })
	}
	return err
}

func (l *link) addAddr(ip netip.Prefix, peer netip.Addr) {
	l.addrs.IPs = append(l.addrs.IPs, ip)
	if !peer.IsValid() {
		return
	}
	if l.addrs.Peers == nil {
		l.addrs.Peers = map[netip.Prefix]netip.Addr{}
	}
	l.addrs.Peers[ip] = peer
}

func (l *link) addRoute(r bond.Route) error {
	switch {
	case !l.Up:
		return unix.ENETDOWN
	case r.Source.IsValid() && !slices.ContainsFunc(l.addrs.IPs, func(p netip.Prefix) bool { return p.Addr() == r.Source }):
		return unix.EINVAL
	case r.OnLink:
	case r.Gateway.Is4() && !l.reaches(r.Gateway):
		return unix.ENETUNREACH
	case r.Gateway.Is6() && !l.reaches(r.Gateway):
		return unix.EHOSTUNREACH
	}
	if !slices.ContainsFunc(l.addrs.Routes, func(other bond.Route) bool { return reflect.DeepEqual(other, r) }) {
		l.addrs.Routes = append(l.addrs.Routes, r)
	}
	return nil
}

// asReadBack fills in what the kernel chooses for a route.
func asReadBack(r bond.Route) bond.Route {
	r.Dst = r.Dst.Masked()
	if r.Protocol == unix.RTPROT_BOOT {
		r.Protocol = 0
	}
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	if r.Dst.Addr().Is6() {
		r.Scope = nil
		if r.Priority == 0 {
			r.Priority = 1024 // IP6_RT_PRIO_USER
		}
	} else if r.Scope == nil {
		scope := unix.RT_SCOPE_UNIVERSE
		if !r.Gateway.IsValid() {
			scope = unix.RT_SCOPE_LINK
		}
		r.Scope = &scope
	}
	return r
}

// reaches says whether a gateway is on the link.
func (l *link) reaches(gateway netip.Addr) bool {
	return gateway.Is6() && gateway.IsLinkLocalUnicast() ||
		slices.ContainsFunc(l.addrs.IPs, func(p netip.Prefix) bool { return l.network(p).Contains(gateway) }) ||
		slices.ContainsFunc(l.addrs.Routes, func(r bond.Route) bool { return !r.Gateway.IsValid() && r.Dst.Contains(gateway) })
}

// network is what an address makes reachable: its own network, or its peer's.
func (l *link) network(ip netip.Prefix) netip.Prefix {
	if peer := l.addrs.Peers[ip]; peer.IsValid() {
		return netip.PrefixFrom(peer, ip.Bits()).Masked()
	}
	return ip.Masked()
}

func (n *namespace) Announce(index int, addrs []netip.Addr) error {
	unlock, err := n.lock("Announce", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	_, err = n.read(index)
	return err
}

func (n *namespace) VFs(pf string) (map[int]bond.VF, error) {
	unlock, err := n.lock("VFs", pf)
	defer unlock()
	if err != nil {
		return nil, err
	}
	l := n.k.named(n, pf)
	if l == nil {
		return nil, fmt.Errorf("PF %s: %w", pf, fs.ErrNotExist)
	}
	out := map[int]bond.VF{}
	for _, d := range n.k.devices {
		if d.pf == l.Device && l.Device != "" {
			out[d.number] = d.admin
		}
	}
	return out, nil
}

func (n *namespace) ChangeVF(pf string, number int, have, want bond.VF) error {
	unlock, err := n.lock("ChangeVF", pf)
	defer unlock()
	if err != nil {
		return err
	}
	l := n.k.named(n, pf)
	if l == nil {
		return fmt.Errorf("PF %s: %w", pf, fs.ErrNotExist)
	}
	for _, d := range n.k.devices {
		if d.pf == l.Device && d.number == number {
			return d.change(have, want)
		}
	}
	if len(have.Differences(want)) == 0 {
		return nil
	}
	return fmt.Errorf("VF %d of %s: %w", number, pf, unix.EINVAL)
}

// change takes what igb takes; each setting is a request of its own.
func (d *device) change(have, want bond.VF) error {
	var errs []error
	if have.VLAN != want.VLAN || have.QoS != want.QoS || want.VLAN != 0 && have.Proto != want.Proto {
		switch {
		case want.VLAN > 4095 || want.QoS > 7:
			errs = append(errs, fmt.Errorf("setting vlan: %w", unix.EINVAL))
		case want.Proto != 0 && want.Proto != unix.ETH_P_8021Q:
			errs = append(errs, fmt.Errorf("setting vlan: %w", unix.EPROTONOSUPPORT))
		default:
			d.admin.VLAN, d.admin.QoS = want.VLAN, want.QoS
		}
	}
	if have.MAC != want.MAC {
		d.admin.MAC, d.macSet = want.MAC, want.MAC != "00:00:00:00:00:00"
	}
	if have.MinRate != want.MinRate || have.MaxRate != want.MaxRate {
		if want.MinRate != 0 || want.MaxRate > 1000 {
			errs = append(errs, fmt.Errorf("setting rate: %w", unix.EINVAL))
		} else {
			d.admin.MaxRate = want.MaxRate
		}
	}
	if have.SpoofChk != want.SpoofChk {
		d.admin.SpoofChk = want.SpoofChk
	}
	if have.LinkState != want.LinkState {
		errs = append(errs, fmt.Errorf("setting link state: %w", unix.EOPNOTSUPP))
	}
	if have.Trust != nil && want.Trust != nil && *have.Trust != *want.Trust {
		trust := *want.Trust
		d.admin.Trust = &trust
	}
	return errors.Join(errs...)
}
