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
	Beside  bool   `json:"beside,omitempty"`  // it does not wait for the one before it
	Delay   int    `json:"delayMS,omitempty"`
}

func (o Operation) String() string {
	text := fmt.Sprintf("%s s%d", o.What, o.Sandbox)
	if o.Disturb != "" {
		text += fmt.Sprintf(", %s", o.Disturb)
		if o.At > 0 {
			text += fmt.Sprintf(" at %d", o.At)
		}
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
		{"link set down in the pod", 1}, {"Record cut short", 2}, {"VFs recreated", 1}, {"VF's driver bound again", 2}, {"PF's driver unbound", 1}, {"reboot", 1},
	}
	disturbances = weighted{
		{"", 6}, {"plugin killed after a time", 5}, {"plugin killed after system calls", 4},
		{"delegate refuses", 1}, {"delegate fails after its work", 1}, {"delegate dies after its work", 2}, {"delegate killed after a time", 3},
		{"delegate prints garbage", 1}, {"delegate hangs, and the plugin is killed", 1}, {"delegate leaves a VLAN", 2},
		{"IPAM fails after its work", 1}, {"IPAM killed after a time", 1}, {"agent killed after a time", 2}, {"disk full", 1}, {"state directory read-only", 1},
	}
)

// killedDEL is what runtimes do with a DEL that takes too long: it is killed at its
// deadline, and called again. The plugins in hanging are why.
const killedDEL = "DEL, killed at its deadline and repeated"

var hanging = weighted{{"delegate hangs, and the plugin is killed", 2}, {"IPAM hangs, and the plugin is killed", 1}}

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

// generate makes the operations of a round. Each begins with an ADD.
func generate(r *rand.Rand) []Operation {
	var all []Operation
	for i := range 2 + r.IntN(3) {
		o := Operation{What: calls.pick(r), Sandbox: r.IntN(sandboxes)}
		switch {
		case i == 0:
			o.What = "ADD"
		case r.IntN(4) == 0:
			o.What = worlds.pick(r)
		}
		if o.What == killedDEL {
			o.Disturb, o.At = hanging.pick(r), 1+r.IntN(1500)
		}
		if slices.Contains([]string{"ADD", "DEL", "GC"}, o.What) {
			o.Disturb = disturbances.pick(r)
			switch o.Disturb {
			case "plugin killed after a time", "delegate hangs, and the plugin is killed":
				o.At = 1 + r.IntN(700)
			case "agent killed after a time", "delegate killed after a time", "IPAM killed after a time":
				o.At = 1 + r.IntN(150)
			case "plugin killed after system calls":
				o.At = 1 + r.IntN(1800)
			}
			if i > 0 && r.IntN(5) == 0 {
				o.Beside, o.Delay = true, r.IntN(400)
			}
		}
		all = append(all, o)
	}
	return all
}
