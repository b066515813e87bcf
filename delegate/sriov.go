package delegate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// sriov is the type of sriov-cni. Since its release 2.7 it notes for each VF which
// network namespace has it, and refuses to attach the VF as long as that path exists.
// The note is a file of the VF's PCI address in the directory pci. Whoever changes it
// holds a lock on a file in pci/vf_lock, which stays.
const sriov = "sriov"

// maxPath is PATH_MAX of include/uapi/linux/limits.h.
const maxPath = 4096

// maxCache is the most that sriov-cni keeps of an attachment, in bytes: its
// configuration, and the state before.
const maxCache = 1 << 20

// netnsOf returns the path of the namespace that sriov-cni has noted for a VF, or "".
func (h *Host) netnsOf(device string) string {
	note, err := atomicfile.Read(h.noteOf(device), maxPath)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(note))
}

func (h *Host) noteOf(device string) string { return filepath.Join(h.SRIOV, "pci", device) }

// keepsNotes reports whether a plugin is a sriov-cni that keeps notes.
func (h *Host) keepsNotes(p netconf.Plugin) bool {
	_, err := os.Stat(filepath.Join(h.SRIOV, "pci"))
	return p.Type == sriov && err == nil
}

// netnsOfDel returns the namespace that a plugin of a link is told at DEL: netns, or none
// if the plugin is a sriov-cni that keeps notes and Multibond restores the VF itself. The
// plugin then frees what it keeps of the attachment and leaves the VF alone. Otherwise
// the releases after 2.10 would have the PF set the MAC that the PF has reported, even
// if the VF has chosen that MAC: the VF could have no other from then on.
func (w *wayBack) netnsOfDel(p netconf.Plugin, l plan.Link, netns string) string {
	if l.VFBefore != nil && w.keepsNotes(p) {
		return netnsUntold
	}
	return netns
}

// removeCache removes sriov-cni's file of an attachment, if sriov-cni does not: its DEL has
// failed, or was ended because it took too long. A sriov-cni that keeps no notes does not do
// so at DEL without a namespace, either: freed is true then. Nobody else needs that file.
func (w *wayBack) removeCache(l plan.Link, failed error, freed bool) error {
	var files []string
	for _, p := range l.Plugins {
		if p.Type == sriov && (failed != nil || freed && !w.keepsNotes(p)) {
			files = append(files, filepath.Join(w.SRIOV, w.rec.Plan.ContainerID+"-"+l.Name))
		}
	}
	return w.Store.Files.Remove(files...)
}

// removeNote removes sriov-cni's note that a link's VF is in the namespace at netns. It
// is called when the VF has been taken out of there. If another pod or program can have
// the VF by now, the note stays.
func (h *Host) removeNote(ctx context.Context, host bond.Namespace, l plan.Link, netns string) error {
	device := cmp.Or(l.Held, l.Device)
	if h.netnsOf(device) != netns {
		return nil
	}
	unlock, err := h.lockNote(ctx, device)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := bond.SurveyDevice(h.Sys, host, device, "")
	if err != nil || h.netnsOf(device) != netns {
		return err
	}
	if now.Link == nil && now.Driver != "" && (now.Driver != l.Driver || !now.Userspace()) {
		return nil
	}
	return h.Store.Files.Remove(h.noteOf(device))
}

// lockNote locks the note of a VF as sriov-cni does. A release that does not lock has no
// file for it.
func (h *Host) lockNote(ctx context.Context, device string) (unlock func(), err error) {
	const pause = 20 * time.Millisecond
	file, err := os.Open(filepath.Join(h.SRIOV, "pci", "vf_lock", device+".lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(h.Limbo.Wait); ; time.Sleep(pause) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) || !errors.Is(err, unix.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("%s is still locked by another process, and the VF cannot be attached again until %s is removed: %w", file.Name(), h.noteOf(device), err)
		}
	}
}

// removeCorruptCache removes sriov-cni's file of an attachment if the file cannot be
// read. sriov-cni was killed while it wrote the file. Since then it refuses every DEL, or
// does nothing in newer releases, and would keep the file for ever. It is no error if the
// file cannot be removed.
func (h *Host) removeCorruptCache(k plan.Key, o *outcome) {
	file := filepath.Join(h.SRIOV, k.ContainerID+"-"+k.IfName)
	kept, err := atomicfile.Read(file, maxCache)
	if err != nil || json.Valid(kept) {
		return
	}
	o.warn("%s is incomplete, and sriov-cni cannot recover from that; the file is removed", file)
	if err := h.Store.Files.Remove(file); err != nil {
		o.leave("%v", err)
	}
}
