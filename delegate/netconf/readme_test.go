package netconf

import (
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond/doctable"
)

// TestREADME checks that the requirements in delegate/README.md are those of the table.
func TestREADME(t *testing.T) {
	rows := [][]string{{"key", "default", "what is required"}}
	for _, r := range Requirements {
		rows = append(rows, []string{"`" + r.Key + "`", r.Level, r.Doc})
	}
	doctable.Check(t, "../README.md", "requirements", rows)
}

// TestKeysAreDocumented checks that every key that is read is in the document of its
// configuration.
func TestKeysAreDocumented(t *testing.T) {
	for file, keys := range map[string][]string{
		"../README.md":               slices.Concat(topKeys, linkKeys),
		"../../kubeclient/README.md": clusterKeys,
	} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, key := range keys {
			assert.Containsf(t, string(text), "`"+key+"`", "%s has no %s", file, key)
		}
	}
}
