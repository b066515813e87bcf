package plan

import (
	"fmt"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
)

// attachable plans the links that can be attached. If the network may start with fewer, the
// others are left out, with a warning each.
func (c *compiler) attachable() (links []plannedLink) {
	var missing bond.Problems
	for i, l := range c.r.Network.Links {
		before := len(c.problems)
		planned := c.link(i, l)
		if c.r.Network.MinLinks > 0 && len(c.problems) > before {
			missing = append(missing, c.problems[before:]...)
			c.problems = c.problems[:before]
			continue
		}
		links = append(links, planned)
	}
	if len(links) < c.r.Network.MinLinks {
		c.problems = append(c.problems, missing...)
		return links
	}
	for _, p := range missing {
		c.warn(p)
	}
	what := "bond"
	if c.r.Network.Attach == netconf.AttachEach {
		what = "pod"
	}
	switch all := len(c.r.Network.Links); {
	case len(missing) > 0:
		hint := "the others are not added while the pod runs"
		if what == "bond" {
			hint = "keep, if it runs, adds a VF that comes later; a new pod gets all of them"
		}
		c.warn(bond.Problem{Code: code.LinksMissing, Path: "links", Text: fmt.Sprintf("%d of %d are available, and the %s starts with them", len(links), all, what), Hint: hint})
	case all == 1 && what == "bond":
		c.warn(bond.Problem{Code: code.OneLink, Path: "links", Text: "the bond has one link; nothing takes over if it fails"})
	}
	return links
}
