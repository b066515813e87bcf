package bond

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// ErrNoBonding means that this kernel can make no bond.
var ErrNoBonding = errors.New("this kernel has no bonding")

// EnableBonding loads the bonding module where it is missing. The kernel would
// load it by itself with the first bond, and make a stray bond0 on the host.
func (System) EnableBonding() error {
	const loaded = "/sys/class/net/bonding_masters"
	if _, err := os.Stat(loaded); err == nil {
		return nil
	}
	out, err := exec.Command("modprobe", "bonding", "max_bonds=0").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: modprobe bonding: %w: %s", ErrNoBonding, err, strings.TrimSpace(string(out)))
	}
	return nil
}
