package bond

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/multibond/multibond/bond/code"
)

// Options are the options of a bond, or of a link in one, by key, as canonical
// text. A missing option is left to the kernel.
type Options map[string]string

// ParseOptions reads those keys of raw that are bond options, adds the defaults
// and checks all options against the mode and each other. The options of the
// links, own, are checked too. links are the names that primary may have, in
// order. All problems are returned at once.
func ParseOptions(raw map[string]json.RawMessage, links []string, own []Options) (Options, Problems) {
	var problems Problems
	o := Options{}
	ordered := noPrimary(raw, links)
	if ordered {
		raw = maps.Clone(raw)
		delete(raw, Primary)
	}
	o.parseAll(false, raw, &problems)
	if len(problems) > 0 {
		// The checks below need values that could be read.
		return o, problems
	}
	o.setDefaults()
	if !ordered {
		o.settlePrimary(links, own)
	}
	return o, append(o.check(links), checkLinkOptions(o[Mode], own)...)
}

// ParseLinkOptions reads those keys of raw that are options of a link in a bond.
// All problems are returned at once.
func ParseLinkOptions(raw map[string]json.RawMessage) (Options, Problems) {
	var problems Problems
	o := Options{}
	o.parseAll(true, raw, &problems)
	return o, problems
}

// checkLinkOptions checks the options of all links of a bond, in order, against
// the bond's mode and each other.
func checkLinkOptions(mode string, links []Options) (problems Problems) {
	queues := map[string]int{}
	for i, o := range links {
		var own Problems
		o.checkModes(mode, &own)
		for _, p := range own {
			problems.Add(p.Code, fmt.Sprintf("links[%d].%s", i, p.Path), p.Hint, "%s", p.Text)
		}
		queue := o[queueID]
		if queue == "" || queue == "0" {
			continue
		}
		if first, twice := queues[queue]; twice {
			problems.Add(code.SameQueue, fmt.Sprintf("links[%d].%s", i, queueID), "", "is %s, which links[%d] already has", queue, first)
		}
		queues[queue] = i
	}
	return problems
}

func (o Options) parseAll(perLink bool, raw map[string]json.RawMessage, problems *Problems) {
	for _, row := range table {
		if row.perLink == perLink {
			o.parse(row, raw, problems)
		}
	}
}

// parse reads one option from raw, under any of its keys.
func (o Options) parse(row option, raw map[string]json.RawMessage, problems *Problems) {
	for _, key := range row.keys() {
		value, there := raw[key]
		if !there {
			continue
		}
		text, err := row.kind.parse(value)
		earlier, twice := o[row.key]
		switch {
		case err != nil:
			problems.Add(code.BadValue, key, "", "%v", err)
		case twice && text != earlier:
			problems.Add(code.TwoKeys, key, "both keys are the same option: use one of them", "is %s, but %s is %s", text, row.key, earlier)
		default:
			o[row.key] = text
		}
	}
}

// setDefaults adds the defaults that are safer than the kernel's. The kernel's
// own default for miimon is 0 in four modes: such a bond never notices a dead
// link. Of its announcements, each is lost if another process holds the lock of
// network configuration at that moment (bond_mii_monitor only tries to get it), so
// there are several.
func (o Options) setDefaults() {
	o.setDefault(Mode, ActiveBackup)
	if o.AwaitsGateway() {
		o.setDefault(arpInterval, "1000")
	}
	if o.number(arpInterval) == 0 || o.AwaitsGateway() {
		o.setDefault(Miimon, "100")
	}
	if o[Mode] == ActiveBackup && (o[MAC] == "" || o[MACPolicy] == Shared) {
		o.setDefault(FailOverMac, "active")
	}
	if o[Mode] == ActiveBackup {
		o.setDefault(numGratArp, "5")
	}
}

// noPrimary reports whether the user asked for a bond without a primary.
func noPrimary(raw map[string]json.RawMessage, links []string) bool {
	text := "?"
	return json.Unmarshal(raw[Primary], &text) == nil && (text == "" || text == "none" && !slices.Contains(links, text))
}

// settlePrimary makes the first link the primary, unless other options determine
// which link is used first. Without any, it would be the link whose carrier comes
// up first.
func (o Options) settlePrimary(links []string, own []Options) {
	byPrio := func(o Options) bool { return o[prio] != "" }
	if len(links) > 0 && slices.Contains(withActive, o[Mode]) && o[activeSlave] == "" && !slices.ContainsFunc(own, byPrio) {
		o.setDefault(Primary, links[0])
	}
}

func (o Options) setDefault(key, text string) {
	if o[key] == "" {
		o[key] = text
	}
}

func (o Options) number(key string) uint64 {
	v, err := strconv.ParseUint(o[key], 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// WithLinks returns the options for a bond that has only the links with names. If
// the primary is not among them, the first one replaces it. An activeSlave that is
// not among them is removed.
func (o Options) WithLinks(names []string) Options {
	out := maps.Clone(o)
	if p := out[Primary]; p != "" && !slices.Contains(names, p) {
		out[Primary] = names[0]
	}
	if a := out[activeSlave]; a != "" && !slices.Contains(names, a) {
		delete(out, activeSlave)
	}
	return out
}

func (o Options) check(links []string) (problems Problems) {
	o.checkModes(o[Mode], &problems)
	o.checkMonitor(&problems)
	o.checkNeeds(&problems)
	o.checkDelays(&problems)
	shared := o[MACPolicy] == Shared
	if shared && o[Mode] == ActiveBackup && o[FailOverMac] != "active" {
		problems.Add(code.SharedNeedsActive, MACPolicy, "leave failOverMac out", "is shared, which needs failOverMac active, but failOverMac is %s", o[FailOverMac])
	}
	if o[MAC] != "" && o[FailOverMac] == "active" && !shared {
		problems.Add(code.MACReplaced, MAC, "leave mac out, or set macPolicy to shared", "is %s, but with failOverMac active the kernel replaces it with the active link's MAC", o[MAC])
	}
	for _, key := range []string{Primary, activeSlave} {
		if l := o[key]; l != "" && !slices.Contains(links, l) {
			problems.Add(code.NotALink, key, "", "is %s, want one of the links %s", l, strings.Join(links, ", "))
		}
	}
	if a, p := o[activeSlave], o[Primary]; a != "" && p != "" && a != p && (o[reselect] == "" || o[reselect] == "always") {
		problems.Add(code.ActiveSlave, activeSlave, "leave one of the two out, or set primaryReselect to failure", "is %s, but primary %s takes over as soon as it has a carrier", a, p)
	}
	return problems
}

// checkModes finds options that the mode does not have. The kernel's own default
// is accepted in every mode, because it changes nothing.
func (o Options) checkModes(mode string, problems *Problems) {
	for _, row := range table {
		if text, there := o[row.key]; there && text != row.unset && !row.always && !row.hasMode(mode) {
			problems.Add(code.NotInMode, row.key, "", "is %s, but mode %s does not have this option; these modes do: %s", text, mode, strings.Join(row.modes, ", "))
		}
	}
}

// checkNeeds finds options that have no effect without another one.
func (o Options) checkNeeds(problems *Problems) {
	for _, row := range table {
		text, needed := o[row.key], o[row.needs]
		idle := text == "" || text == "0" || text == row.unset
		missing := needed == "" || needed == "0" || needed == tableByKey[row.needs].unset
		if row.needs == arpIPTarget && o[nsIP6Target] != "" {
			missing = false // one kind of target is enough
		}
		if row.needs != "" && !idle && missing {
			problems.Add(code.NoEffect, row.key, "", "is %s, which has no effect without %s", text, row.needs)
		}
	}
}

// checkMonitor makes sure that the bond can notice a dead link.
func (o Options) checkMonitor(problems *Problems) {
	mii, arp := o.number(Miimon), o.number(arpInterval)
	targets := o[arpIPTarget] != "" || o[nsIP6Target] != ""
	if mii == 0 && arp == 0 && !targets {
		problems.Add(code.NoMonitor, Miimon, "set miimon, usually to 100, or set arpInterval and arpIpTarget", "is 0, and there are no ARP targets: the bond would never notice a dead link")
	}
	if o.AwaitsGateway() && mii == 0 {
		problems.Add(code.GatewayMiimon, Miimon, "leave miimon out", "is 0, but a bond whose gateway does not answer needs it")
	}
	if mii > 0 && arp > 0 && !o.AwaitsGateway() {
		problems.Add(code.TwoMonitors, arpInterval, "the kernel accepts only one of the two; leave miimon out to use ARP", "is %d ms, but miimon is %d ms", arp, mii)
	}
}

// checkDelays finds delays that the kernel would round down silently.
func (o Options) checkDelays(problems *Problems) {
	mii := o.number(Miimon)
	for _, key := range []string{updelay, downdelay, notifDelay} {
		if delay := o.number(key); mii > 0 && delay%mii != 0 {
			problems.Add(code.Delay, key, fmt.Sprintf("%d or %d", delay/mii*mii, (delay/mii+1)*mii), "is %d ms, want a multiple of miimon (%d ms)", delay, mii)
		}
	}
}

// sent lists the rows to send to the kernel for o when a bond is made or a link
// enslaved, in the table's order. The mode is always sent. A value that the
// kernel has anyway is left out, because some kernels refuse an option in a mode
// that lacks it, whatever its value.
func (o Options) sent() []option {
	var rows []option
	for _, row := range table {
		text, there := o[row.key]
		switch {
		case !there || row.ours || row.once:
		case row.always && !row.hasMode(o[Mode]):
		case text != row.unset || row.key == Mode:
			rows = append(rows, row)
		}
	}
	return rows
}

// LeavesActive reports whether a primary that is back leaves the traffic to the active link,
// unless it is better or the active link fails.
func (o Options) LeavesActive(primary string) bool {
	return o[Primary] == primary && slices.Contains([]string{"better", "failure"}, o[reselect])
}

// onlySent returns those of o that are sent.
func (o Options) onlySent() Options {
	out := Options{}
	for _, row := range o.sent() {
		out[row.key] = o[row.key]
	}
	return out
}

// overridden returns those of o that were not sent, because the kernel has them
// anyway, and that a new bond has otherwise: found is what the kernel reports for it.
// The bonding module's parameters change the kernel's defaults.
func (o Options) overridden(found Options) Options {
	out := Options{}
	for _, row := range table {
		text, there := o[row.key]
		got, reported := found[row.key]
		if there && reported && text == row.unset && got != text && row.hasMode(o[Mode]) {
			out[row.key] = text
		}
	}
	return out
}

// String returns the options that are sent to the kernel, in the kernel's
// spelling: "active-backup miimon 100 fail_over_mac active".
func (o Options) String() string {
	var words []string
	for _, row := range o.sent() {
		if row.key == Mode {
			words = append(words, o[Mode])
			continue
		}
		words = append(words, kernelName(row.key), o[row.key])
	}
	return strings.Join(words, " ")
}

// kernelName returns the kernel's spelling of a key: fail_over_mac for failOverMac.
func kernelName(key string) string {
	var b strings.Builder
	for _, r := range key {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// unknown returns the problems with options that were sent and that the kernel
// does not report in found. A kernel silently ignores an attribute that it does
// not know.
func (o Options) unknown(found Options) error {
	var problems Problems
	for _, row := range o.sent() {
		if _, there := found[row.key]; row.since != "" && !there {
			problems.Add(code.OldKernel, row.key, "leave it out, or use a newer kernel", "is %s, but this kernel does not have this option; Linux %s and later have it", o[row.key], row.since)
		}
	}
	return problems.Err()
}

// explain adds to an error of the kernel which of the values that were sent only later
// kernels have. The kernel refuses them as it refuses any wrong value.
func (o Options) explain(err error) error {
	if !errors.Is(err, syscall.EINVAL) {
		return err
	}
	var problems Problems
	for _, row := range o.sent() {
		if since, is := row.newer[o[row.key]]; is {
			problems.Add(code.OldKernel, row.key, "use another value, or a newer kernel", "is %s, a value that Linux %s and later have", o[row.key], since)
		}
	}
	if len(problems) == 0 {
		return err
	}
	return fmt.Errorf("%w: %w", err, problems)
}

// Differences compares o, the options that were asked for, with found, those that
// the kernel reports. It returns one sentence per option that differs.
func (o Options) Differences(found Options) []string {
	var out []string
	for _, row := range table {
		want, there := o[row.key]
		// In a mode that lacks an option it has its default, and some kernels do
		// not report it.
		if !there || row.once || row.ours || !row.perLink && !row.hasMode(o[Mode]) || row.key == MAC && o[FailOverMac] == "active" {
			continue
		}
		got, reported := found[row.key]
		if !reported && want == row.unset {
			continue // the kernel is older than the option and behaves as asked
		}
		if got != want {
			out = append(out, fmt.Sprintf("%s is %s, was %s", row.key, orNone(got), want))
		}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}
