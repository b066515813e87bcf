package delegate

import (
	"cmp"
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// verifyEach is verify for links that are not bonded.
func (h *Host) verifyEach(s sandbox, rec *record.Record) error {
	links, err := s.pod.Links()
	if err != nil {
		return err
	}
	var problems bond.Problems
	for _, l := range rec.Plan.Links {
		now, there := bond.Find(links, func(x bond.Link) bool { return x.Name == l.Name })
		if !there {
			problems.Add(code.LinkDiffers, l.Name, "", "the interface is gone")
			continue
		}
		verifyLink(&problems, rec, l, now)
		if err := verifyAddresses(&problems, s, l.Name, now.Index, rec.Interfaces[l.Name].Addresses); err != nil {
			return err
		}
	}
	if err := verifyRouting(&problems, s, rec); err != nil {
		return err
	}
	if err := h.verifyVFs(&problems, s, rec); err != nil {
		return err
	}
	return problems.Err()
}

// verifyLink compares a link with what ADD has made of it.
func verifyLink(problems *bond.Problems, rec *record.Record, l plan.Link, now bond.Link) {
	switch {
	case now.Index != rec.Attached[l.Name].Link.Index:
		problems.Add(code.LinkDiffers, l.Name, "", "another interface has its name: its index is %d, was %d", now.Index, rec.Attached[l.Name].Link.Index)
		return
	case !now.Up:
		problems.Add(code.LinkDiffers, l.Name, "", "the interface is down")
	}
	if !now.OwnARP {
		problems.Add(code.LinkDiffers, l.Name, "", "arp_ignore, arp_announce and rp_filter are not 1, 2 and 2")
	}
	if want := rec.Plan.MTU; want != 0 && want != now.MTU {
		problems.Add(code.LinkDiffers, l.Name, "", "mtu is %d, was %d", now.MTU, want)
	}
}

// verifyRouting looks for the rules, and for the routes over several links.
func verifyRouting(problems *bond.Problems, s sandbox, rec *record.Record) error {
	want := rec.Routing()
	now, err := s.pod.Routing()
	if err != nil {
		return err
	}
	for _, rule := range want.Rules {
		if !slices.Contains(now.Rules, rule) {
			problems.Add(code.AddressDiffers, rec.Plan.IfName, "", "rule %s is missing", rule)
		}
	}
	for _, path := range want.Paths {
		same := func(is bond.Multipath) bool {
			return is.Dst == path.Dst.Masked() && cmp.Or(path.Table, is.Table) == is.Table && slices.Equal(is.Hops, path.Hops)
		}
		if !slices.ContainsFunc(now.Paths, same) {
			problems.Add(code.AddressDiffers, rec.Plan.IfName, "", "route %s is missing", path)
		}
	}
	return nil
}
