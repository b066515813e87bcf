package delegate

import (
	"encoding/json"
	"path/filepath"
	"strings"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/plan"
)

// maxPath is PATH_MAX of include/uapi/linux/limits.h.
const maxPath = 4096

// maxCache bounds what sriov-cni keeps of an attachment: the configuration that it
// was given, and what was before, in bytes.
const maxCache = 1 << 20

// netnsOf is the path of the namespace that sriov-cni has noted for a VF; "" where
// it has none.
func (h *Host) netnsOf(device string) string {
	note, err := atomicfile.Read(filepath.Join(h.SRIOV, "pci", device), maxPath)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(note))
}

// removeCorruptCache removes what sriov-cni keeps of an attachment where that cannot be
// read: it was killed while it wrote it, refuses every DEL since then, and would
// keep it for ever. That it stays keeps no pod.
func (h *Host) removeCorruptCache(k plan.Key, o *outcome) {
	file := filepath.Join(h.SRIOV, k.ContainerID+"-"+k.IfName)
	kept, err := atomicfile.Read(file, maxCache)
	if err != nil || json.Valid(kept) {
		return
	}
	o.warn("%s is torn, which sriov-cni does not get over; it is removed", file)
	if err := atomicfile.Remove(file); err != nil {
		o.leave("%v", err)
	}
}
