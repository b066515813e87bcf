package main

import (
	"context"
	"strings"
)

// leftovers are what should not be there once all is detached.
type leftovers struct {
	records   []string // of the plugin
	bonds     []string
	addresses []string // that host-local still has given out
}

func (g guest) leftovers(ctx context.Context) (l leftovers, err error) {
	if l.records, err = g.files(ctx, "/var/lib/cni/multibond/*.json"); err != nil {
		return l, err
	}
	if l.addresses, err = g.files(ctx, "/var/lib/cni/networks/*/[0-9]*"); err != nil {
		return l, err
	}
	for _, ns := range []string{hostNS, pod1, pod2} {
		bonds, err := g.links(ctx, ns, "type", "bond")
		if err != nil {
			return l, err
		}
		for _, b := range bonds {
			l.bonds = append(l.bonds, b.IfName+" in "+ns)
		}
	}
	return l, nil
}

// files lists those that a pattern matches.
func (g guest) files(ctx context.Context, pattern string) ([]string, error) {
	out, err := g.run(ctx, "sh", "-c", `for f in `+pattern+`; do [ ! -e "$f" ] || echo "$f"; done`)
	return strings.Fields(string(out)), err
}
