package plan

import (
	"slices"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/netconf"
)

// A finding is one link that does not meet a requirement.
type finding struct{ path, text, hint string }

// require compares the plan with each requirement.
func (c *compiler) require(b plannedBond) {
	for _, r := range netconf.Requirements {
		level := c.r.Network.Level(r)
		if level == netconf.LevelIgnore {
			continue
		}
		for _, f := range find(r.Key, b) {
			c.found(r, level, f)
		}
	}
}

// find lists the links that do not meet a requirement.
func find(key string, b plannedBond) []finding {
	switch key {
	case "distinctPF":
		return findSamePF(b)
	case "distinctCard":
		return findSameCard(b)
	case "sameNUMA":
		return findOtherNUMA(b)
	case "sameSpeed":
		return findOtherSpeed(b)
	case "pfUp":
		return findPFDown(b)
	case "noHostBond":
		return findHostBond(b)
	case "pfMTU":
		return findMTUAbovePF(b)
	case "trust":
		return findUntrusted(b)
	case "spoofchk":
		return findSpoofChecked(b)
	case "linkState":
		return findForcedState(b)
	case "sameVLAN":
		return findOtherVLAN(b)
	}
	panic("nothing finds " + key)
}

// found reports what does not meet a requirement.
func (c *compiler) found(r netconf.Requirement, level string, f finding) {
	if level == netconf.LevelError {
		c.problems.Add(r.Code, f.path, f.hint+`, or set "require": {"`+r.Key+`": "warn"}`, "%s", f.text)
		return
	}
	c.warn(bond.Problem{Code: r.Code, Path: f.path, Text: f.text, Hint: f.hint})
}

// warn keeps a warning, once.
func (c *compiler) warn(p bond.Problem) {
	if !slices.Contains(c.warnings, p) {
		c.warnings = append(c.warnings, p)
	}
}
