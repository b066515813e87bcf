package record

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/delegate/plan"
)

func TestTombstones(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	tombs := s.Tombstones("boot1")
	k := plan.Key{ContainerID: strings.Repeat("0f", 32), IfName: "eth0"}
	tombs.Put(k)
	assert.True(t, tombs.Has(k), "a sandbox that has ended is not known")
	assert.False(t, tombs.Has(plan.Key{ContainerID: k.ContainerID, IfName: "eth1"}), "another one is taken for it")
	assert.False(t, tombs.Has(plan.Key{ContainerID: "c2", IfName: "eth0"}), "another one is taken for it")
	assert.False(t, s.Tombstones("another").Has(k), "it is known after the machine was booted again")
	assert.NoError(t, tombs.Drop(k))
	assert.False(t, tombs.Has(k), "it is known after it has begun anew")
	long := plan.Key{ContainerID: strings.Repeat("c", tombstoneSize), IfName: "eth0"}
	tombs.Put(long)
	assert.NoError(t, tombs.Drop(long))
	assert.False(t, tombs.Has(long), "a name that is too long")
	// However many end, the file stays as large, and the last is known.
	for i := range 3 * tombstoneSlots {
		k.ContainerID = strings.Repeat("c", 1+i%60) + string(rune('a'+i%26))
		tombs.Put(k)
	}
	assert.True(t, tombs.Has(k), "the last is not known")
	st, err := os.Stat(tombs.file)
	assert.NoError(t, err)
	assert.LessOrEqual(t, st.Size(), int64(tombstoneSlots*tombstoneSize))
}

// TestTombstoneSize: a sandbox whose names just fit has a tombstone, and one whose names do
// not fit has none.
func TestTombstoneSize(t *testing.T) {
	stones := Store{Dir: t.TempDir()}.Tombstones("boot")
	for size, want := range map[int]bool{tombstoneSize: true, tombstoneSize + 1: false} {
		k := plan.Key{ContainerID: strings.Repeat("c", size-len("boot :bond0")), IfName: "bond0"}
		stones.Put(k)
		assert.Equal(t, want, stones.Has(k), size)
	}
}
