package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/netconf"
)

// ownBond is the target of the link bond. It is a copy of the plugin: whoever copies
// bond-cni to bond writes through the link, and must not overwrite the plugin.
const ownBond = ".multibond-bond"

func (p place) bond() string     { return filepath.Join(p.binDir, netconf.BondCNI) }
func (p place) bondKept() string { return filepath.Join(p.binDir, ".bond.before-multibond") }

// ownsBond reports whether the program for type bond was installed by putBond.
func (p place) ownsBond() bool {
	to, err := os.Readlink(p.bond())
	return err == nil && to == ownBond
}

// putBond installs the plugin for type bond too. Another program of that name stays,
// or is kept under another name if replace is set.
func (p place) putBond(program []byte, replace bool, log *slog.Logger) error {
	_, err := os.Lstat(p.bond())
	foreign := err == nil && !p.ownsBond()
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case foreign && !replace:
		log.Warn("the node has another program for type bond, which is kept (use -replace-bond to replace it)", "file", p.bond())
		return nil
	}
	if err := put(filepath.Join(p.binDir, ownBond), program, 0o755, log); err != nil {
		return err
	}
	if foreign {
		// With a hard link, the name bond always exists. An existing backup is older and stays.
		if err := os.Link(p.bond(), p.bondKept()); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if p.ownsBond() {
		return nil
	}
	next := p.bond() + ".multibond-new"
	if err := errors.Join(atomicfile.Files{}.Remove(next), os.Symlink(ownBond, next)); err != nil {
		return err
	}
	if err := os.Rename(next, p.bond()); err != nil {
		return errors.Join(err, atomicfile.Files{}.Remove(next))
	}
	log.Info("installed", "file", p.bond(), "changed", true)
	return atomicfile.Files{}.SyncDir(p.binDir)
}

// removeBond reverts putBond.
func (p place) removeBond() error {
	if p.ownsBond() {
		err := os.Rename(p.bondKept(), p.bond())
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Remove(p.bond())
		}
		if err != nil {
			return err
		}
	}
	return atomicfile.Files{}.Remove(p.bondKept(), filepath.Join(p.binDir, ownBond))
}
