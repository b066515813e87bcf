package plan

import (
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

// A finding is one link that does not meet a requirement.
type finding struct {
	link       int
	path       string // "": where the link is named
	text, hint string
}

// require holds the plan against each requirement.
func (c *compiler) require(p Plan) {
	for _, r := range netconf.Requirements {
		level := c.r.Network.Level(r)
		if level == netconf.LevelIgnore {
			continue
		}
		for _, f := range c.find(r.Key, p) {
			c.found(r.Key, level, f)
		}
	}
}

// find lists the links that do not meet a requirement.
func (c *compiler) find(key string, p Plan) []finding {
	switch key {
	case "distinctPF":
		return c.findSamePF(p)
	case "distinctCard":
		return c.findSameCard(p)
	case "sameNUMA":
		return c.findOtherNUMA(p)
	case "sameSpeed":
		return c.findOtherSpeed(p)
	case "pfUp":
		return c.findPFDown(p)
	case "noHostBond":
		return c.findHostBond(p)
	case "pfMTU":
		return c.findMTUAbovePF(p)
	case "trust":
		return c.findUntrusted(p)
	case "spoofchk":
		return c.findSpoofChecked(p)
	case "linkState":
		return c.findForcedState(p)
	case "sameVLAN":
		return c.findOtherVLAN(p)
	}
	panic("nothing finds " + key)
}

// found says what does not meet a requirement.
func (c *compiler) found(key, level string, f finding) {
	if f.path == "" {
		f.path = c.path(f.link)
	}
	if level == netconf.LevelError {
		c.problems.Add(f.path, f.hint+`, or say "require": {"`+key+`": "warn"}`, "%s", f.text)
		return
	}
	c.warn(bond.Problem{Path: f.path, Text: f.text, Hint: f.hint})
}

// warn keeps a warning, once.
func (c *compiler) warn(p bond.Problem) {
	if text := "network " + c.r.Network.Name + ": " + p.Error(); !slices.Contains(c.warnings, text) {
		c.warnings = append(c.warnings, text)
	}
}
