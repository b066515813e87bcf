//go:build !lab

// The lab's guest has no documents.

package bondfake_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond/doctable"
)

// TestEachPropertyIsRestored: each property that the README names is changed and restored
// by a step of the script, on the fake and on the lab's kernels.
func TestEachPropertyIsRestored(t *testing.T) {
	var tested []string
	for _, c := range ofPods {
		tested = append(tested, c.property)
	}
	assert.Equal(t, doctable.Keys(t, "../README.md", "properties"), tested)
}
