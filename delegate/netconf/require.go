package netconf

import (
	"slices"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// The levels of a requirement that is not met.
const (
	LevelError  = "error"  // the ADD fails, before anything is touched
	LevelWarn   = "warn"   // the pod's events and the Record report it
	LevelIgnore = "ignore" // it is not checked
)

var levels = []string{LevelError, LevelWarn, LevelIgnore}

// Requirement is one thing that the links of a bond should have. Its default is an error
// only if a bond without it cannot do what bonds are for. Package plan checks it.
type Requirement struct {
	Key   string
	Code  code.Code // of what does not meet it
	Level string    // the default
	Doc   string
}

// Requirements lists all requirements, in the order of the README.
var Requirements = []Requirement{
	{"distinctPF", code.SamePF, LevelError, "The VFs are on different PFs, and each PF has its own port, so that one dead cable takes down only one link."},
	{"distinctCard", code.SameCard, LevelIgnore, "The PFs, or the NICs of pools, are on different cards (PCI domain, bus and device)."},
	{"sameNUMA", code.OtherNUMA, LevelIgnore, "The VFs are on the same NUMA node."},
	{"sameSpeed", code.OtherSpeed, LevelWarn, "The PFs have the same speed, so that a failover does not change it. 802.3ad uses only links of one speed."},
	{"pfUp", code.PFDown, LevelWarn, "Each PF is up and has a carrier. Otherwise its link is down when the bond starts."},
	{"noHostBond", code.HostBond, LevelWarn, "No PF is part of a host bond in balance-rr, balance-xor, broadcast or 802.3ad."},
	{"pfMTU", code.PFMTU, LevelError, "The MTU is at most that of each PF. The kernel accepts a larger one for a VF, but the PF drops the frames."},
	{"trust", code.Untrusted, LevelWarn, "The PF trusts each VF whose MAC the mode changes. Otherwise the kernel can refuse the change."},
	{"spoofchk", code.SpoofChecked, LevelWarn, "Spoof checking is off for each VF whose MAC the mode changes. Otherwise the PF can drop its frames."},
	{"linkState", code.ForcedState, LevelError, "No VF's link state is disable. With miimon, none is enable, which shows a carrier even if the PF is dead."},
	{"sameVLAN", code.OtherVLAN, LevelError, "The VFs have the same VLAN, by the same protocol. Otherwise a failover would lead into another network."},
}

// RequirementKeys lists the keys of all requirements, in the same order.
func RequirementKeys() (keys []string) {
	for _, r := range Requirements {
		keys = append(keys, r.Key)
	}
	return keys
}

// readRequire reads the levels that the configuration gives to requirements.
func readRequire(top strictjson.Object) (given map[string]string) {
	require, there := top.Object("require")
	if !there {
		return nil
	}
	known := RequirementKeys()
	for _, key := range require.Unknown(known) {
		top.Problems.Add(code.UnknownKey, require.At(key), strictjson.DidYouMean(key, known), "is not a known key")
	}
	for _, key := range known {
		if !require.Has(key) {
			continue
		}
		level := require.Text(key)
		if !slices.Contains(levels, level) {
			top.Problems.Add(code.WrongWord, require.At(key), "", "is %s, want error, warn or ignore", strictjson.KindOf(require.Fields[key]))
			continue
		}
		if given == nil {
			given = map[string]string{}
		}
		given[key] = level
	}
	return given
}

// Level returns the level that the configuration gives to a requirement, or its default.
func (n Network) Level(r Requirement) string {
	level, said := n.Require[r.Key]
	switch {
	case !said && n.Attach == AttachEach && !slices.Contains(eachRequirements, r.Key):
		return LevelIgnore
	case said:
		return level
	case n.Lenient && r.Level == LevelError:
		return LevelWarn
	}
	return r.Level
}
