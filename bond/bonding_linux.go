package bond

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"
)

// ErrNoBonding is returned when this kernel cannot make bonds.
var ErrNoBonding = errors.New("this kernel has no bonding")

// modprobeTimeout bounds the loading of the module, if the caller's context does
// not end earlier.
const modprobeTimeout = 10 * time.Second

const loaded = "/sys/class/net/bonding_masters"

// HasBonding returns nil if the bonding module is loaded, or if modprobe would find
// it (depmod(8)).
func (System) HasBonding() error {
	if _, err := os.Stat(loaded); err == nil {
		return nil
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoBonding, err)
	}
	return hasModule(os.DirFS("/lib/modules/"+strings.TrimSpace(string(release))), "bonding")
}

// hasModule returns an error if a kernel's modules do not include name.
func hasModule(modules fs.FS, name string) error {
	const index = "modules.dep"
	list, err := fs.ReadFile(modules, index)
	if err != nil {
		return fmt.Errorf("%w: the bonding module is not loaded, and the kernel's modules cannot be listed: %w", ErrNoBonding, err)
	}
	for line := range strings.Lines(string(list)) {
		file, _, _ := strings.Cut(line, ":")
		if base, _, _ := strings.Cut(path.Base(file), ".ko"); base == name {
			if _, err := fs.Stat(modules, strings.TrimPrefix(file, "/")); err != nil {
				return fmt.Errorf("%w: %s lists the bonding module, but its file cannot be read: %w", ErrNoBonding, index, err)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: %s does not list the bonding module", ErrNoBonding, index)
}

// EnableBonding loads the bonding module if it is missing. The kernel would load it
// by itself for the first bond, but would also make a stray bond0 on the host.
func (System) EnableBonding(ctx context.Context) error {
	if _, err := os.Stat(loaded); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, modprobeTimeout)
	defer cancel()
	modprobe := exec.CommandContext(ctx, "modprobe", "bonding", "max_bonds=0")
	modprobe.WaitDelay = time.Second // a child of modprobe may keep its output open
	out, err := modprobe.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: modprobe bonding: %w", ErrNoBonding, ctx.Err())
	default:
		return fmt.Errorf("%w: modprobe bonding: %w: %s", ErrNoBonding, err, strings.TrimSpace(string(out)))
	}
}
