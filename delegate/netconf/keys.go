package netconf

import (
	"slices"

	"github.com/multibond/multibond/bond"
)

// Keys lists the keys of a bond network, those of the bond's options included.
func Keys() []string { return slices.Concat(topKeys, bond.OptionKeys()) }

// LinkKeys lists the keys of an element of links.
func LinkKeys() []string { return slices.Clone(linkKeys) }
