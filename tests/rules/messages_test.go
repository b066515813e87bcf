package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// messageTables are the headings below which a table's first column quotes
// messages.
var messageTables = map[string][]string{"delegate/README.md": {"### Messages", "### A pod stays in Terminating"}}

// TestMessages: each message that a document quotes begins as a string of the code
// does, so that who looks for the message finds the row. In the document "..." stands
// for any words. What stands before a colon may be of another string.
func TestMessages(t *testing.T) {
	formats := formats(t)
	for name, headings := range messageTables {
		for _, heading := range headings {
			quotes := quotedBelow(t, name, heading)
			require.NotEmpty(t, quotes, "%s: %s", name, heading)
			for _, quote := range quotes {
				assert.True(t, isQuoted(strings.Fields(quote), formats), "%s: no string of the code begins like %q", name, quote)
			}
		}
	}
}

var (
	codeForm = regexp.MustCompile("`([^`]+)`")
	hintForm = regexp.MustCompile(` \([^()]*\)$`) // a string of its own
)

// quotedBelow returns the messages in the first column of the table below a heading:
// code with at least three words of its own.
func quotedBelow(t *testing.T, name, heading string) (quotes []string) {
	text, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(text), "\n"+heading+"\n")
	section, _, _ = strings.Cut(section, "\n#")
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, code := range codeForm.FindAllStringSubmatch(cells[1], -1) {
			quote := hintForm.ReplaceAllString(code[1], "")
			own := slices.DeleteFunc(strings.Fields(quote), func(word string) bool { return word == "..." || strings.HasSuffix(word, ":") })
			if len(own) >= 3 {
				quotes = append(quotes, quote)
			}
		}
	}
	return quotes
}

// formats returns the strings of the programs, in words.
func formats(t *testing.T) (out [][]string) {
	for _, dir := range []string{"bond", "delegate", "kubeclient", "cmd"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, is := n.(*ast.BasicLit); is && lit.Kind == token.STRING {
					text, _ := strconv.Unquote(lit.Value)
					out = append(out, strings.Fields(text))
				}
				return true
			})
			return nil
		}))
	}
	return out
}

// isQuoted reports whether the quote, or what follows one of its colons, begins like a
// message of one of the formats.
func isQuoted(quote []string, formats [][]string) bool {
	for i := range quote {
		if i > 0 && !strings.HasSuffix(quote[i-1], ":") {
			continue
		}
		for _, format := range formats {
			if begins(quote[i:], format, 3) {
				return true
			}
		}
	}
	return false
}

var verbForm = regexp.MustCompile(`^\W?%[.\d]*[a-z]\W*$`)

// begins reports whether the quote and a message of the format are the same as far as
// the shorter of them goes, with at least so many words of the format. A verb in the
// format, and "..." in the quote, stand for any words.
func begins(quote, format []string, words int) bool {
	switch {
	case len(quote) == 0 || len(format) == 0:
		return words <= 0
	case quote[0] == "...":
		return slices.ContainsFunc(ends(format), func(rest []string) bool { return begins(quote[1:], rest, words) })
	case verbForm.MatchString(format[0]):
		return slices.ContainsFunc(ends(quote), func(rest []string) bool { return begins(rest, format[1:], words) })
	}
	return isWord(quote[0], format[0]) && begins(quote[1:], format[1:], words-1)
}

// ends returns what is left of a list without its first 0, 1, ... elements.
func ends(list []string) (out [][]string) {
	for i := range len(list) + 1 {
		out = append(out, list[i:])
	}
	return out
}

// isWord reports whether a word can be one of a format, which may have verbs in it.
// What follows in the message, or in the document, may differ, and so the punctuation.
func isWord(word, format string) bool {
	word, format = strings.TrimRight(word, ":;,"), strings.TrimRight(format, ":;,")
	first, rest, verb := strings.Cut(format, "%")
	if !verb {
		return word == format
	}
	last := rest[strings.LastIndex(rest, "%")+1:]
	return strings.HasPrefix(word, first) && len(last) > 0 && strings.HasSuffix(word, last[1:])
}
