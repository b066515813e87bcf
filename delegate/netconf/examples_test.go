package netconf

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExamples checks that every network that a document or an example shows is accepted
// without a warning.
func TestExamples(t *testing.T) {
	const root = "../.."
	files, err := filepath.Glob(root + "/deploy/examples/*.yaml")
	require.NoError(t, err)
	files = append(files, root+"/README.md", root+"/delegate/README.md")
	object := `\{[^{}]*\}`
	for range 3 { // objects in objects, as links in plugins
		object = `\{(?:[^{}]|` + object + `)*\}`
	}
	config := regexp.MustCompile(`(?m)^ *` + object)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, raw := range config.FindAllString(string(text), -1) {
			if !strings.Contains(raw, `"type": "multibond"`) || !json.Valid([]byte(raw)) {
				continue
			}
			found++
			n, err := ParseNetwork([]byte(raw), "bond0")
			require.NoErrorf(t, err, "%s: %s", file, raw)
			require.Emptyf(t, n.Warnings, "%s: %s", file, raw)
		}
	}
	require.GreaterOrEqual(t, found, 5)
}
