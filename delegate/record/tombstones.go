package record

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"github.com/multibond/multibond/delegate/plan"
)

// The tombstones are in one file, each at its hash. A new one replaces the one that was
// there.
const (
	tombstonesFile = "ended"
	tombstoneSlots = 1024
	tombstoneSize  = 256 // of a slot, in bytes
)

// Tombstones are the sandboxes that have nothing left to undo. Runtimes send DEL two or
// three times, and with a tombstone the further ones ask nobody anything. Without one a
// DEL does everything again, so tombstones are not synced, and are valid for one boot.
type Tombstones struct {
	file   string
	bootID string
}

// Tombstones returns the tombstones of one boot.
func (s Store) Tombstones(bootID string) Tombstones {
	return Tombstones{file: filepath.Join(s.Dir, tombstonesFile), bootID: bootID}
}

// slot returns where the tombstone of a sandbox is, and its content. text is nil if the
// content would be too long.
func (t Tombstones) slot(k plan.Key) (at int64, text []byte) {
	text = fmt.Appendf(nil, "%s %s", t.bootID, k)
	if len(text) > tombstoneSize {
		return 0, nil
	}
	sum := fnv.New32a()
	sum.Write([]byte(k.String()))
	return int64(sum.Sum32()%tombstoneSlots) * tombstoneSize, append(text, make([]byte, tombstoneSize-len(text))...)
}

// Has reports whether a sandbox is known to have nothing left to undo.
func (t Tombstones) Has(k plan.Key) bool {
	at, text := t.slot(k)
	file, err := os.Open(t.file)
	if err != nil {
		return false
	}
	defer file.Close()
	there := make([]byte, tombstoneSize)
	n, _ := file.ReadAt(there, at)
	return n == tombstoneSize && bytes.Equal(there, text)
}

// Put records that a sandbox has nothing left to undo. Without a tombstone a further DEL
// does everything again, so it is no error if it cannot be written.
func (t Tombstones) Put(k plan.Key) {
	if at, text := t.slot(k); text != nil {
		_ = t.write(at, text)
	}
}

// Drop removes the tombstone of a sandbox.
func (t Tombstones) Drop(k plan.Key) error {
	if !t.Has(k) {
		return nil
	}
	at, _ := t.slot(k)
	return t.write(at, make([]byte, tombstoneSize))
}

func (t Tombstones) write(at int64, text []byte) error {
	file, err := os.OpenFile(t.file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt(text, at)
	return err
}
