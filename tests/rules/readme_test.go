package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestREADMENamesTests: each test that tests/README.md names exists.
func TestREADMENamesTests(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+|\\w+\\.txtar)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 40 {
		t.Fatalf("found %d names only", len(named))
	}
	existing := names(t)
	for _, name := range named {
		if !existing[name[1]] {
			t.Errorf("tests/README.md names %s, which does not exist", name[1])
		}
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
		if err != nil {
			t.Fatal(err)
		}
	}
	return existing
}
