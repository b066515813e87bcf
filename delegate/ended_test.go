package delegate

import (
	"strings"
	"testing"
)

func TestEnded(t *testing.T) {
	m := newMachine(t)
	k := Key{strings.Repeat("0f", 32), "eth0"}
	m.ended(k)
	if !m.hasEnded(k) {
		t.Error("a sandbox that has ended is not known")
	}
	if m.hasEnded(Key{k.ContainerID, "eth1"}) || m.hasEnded(Key{"c2", "eth0"}) {
		t.Error("another one is taken for it")
	}
	after := *m.Host
	after.BootID = "another"
	if after.hasEnded(k) {
		t.Error("it is known after the machine was booted again")
	}
	if err := m.begins(k); err != nil || m.hasEnded(k) {
		t.Errorf("it is known after it has begun anew: %v", err)
	}
	long := Key{strings.Repeat("c", endedSize), "eth0"}
	m.ended(long)
	if err := m.begins(long); err != nil || m.hasEnded(long) {
		t.Errorf("a name that is too long: %v", err)
	}
	// However many end, the file stays as large, and the last is known.
	for i := range 3 * endedSlots {
		k.ContainerID = strings.Repeat("c", 1+i%60) + string(rune('a'+i%26))
		m.ended(k)
	}
	if !m.hasEnded(k) {
		t.Error("the last is not known")
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
	for want := range 2 {
		if err := n.DelPod(t.Context(), n.config, n.request()); err != nil {
			t.Fatal(err)
		}
		if got := n.hasEnded(n.request().Key()); got {
			t.Errorf("DEL %d: a plugin could not be called, and the sandbox has ended", want)
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
