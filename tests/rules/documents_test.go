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

const root = "../.."

// documents are all .md files of the project, by their path from its root, with
// their lines outside of code.
func documents(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "build" || d.Name() == "testdata" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		found[name] = prose(string(text))
		return err
	})
	require.NoError(t, err)
	require.Greater(t, len(found), 5)
	return found
}

// prose is a document without its blocks of code.
func prose(text string) (lines []string) {
	fenced := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence {
			fenced = !fenced
		}
		if !fenced && !fence && !strings.HasPrefix(line, "    ") {
			lines = append(lines, line)
		}
	}
	return lines
}

var (
	linkForm    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingForm = regexp.MustCompile(`^#+ (.*)$`)
	pathForm    = regexp.MustCompile("`((?:bond|cmd|delegate|deploy|kubeclient|tests)/[\\w./-]+)`")
)

// TestLinks: every relative link and every anchor leads somewhere, and every
// path of the project that a document names exists.
func TestLinks(t *testing.T) {
	all := documents(t)
	for name, lines := range all {
		text := strings.Join(lines, "\n")
		for _, link := range linkForm.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			assert.FileExistsf(t, filepath.Join(root, target), "%s links to %s", name, link[1])
			if anchor != "" {
				assert.Containsf(t, anchors(all[target]), anchor, "%s links to %s", name, link[1])
			}
		}
		for _, path := range pathForm.FindAllStringSubmatch(text, -1) {
			_, err := os.Stat(filepath.Join(root, path[1]))
			assert.NoErrorf(t, err, "%s names %s", name, path[1])
		}
	}
}

// anchors are those that GitHub makes of a document's headings.
func anchors(lines []string) (out []string) {
	for _, line := range lines {
		heading := headingForm.FindStringSubmatch(line)
		if heading == nil {
			continue
		}
		out = append(out, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z':
				return r
			}
			return -1
		}, strings.ToLower(heading[1])))
	}
	return out
}

// TestDoor: the first page is one that people read to its end.
func TestDoor(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	assert.LessOrEqual(t, strings.Count(string(text), "\n"), 120, "README.md is a door: the rest belongs next to the code that it describes")
}

// TestCells: a table is read across, so what needs more than a line is a
// paragraph below it. Where a link leads does not count.
func TestCells(t *testing.T) {
	const most = 125
	for name, lines := range documents(t) {
		for _, line := range lines {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			for cell := range strings.SplitSeq(linkForm.ReplaceAllString(line, "]"), "|") {
				assert.LessOrEqualf(t, len(strings.TrimSpace(cell)), most, "%s: a cell: %s", name, cell)
			}
		}
	}
}
