package bondfake

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

type namespace struct {
	k         *Kernel
	id        string
	lastIndex int
	number    *int // in the host's namespace; nil: none
	rules     []bond.Rule
	paths     []bond.Multipath
}

// lock begins a verb. The caller calls unlock, even after an error.
func (n *namespace) lock(verb, name string) (unlock func(), err error) {
	if n.k.Fail != nil {
		if err := n.k.Fail(verb + " " + name); err != nil {
			return func() {}, err
		}
	}
	n.k.mu.Lock()
	n.k.changeLate()
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

// read is byIndex with the error of those verbs that read the link first.
func (n *namespace) read(index int) (*link, error) {
	l, err := n.byIndex(index)
	if err != nil {
		return nil, fmt.Errorf("link %d: %w", index, fs.ErrNotExist)
	}
	return l, nil
}

// nameOf returns a link's name for the name of a verb, before the verb locks.
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

// report returns the link as the kernel reports it.
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
		delete(out.Options, bond.Primary) // not reported until it is in the bond
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
	l.macGiven, l.acceptRA = o[bond.MAC] != "", o[bond.AcceptRA]
	if mtu, err := strconv.Atoi(o[bond.MTU]); err == nil {
		l.MTU = mtu
	}
	if err := l.CheckIPv6(); err != nil && l.acceptRA == "1" {
		n.k.drop(l)
		return bond.Link{}, fmt.Errorf("creating bond %s: %s: %w", name, bond.AcceptRA, err)
	}
	l.Options = maps.Clone(o)
	for key, p := range n.k.parameters {
		if o[key] == "" || o[key] == p.usual {
			l.Options[key] = p.value
		}
	}
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

// Change makes its changes in the kernel's order. If one fails, the earlier ones
// stay (do_setlink in net/core/rtnetlink.c).
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
	if err := l.dropAltNames(c.DropAltNames); err != nil {
		return err
	}
	to, err := n.target(c)
	if err != nil {
		return err
	}
	if to != nil {
		if err := l.move(to, c.Name); err != nil {
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
	if c.Alias != nil {
		l.Alias = new(*c.Alias)
	}
	if c.Up != nil {
		l.changeUp(*c.Up)
	}
	l.Flags = new(*l.Flags&^c.Clear | c.Set)
	l.OwnARP, l.acceptRA = l.OwnARP || c.OwnARP, cmp.Or(c.AcceptRA, l.acceptRA)
	if c.Master != nil {
		if err := l.changeMaster(*c.Master); err != nil {
			return err
		}
	}
	if c.TxQueueLen != nil {
		l.TxQueueLen = new(*c.TxQueueLen)
	}
	if c.Group != nil {
		l.Group = *c.Group
	}
	l.changeOffload(c.Offload)
	l.XDP &^= c.DropXDP
	if err := l.changeOptions(c.Options); err != nil {
		return err
	}
	return l.addAltNames(c.AddAltNames)
}

// target returns the namespace to which a link moves, or nil.
func (n *namespace) target(c bond.Change) (*namespace, error) {
	switch {
	case c.Number != nil:
		to := n.k.numbered(*c.Number)
		if to == nil {
			return nil, unix.EINVAL
		}
		return to, nil
	case c.Namespace != nil:
		return c.Namespace.(*namespace), nil
	}
	return nil, nil
}
