package bondfake

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/multibond/multibond/bond"
	"golang.org/x/sys/unix"
)

type namespace struct {
	k  *Kernel
	id string
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
	out.Options = maps.Clone(l.Options)
	if l.Kind == "bond" {
		out.Options[bond.MTU], out.Options[bond.MAC] = strconv.Itoa(l.MTU), l.MAC
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
	l := n.k.addLink(bond.Link{Name: name, Kind: "bond", MTU: 1500, MAC: o[bond.MAC]})
	l.ns, l.macGiven = n, o[bond.MAC] != ""
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
	for _, part := range []func(bond.Change) error{l.changeMAC, l.changeMTU, l.changeName, l.changeMaster, l.changeUp} {
		if err := part(c); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) move(to *namespace, name *string) error {
	if l.Kind == "bond" && to != l.ns {
		return unix.EINVAL
	}
	as := l.Name
	if name != nil {
		as = *name
	}
	if other := l.ns.k.named(to, as); other != nil && other != l {
		return unix.EEXIST
	}
	l.ns.k.place(l, to)
	l.Name = as
	return nil
}

func (l *link) changeMAC(c bond.Change) error {
	if c.MAC == nil || *c.MAC == l.MAC {
		return nil
	}
	if !l.takesMAC() {
		return unix.EADDRNOTAVAIL
	}
	l.MAC = *c.MAC
	return nil
}

// takesMAC is the PF's word on a VF that changes its MAC.
func (l *link) takesMAC() bool {
	d := l.ns.k.devices[l.Device]
	return d == nil || d.pf == "" || d.admin.MAC == "00:00:00:00:00:00" || d.admin.Trust != nil && *d.admin.Trust
}

func (l *link) changeMTU(c bond.Change) error {
	if c.MTU == nil {
		return nil
	}
	if *c.MTU < 68 || l.MaxMTU > 0 && *c.MTU > l.MaxMTU {
		return unix.EINVAL
	}
	l.MTU = *c.MTU
	return nil
}

func (l *link) changeName(c bond.Change) error {
	if c.Name == nil || *c.Name == l.Name {
		return nil
	}
	if l.ns.k.named(l.ns, *c.Name) != nil {
		return unix.EEXIST
	}
	l.Name = *c.Name
	return nil
}

func (l *link) changeMaster(c bond.Change) error {
	if c.Master == nil {
		return nil
	}
	l.ns.k.release(l)
	if *c.Master == 0 {
		return nil
	}
	b, err := l.ns.byIndex(*c.Master)
	switch {
	case err != nil:
		return unix.EINVAL
	case l.Up:
		return unix.EPERM
	case l.MaxMTU > 0 && b.MTU > l.MaxMTU:
		return unix.EINVAL
	}
	return l.enslave(b)
}

func (l *link) enslave(b *link) error {
	first := true
	for _, other := range l.ns.k.links {
		first = first && other.Master != b.Index
	}
	own, mac := l.MAC, l.MAC
	if first && !b.macGiven {
		b.MAC = l.MAC
	}
	if b.Options[bond.Mode] != bond.ActiveBackup || b.Options[bond.FailOverMac] == "" || b.Options[bond.FailOverMac] == "none" {
		mac = b.MAC
	}
	if mac != own && !l.takesMAC() {
		return unix.EADDRNOTAVAIL
	}
	l.ownMAC, l.ownMTU = own, l.MTU
	l.MAC, l.MTU, l.Master, l.Up, l.Carrier = mac, b.MTU, b.Index, true, true
	return nil
}

func (l *link) changeUp(c bond.Change) error {
	if c.Up == nil {
		return nil
	}
	l.Up = *c.Up
	l.Carrier = *c.Up
	return nil
}

func (n *namespace) Addresses(index int) (bond.Addresses, error) {
	unlock, err := n.lock("Addresses", n.nameOf(index))
	defer unlock()
	if err != nil {
		return bond.Addresses{}, err
	}
	l, err := n.byIndex(index)
	if err != nil {
		return bond.Addresses{}, err
	}
	return bond.Addresses{IPs: slices.Clone(l.addrs.IPs), Routes: slices.Clone(l.addrs.Routes)}, nil
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
			l.addrs.IPs = append(l.addrs.IPs, ip)
		}
	}
	for _, r := range a.Routes {
		if r.Gateway.IsValid() && !l.reaches(r.Gateway) {
			return fmt.Errorf("adding route %s: %w", r, unix.ENETUNREACH)
		}
		l.addrs.Routes = append(l.addrs.Routes, r)
	}
	return nil
}

func (l *link) reaches(gateway netip.Addr) bool {
	for _, ip := range l.addrs.IPs {
		if ip.Contains(gateway) {
			return true
		}
	}
	return false
}

func (n *namespace) Announce(index int, addrs []netip.Addr) error {
	unlock, err := n.lock("Announce", n.nameOf(index))
	defer unlock()
	if err != nil {
		return err
	}
	_, err = n.byIndex(index)
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
			d.admin = want
			return nil
		}
	}
	return errors.Join(unix.EINVAL)
}
