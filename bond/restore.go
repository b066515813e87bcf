package bond

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// property is one row of [properties].
type property struct {
	name   string                         // in a difference and in the documentation
	aspect string                         // in an error; "": name
	get    func(Link) (v any, known bool) // v is comparable
	change func(now, before Link) Change  // makes now what before is; the two differ
	atRest bool                           // a link that is up is set down for it: many drivers want that
	goes   bool                           // what was there before and is not any more does not come back
	doc    string                         // who sets it, and why it matters to the next pod
}

// properties lists what of a link is restored, in the order in which it is. It is
// what a pod can change, what outlives the pod, and what the kernel reports for a
// link in any case.
var properties = []property{
	{name: "name", atRest: true, doc: "Restored even if it is now an alternative name of the link, as udev leaves it.",
		get:    func(l Link) (any, bool) { return l.Name, true },
		change: func(now, before Link) Change { return Naming(now, before.Name) }},
	{name: "MAC", atRest: true, doc: "The MAC address that the link uses. What the PF keeps for a VF is restored too.",
		get:    func(l Link) (any, bool) { return l.MAC, true },
		change: func(_, before Link) Change { return Change{MAC: &before.MAC} }},
	{name: "MTU", atRest: true, doc: "The largest packet.",
		get:    func(l Link) (any, bool) { return l.MTU, true },
		change: func(_, before Link) Change { return Change{MTU: &before.MTU} }},
	flagRow("promisc", iffPromisc, "`ip link set promisc`. A trusted VF then receives the frames of others."),
	flagRow("allmulticast", iffAllmulti, "`ip link set allmulticast`."),
	flagRow("noarp", iffNoarp, "`ip link set arp off`."),
	flagRow("multicast", iffMulticast, "`ip link set multicast`."),
	{name: "alias", doc: "`ip link set alias`.",
		get:    func(l Link) (any, bool) { return known(l.Alias) },
		change: func(_, before Link) Change { return Change{Alias: before.Alias} }},
	{name: "txqueuelen", doc: "`ip link set txqueuelen`.",
		get:    func(l Link) (any, bool) { return known(l.TxQueueLen) },
		change: func(_, before Link) Change { return Change{TxQueueLen: before.TxQueueLen} }},
	{name: "group", doc: "`ip link set group`.",
		get:    func(l Link) (any, bool) { return l.Group, l.Offload != Offload{} },
		change: func(_, before Link) Change { return Change{Group: &before.Group} }},
	offloadRow("gso_max_size", "`ip link set gso_max_size`. The kernel sets gso_ipv4_max_size with it.", func(o *Offload) *int { return &o.GSOMaxSize }),
	offloadRow("gso_max_segs", "`ip link set gso_max_segs`.", func(o *Offload) *int { return &o.GSOMaxSegs }),
	offloadRow("gro_max_size", "`ip link set gro_max_size`. The kernel sets gro_ipv4_max_size with it. Linux 5.19 and later.", func(o *Offload) *int { return &o.GROMaxSize }),
	{name: "XDP", goes: true, doc: "`ip link set xdp`. A program that the pod has left goes. One that the link had before, and lost, does not come back.",
		get:    func(l Link) (any, bool) { return l.XDP, l.Offload != Offload{} },
		change: func(now, before Link) Change { return Change{DropXDP: now.XDP &^ before.XDP} }},
	{name: "alternative names", doc: "`ip link property add altname`. One that a link of the pod needs is dropped for as long as the pod lives.",
		get: func(l Link) (any, bool) {
			return fmt.Sprint(slices.Sorted(slices.Values(l.AltNames))), l.AltNames != nil
		},
		change: func(now, before Link) Change {
			// Naming has dropped the link's own name.
			return Change{DropAltNames: missing(now.AltNames, append(slices.Clone(before.AltNames), before.Name)), AddAltNames: missing(before.AltNames, now.AltNames)}
		}},
	{name: "up", aspect: "state", doc: "Whether the link is set up. Comes last.",
		get:    func(l Link) (any, bool) { return l.Up, true },
		change: func(_, before Link) Change { return Change{Up: &before.Up} }},
}

// allFlags are the flags that have a row in properties.
const allFlags Flags = iffPromisc | iffAllmulti | iffNoarp | iffMulticast

func flagRow(name string, bit Flags, doc string) property {
	return property{
		name: name, doc: doc,
		get: func(l Link) (any, bool) { return l.Flags != nil && *l.Flags&bit != 0, l.Flags != nil },
		change: func(_, before Link) Change {
			return Change{Set: *before.Flags & bit, Clear: ^*before.Flags & bit}
		},
	}
}

func offloadRow(name, doc string, field func(*Offload) *int) property {
	return property{
		name: name, doc: doc,
		get: func(l Link) (any, bool) { return *field(&l.Offload), *field(&l.Offload) > 0 },
		change: func(_, before Link) Change {
			var c Change
			*field(&c.Offload) = *field(&before.Offload)
			return c
		},
	}
}

func known[T any](p *T) (any, bool) {
	if p == nil {
		return nil, false
	}
	return *p, true
}

// missing returns the names that are not in others.
func missing(names, others []string) (out []string) {
	for _, name := range names {
		if !slices.Contains(others, name) {
			out = append(out, name)
		}
	}
	return out
}

// differ reports whether now is not what before was. A property that is not known of
// one of them, as of a link in the Record of an earlier version, does not differ.
func (p property) differ(now, before Link) bool {
	is, isKnown := p.get(now)
	was, wasKnown := p.get(before)
	return isKnown && wasKnown && is != was && !(p.goes && is == XDP(0))
}

// Differences compares have with want, the link as it was. It returns one sentence
// per difference.
func (have Link) Differences(want Link) []string {
	var d differences
	for _, p := range properties {
		if p.differ(have, want) {
			is, _ := p.get(have)
			was, _ := p.get(want)
			d.add(p.name, is, was)
		}
	}
	return d
}

// Restore changes the link now back to before, with the addresses had. It changes
// only what differs of [properties]. It continues after an error and returns all
// errors joined.
func Restore(n Namespace, now, before Link, had Addresses) error {
	var errs []error
	change := func(what string, c Change) {
		if err := changeLate(n, now.Index, c); err != nil {
			errs = append(errs, fmt.Errorf("restoring the %s of %s: %w", what, now.Name, err))
		}
	}
	if now.Up && slices.ContainsFunc(properties, func(p property) bool { return p.atRest && p.differ(now, before) }) {
		// Kernels before 6.2 do not rename a link that is up, and many drivers do not
		// change one.
		now.Up = false
		change("state", Change{Up: &now.Up})
	}
	for _, p := range properties {
		if p.differ(now, before) {
			change(cmp.Or(p.aspect, p.name), p.change(now, before))
		}
	}
	if len(had.IPs) > 0 || len(had.Routes) > 0 {
		errs = append(errs, n.Configure(now.Index, had))
	}
	return errors.Join(errs...)
}

// Naming returns the change that gives l a name. The kernel refuses one that is an
// alternative name of the link itself, so that is dropped first.
func Naming(l Link, name string) Change {
	c := Change{Name: &name}
	if slices.Contains(l.AltNames, name) {
		c.DropAltNames = []string{name}
	}
	return c
}

// MoveHome moves l from n, where a pod had it, to the host under the name that it
// had before. The kernel moves no link of which the host has a name, alternative
// names included. So l loses those that it did not have before, which the pod has
// given it, and those that another link on the host has by now.
func MoveHome(n Namespace, l Link, host Namespace, before Link) error {
	c := Naming(l, before.Name)
	c.Namespace = host
	for _, name := range missing(l.AltNames, c.DropAltNames) {
		_, taken, err := LinkIfThere(host, name)
		if err != nil {
			return err
		}
		if taken || before.AltNames != nil && !slices.Contains(before.AltNames, name) {
			c.DropAltNames = append(c.DropAltNames, name)
		}
	}
	return n.Change(l.Index, c)
}
