// Package record is what has been done: a Record for each attachment, on disk
// before its first effect, the Store of all of them with who holds which device,
// the locks, and the tombstones of what has ended.
//
// It changes nothing but its own directory. What is done, and undone by a
// Record, is in delegate.
package record

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// Version is the latest version of a Record's form on disk that this program knows.
const Version = 2

// versionOf returns the version of a plan's Record. A program that knows only version 1 takes
// links with addresses of their own for a chain of plugins, and would restore one of them.
func versionOf(p plan.Plan) int {
	if p.IsEach() {
		return 2
	}
	return 1
}

// New returns the Record of a plan of which nothing has been done.
func New(p plan.Plan) *Record {
	return &Record{Version: versionOf(p), Plan: p, Attached: map[string]Attached{}}
}

// Record is what has been done for one attachment: the plan, which is on disk before its
// first effect, and what has become known since. Restoring needs nothing else.
type Record struct {
	Version     int                  `json:"version"`
	Release     string               `json:"release,omitempty"` // that has written it
	BootID      string               `json:"bootID"`
	NetnsID     string               `json:"netnsID"`        // tells another namespace at the same path
	NSID        *int                 `json:"nsid,omitempty"` // the namespace's number in the host's; nil: nobody watches the bond
	Created     time.Time            `json:"created"`
	Plan        plan.Plan            `json:"plan"`
	Started     []string             `json:"started,omitempty"`  // links whose attachment was begun
	Indexes     map[string]int       `json:"indexes,omitempty"`  // of VFs that were given another before they were attached
	Attached    map[string]Attached  `json:"attached,omitempty"` // links that were seen in the pod
	MTU         int                  `json:"mtu,omitempty"`      // the bond's, if only the attached links could tell
	BondIndex   int                  `json:"bondIndex,omitempty"`
	IPAMAsked   bool                 `json:"ipamAsked,omitempty"`
	IPAMRefused bool                 `json:"ipamRefused,omitempty"` // it was not executed by ADD, or refused in the time of an earlier version
	IPAMFailed  bool                 `json:"ipamFailed,omitempty"`  // its ADD ended with an error
	RefusedBy   int                  `json:"refusedBy,omitempty"`   // of a chain: the first plugin, counted from 1, that was not executed; of a bond: 2 more than the index of the plugin after it that has refused
	Succeeded   int                  `json:"succeeded,omitempty"`   // of a chain whose ADD was refused: how many plugins have succeeded before
	After       []int                `json:"after,omitempty"`       // places in Plan.After of plugins that ADD has executed and DEL has not
	Addresses   bond.Addresses       `json:"addresses,omitzero"`    // of the bond
	Interfaces  map[string]Interface `json:"interfaces,omitempty"`  // links with addresses of their own
	Paths       []bond.Multipath     `json:"paths,omitempty"`       // routes over several of them
	Gateways    []netip.Addr         `json:"gateways,omitempty"`    // that have answered and watch the bond's links
	DeviceInfo  json.RawMessage      `json:"deviceInfo,omitempty"`  // what a plugin wrote about its device; it replaces the Plan's
	Result      json.RawMessage      `json:"result,omitempty"`      // the ADD's: the attachment is complete
	Returning   map[string]time.Time `json:"returning,omitempty"`   // links that keep began to bring back into the bond, at that time
	Relayed     map[string]string    `json:"relayed,omitempty"`     // links from whose VFs keep has taken the carrier, by that representor, or "": by the PF
	Downed      []string             `json:"downed,omitempty"`      // links that keep has set down in the pod, because their VFs could not lose their carrier otherwise
	Lowered     map[string]time.Time `json:"lowered,omitempty"`     // links that a drill has set down in the pod, until that time
	Restored    []string             `json:"restored,omitempty"`    // links that are as before again
	Freed       []string             `json:"freed,omitempty"`       // links whose VFs are as before again, and free, but of which plugins keep something
	Unanswered  map[string]time.Time `json:"unanswered,omitempty"`  // plugins, with their interfaces, whose DEL was executed at that time and has not ended, and what Multibond was restoring
	Slow        map[string]time.Time `json:"slow,omitempty"`        // links, or the bond, whose restoring took long, at that time
	Tried       time.Time            `json:"tried,omitzero"`        // when restoring was begun for the first time
	Failing     time.Time            `json:"failing,omitzero"`      // when restoring failed for the first time, or was begun if it was killed
	LastTried   time.Time            `json:"lastTried,omitzero"`    // when restoring was begun for the last time
	Early       bool                 `json:"early,omitempty"`       // it was set aside before its time was over
	LetGo       []string             `json:"letGo,omitempty"`       // links whose devices another Record had when this one was set aside
	Left        string               `json:"left,omitempty"`        // what was not as before when restoring was given up
	Steps       []agentapi.Step      `json:"steps,omitempty"`
	Warnings    []string             `json:"warnings,omitempty"`

	Aside string `json:"-"` // the file of a Record that was set aside; "": it was not
}

// Attached is a link right after it was attached.
type Attached struct {
	Link   bond.Link       `json:"link"`
	MAC    string          `json:"mac,omitempty"` // in the bond
	VF     *bond.VF        `json:"admin,omitempty"`
	Result json.RawMessage `json:"result,omitempty"` // of the last plugin
}

// Interface is what is known of a link that is an interface of the pod.
type Interface struct {
	IPAM      IPAM           `json:"ipam,omitzero"`
	Addresses bond.Addresses `json:"addresses,omitzero"`
}

// IPAM is what has become of the IPAM plugin of one interface.
type IPAM struct {
	Asked   bool `json:"asked,omitempty"`
	Refused bool `json:"refused,omitempty"` // it was not executed by ADD
	Failed  bool `json:"failed,omitempty"`  // its ADD ended with an error
}

// IPAMOf returns what has become of the IPAM plugin of the bond or of a link.
func (r *Record) IPAMOf(ifName string) IPAM {
	if r.Plan.IsEach() {
		return r.Interfaces[ifName].IPAM
	}
	return IPAM{r.IPAMAsked, r.IPAMRefused, r.IPAMFailed}
}

// SetIPAM records what has become of the IPAM plugin of the bond or of a link.
func (r *Record) SetIPAM(ifName string, now IPAM) {
	if r.Plan.IsEach() {
		r.set(ifName, func(i *Interface) { i.IPAM = now })
		return
	}
	r.IPAMAsked, r.IPAMRefused, r.IPAMFailed = now.Asked, now.Refused, now.Failed
}

// SetAddresses records the addresses that a link gets, and its routes.
func (r *Record) SetAddresses(link string, a bond.Addresses) {
	r.set(link, func(i *Interface) { i.Addresses = a })
}

func (r *Record) set(link string, change func(*Interface)) {
	if r.Interfaces == nil {
		r.Interfaces = map[string]Interface{}
	}
	one := r.Interfaces[link]
	change(&one)
	r.Interfaces[link] = one
}

// RulePriority is that of rules for the addresses of links: after what others set for more
// than an address, and before the main table, which is 32766.
const RulePriority = 30000

// Routing returns what routes what leaves from the addresses of links, and the routes over
// several links.
func (r *Record) Routing() bond.Routing {
	all := bond.Routing{Paths: r.Paths}
	for _, l := range r.Plan.Links {
		for _, ip := range r.Interfaces[l.Name].Addresses.IPs {
			from := netip.PrefixFrom(ip.Addr(), ip.Addr().BitLen())
			all.Rules = append(all.Rules, bond.Rule{From: from, Table: l.Table, Priority: RulePriority})
		}
	}
	return all
}

// HasNoRules records that the rules for the addresses of links are gone.
func (r *Record) HasNoRules() {
	for _, l := range r.Plan.Links {
		if len(r.Interfaces[l.Name].Addresses.IPs) > 0 {
			r.SetAddresses(l.Name, bond.Addresses{})
		}
	}
}

// Members returns the keys of all Records that were made together, including this one,
// in the order of attachment.
func (r *Record) Members() []plan.Key {
	var keys []plan.Key
	for _, name := range r.Plan.Group.IfNames {
		keys = append(keys, plan.Key{ContainerID: r.Plan.ContainerID, IfName: name})
	}
	if !slices.Contains(keys, r.Plan.Key()) { // a Record of a version without groups
		keys = []plan.Key{r.Plan.Key()}
	}
	return keys
}

// Network returns the name of the configuration that the runtime gave to ADD.
func (r *Record) Network() string { return cmp.Or(r.Plan.Group.Network, r.Plan.Network) }

// Plugins yields the plugins that ADD executes for the attachment, each with its
// CNI_IFNAME.
func (r *Record) Plugins() iter.Seq2[netconf.Plugin, string] {
	return func(yield func(netconf.Plugin, string) bool) {
		for _, l := range r.Plan.Links {
			for _, p := range l.Plugins {
				if !yield(p, l.Name) {
					return
				}
			}
		}
		for _, a := range r.Plan.IPAMs() {
			if !yield(a.Plugin, a.IfName) {
				return
			}
		}
		for _, p := range r.Plan.After {
			if !yield(p, r.Plan.IfName) {
				return
			}
		}
	}
}

// Bond returns the plan's bond. It has the bond's MTU even if that was not known before
// the links were attached, and of the gateways those as targets that have answered.
func (r *Record) Bond() bond.Spec {
	spec := r.Plan.Bond
	spec.Options = spec.Options.WithGateways(r.Gateways)
	if r.MTU > 0 {
		spec.Options = spec.Options.WithMTU(r.MTU)
	}
	return spec
}

// IndexOf returns the last index that a link of the plan had before it was attached: the
// one in the plan, or the one that SetIndex has set.
func (r *Record) IndexOf(l plan.Link) int {
	if given, is := r.Indexes[l.Name]; is {
		return given
	}
	return l.Before.Index
}

// SetIndex records the index that a link was given before it was attached.
func (r *Record) SetIndex(l plan.Link, index int) {
	if r.Indexes == nil {
		r.Indexes = map[string]int{}
	}
	r.Indexes[l.Name] = index
}

// Returns records that keep brings a link back into the bond.
func (r *Record) Returns(l plan.Link, at time.Time) {
	if r.Returning == nil {
		r.Returning = map[string]time.Time{}
	}
	r.Returning[l.Name] = at
}

// AddLate adds a link to the plan that was left out when the bond was made. keep attaches it
// with what its PF has to keep for it, and a MAC.
func (r *Record) AddLate(l plan.Link, byPF bond.VF, mac string, own bond.Options, at time.Time) {
	r.Plan.Links = append(slices.Clip(r.Plan.Links), l)
	r.Plan.Bond.Links = append(slices.Clip(r.Plan.Bond.Links), l.Name)
	if len(own) > 0 {
		options := maps.Clone(r.Plan.Bond.LinkOptions)
		if options == nil {
			options = map[string]bond.Options{}
		}
		options[l.Name] = own
		r.Plan.Bond.LinkOptions = options
	}
	r.Started = append(r.Started, l.Name)
	seen := Attached{Link: *l.Before, VF: &byPF}
	seen.Link.MAC = mac
	r.Attached[l.Name] = seen
	r.Returns(l, at)
}

// SetByPF returns what a link's PF keeps for its VF by the ADD, and by keep since then. nil:
// that is not known, or there is no VF.
func (r *Record) SetByPF(l plan.Link) *bond.VF {
	set := r.Attached[l.Name].VF
	if by, relayed := r.Relayed[l.Name]; set == nil || !relayed || by != "" {
		return set
	}
	now := *set
	now.LinkState = bond.LinkDisabled
	return &now
}

// SetRelayed records by what keep takes the carrier from a link's VF.
func (r *Record) SetRelayed(l plan.Link, by string) {
	if r.Relayed == nil {
		r.Relayed = map[string]string{}
	}
	r.Relayed[l.Name] = by
}

// IsRelayed reports whether keep has taken the carrier from a link's VF, in either way.
func (r *Record) IsRelayed(l plan.Link) bool {
	_, relayed := r.Relayed[l.Name]
	return relayed || slices.Contains(r.Downed, l.Name)
}

// NotRelayed records that a link's VF has its carrier back.
func (r *Record) NotRelayed(l plan.Link) {
	delete(r.Relayed, l.Name)
	r.Downed = slices.DeleteFunc(r.Downed, func(name string) bool { return name == l.Name })
}

// assumeBegun marks every step as begun: the Record does not know how far its ADD has
// come.
func (r *Record) assumeBegun() {
	r.Started = nil
	for _, l := range r.Plan.Links {
		r.Started = append(r.Started, l.Name)
	}
	r.IPAMAsked = true
	for _, a := range r.Plan.IPAMs() {
		r.SetIPAM(a.IfName, IPAM{Asked: true})
	}
	r.After = nil
	for i := range r.Plan.After {
		r.After = append(r.After, i)
	}
}

// AddStep adds a step and the time it took.
func (rec *Record) AddStep(what string, from, to time.Time) {
	rec.Steps = append(rec.Steps, agentapi.Step{What: what, Milliseconds: float64(to.Sub(from).Microseconds()) / 1000})
}

// Call returns the execution of a plugin for this attachment.
func (rec *Record) Call(command, netns, ifName string, p netconf.Plugin, prevResult json.RawMessage) invoke.Call {
	config := p.Config.Raw
	if prevResult != nil {
		config = p.Config.With(map[string]json.RawMessage{"prevResult": prevResult})
	}
	return invoke.Call{
		Command: command, ContainerID: rec.Plan.ContainerID, Netns: netns, IfName: ifName,
		Args: rec.Plan.Args, Path: rec.Plan.Path, Type: p.Type, Config: config,
	}
}

// IPAMCall returns the execution of the IPAM plugin of an interface.
func (rec *Record) IPAMCall(command, netns, ifName string) invoke.Call {
	return rec.Call(command, netns, ifName, rec.Plan.IPAMOf(ifName), nil)
}

// Tries records that restoring is begun. If it was begun before and has neither succeeded
// nor failed, its process was killed: then it has failed since. Tries reports whether the
// Record has to be written.
func (rec *Record) Tries(now time.Time) bool {
	switch {
	case rec.Tried.IsZero():
		rec.Tried = now
	case rec.Failing.IsZero():
		rec.Failing = rec.Tried
	default:
		return false
	}
	return true
}

// SetLeft notes, in one line, what could not be restored.
func (rec *Record) SetLeft(failure error) {
	rec.Left = strings.ReplaceAll(failure.Error(), "\n", "; ")
}

// IsEarly reports whether a Record was set aside before its time was over. DELs of its
// sandbox still fail. Earlier versions set only those aside that keep nothing.
func (rec *Record) IsEarly() bool {
	return rec.Aside != "" && (rec.Early || rec.KeepsNothing())
}

// IsDue reports whether a Record that was given up is to be tried again by a call that has
// nothing to do with it: after pauses that double.
func (rec *Record) IsDue(now time.Time) bool {
	return now.Sub(rec.LastTried) >= rec.LastTried.Sub(rec.Failing)
}

// FailsFor reports whether restoring has failed for longer than limit. The first failure
// does not count: it begins the time.
func (rec *Record) FailsFor(limit time.Duration) bool {
	return !rec.Failing.IsZero() && time.Since(rec.Failing) > limit
}

// Frees records that a link's VF is as before again, and that its plugins keep something.
func (rec *Record) Frees(l plan.Link) {
	if !rec.IsFreed(l) {
		rec.Freed = append(rec.Freed, l.Name)
	}
}

// IsFreed reports whether only plugins keep something of a link: its VF is as before again,
// and another attachment may have it.
func (rec *Record) IsFreed(l plan.Link) bool { return slices.Contains(rec.Freed, l.Name) }

// Unrestored returns the links whose attachment was begun, and which are not as before
// again.
func (rec *Record) Unrestored() (links []plan.Link) {
	for _, l := range rec.Plan.Links {
		if slices.Contains(rec.Started, l.Name) && !slices.Contains(rec.Restored, l.Name) && !rec.IsFreed(l) {
			links = append(links, l)
		}
	}
	return links
}

// KeepsNoDevice reports whether no link of the host is left to restore, in the boot of this
// ID: what is left is the plugins', or in the pod. Links of another boot are not touched.
func (rec *Record) KeepsNoDevice(bootID string) bool {
	return rec.BootID != bootID || !slices.ContainsFunc(rec.Unrestored(), func(l plan.Link) bool {
		return l.Holds() != "" || l.Source == netconf.FromHost
	})
}

// Asks records that DEL of a plugin is executed for an interface.
func (rec *Record) Asks(plugin, ifName string) {
	if rec.Unanswered == nil {
		rec.Unanswered = map[string]time.Time{}
	}
	rec.Unanswered[plugin+" "+ifName] = time.Now()
}

// Answers records that DEL of a plugin has ended, whether it has succeeded or not.
func (rec *Record) Answers(plugin, ifName string) { delete(rec.Unanswered, plugin+" "+ifName) }

// Takes records that restoring a link or the bond took long.
func (rec *Record) Takes(part string) {
	if rec.Slow == nil {
		rec.Slow = map[string]time.Time{}
	}
	rec.Slow[part] = time.Now()
}

// HadItsChance reports whether something was begun when restoring had failed for longer than
// limit, and has not ended since.
func (rec *Record) HadItsChance(since time.Time, limit time.Duration) bool {
	return !rec.Failing.IsZero() && since.Sub(rec.Failing) > limit
}

// Hangs reports whether anything had its chance.
func (rec *Record) Hangs(limit time.Duration) bool {
	for _, since := range rec.Unanswered {
		if rec.HadItsChance(since, limit) {
			return true
		}
	}
	return false
}

// Begins records that restoring a link or the bond is begun.
func (rec *Record) Begins(part string) { rec.Asks(restoring, part) }

// Ends records that restoring a link or the bond has ended, whether it has succeeded or not.
func (rec *Record) Ends(part string) { rec.Answers(restoring, part) }

// BegunSince returns when restoring a link or the bond was last begun if it has not ended
// since. Otherwise it returns the zero Time.
func (rec *Record) BegunSince(part string) time.Time { return rec.UnansweredSince(restoring, part) }

// restoring takes the place of a plugin's name for what Multibond does itself.
const restoring = "restoring"

// UnansweredSince returns when DEL of a plugin was last executed if it has not ended since:
// it has hung, or this program was killed meanwhile. Otherwise it returns the zero Time.
func (rec *Record) UnansweredSince(plugin, ifName string) time.Time {
	return rec.Unanswered[plugin+" "+ifName]
}

// WasCut reports whether a call may have ended while a plugin was running: an ADD that has
// no result, or a DEL that has no answer.
func (rec *Record) WasCut() bool { return rec.Result == nil || len(rec.Unanswered) > 0 }

// KeepsNothing reports whether nothing is left of the attachment but what plugins refuse
// to delete that have refused to make it, too: the links are as before, and nobody knows
// of an address or an interface.
func (rec *Record) KeepsNothing() bool {
	if rec.Plan.IsChain() {
		return 0 < rec.RefusedBy && rec.RefusedBy <= 2 && rec.Succeeded == 0 && rec.Plan.Links[0].Device == ""
	}
	if len(rec.Unrestored()) > 0 {
		return false
	}
	if rec.Plan.IsEach() {
		gave := func(a plan.Addressed) bool { state := rec.IPAMOf(a.IfName); return state.Asked && !state.Failed }
		return len(rec.Routing().Rules) == 0 && !slices.ContainsFunc(rec.Plan.IPAMs(), gave)
	}
	onlyRefused := []int{rec.RefusedBy - 2}
	return rec.IPAMFailed || !rec.IPAMAsked && slices.Equal(rec.After, onlyRefused)
}

// Owed returns how many plugins DEL has still to execute.
func (rec *Record) Owed() (n int) {
	for _, l := range rec.Plan.Links {
		if slices.Contains(rec.Started, l.Name) && !slices.Contains(rec.Restored, l.Name) {
			n += len(l.Plugins)
		}
	}
	for _, a := range rec.Plan.IPAMs() {
		if rec.IPAMOf(a.IfName).Asked {
			n++
		}
	}
	return n + len(rec.After)
}

// Made reports whether a bond in the pod is this attachment's. A Record that was damaged,
// or whose ADD was killed, does not know the bond's index. It knows the bond's name,
// which the application can change, and its devices, which no other bond can have.
func (rec *Record) Made(b bond.Link, links []bond.Link) bool {
	if rec.BondIndex != 0 {
		return rec.BondIndex == b.Index
	}
	return b.Name == rec.Plan.Bond.Name || slices.ContainsFunc(links, func(l bond.Link) bool {
		return l.Master == b.Index && slices.ContainsFunc(rec.Plan.Links, func(planned plan.Link) bool {
			return planned.Source != netconf.FromPod && planned.Device != "" && rec.Is(planned, l)
		})
	})
}

// Is reports whether now, a link in the pod, is the link l of the plan. A device tells it
// unless it has several interfaces: rtnetlink does not tell which of them a link is. Then
// it is the one that was seen, and until one was seen the one that has the permanent MAC
// or, if there is none, the name.
func (rec *Record) Is(l plan.Link, now bond.Link) bool {
	seen, wasSeen := rec.Attached[l.Name]
	switch {
	case l.Device != "" && l.Device != now.Device:
		return false
	case l.Device != "" && !l.Siblings:
		return true
	case l.Source == netconf.FromPod:
		return now.Index == l.Before.Index
	case wasSeen:
		_, returning := rec.Returning[l.Name]
		return now.Index == seen.Link.Index || returning && now.Name == l.Name
	case l.Siblings && l.Before.PermMAC != "":
		return now.PermMAC == l.Before.PermMAC
	}
	return now.Name == l.Name
}

// Knows reports whether now is the interface that l was. It has kept its index, unless
// the index was taken where it moved to. Its permanent MAC alone does not tell: at each
// reset igbvf takes the MAC that it has for its permanent one, and that can be the
// bond's, which is that of one of the links. If it has none, as a VF has that made its
// MAC up, the MAC that it has tells it, or the name that it got in the pod: an interface
// that was made anew has neither.
func (rec *Record) Knows(l plan.Link, now bond.Link) bool {
	if now.Index == rec.IndexOf(l) || now.Index == rec.Attached[l.Name].Link.Index {
		return true
	}
	if now.PermMAC == "" {
		return now.Name == l.Name && l.Name != l.Before.Name || slices.Contains(rec.knownMACs(), now.MAC)
	}
	return slices.Contains(rec.knownMACs(), now.PermMAC)
}

// knownMACs lists the MACs that the links have had.
func (rec *Record) knownMACs() []string {
	known := []string{rec.Plan.Bond.Options[bond.MAC]}
	for _, l := range rec.Plan.Links {
		known = append(known, rec.Attached[l.Name].Link.MAC, rec.Attached[l.Name].MAC)
		if l.Before != nil {
			known = append(known, l.Before.MAC, l.Before.PermMAC)
		}
	}
	return known
}

// KnowsVirtual reports whether now is the interface that l was, which has no device. It
// has kept its index, or the one that SetIndex has set. Another interface can get the MAC
// of a virtual one, but not that of a NIC. A Record of an earlier version does not know the
// device of a virtio NIC.
func (rec *Record) KnowsVirtual(l plan.Link, now bond.Link) bool {
	if l.Before.Device != "" && now.Device != l.Before.Device || now.Kind != l.Before.Kind {
		return false
	}
	if now.Index == rec.IndexOf(l) || now.Index == rec.Attached[l.Name].Link.Index {
		return true
	}
	return now.Kind == "" && cmp.Or(now.PermMAC, now.MAC) == cmp.Or(l.Before.PermMAC, l.Before.MAC)
}
