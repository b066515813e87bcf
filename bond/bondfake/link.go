package bondfake

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

const (
	activeSlave = "activeSlave"
	numGratArp  = "numGratArp"
)

// monitors are the two ways to monitor links. Each ends the other.
var monitors = map[string]string{bond.Miimon: "arpInterval", "arpInterval": bond.Miimon}

// changeOptions sets options of a bond or of a link in one.
func (l *link) changeOptions(o bond.Options) error {
	for key, text := range o {
		if key != activeSlave {
			if l.Master == 0 && l.Kind != "bond" {
				return unix.EOPNOTSUPP
			}
			l.Options[key] = text
			if replaced := monitors[key]; replaced != "" && text != "0" {
				l.Options[replaced] = "0"
			}
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

// move moves a link to a namespace. It uses the new name only if the link's own is
// taken there; otherwise the name is changed after the move, which can fail.
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
	}
	slaves := l.ns.k.slaves(l)
	for i, s := range slaves {
		err := s.setMAC(mac)
		if err == nil {
			continue
		}
		for _, changed := range slaves[:i] {
			changed.setMAC(l.MAC)
		}
		return err
	}
	if err := l.setMAC(mac); err != nil {
		return err
	}
	l.macGiven = true
	return nil
}

// setMAC changes the MAC. A VF may not have another than the one that its PF has set, and
// its PF reports the one that it has, unless its character says otherwise. The PF of an
// igbvf refuses any before the VF is reset, and igbvf takes silence for a yes.
func (l *link) setMAC(mac string) error {
	d := l.vf()
	if d == nil || d.is.Messages && !l.ns.k.hears(d) {
		l.MAC = mac
		return nil
	}
	if (d.setByPF() && mac != d.admin.MAC || d.is.Messages && (d.setByPF() || !d.clear)) && d.is.Refusal != nil {
		return d.is.Refusal
	}
	if d.is.Late > 0 {
		if l.late.mac != mac {
			l.late = late{mac, time.Now().Add(d.is.Late)}
		}
		return unix.EAGAIN
	}
	l.haveMAC(d, mac)
	return nil
}

func (l *link) haveMAC(d *device, mac string) {
	l.MAC = mac
	if !d.is.Unheard {
		d.admin.MAC = mac
	}
}

// changeLate gives links the MACs whose time has come.
func (k *Kernel) changeLate() {
	for _, l := range k.links {
		if l.late.mac != "" && !time.Now().Before(l.late.at) {
			l.haveMAC(l.vf(), l.late.mac)
			l.late = late{}
		}
	}
}

// vf returns the device of a VF's link, nil for any other link.
func (l *link) vf() *device {
	if d := l.ns.k.devices[l.Device]; d != nil && d.pf != "" {
		return d
	}
	return nil
}

// takesActiveMAC reports whether a bond has the MAC of its active link and leaves
// those of its links alone. Setting its MAC then succeeds and does nothing.
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

// changeName refuses to rename a link that is up, as kernels before 6.2 do.
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

func (l *link) changeOffload(o bond.Offload) {
	l.Offload = bond.Offload{
		GSOMaxSize: cmp.Or(o.GSOMaxSize, l.Offload.GSOMaxSize),
		GSOMaxSegs: cmp.Or(o.GSOMaxSegs, l.Offload.GSOMaxSegs),
		GROMaxSize: cmp.Or(o.GROMaxSize, l.Offload.GROMaxSize),
	}
}

func (l *link) dropAltNames(names []string) error {
	for _, name := range names {
		if !slices.Contains(l.AltNames, name) {
			return unix.ENOENT
		}
		l.AltNames = slices.DeleteFunc(l.AltNames, func(alt string) bool { return alt == name })
	}
	return nil
}

func (l *link) addAltNames(names []string) error {
	for _, name := range names {
		if l.ns.k.named(l.ns, name) != nil {
			return unix.EEXIST
		}
		l.AltNames = append(l.AltNames, name)
	}
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
	l.ownMTU, l.Master, l.failed = l.MTU, b.Index, 0
	l.Options = bond.Options{"queueId": "0", "prio": "0"}
	l.setMTU(b.MTU, ifDifferent)
	l.ownMAC = l.MAC
	follow := b.Options[bond.Mode] == bond.ActiveBackup && b.Options[bond.FailOverMac] == "follow"
	switch {
	case b.takesActiveMAC():
	case follow && !first:
	case b.Options[bond.Mode] == bond.BalanceTLB || b.Options[bond.Mode] == bond.BalanceALB:
	case l.MAC != b.MAC:
		if err := l.setMAC(b.MAC); err != nil {
			l.Master, l.Options, b.MAC = 0, nil, bondMAC
			l.setMTU(l.ownMTU, ifDifferent)
			return err
		}
	}
	b.forced = b.forced || l.Name == b.Options[bond.Primary]
	l.changeUp(true)
	return nil
}

// changeUp sets a link up or down. A link that goes down loses its routes and, unless
// it keeps them, its IPv6 addresses.
func (l *link) changeUp(up bool) {
	if l.Up && !up {
		lost := func(p netip.Prefix) bool { return p.Addr().Is6() && !l.keepsIPv6 }
		l.addrs.IPs = slices.DeleteFunc(l.addrs.IPs, lost)
		maps.DeleteFunc(l.addrs.Peers, func(p netip.Prefix, _ netip.Addr) bool { return lost(p) })
		maps.DeleteFunc(l.addrs.Attributes, func(p netip.Prefix, _ bond.Attributes) bool { return lost(p) })
		l.addrs.Routes = nil
		l.reset()
	}
	if l.Up != up {
		l.ns.k.resetPF(l.Device)
	}
	l.Up = up
	l.changeCarrier(l.hasCarrier())
	if l.represents() {
		for _, vf := range l.ns.k.links {
			if d := vf.vf(); d != nil && l.ns.k.representor(d) == l {
				vf.changeCarrier(vf.hasCarrier())
			}
		}
	}
}

// changeCarrier gives a link a carrier, or takes it away.
func (l *link) changeCarrier(carrier bool) {
	changed := l.Carrier != carrier
	l.Carrier = carrier
	if b := l.ns.k.master(l); b != nil && changed {
		b.monitor(l)
	}
}

// reset does what igbvf does when it is closed or gets an MTU: it takes the MAC that
// its PF has set, or tells the PF its own. That MAC is then reported as its
// permanent one. A PF that is up notices the reset in any case, and forgets a MAC
// that it has not set; what the VF tells it after that can be lost.
func (l *link) reset() {
	d := l.vf()
	if d == nil || !d.is.Messages {
		return
	}
	if l.ns.k.isUp(d.pf) {
		d.clear = false
		if !d.macSet {
			d.admin.MAC = bond.NoMAC
		}
	}
	if l.ns.k.hears(d) {
		d.clear = true
		if d.setByPF() {
			l.MAC = d.admin.MAC
		}
		d.admin.MAC = l.MAC
	}
	l.PermMAC = l.MAC
}
