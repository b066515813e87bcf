//go:build lab

package bond

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReadPortOfVF: the emulated PFs report a speed, and the machine has one
// NUMA node.
func TestReadPortOfVF(t *testing.T) {
	sys := os.DirFS("/sys")
	d, err := ReadDevice(sys, "0000:02:10.2", "")
	require.NoError(t, err)
	assert.Equal(t, Port{Speed: 1000}, ReadPort(sys, d))
}
