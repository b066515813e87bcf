package bond

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/multibond/multibond/bond/code"
)

// Spec describes a bond to make.
type Spec struct {
	Name    string   `json:"name"`
	Options Options  `json:"options"`
	Links   []string `json:"links"` // names in the pod, in order

	LinkOptions map[string]Options `json:"linkOptions,omitempty"` // by name, for the links that have any
	LinkMAC     string             `json:"linkMAC,omitempty"`     // the MAC of all links and of the bond; "": each link has its own
}

// Steps lists what Build and Activate do, one line per step, in the words of a
// network engineer.
func (s Spec) Steps() []string {
	steps := []string{fmt.Sprintf("%s: create %s", s.Name, s.Options.WithGateways(nil))}
	if accept := s.Options[AcceptRA]; accept != "" {
		steps = append(steps, fmt.Sprintf("%s: accept_ra %s", s.Name, accept))
	}
	for _, l := range s.Links {
		steps = append(steps, fmt.Sprintf("%s: flush %s, set it down, enslave it", s.Name, l))
		if own := s.LinkOptions[l]; len(own.sent()) > 0 {
			steps = append(steps, fmt.Sprintf("%s: %s", l, own))
		}
	}
	steps = append(steps, fmt.Sprintf("%s: set it up", s.Name))
	if first := s.Options[activeSlave]; first != "" {
		steps = append(steps, fmt.Sprintf("%s: use %s first, once it has a carrier", s.Name, first))
	}
	if s.Options.AwaitsGateway() {
		steps = append(steps, fmt.Sprintf("%s: if IPAM's gateway answers, probe it every %s ms", s.Name, s.Options[arpInterval]))
	}
	return steps
}

// Build makes the bond s over links, which are all in n, in their order, and sets
// it up. On error the bond may be half made. Deleting it undoes everything, except
// that the links stay down and without addresses.
func Build(n Namespace, s Spec, links []Link) (Link, error) {
	for _, l := range links {
		if err := Prepare(n, l); err != nil {
			return Link{}, err
		}
	}
	b, err := n.CreateBond(s.Name, s.Options)
	if err != nil {
		return Link{}, err
	}
	if o := s.Options.overridden(b.Options); len(o) > 0 {
		if err := n.Change(b.Index, Change{Options: o}); err != nil {
			return b, fmt.Errorf("setting %s of %s: %w", slices.Sorted(maps.Keys(o)), s.Name, err)
		}
	}
	for _, l := range links {
		enslave := func() error { return n.Change(l.Index, Change{Master: &b.Index}) }
		if err := whileBusy(enslave); err != nil {
			return b, fmt.Errorf("enslaving %s (%s, MAC %s) to %s (%s): %w", l.Name, l.what(), l.MAC, s.Name, s.Options[Mode], hinted(err))
		}
		if err := s.SetLinkOptions(n, l); err != nil {
			return b, err
		}
	}
	if err := n.Change(b.Index, Change{Up: new(true)}); err != nil {
		return b, fmt.Errorf("setting %s up: %w", s.Name, err)
	}
	return n.Link(s.Name)
}

// SetLinkOptions gives a link in the bond s its own options.
func (s Spec) SetLinkOptions(n Namespace, l Link) error {
	own := s.LinkOptions[l.Name].onlySent()
	if len(own) == 0 {
		return nil
	}
	if err := n.Change(l.Index, Change{Options: own}); err != nil {
		return fmt.Errorf("setting %s of %s in %s: %w", own, l.Name, s.Name, err)
	}
	return nil
}

// Prepare makes a link ready to be enslaved: down and without addresses. It
// changes nothing if the link is ready.
func Prepare(n Namespace, l Link) error {
	if err := n.Change(l.Index, Change{Up: new(false)}); err != nil {
		return fmt.Errorf("setting %s down: %w", l.Name, err)
	}
	if err := n.Flush(l.Index); err != nil {
		return fmt.Errorf("%s: %w", l.Name, err)
	}
	return nil
}

// hinted adds to an error of enslaving what to do about it, if the kernel's text
// does not say.
func hinted(err error) error {
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("%w (an untrusted VF keeps the MAC that its PF has set: use mode active-backup with failOverMac active, or trust the VF)", err)
	}
	return err
}

// Verify compares the bond in n with what Build has made of s and returns one
// problem per difference. The path of a problem is the name of the bond or link.
// index is the bond's, and devices has the PCI address by the link's name, for the
// links that have one. The links in down are down on purpose.
func Verify(n Namespace, s Spec, index int, devices map[string]string, down []string) (problems Problems, err error) {
	links, err := n.Links()
	if err != nil {
		return nil, err
	}
	b, there := Find(links, func(l Link) bool { return l.Name == s.Name })
	switch {
	case !there:
		problems.Add(code.BondDiffers, s.Name, "", "the bond is gone")
		return problems, nil
	case b.Kind != kindBond || b.Index != index:
		problems.Add(code.BondDiffers, s.Name, "", "another interface has the bond's name: its index is %d, was %d", b.Index, index)
		return problems, nil
	case !b.Up:
		problems.Add(code.BondDiffers, s.Name, "", "the bond is down")
	}
	for _, d := range s.Options.Differences(b.Options) {
		problems.Add(code.BondDiffers, s.Name, "", "%s", d)
	}
	verifyLinks(&problems, links, b, s, devices, down)
	return problems, nil
}

// verifyLinks compares each link of the bond b with what Build has made of it.
func verifyLinks(problems *Problems, links []Link, b Link, s Spec, devices map[string]string, down []string) {
	for _, name := range s.Links {
		l, there := Find(links, func(l Link) bool { return l.Name == name })
		switch {
		case !there:
			problems.Add(code.LinkDiffers, name, "", "the link is gone")
			continue
		case devices[name] != "" && l.Device != devices[name]:
			problems.Add(code.LinkDiffers, name, "", "another device has the link's name: %s, was %s", l.what(), devices[name])
			continue
		}
		if l.Master != b.Index {
			problems.Add(code.LinkDiffers, name, "", "the link is no longer part of %s", b.Name)
		}
		if !l.Up && !slices.Contains(down, name) {
			problems.Add(code.LinkDiffers, name, "", "the link is down")
		}
		if s.LinkMAC != "" && l.MAC != s.LinkMAC {
			problems.Add(code.LinkDiffers, name, "", "MAC is %s, was %s", l.MAC, s.LinkMAC)
		}
		for _, d := range s.LinkOptions[name].Differences(l.Options) {
			problems.Add(code.LinkDiffers, name, "", "%s", d)
		}
		if fmt.Sprint(l.MTU) != s.Options[MTU] {
			problems.Add(code.LinkDiffers, name, "", "mtu is %d, was %s", l.MTU, s.Options[MTU])
		}
	}
}

// what describes a link to a reader who knows its name.
func (l Link) what() string { return cmp.Or(l.Device, l.Kind, "an interface without a PCI device") }

// Taken returns the link that already has name, as its own or as an alternative
// name.
func Taken(links []Link, name string) (Link, bool) {
	return Find(links, func(l Link) bool { return l.Name == name || slices.Contains(l.AltNames, name) })
}

// SmallestMTU returns the smallest MTU of links. A bond with it sends no frame that
// is too large for the link by which it leaves.
func SmallestMTU(links []Link) int {
	least := links[0].MTU
	for _, l := range links {
		least = min(least, l.MTU)
	}
	return least
}

// WithMTU returns o with an MTU.
func (o Options) WithMTU(mtu int) Options {
	out := maps.Clone(o)
	out[MTU] = strconv.Itoa(mtu)
	return out
}

// carrierWait bounds how long Activate and Announce wait for a carrier. A VF gets
// its carrier a second or two after it is set up.
const (
	carrierWait  = 3 * time.Second
	carrierPause = 20 * time.Millisecond
)

// Activate makes the link of option activeSlave, if there is one, the active link.
// It waits until the bond has noticed the link's carrier, and returns an error if
// that takes longer than carrierWait.
func Activate(n Namespace, s Spec) error {
	name := s.Options[activeSlave]
	if name == "" {
		return nil
	}
	b, err := n.Link(s.Name)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(carrierWait); ; time.Sleep(carrierPause) {
		l, err := n.Link(name)
		if err != nil {
			return err
		}
		if l.Carrier {
			err = n.Change(b.Index, Change{Options: Options{activeSlave: name}})
			if !errors.Is(err, syscall.EINVAL) { // monitoring has not noticed the carrier yet
				return err
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s has no carrier in %s after %s; another link is used first", name, s.Name, carrierWait)
		}
	}
}

// Announce announces the addresses of a bond once it has a carrier; before that no
// frame leaves it. It returns an error if there is none within carrierWait. In
// mode active-backup it does not wait, because the kernel announces the addresses
// itself when the first link gets its carrier.
func Announce(n Namespace, s Spec, a Addresses) error {
	if len(a.IPs) == 0 {
		return nil
	}
	var addrs []netip.Addr
	for _, ip := range a.IPs {
		addrs = append(addrs, ip.Addr())
	}
	for deadline := time.Now().Add(carrierWait); ; time.Sleep(carrierPause) {
		b, err := n.Link(s.Name)
		switch {
		case err != nil:
			return err
		case b.Carrier:
			return n.Announce(b.Index, addrs)
		case s.Options[Mode] == ActiveBackup:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s has no carrier after %s; its addresses were not announced", s.Name, carrierWait)
		}
	}
}
