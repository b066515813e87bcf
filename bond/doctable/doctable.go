// Package doctable keeps a table in a document equal to what the code says. Only
// tests use it.
//
// It stands in bond because imports run cmd -> kubeclient -> delegate -> bond, and
// each of these has such a table.
package doctable

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the tables into the documents")

// Check compares rows, the first of which is the head, with the table of that
// name in file. With -update it writes them there.
func Check(t *testing.T, file, name string, rows [][]string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	const end = "<!-- end of the table -->\n"
	before, rest, begins := strings.Cut(string(data), "<!-- table "+name+", ")
	how, rest, _ := strings.Cut(rest, " -->\n")
	found, after, ends := strings.Cut(rest, end)
	require.Truef(t, begins && ends, "%s has no table %s", file, name)
	want := markdown(rows)
	if *update {
		text := before + "<!-- table " + name + ", " + how + " -->\n" + want + end + after
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		return
	}
	require.Equal(t, want, found, "%s: %s", file, how)
}

// markdown is a table as GitHub's markdown has it.
func markdown(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String()
}
