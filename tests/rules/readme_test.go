package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestREADMENamesTests: each test that tests/README.md names exists.
func TestREADMENamesTests(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	named := testForm.FindAllStringSubmatch(string(text), -1)
	require.GreaterOrEqual(t, len(named), 40)
	existing := names(t)
	for _, name := range named {
		assert.True(t, existing[name[1]], "tests/README.md names %s, which does not exist", name[1])
	}
}

// TestTrust: each line of deploy/README.md that says what somebody cannot do names tests that
// try it, and they exist. So does each line about a name that could be a path.
func TestTrust(t *testing.T) {
	existing := names(t)
	for _, header := range []string{"| who | cannot | tests |", "| what | who chooses it | bound | test |"} {
		rows := tableOf(t, "deploy/README.md", header)
		require.GreaterOrEqual(t, len(rows), 10, header)
		for _, row := range rows {
			named := testForm.FindAllStringSubmatch(row[len(row)-1], -1)
			assert.NotEmpty(t, named, "deploy/README.md: no test tries %q", row)
			for _, name := range named {
				assert.True(t, existing[name[1]], "deploy/README.md names %s, which does not exist", name[1])
			}
		}
	}
}

// tableOf returns the rows of the table with that header, cell by cell.
func tableOf(t *testing.T, document, header string) (rows [][]string) {
	t.Helper()
	lines := documents(t)[document]
	first := slices.Index(lines, header)
	require.GreaterOrEqual(t, first, 0, "%s has no table %s", document, header)
	for _, line := range lines[first+2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows = append(rows, strings.Split(strings.Trim(line, "|"), "|"))
	}
	return rows
}

// testForm matches the name of a test.
var testForm = regexp.MustCompile("`(Test\\w+|\\w+\\.txtar)`")

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
