// Package bondfake simulates a kernel with namespaces, links, bonds and VFs in
// memory, for fast tests and for faults. It holds state as the kernel does. A
// parity test runs one script against both and compares each answer.
package bondfake

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
)

// Kernel is a machine. New makes one.
type Kernel struct {
	mu         sync.Mutex
	namespaces map[string]*namespace // by path; the host's is ""
	devices    map[string]*device    // by PCI address
	links      []*link
	made       int // counts namespaces and links, for IDs and MACs
	noBonding  bool
	parameters map[string]parameter // of the bonding module, by option
	neighbours []netip.Addr         // that answer

	// Fail, if not nil, is called before each verb and can fail it. It gets the
	// name of the method and of the link: "Change enp1s0v0".
	Fail func(verb string) error

	// Lose, if not nil, is called for each message that a VF sends to its PF, with
	// the VF's address, if the VF's card has messages. If it returns true the message is
	// lost, and nobody reports an error. Messages to a PF that is down are always lost.
	Lose func(address string) bool
}

// device is a PCI network device: a PF, or a VF of one.
type device struct {
	address string
	pf      string // a VF's PF
	number  int
	driver  string
	admin   bond.VF // a VF's administrative state
	macSet  bool    // the PF has set its MAC
	clear   bool    // to send: the PF answers what it asks, since it was reset
	is      Character
	busy    time.Time // until then its PF refuses to change it
	numa    string    // its NUMA node; "": the machine reports none
	silent  bool      // nothing arrives that is sent over it
}

type link struct {
	bond.Link
	ns     *namespace
	addrs  bond.Addresses
	ownMAC string // before it was enslaved
	ownMTU int
	failed uint32 // how often monitoring has found that, since it was enslaved

	acceptRA string // as it was set; "": the kernel's default
	port     int    // dev_port
	portName string // phys_port_name

	noPartner bool // in 802.3ad
	forced    bool // a bond whose primary was enslaved has to use it once (force_primary)
	late      late // a MAC that it will have

	// Only for a bond.
	keepsIPv6 bool  // when it is set down
	macGiven  bool  // its MAC was requested, not taken from a link
	active    *link // in modes that have one; nil: none
	announced int   // how often its addresses were, because it has failed over
}

// late is a MAC that a link will have at a time.
type late struct {
	mac string
	at  time.Time
}

// New makes a machine with an empty host namespace.
func New() *Kernel {
	k := &Kernel{namespaces: map[string]*namespace{}, devices: map[string]*device{}, parameters: map[string]parameter{}}
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

// AddNeighbour has a host answer, in every network, to those who ask for its address.
func (k *Kernel) AddNeighbour(ip netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.neighbours = append(k.neighbours, ip)
}

// loopback is the index of the loopback link, which each namespace of a real kernel
// has and which the fake leaves out.
const loopback = 1

// RemoveNamespace removes a namespace as the kernel does. Links with a driver go
// back to the host and keep their name unless it is taken there; then they are
// called dev<index>. They lose the alternative names that are taken there. Virtual
// links are deleted.
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
		if l.Kind != "" {
			k.drop(l)
			continue
		}
		if k.taken(host, l) {
			l.Name = fmt.Sprintf("dev%d", l.Index)
		}
		l.AltNames = slices.DeleteFunc(l.AltNames, func(alt string) bool { return k.named(host, alt) != nil })
		k.place(l, host)
	}
}

// AddPF makes a card with the character of [IGB].
func (k *Kernel) AddPF(address, name string, vfs ...string) { k.AddCard(IGB, address, name, vfs...) }

// AddCard makes a PF with an interface on the host, which is up, and its VFs, which are
// down.
func (k *Kernel) AddCard(is Character, address, name string, vfs ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[address] = &device{address: address, driver: is.PF, is: is}
	host := k.namespaces[""]
	pf := k.addLink(host, bond.Link{Name: name, Device: address, Up: true, Carrier: true, MTU: 1500, MaxMTU: 9216})
	for i, vf := range vfs {
		k.devices[vf] = &device{address: vf, pf: address, number: i, driver: is.VF, clear: true, is: is, admin: newAdmin()}
		k.addVF(k.devices[vf], fmt.Sprintf("%sv%d", name, i))
		if is.Switchdev {
			pf.portName = "p0"
			rep := k.addLink(host, bond.Link{Name: fmt.Sprintf("%s_%d", name, i), Device: address, Up: true, Carrier: true, MTU: 1500, MaxMTU: 9216})
			rep.portName = fmt.Sprintf("pf0vf%d", i)
		}
	}
}

// addVF makes the interface of a VF on the host.
func (k *Kernel) addVF(d *device, name string) {
	l := k.addLink(k.namespaces[""], bond.Link{Name: name, Device: d.address, MTU: 1500, MaxMTU: 9216})
	switch {
	case d.macSet:
		l.MAC, l.PermMAC = d.admin.MAC, d.admin.MAC
	case d.is.NoPermMAC:
		l.PermMAC = ""
	}
	if !d.is.Unheard {
		d.admin.MAC = l.MAC
	}
}

// Remake removes the interface of a VF, wherever it is, and makes another one on the
// host, as a driver does whose device is reloaded or recovers (mlx5: devlink reload). Its
// MAC is the one that its PF has set, or a random one.
func (k *Kernel) Remake(address, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range slices.Clone(k.links) {
		if l.Device == address {
			k.release(l, ifDifferent)
			k.drop(l)
		}
	}
	k.addVF(k.devices[address], name)
}

// Recreate does what Remake does, and its PF forgets what it has kept for the VF, as when
// its VFs are disabled and enabled (sriov_numvfs).
func (k *Kernel) Recreate(address, name string) {
	k.mu.Lock()
	d := k.devices[address]
	d.admin, d.macSet, d.clear = newAdmin(), false, true
	k.mu.Unlock()
	k.Remake(address, name)
}

// newAdmin is what a PF keeps for a VF of which it was told nothing.
func newAdmin() bond.VF {
	return bond.VF{MAC: bond.NoMAC, Proto: 0x8100, SpoofChk: true, Trust: new(false)}
}

// Plug gives a link of the host its carrier, or takes it away, as a cable does. VFs do not
// notice that it is their PF's.
func (k *Kernel) Plug(name string, in bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.named(k.namespaces[""], name).changeCarrier(in)
}

// AddPort makes another interface of a device on the host, for the device's next port
// (dev_port), as mlx4, cxgb4 and mana have them on one PCI function. It is down.
func (k *Kernel) AddPort(address, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	port := 0
	for _, l := range k.links {
		if l.Device == address {
			port = max(port, l.port+1)
		}
	}
	l := k.addLink(k.namespaces[""], bond.Link{Name: name, Device: address, MTU: 1500, MaxMTU: 9216})
	l.port = port
}

// AddVirtual makes a link without a device in the namespace at path. One without a kind is
// a NIC on another bus than PCI, as virtio over MMIO is (drivers/virtio/virtio_mmio.c).
func (k *Kernel) AddVirtual(path, kind, name string) bond.Link {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.addLink(k.namespaces[path], bond.Link{Name: name, Kind: kind, MTU: 1500}).Link
}

// SetXDP gives a link of the namespace at path a program in a mode.
func (k *Kernel) SetXDP(path, name string, mode bond.XDP) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.named(k.namespaces[path], name)
	l.XDP |= mode
}

// AcceptRA returns the setting accept_ra of a link in the namespace at path, "" if the
// link cannot have IPv6.
func (k *Kernel) AcceptRA(path, name string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.named(k.namespaces[path], name)
	if l.CheckIPv6() != nil {
		return ""
	}
	return cmp.Or(l.acceptRA, "1")
}

// SetDriver binds another driver to a device and removes its interface, as a
// userspace driver does.
func (k *Kernel) SetDriver(address, driver string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[address].driver = driver
	k.links = slices.DeleteFunc(k.links, func(l *link) bool { return l.Device == address })
}

// SetNUMA puts a device on a NUMA node.
func (k *Kernel) SetNUMA(address string, node int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices[address].numa = strconv.Itoa(node)
}

// EnableBonding does what HasBonding does.
func (k *Kernel) EnableBonding(_ context.Context) error { return k.HasBonding() }

// HasBonding returns nil unless SetBonding has removed the module.
func (k *Kernel) HasBonding() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.noBonding {
		return bond.ErrNoBonding
	}
	return nil
}

// SetBonding sets whether the kernel has the bonding module.
func (k *Kernel) SetBonding(there bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.noBonding = !there
}

type parameter struct{ usual, value string }

// SetParameter sets a parameter of the bonding module. A new bond has value if the
// option with key is not sent: bond leaves out one that is missing or as usual.
func (k *Kernel) SetParameter(key, usual, value string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.parameters[key] = parameter{usual, value}
}

func (k *Kernel) addLink(n *namespace, l bond.Link) *link {
	l.Index, l.Type = k.freeIndex(n), 1
	if l.MAC == "" {
		l.MAC = k.newMAC()
	}
	if l.Device != "" {
		l.PermMAC = l.MAC
	}
	l.AltNames, l.Alias, l.TxQueueLen, l.Flags = []string{}, new(""), new(1000), new(bond.Flags(unix.IFF_MULTICAST))
	l.Offload = bond.Offload{GSOMaxSize: 65536, GSOMaxSegs: 65535, GROMaxSize: 65536}
	added := &link{Link: l, ns: n}
	k.links = append(k.links, added)
	return added
}

func (k *Kernel) newMAC() string {
	k.made++
	return fmt.Sprintf("02:00:00:00:%02x:%02x", k.made/256, k.made%256)
}

// freeIndex returns the next free index of a namespace. Each namespace counts by
// itself, so the index of a link that moves can be taken.
func (k *Kernel) freeIndex(n *namespace) int {
	for {
		n.lastIndex++
		if _, err := n.byIndex(n.lastIndex); err != nil {
			return n.lastIndex
		}
	}
}

// Host opens the host's namespace.
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

// taken reports whether n has another link with the name of l.
func (k *Kernel) taken(n *namespace, l *link) bool {
	other := k.named(n, l.Name)
	return other != nil && other != l
}

func (k *Kernel) drop(gone *link) {
	gone.ns.loseWay(gone.Index)
	k.links = slices.DeleteFunc(k.links, func(l *link) bool { return l == gone })
}

// place moves a link to a namespace. The link leaves its bond, goes down and loses
// its addresses. It keeps its index if that is free.
func (k *Kernel) place(l *link, to *namespace) {
	k.release(l, always)
	l.changeUp(false)
	l.ns.loseWay(l.Index)
	l.OwnARP, l.acceptRA = false, ""
	if _, err := to.byIndex(l.Index); err == nil {
		l.Index = k.freeIndex(to)
	}
	l.ns, l.addrs = to, bond.Addresses{}
}

// master returns the link's bond, or nil.
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
	always      = true // the driver is told the MTU even if it has it
)

// release takes a link out of its bond. The link goes down and gets its own MTU
// and, if the bond had given it another, its own MAC. A bond that loses its last
// link gets a random MAC.
func (k *Kernel) release(l *link, tellMTU bool) {
	b := k.master(l)
	if b == nil {
		return
	}
	gaveMAC := !b.takesActiveMAC()
	l.changeUp(false)
	l.Master, l.Options = 0, nil
	if gaveMAC {
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

// chooseActive makes l the active link if there is none yet, or if l is the primary and takes
// the traffic back.
func (b *link) chooseActive(l *link) {
	isPrimary := l.Name == b.Options[bond.Primary]
	if b.active == nil || isPrimary && (b.forced || !b.Options.LeavesActive(l.Name)) {
		b.active = l
	}
	b.forced = b.forced && !isPrimary
	if b.takesActiveMAC() {
		b.MAC = b.active.MAC
	}
}

// monitor does what a bond does when it finds that a link has failed, or works again. After
// a failover it announces its addresses.
func (b *link) monitor(l *link) {
	before := b.active
	b.choose(l)
	if times, err := strconv.Atoi(b.Options[numGratArp]); err == nil && b.active != before && b.active != nil {
		b.announced += times
	}
}

// choose chooses the active link after a link has failed, or works again.
func (b *link) choose(l *link) {
	if l.Carrier {
		b.chooseActive(l)
		return
	}
	l.failed++
	if b.active != l {
		return
	}
	b.active = nil
	for _, s := range b.ns.k.slaves(b) {
		if s.Carrier {
			b.chooseActive(s)
		}
	}
}

// hasActive reports whether one link of a bond carries all its traffic.
func (b *link) hasActive() bool {
	switch b.Options[bond.Mode] {
	case bond.ActiveBackup, bond.BalanceTLB, bond.BalanceALB:
		return true
	}
	return false
}

func (k *Kernel) deleteBond(b *link) {
	for _, l := range k.slaves(b) {
		k.release(l, always)
	}
	k.drop(b)
}
