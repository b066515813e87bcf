//go:build lab

package bond

import (
	"os"
	"testing"
)

// TestReadPortOfVF: the emulated PFs have a speed, and the machine one node.
func TestReadPortOfVF(t *testing.T) {
	sys := os.DirFS("/sys")
	d, err := ReadDevice(sys, "0000:02:10.2")
	noError(t, "the VF", err)
	equal(t, "its port", Port{Speed: 1000}, ReadPort(sys, d))
}
