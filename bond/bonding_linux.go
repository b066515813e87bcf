package bond

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// ErrNoBonding means that this kernel can make no bond.
var ErrNoBonding = errors.New("this kernel has no bonding")

// modprobeTimeout bounds the loading of the module, where the caller's context
// leaves more time.
const modprobeTimeout = 10 * time.Second

// EnableBonding loads the bonding module where it is missing. The kernel would
// load it by itself with the first bond, and make a stray bond0 on the host.
func (System) EnableBonding(ctx context.Context) error {
	const loaded = "/sys/class/net/bonding_masters"
	if _, err := os.Stat(loaded); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, modprobeTimeout)
	defer cancel()
	modprobe := exec.CommandContext(ctx, "modprobe", "bonding", "max_bonds=0")
	modprobe.WaitDelay = time.Second // what modprobe started may keep its output open
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
