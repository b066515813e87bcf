package delegate

import (
	"os"
	"strings"
	"testing"

	"github.com/multibond/multibond/delegate/plan"
)

func TestEnded(t *testing.T) {
	m := newMachine(t)
	k := plan.Key{ContainerID: strings.Repeat("0f", 32), IfName: "eth0"}
	m.markEnded(k)
	if !m.hasEnded(k) {
		t.Error("a sandbox that has ended is not known")
	}
	if m.hasEnded(plan.Key{ContainerID: k.ContainerID, IfName: "eth1"}) || m.hasEnded(plan.Key{ContainerID: "c2", IfName: "eth0"}) {
		t.Error("another one is taken for it")
	}
	after := *m.Host
	after.BootID = "another"
	if after.hasEnded(k) {
		t.Error("it is known after the machine was booted again")
	}
	if err := m.unmarkEnded(k); err != nil || m.hasEnded(k) {
		t.Errorf("it is known after it has begun anew: %v", err)
	}
	long := plan.Key{ContainerID: strings.Repeat("c", endedSize), IfName: "eth0"}
	m.markEnded(long)
	if err := m.unmarkEnded(long); err != nil || m.hasEnded(long) {
		t.Errorf("a name that is too long: %v", err)
	}
	// However many end, the file stays as large, and the last is known.
	for i := range 3 * endedSlots {
		k.ContainerID = strings.Repeat("c", 1+i%60) + string(rune('a'+i%26))
		m.markEnded(k)
	}
	if !m.hasEnded(k) {
		t.Error("the last is not known")
	}
	if st, err := os.Stat(m.Store.Dir + "/" + endedFile); err != nil || st.Size() > endedSlots*endedSize {
		t.Errorf("%v, %v", st, err)
	}
}

// TestDelEnded: once all is released, a DEL asks nobody anything, until the
// sandbox is attached again.
func TestDelEnded(t *testing.T) {
	n := newNode(t, bondOf("bond0", vfA, vfB))
	before := n.state()
	for range 2 {
		if _, err := n.AddPod(t.Context(), n.config, n.request()); err != nil {
			t.Fatal(err)
		}
		if n.hasEnded(n.request().Key()) {
			t.Error("an attached sandbox is taken for one that has ended")
		}
		if err := n.DelPod(t.Context(), n.config, n.request()); err != nil {
			t.Fatal(err)
		}
		n.wantState(before)
		calls := len(n.plugins.calls)
		if err := n.DelPod(t.Context(), n.config, n.request()); err != nil || len(n.plugins.calls) != calls {
			t.Errorf("a further DEL: %v, %d calls", err, len(n.plugins.calls)-calls)
		}
	}
}

// TestDelUnknownRefused: the plugins of a container without a Record are called
// until they do not refuse.
func TestDelUnknownRefused(t *testing.T) {
	n := newNode(t)
	n.plugins.missing["bridge"] = true
	for i := range 2 {
		if err := n.DelPod(t.Context(), n.config, n.request()); err != nil {
			t.Fatal(err)
		}
		if got := n.hasEnded(n.request().Key()); got {
			t.Errorf("DEL %d: a plugin could not be called, and the sandbox has ended", i)
		}
	}
	n.plugins.missing["bridge"] = false
	for range 2 {
		if err := n.DelPod(t.Context(), n.config, n.request()); err != nil {
			t.Fatal(err)
		}
	}
	if got := n.plugins.count("bridge", "DEL"); got != 1 {
		t.Errorf("bridge was called %d times", got)
	}
}

// TestDelDoubt: after a DEL that may have left something the next one looks again.
func TestDelDoubt(t *testing.T) {
	for name, spoil := range map[string]func(n *node){
		"a Record is missing": func(n *node) {
			if err := n.Store.Forget(c1); err != nil {
				t.Fatal(err)
			}
		},
		"of another boot": func(n *node) { n.BootID = "boot2" },
		"no Record, no namespace": func(n *node) {
			for _, name := range []string{"eth0", "bond0"} {
				if err := n.Store.Forget(plan.Key{ContainerID: "c1", IfName: name}); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, bondOf("bond0", vfA, vfB))
			if _, err := n.AddPod(t.Context(), n.config, n.request()); err != nil {
				t.Fatal(err)
			}
			spoil(n)
			r := n.request()
			if name == "no Record, no namespace" {
				r.Netns = ""
			}
			if err := n.DelPod(t.Context(), n.config, r); err != nil {
				t.Fatal(err)
			}
			if n.hasEnded(r.Key()) {
				t.Error("the sandbox is taken for one that has ended")
			}
			for range 2 { // the first takes home what is left, and warns of what nobody knows
				if err := n.DelPod(t.Context(), n.config, n.request()); err != nil {
					t.Fatal(err)
				}
			}
			if !n.hasEnded(r.Key()) {
				t.Error("the sandbox is not taken for one that has ended")
			}
		})
	}
}
