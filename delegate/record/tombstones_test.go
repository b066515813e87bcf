package record

import (
	"os"
	"strings"
	"testing"

	"github.com/multibond/multibond/delegate/plan"
)

func TestTombstones(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	tombs := s.Tombstones("boot1")
	k := plan.Key{ContainerID: strings.Repeat("0f", 32), IfName: "eth0"}
	tombs.Put(k)
	if !tombs.Has(k) {
		t.Error("a sandbox that has ended is not known")
	}
	if tombs.Has(plan.Key{ContainerID: k.ContainerID, IfName: "eth1"}) || tombs.Has(plan.Key{ContainerID: "c2", IfName: "eth0"}) {
		t.Error("another one is taken for it")
	}
	if s.Tombstones("another").Has(k) {
		t.Error("it is known after the machine was booted again")
	}
	if err := tombs.Drop(k); err != nil || tombs.Has(k) {
		t.Errorf("it is known after it has begun anew: %v", err)
	}
	long := plan.Key{ContainerID: strings.Repeat("c", tombstoneSize), IfName: "eth0"}
	tombs.Put(long)
	if err := tombs.Drop(long); err != nil || tombs.Has(long) {
		t.Errorf("a name that is too long: %v", err)
	}
	// However many end, the file stays as large, and the last is known.
	for i := range 3 * tombstoneSlots {
		k.ContainerID = strings.Repeat("c", 1+i%60) + string(rune('a'+i%26))
		tombs.Put(k)
	}
	if !tombs.Has(k) {
		t.Error("the last is not known")
	}
	if st, err := os.Stat(tombs.file); err != nil || st.Size() > tombstoneSlots*tombstoneSize {
		t.Errorf("%v, %v", st, err)
	}
}
