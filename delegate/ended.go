package delegate

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"github.com/multibond/multibond/delegate/plan"
)

// The sandboxes that have ended are kept in one file, each at its hash, in place
// of one that was there: runtimes send DEL two or three times, and the further
// ones then ask nobody anything. What is not in it costs a DEL that does all
// again; so it is not synced, and holds for one boot.
const (
	endedFile  = "ended"
	endedSlots = 1024
	endedSize  = 256 // of a slot, in bytes
)

// endedSlot is where a sandbox is kept and what stands there; nil where it is too
// long for that.
func (h *Host) endedSlot(k plan.Key) (at int64, text []byte) {
	text = fmt.Appendf(nil, "%s %s", h.BootID, k)
	if len(text) > endedSize {
		return 0, nil
	}
	sum := fnv.New32a()
	sum.Write([]byte(k.String()))
	return int64(sum.Sum32()%endedSlots) * endedSize, append(text, make([]byte, endedSize-len(text))...)
}

// hasEnded says whether a sandbox has nothing left to undo.
func (h *Host) hasEnded(k plan.Key) bool {
	at, text := h.endedSlot(k)
	file, err := os.Open(filepath.Join(h.Store.Dir, endedFile))
	if err != nil {
		return false
	}
	defer file.Close()
	there := make([]byte, endedSize)
	n, _ := file.ReadAt(there, at)
	return n == endedSize && bytes.Equal(there, text)
}

// markEnded remembers that a sandbox has nothing left to undo.
func (h *Host) markEnded(k plan.Key) {
	if at, text := h.endedSlot(k); text != nil {
		_ = h.writeEnded(at, text)
	}
}

// unmarkEnded forgets that a sandbox has ended.
func (h *Host) unmarkEnded(k plan.Key) error {
	if !h.hasEnded(k) {
		return nil
	}
	at, _ := h.endedSlot(k)
	return h.writeEnded(at, make([]byte, endedSize))
}

func (h *Host) writeEnded(at int64, text []byte) error {
	file, err := os.OpenFile(filepath.Join(h.Store.Dir, endedFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt(text, at)
	return err
}
