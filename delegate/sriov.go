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

// maxCache is the most that sriov-cni keeps of an attachment, in bytes: its
// configuration, and the state before.
const maxCache = 1 << 20

// netnsOf returns the path of the namespace that sriov-cni has noted for a VF, or "".
func (h *Host) netnsOf(device string) string {
	note, err := atomicfile.Read(filepath.Join(h.SRIOV, "pci", device), maxPath)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(note))
}

// removeCorruptCache removes sriov-cni's file of an attachment if the file cannot be
// read. sriov-cni was killed while it wrote the file, refuses every DEL since then, and
// would keep the file for ever. It is no error if the file cannot be removed.
func (h *Host) removeCorruptCache(k plan.Key, o *outcome) {
	file := filepath.Join(h.SRIOV, k.ContainerID+"-"+k.IfName)
	kept, err := atomicfile.Read(file, maxCache)
	if err != nil || json.Valid(kept) {
		return
	}
	o.warn("%s is incomplete, and sriov-cni cannot recover from that; the file is removed", file)
	if err := atomicfile.Remove(file); err != nil {
		o.leave("%v", err)
	}
}
