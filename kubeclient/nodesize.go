package kubeclient

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/multibond/multibond/delegate/strictjson"
)

const (
	// maxNodeReport is the most bytes of a report. The API server allows 256 KiB for all
	// annotations of a pod.
	maxNodeReport = 192 << 10
	// maxFullReport is the most bytes of a report that has the steps of bonds of which there is
	// nothing to tell. Each list of the agents' pods has all reports.
	maxFullReport = 32 << 10
	// maxListed is the most entries of a list whose length has no other limit.
	maxListed = 20
	// maxUsers is the most networks that are named with a missing plugin.
	maxUsers = 3
	// maxText is the most bytes of a text that is not the agent's own.
	maxText = 1 << 10
)

// encodeReport returns the text of a report that fits into an annotation. A large report loses
// how well bonds were made. One that is still too large loses all details, then its bonds, then
// everything except what says so.
func encodeReport(r NodeReport) string {
	r = r.bounded()
	text := strictjson.Encode(r)
	if len(text) > maxFullReport {
		r = r.brief()
		text = strictjson.Encode(r)
	}
	for _, less := range []func() NodeReport{r.withoutDetails, r.withoutBonds, r.stub} {
		if len(text) > maxNodeReport {
			text = strictjson.Encode(less())
		}
	}
	return string(text)
}

// bounded returns a report with short lists: whoever may create a NAD can name plugins, and
// Records stay until somebody looks at them.
func (r NodeReport) bounded() NodeReport {
	var more []string
	r.Plugins = boundedPlugins(r.Plugins, &more)
	r.Records.Aside = boundedOwners(r.Records.Aside, "Records that were set aside", &more)
	r.Records.Stale = boundedOwners(r.Records.Stale, "stale Records", &more)
	r.Orphans = first(r.Orphans, "orphaned VFs", &more)
	r.Unseen = first(r.Unseen, "things that the agent cannot see", &more)
	r.Unseen = append(slices.Clone(r.Unseen), more...)
	for i, text := range r.Unseen {
		r.Unseen[i] = short(text)
	}
	r.Config.Message = short(r.Config.Message)
	return r
}

// boundedPlugins returns plugins with few networks each, and few that are missing. Our own is
// always one of them.
func boundedPlugins(all []PluginReport, more *[]string) []PluginReport {
	var there, missing []PluginReport
	for _, p := range all {
		if n := len(p.Networks); n > maxUsers {
			p.Networks, p.More = p.Networks[:maxUsers], n-maxUsers
		}
		switch {
		case !p.Missing:
			there = append(there, p)
		case p.Name == bondType:
			missing = slices.Insert(missing, 0, p)
		default:
			missing = append(missing, p)
		}
	}
	out := slices.Concat(there, first(missing, "missing plugins", more))
	slices.SortFunc(out, func(a, b PluginReport) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func boundedOwners(all []RecordOwner, what string, more *[]string) []RecordOwner {
	out := slices.Clone(first(all, what, more))
	for i := range out {
		out[i].Left = short(out[i].Left)
	}
	return out
}

// first returns the first entries of a list, and notes how many there are if that is not all.
func first[T any](all []T, what string, more *[]string) []T {
	if len(all) <= maxListed {
		return all
	}
	*more = append(*more, fmt.Sprintf("%d of %d %s: the report lists the first %d", len(all)-maxListed, len(all), what, maxListed))
	return all[:maxListed]
}

func short(text string) string {
	return text[:min(len(text), maxText)]
}

// brief returns a report without the steps and the plan of bonds that are up: their links are
// as planned.
func (r NodeReport) brief() NodeReport {
	r.Brief, r.Bonds = true, slices.Clone(r.Bonds)
	for i := range r.Bonds {
		if b := &r.Bonds[i]; b.State == BondUp && len(b.Warnings) == 0 {
			b.Steps, b.Planned = nil, nil
		}
	}
	return r
}

// withoutDetails returns a report without the steps and warnings of its bonds.
func (r NodeReport) withoutDetails() NodeReport {
	r.Bonds = slices.Clone(r.Bonds)
	for i := range r.Bonds {
		r.Bonds[i].Steps, r.Bonds[i].Warnings, r.Bonds[i].Planned = nil, nil, nil
	}
	return r.lacking("the steps and warnings of %d bonds", len(r.Bonds))
}

func (r NodeReport) withoutBonds() NodeReport {
	n := len(r.Bonds)
	r.Bonds = nil
	return r.lacking("%d bonds", n)
}

// stub returns as much of a report as always fits.
func (r NodeReport) stub() NodeReport {
	out := NodeReport{At: r.At, Version: r.Version, Kernel: r.Kernel, Bonding: r.Bonding, Watching: r.Watching, Config: r.Config}
	return out.lacking("PFs, resources, plugins, Records and %d bonds", len(r.Bonds))
}

func (r NodeReport) lacking(format string, n int) NodeReport {
	r.Unseen = append(slices.Clone(r.Unseen), fmt.Sprintf(format, n)+": the report would be too large")
	return r
}
