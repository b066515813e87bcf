// Package bondfake is a kernel of namespaces, links, bonds and VFs in memory,
// for speed and for faults. It holds state as the kernel does; the parity
// test beside it runs one script against both and compares each answer.
package bondfake

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/multibond/multibond/bond"
)

// Kernel is a whole machine. Make one with New.
type Kernel struct {
	mu         sync.Mutex
	namespaces map[string]*namespace // by path; the host's is ""
	devices    map[string]*device    // by PCI address
	links      []*link
	made       int // counts namespaces and links, for IDs and MACs
	noBonding  bool

	// Fail, where not nil, is asked before each verb and may fail it. A verb
	// is named as its method, with the link's name: "Change enp1s0v0".
	Fail func(verb string) error
}

// device is a PCI network device: a PF, or a VF of one.
type device struct {
	address string
	pf      string // a VF's PF
	number  int
	driver  string
	admin   bond.VF // a VF's administrative state
	macSet  bool    // its MAC was set by the PF, not by the VF
}

type link struct {
	bond.Link
	ns     *namespace
	addrs  bond.Addresses
	ownMAC string // before a bond took it
	ownMTU int

	// Of a bond only.
	macGiven bool  // its MAC was asked for, not taken from a link
	active   *link // in the modes that have one
}

// New is a machine with a host namespace and nothing in it.
func New() *Kernel {
	k := &Kernel{namespaces: map[string]*namespace{}, devices: map[string]*device{}}
	k.AddNamespace("")
	return k
}

// AddNamespace makes a network namespace at path.
func (k *Kernel) AddNamespace(path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.made++
	k.namespaces[path] = &namespace{k: k, id: fmt.Sprintf("fake:%d", k.made), lastIndex: loopback}
}

// loopback is the index of the link that each namespace has, and that the
// fake leaves out.
const loopback = 1

// RemoveNamespace ends a namespace as the kernel does: links with a device go
// back to the host, under their name or, on a clash, as dev<index>; others
// are deleted.
func (k *Kernel) RemoveNamespace(path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.namespaces[path]
	delete(k.namespaces, path)
	for _, l := range k.in(n) {
		if l.Kind == "bond" {
			k.deleteBond(l)
		}
	}
	host := k.namespaces[""]
	for _, l := range k.in(n) {
		if l.Device == "" {
			k.drop(l)
			continue
		}
		if k.taken(host, l) {
			l.Name = fmt.Sprintf("dev%d", l.Index)
		}
		k.place(l, host)
	}
}

// AddPF makes a PF with an interface on the host, up, and its VFs, down: as
// igb and igbvf do it, whose PF reports a VF's own MAC until it sets another.
func (k *Kernel) AddPF(address, name string, vfs ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[address] = &device{address: address, driver: "igb"}
	host := k.namespaces[""]
	k.addLink(host, bond.Link{Name: name, Device: address, Up: true, Carrier: true, MTU: 1500, MaxMTU: 9216})
	for i, vf := range vfs {
		trust := false
		l := k.addLink(host, bond.Link{Name: fmt.Sprintf("%sv%d", name, i), Device: vf, MTU: 1500, MaxMTU: 9216})
		k.devices[vf] = &device{address: vf, pf: address, number: i, driver: "igbvf",
			admin: bond.VF{MAC: l.MAC, Proto: 0x8100, SpoofChk: true, Trust: &trust}}
	}
}

// AddVirtual makes a link without a device in the namespace at path.
func (k *Kernel) AddVirtual(path, kind, name string) bond.Link {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.addLink(k.namespaces[path], bond.Link{Name: name, Kind: kind, MTU: 1500}).Link
}

// AddAltName gives a link an alternative name.
func (k *Kernel) AddAltName(path, name, alt string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.named(k.namespaces[path], name)
	l.AltNames = append(l.AltNames, alt)
}

// SetDriver binds another driver to a device; a userspace one takes its
// interface away.
func (k *Kernel) SetDriver(address, driver string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[address].driver = driver
	k.links = slices.DeleteFunc(k.links, func(l *link) bool { return l.Device == address })
}

// EnableBonding finds the module, or not.
func (k *Kernel) EnableBonding(_ context.Context) error { return k.HasBonding() }

// HasBonding finds the module, or not.
func (k *Kernel) HasBonding() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.noBonding {
		return bond.ErrNoBonding
	}
	return nil
}

// SetBonding says whether the kernel has the bonding module.
func (k *Kernel) SetBonding(there bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.noBonding = !there
}

func (k *Kernel) addLink(n *namespace, l bond.Link) *link {
	l.Index, l.Type = k.freeIndex(n), 1
	if l.MAC == "" {
		l.MAC = k.newMAC()
	}
	if l.Device != "" {
		l.PermMAC = l.MAC
	}
	added := &link{Link: l, ns: n}
	k.links = append(k.links, added)
	return added
}

func (k *Kernel) newMAC() string {
	k.made++
	return fmt.Sprintf("02:00:00:00:%02x:%02x", k.made/256, k.made%256)
}

// freeIndex counts in each namespace for itself, so that a link that moves can
// find its index taken.
func (k *Kernel) freeIndex(n *namespace) int {
	for {
		n.lastIndex++
		if _, err := n.byIndex(n.lastIndex); err != nil {
			return n.lastIndex
		}
	}
}

// Host is the host's namespace.
func (k *Kernel) Host() (bond.Namespace, error) { return k.Open("") }

// Open opens the namespace at path.
func (k *Kernel) Open(path string) (bond.Namespace, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, there := k.namespaces[path]
	if !there {
		return nil, fmt.Errorf("network namespace %s: %w", path, fs.ErrNotExist)
	}
	return n, nil
}

// in lists the links of a namespace.
func (k *Kernel) in(n *namespace) []*link {
	var out []*link
	for _, l := range k.links {
		if l.ns == n {
			out = append(out, l)
		}
	}
	return out
}

// named finds a link by its name or an alternative one.
func (k *Kernel) named(n *namespace, name string) *link {
	for _, l := range k.in(n) {
		if l.Name == name || slices.Contains(l.AltNames, name) {
			return l
		}
	}
	return nil
}

// taken says whether n has another link with l's name.
func (k *Kernel) taken(n *namespace, l *link) bool {
	other := k.named(n, l.Name)
	return other != nil && other != l
}

func (k *Kernel) drop(gone *link) {
	k.links = slices.DeleteFunc(k.links, func(l *link) bool { return l == gone })
}

// place moves a link; the kernel closes it, and its bond and addresses stay
// behind. It keeps its index where that is free.
func (k *Kernel) place(l *link, to *namespace) {
	k.release(l, always)
	l.changeUp(false)
	if _, err := to.byIndex(l.Index); err == nil {
		l.Index = k.freeIndex(to)
	}
	l.ns, l.addrs = to, bond.Addresses{}
}

// master is the link's bond, or nil.
func (k *Kernel) master(l *link) *link {
	if l.Master == 0 {
		return nil
	}
	b, _ := l.ns.byIndex(l.Master)
	return b
}

// slaves lists a bond's links.
func (k *Kernel) slaves(b *link) []*link {
	var out []*link
	for _, l := range k.in(b.ns) {
		if l.Master == b.Index {
			out = append(out, l)
		}
	}
	return out
}

const (
	ifDifferent = false
	always      = true // the driver is told the MTU even where it has it
)

// release takes a link out of its bond: closed, with its own MTU and, where
// the bond had given it another, its own MAC. A bond that has lost its last
// link makes up a MAC.
func (k *Kernel) release(l *link, tellMTU bool) {
	b := k.master(l)
	if b == nil {
		return
	}
	gaveMAC := !b.takesActiveMAC()
	l.changeUp(false)
	l.Master, l.Options = 0, nil
	if gaveMAC && l.takesMAC() {
		l.setMAC(l.ownMAC)
	}
	l.setMTU(l.ownMTU, tellMTU)
	if b.active == l {
		b.active = nil
	}
	if left := k.slaves(b); len(left) > 0 {
		b.chooseActive(left[0])
	} else {
		b.MAC, b.macGiven = k.newMAC(), false
	}
}

// chooseActive makes a link the active one where there is none yet, or where
// it is the primary one.
func (b *link) chooseActive(l *link) {
	if b.active == nil || l.Name == b.Options[bond.Primary] {
		b.active = l
	}
	if b.takesActiveMAC() {
		b.MAC = b.active.MAC
	}
}

func (k *Kernel) deleteBond(b *link) {
	for _, l := range k.slaves(b) {
		k.release(l, always)
	}
	k.drop(b)
}
