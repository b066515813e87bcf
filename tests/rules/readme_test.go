package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestREADMENamesTests: each test that tests/README.md names exists.
func TestREADMENamesTests(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	named := regexp.MustCompile("`(Test\\w+|\\w+\\.txtar)`").FindAllStringSubmatch(string(text), -1)
	require.GreaterOrEqual(t, len(named), 40)
	existing := names(t)
	for _, name := range named {
		assert.True(t, existing[name[1]], "tests/README.md names %s, which does not exist", name[1])
	}
}

// names are those of all tests in Go files, and of all scripts.
func names(t *testing.T) map[string]bool {
	existing := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, folder := range []string{"bond", "delegate", "kubeclient", "cmd", "deploy", "tests"} {
		err := filepath.WalkDir("../../"+folder, func(path string, d os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				existing[filepath.Base(path)] = strings.HasSuffix(path, ".txtar")
				return err
			}
			text, err := os.ReadFile(path)
			for _, name := range function.FindAllSubmatch(text, -1) {
				existing[string(name[1])] = true
			}
			return err
		})
		require.NoError(t, err)
	}
	return existing
}
