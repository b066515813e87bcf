package delegate

import (
	"fmt"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// remains lists what links still have of pods that are gone, by their identity, or by name
// if a link has none: what must not come into the next pod, of what was given up. The
// rest, such as an MTU, the next pod gets as it is.
func (h *Host) remains(r plan.Request, f bond.Facts, host bond.Namespace) (map[string]plan.Remains, error) {
	wanted, err := h.wantedBy([]plan.Request{r}, host)
	if err != nil {
		return nil, err
	}
	out := map[string]plan.Remains{}
	for _, rec := range h.listAside(&outcome{}, wanted.in) { // the ADD has warned of those that cannot be read
		if rec.BootID != h.BootID {
			continue
		}
		for _, l := range rec.Unrestored() {
			key, now := l.Holds(), f.Devices[l.Holds()]
			if key == "" && l.Before != nil {
				key = l.Before.Name
				if found, there := f.Host[key]; there && rec.KnowsVirtual(l, found.Link) {
					now.Link = &found.Link
				}
			}
			if len(out[key].What) == 0 {
				out[key] = plan.Remains{ContainerID: rec.Plan.ContainerID, What: remainsOf(rec, l, now)}
			}
		}
	}
	return out, nil
}

// remainsOf lists what a link has of a pod that is gone.
func remainsOf(rec *record.Record, l plan.Link, now bond.DeviceFacts) (out []string) {
	known := l.Before != nil && now.Link != nil
	if known && l.Device != "" && !rec.Knows(l, *now.Link) {
		l = madeAnew(rec, l, now)
	}
	if known && now.Link.MAC != l.Before.MAC {
		out = append(out, fmt.Sprintf("MAC is %s, was %s", now.Link.MAC, l.Before.MAC))
	}
	if l.VFBefore == nil || now.Admin == nil {
		return out
	}
	before := *l.VFBefore
	if !known {
		before = withoutAdd(rec, l, *now.Admin)
	}
	before.MinRate, before.MaxRate, before.LinkState = now.Admin.MinRate, now.Admin.MaxRate, now.Admin.LinkState
	if now.Admin.MAC == bond.NoMAC {
		before.MAC = bond.NoMAC // it did not hear its VF
	}
	return append(out, now.Admin.Differences(before)...)
}
