//go:build !lab

// The lab's guest has no documents.

package bond

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond/doctable"
)

// TestREADME: what README.md says of the options, and of what is restored, is what the
// tables say.
func TestREADME(t *testing.T) {
	rows := [][]string{{"key", "values", "default", "modes", "meaning"}}
	for _, o := range table {
		key := "`" + strings.Join(o.keys(), "`, `") + "`"
		if o.perLink {
			key = "`links[]." + o.key + "`"
		}
		since := ""
		if o.since != "" {
			since = " Linux " + o.since + " and later."
		}
		for _, value := range slices.Sorted(maps.Keys(o.newer)) {
			since += fmt.Sprintf(" %s: Linux %s and later.", value, o.newer[value])
		}
		rows = append(rows, []string{key, o.kind.values(), defaultOf(t, o), cmp.Or(strings.Join(o.modes, ", "), "all"), o.doc + since})
	}
	doctable.Check(t, "README.md", "options", rows)

	rows = [][]string{{"property", "meaning"}}
	for _, p := range properties {
		rows = append(rows, []string{p.name, p.doc})
	}
	doctable.Check(t, "README.md", "properties", rows)

	rows = [][]string{{"setting", "meaning"}}
	for _, s := range settings {
		rows = append(rows, []string{s.name, s.doc})
	}
	doctable.Check(t, "README.md", "settings", rows)
}

// defaultOf is what holds of an option that nobody gives, in words. What
// ParseOptions adds has to be among them.
func defaultOf(t *testing.T, o option) string {
	t.Helper()
	const first = "bond0-1"
	added, problems := ParseOptions(map[string]json.RawMessage{}, []string{first, "bond0-2"}, nil)
	require.NoError(t, problems.Err())
	words := cmp.Or(o.fallback, added[o.key], o.unset)
	require.NotEmpty(t, words, "%s has no default", o.key)
	if value := added[o.key]; value != first {
		require.Truef(t, strings.HasPrefix(words, value), "the default of %s is %s, and README.md says %s", o.key, value, words)
	}
	return words
}
