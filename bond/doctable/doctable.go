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
	before, how, found, after := read(t, file, name)
	want := markdown(rows)
	if *update {
		text := before + "<!-- table " + name + ", " + how + " -->\n" + want + end + after
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		return
	}
	require.Equal(t, want, found, "%s: %s", file, how)
}

const end = "<!-- end of the table -->\n"

// read returns the table of that name in file, what is around it, and how it is made.
func read(t *testing.T, file, name string) (before, how, table, after string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, begins := strings.Cut(string(data), "<!-- table "+name+", ")
	how, rest, _ = strings.Cut(rest, " -->\n")
	table, after, ends := strings.Cut(rest, end)
	require.Truef(t, begins && ends, "%s has no table %s", file, name)
	return before, how, table, after
}

// Keys returns the first column of the table of that name in file, without its head.
func Keys(t *testing.T, file, name string) (keys []string) {
	t.Helper()
	_, _, table, _ := read(t, file, name)
	for _, row := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
		key, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		keys = append(keys, key)
	}
	return keys
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

// File compares text with a file. With -update it writes the file. how is the command that
// does that.
func File(t *testing.T, file, text, how string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		return
	}
	found, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(found), text, "%s is made by: %s", file, how)
}
