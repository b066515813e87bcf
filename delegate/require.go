package delegate

import (
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/strictjson"
)

// The levels of a requirement that is not met.
const (
	levelError  = "error"  // the ADD fails, before anything is touched
	levelWarn   = "warn"   // the pod's events and the Record say it
	levelIgnore = "ignore" // nobody looks
)

var levels = []string{levelError, levelWarn, levelIgnore}

// A requirement is one row of the table of what a bond's links should be like.
// It is an error by default only where such a bond cannot do what bonds are for.
type requirement struct {
	key   string
	level string // where the configuration has none
	find  func(*compiler, Plan) []finding
	doc   string
}

// A finding is one link that does not meet a requirement.
type finding struct {
	link       int
	path       string // "": where the link is named
	text, hint string
}

var requirements = []requirement{
	{"distinctPF", levelError, (*compiler).findSamePF, "The VFs are of different PFs, and these have ports of their own, so that one cable takes down one link only."},
	{"distinctCard", levelIgnore, (*compiler).findSameCard, "The PFs are on different cards (PCI domain, bus and device)."},
	{"sameNUMA", levelIgnore, (*compiler).findOtherNUMA, "The VFs are on one NUMA node."},
	{"sameSpeed", levelWarn, (*compiler).findOtherSpeed, "The PFs have one speed, so that a failover does not change it. 802.3ad uses the links of one speed only."},
	{"pfUp", levelWarn, (*compiler).findPFDown, "Each PF is up and has a carrier. Otherwise the bond starts without that link. A cable can come back."},
	{"noHostBond", levelWarn, (*compiler).findHostBond, "No PF is part of a bond of the host in balance-rr, balance-xor, broadcast or 802.3ad."},
	{"pfMTU", levelError, (*compiler).findMTUAbovePF, "The MTU is at most each PF's. The kernel takes a larger one for a VF, and the PF drops the frames."},
	{"trust", levelWarn, (*compiler).findUntrusted, "The PF trusts each VF whose MAC the mode changes. Otherwise the kernel can refuse the change."},
	{"spoofchk", levelWarn, (*compiler).findSpoofChecked, "Spoof checking is off for each VF whose MAC the mode changes. Otherwise the PF can drop its frames."},
	{"linkState", levelError, (*compiler).findForcedState, "No VF's link state is disable, or with miimon enable, which shows a carrier over a dead PF."},
	{"sameVLAN", levelError, (*compiler).findOtherVLAN, "The VFs have the same VLAN. Otherwise a failover leads into another network."},
}

func requirementKeys() (keys []string) {
	for _, r := range requirements {
		keys = append(keys, r.key)
	}
	return keys
}

func (n *Network) readRequire(top strictjson.Object) {
	require, there := top.Object("require")
	if !there {
		return
	}
	known := requirementKeys()
	for _, key := range require.Unknown(known) {
		top.Problems.Add(require.At(key), strictjson.DidYouMean(key, known), "is not known")
	}
	for _, key := range known {
		if !require.Has(key) {
			continue
		}
		level := require.Text(key)
		if !slices.Contains(levels, level) {
			top.Problems.Add(require.At(key), "", "is %s, wanted is error, warn or ignore", strictjson.KindOf(require.Fields[key]))
			continue
		}
		if n.Require == nil {
			n.Require = map[string]string{}
		}
		n.Require[key] = level
	}
}

// require holds the plan against each requirement.
func (c *compiler) require(p Plan) {
	for _, r := range requirements {
		level := c.level(r)
		if level == levelIgnore {
			continue
		}
		for _, f := range r.find(c, p) {
			c.found(r.key, level, f)
		}
	}
}

// found says what does not meet a requirement.
func (c *compiler) found(key, level string, f finding) {
	if f.path == "" {
		f.path = c.path(f.link)
	}
	if level == levelError {
		c.problems.Add(f.path, f.hint+`, or say "require": {"`+key+`": "warn"}`, "%s", f.text)
		return
	}
	c.warn(bond.Problem{Path: f.path, Text: f.text, Hint: f.hint})
}

// level is what the configuration says, or else the default.
func (c *compiler) level(r requirement) string {
	level, said := c.r.Network.Require[r.key]
	switch {
	case said:
		return level
	case c.r.Network.Lenient && r.level == levelError:
		return levelWarn
	}
	return r.level
}

// warn keeps a warning, once.
func (c *compiler) warn(p bond.Problem) {
	if text := "network " + c.r.Network.Name + ": " + p.Error(); !slices.Contains(c.warnings, text) {
		c.warnings = append(c.warnings, text)
	}
}
