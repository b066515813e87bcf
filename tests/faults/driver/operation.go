package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Operation is one thing that happens in a round. One that has a number of
// milliseconds in Beside begins so long after the one before it, which it does
// not wait for.
type Operation struct {
	What    string `json:"what"`
	Sandbox int    `json:"sandbox"`           // which one it is about
	Disturb string `json:"disturb,omitempty"` // what goes wrong meanwhile
	At      int    `json:"at,omitempty"`      // when: milliseconds, or a number of system calls
	Link    int    `json:"link,omitempty"`    // which of its links, and of the PFs
	Late    int    `json:"lateMS,omitempty"`  // how long udev does nothing
	Away    int    `json:"awayMS,omitempty"`  // how long keep is away, if it is killed
	Beside  bool   `json:"beside,omitempty"`  // it does not wait for the one before it
	Delay   int    `json:"delayMS,omitempty"`
}

func (o Operation) String() string {
	text := fmt.Sprintf("%s s%d", o.What, o.Sandbox)
	if o.isOfLink() || o.Sandbox == pooledSandbox {
		text += fmt.Sprintf(", link %d", o.Link+1)
	}
	if o.Disturb != "" {
		text += fmt.Sprintf(", %s", o.Disturb)
		if o.At > 0 {
			text += fmt.Sprintf(" at %d", o.At)
		}
	}
	if o.Away > 0 {
		text += fmt.Sprintf(", keep away for %d ms", o.Away)
	}
	if o.Beside {
		text += fmt.Sprintf(", %d ms after the one before began", o.Delay)
	}
	return text
}

// What happens, and how often beside the others.
var (
	calls = weighted{{"ADD", 10}, {"DEL", 5}, {killedDEL, 2}, {"CHECK", 1}, {"GC", 1}}
	// worlds change under the plugin, between its calls.
	worlds = weighted{
		{"namespace deleted", 3}, {"bond deleted in the pod", 2}, {"bond renamed in the pod", 1}, {"link renamed in the pod", 2},
		{"link set down in the pod", 1}, {"link deleted in the pod", 1}, {"rule deleted in the pod", 1}, {"Record cut short", 2}, {vfsRemade, 1}, {vfRebound, 2}, {pfRebound, 1},
		{cablePulled, 1}, {cablePlugged, 1}, {keepEnds, 1}, {"reboot", 1},
	}
	// tasks are what keep is for.
	tasks        = weighted{{vfRebound, 4}, {vfReboundLate, 2}, {vfsOfPFRemade, 2}, {cablePulled, 3}}
	disturbances = weighted{
		{"", 6}, {"plugin killed after a time", 5}, {"plugin killed after system calls", 4},
		{"delegate refuses", 1}, {"delegate fails after its work", 1}, {"delegate dies after its work", 2}, {"delegate killed after a time", 3},
		{"delegate prints garbage", 1}, {"delegate hangs, and the plugin is killed", 1}, {"delegate leaves a VLAN", 2},
		{"IPAM fails after its work", 1}, {"IPAM killed after a time", 1}, {"agent killed after a time", 2}, {keepKilled, 2}, {"disk full", 1}, {"state directory read-only", 1},
	}
	// ofKeep are the disturbances while keep has something to do.
	ofKeep = weighted{{"", 2}, {keepKilled, 1}, {keepKilledAtWork, 2}}
)

// killedDEL is what runtimes do with a DEL that takes too long: it is killed at its
// deadline, and called again. The plugins in hanging are why.
const killedDEL = "DEL, killed at its deadline and repeated"

var hanging = weighted{{"delegate hangs, and the plugin is killed", 2}, {"IPAM hangs, and the plugin is killed", 1}}

// What keep is about. The first five make VFs anew: their interfaces are new ones.
const (
	vfsRemade     = "VFs recreated"
	vfsOfPFRemade = "VFs of one PF recreated"
	vfRebound     = "VF's driver bound again"
	vfReboundLate = "VF's driver bound again, and named late"
	pfRebound     = "PF's driver unbound"
	cablePulled   = "cable pulled"
	cablePlugged  = "cable plugged"
	keepEnds      = "keep killed"
)

var remakes = []string{vfsRemade, vfsOfPFRemade, vfRebound, vfReboundLate, pfRebound}

// isOfLink reports whether an operation is about one link or PF.
func (o Operation) isOfLink() bool {
	return slices.Contains([]string{vfsOfPFRemade, vfRebound, vfReboundLate, cablePulled, cablePlugged}, o.What)
}

// vf is the PCI address of the VF that an operation is about.
func (o Operation) vf() string {
	number := map[bool]int{false: 0, true: 2}[o.Sandbox == 2 || o.Sandbox == 3]
	return fmt.Sprintf("0000:%02d:10.%d", 1+o.Link, number)
}

// What happens to keep, at a random time: after the operation has begun, or once a Record
// says what keep does.
const (
	keepKilled       = "keep killed after a time"
	keepKilledAtWork = "keep killed at its work"
)

type weighted []struct {
	what   string
	weight int
}

func (w weighted) pick(r *rand.Rand) string {
	total := 0
	for _, one := range w {
		total += one.weight
	}
	n := r.IntN(total)
	for _, one := range w {
		if n -= one.weight; n < 0 {
			return one.what
		}
	}
	panic("unreachable")
}

// generate makes the operations of a round. Each begins with an ADD. In some of them, the
// ADD is undisturbed, and then keep has something to do.
func generate(r *rand.Rand) []Operation {
	var all []Operation
	kept := r.IntN(3) == 0
	for i := range 2 + r.IntN(3) {
		o := Operation{What: calls.pick(r), Sandbox: r.IntN(sandboxes)}
		switch {
		case i == 0 && kept:
			o.What, o.Sandbox = "ADD", r.IntN(bondedSandboxes)
		case i == 0:
			o.What = "ADD"
		case i == 1 && kept:
			o.What, o.Sandbox = tasks.pick(r), all[0].Sandbox
		case r.IntN(4) == 0:
			o.What = worlds.pick(r)
		}
		if o.isOfLink() || o.Sandbox == pooledSandbox {
			o.Link = r.IntN(2)
		}
		if o.What == vfReboundLate {
			o.Late = 1 + r.IntN(900)
		}
		if i > 0 || !kept {
			o.disturb(r)
		}
		if i > 0 && slices.Contains(verbs, o.What) && r.IntN(5) == 0 {
			o.Beside, o.Delay = true, r.IntN(400)
		}
		all = append(all, o)
	}
	return all
}

var verbs = []string{"ADD", "DEL", "GC"}

// disturb chooses what goes wrong during an operation, and when.
func (o *Operation) disturb(r *rand.Rand) {
	switch {
	case o.What == killedDEL:
		o.Disturb, o.At = hanging.pick(r), 1+r.IntN(1500)
		return
	case slices.Contains(verbs, o.What):
		o.Disturb = disturbances.pick(r)
	case slices.Contains(remakes, o.What) || o.What == cablePulled:
		o.Disturb = ofKeep.pick(r)
	}
	switch o.Disturb {
	case "plugin killed after a time", "delegate hangs, and the plugin is killed":
		o.At = 1 + r.IntN(700)
	case "agent killed after a time", "delegate killed after a time", "IPAM killed after a time":
		o.At = 1 + r.IntN(150)
	case "plugin killed after system calls":
		o.At = 1 + r.IntN(1800)
	case keepKilledAtWork:
		o.At, o.Away = 1+r.IntN(200), 1+r.IntN(1500)
	case keepKilled:
		o.At, o.Away = 1+r.IntN(700), 1+r.IntN(1500)
	}
	if o.What == keepEnds {
		o.At, o.Away = 1+r.IntN(700), 1+r.IntN(1500)
	}
}
