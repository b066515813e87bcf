// Package bondfake is a kernel of namespaces, links, bonds and VFs in memory,
// for speed and for faults. It holds state as the kernel does; the parity
// test beside it runs one script against both and compares each answer.
package bondfake

import (
	"fmt"
	"io/fs"
	"sync"

	"github.com/multibond/multibond/bond"
)

// Kernel is a whole machine. Make one with New.
type Kernel struct {
	mu         sync.Mutex
	namespaces map[string]*namespace // by path; the host's is ""
	devices    map[string]*device    // by PCI address
	links      []*link
	made       int // counts namespaces and links, for IDs and indexes
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
}

type link struct {
	bond.Link
	ns       *namespace
	addrs    bond.Addresses
	ownMAC   string // before a bond took it
	ownMTU   int
	macGiven bool // a bond: its MAC was asked for, not taken from a link
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
	k.namespaces[path] = &namespace{k: k, id: fmt.Sprintf("fake:%d", k.made)}
}

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
		if k.named(host, l.Name) != nil {
			l.Name = fmt.Sprintf("dev%d", l.Index)
		}
		k.place(l, host)
	}
}

// AddPF makes a PF with an interface on the host, up, and its VFs, down.
func (k *Kernel) AddPF(address, name string, vfs ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[address] = &device{address: address, driver: "igb"}
	k.addLink(bond.Link{Name: name, Device: address, Up: true, Carrier: true, MTU: 1500})
	for i, vf := range vfs {
		trust := false
		k.devices[vf] = &device{address: vf, pf: address, number: i, driver: "igbvf",
			admin: bond.VF{MAC: "00:00:00:00:00:00", Proto: 0x8100, SpoofChk: true, Trust: &trust}}
		k.addLink(bond.Link{Name: fmt.Sprintf("%sv%d", name, i), Device: vf, MTU: 1500, MaxMTU: 9216})
	}
}

// AddVirtual makes a link without a device in the namespace at path.
func (k *Kernel) AddVirtual(path, kind, name string) bond.Link {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.addLink(bond.Link{Name: name, Kind: kind, MTU: 1500})
	l.ns = k.namespaces[path]
	return l.Link
}

// SetDriver binds another driver to a device; a userspace one takes its
// interface away.
func (k *Kernel) SetDriver(address, driver string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[address].driver = driver
	for _, l := range k.links {
		if l.Device == address {
			k.drop(l)
		}
	}
}

// SetBonding says whether the kernel has the bonding module.
func (k *Kernel) SetBonding(there bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.noBonding = !there
}

func (k *Kernel) addLink(l bond.Link) *link {
	k.made++
	l.Index, l.Type = k.made, 1
	if l.MAC == "" {
		l.MAC = fmt.Sprintf("02:00:00:00:%02x:%02x", k.made/256, k.made%256)
	}
	if l.Device != "" {
		l.PermMAC = l.MAC
	}
	added := &link{Link: l, ns: k.namespaces[""]}
	k.links = append(k.links, added)
	return added
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

func (k *Kernel) named(n *namespace, name string) *link {
	for _, l := range k.in(n) {
		if l.Name == name {
			return l
		}
	}
	return nil
}

func (k *Kernel) drop(gone *link) {
	for i, l := range k.links {
		if l == gone {
			k.links = append(k.links[:i], k.links[i+1:]...)
			return
		}
	}
}

// place moves a link; the kernel closes it, and its bond and addresses stay
// behind.
func (k *Kernel) place(l *link, to *namespace) {
	k.release(l)
	l.ns, l.Up, l.Carrier, l.addrs = to, false, false, bond.Addresses{}
}

// release takes a link out of its bond: closed, with its own MAC and MTU.
func (k *Kernel) release(l *link) {
	if l.Master == 0 {
		return
	}
	l.Master, l.MAC, l.MTU, l.Up, l.Carrier = 0, l.ownMAC, l.ownMTU, false, false
}

func (k *Kernel) deleteBond(b *link) {
	for _, l := range k.links {
		if l.Master == b.Index {
			k.release(l)
		}
	}
	k.drop(b)
}
