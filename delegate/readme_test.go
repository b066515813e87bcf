package delegate

import (
	cli "flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = cli.Bool("update", false, "write the table of requirements into the README")

const (
	readme     = "../README.md"
	tableBegin = "<!-- made from the table in delegate/require.go: go test ./delegate -run README -update -->\n"
	tableEnd   = "<!-- end of the requirements -->\n"
)

// TestREADME: what the README says of the requirements is what the table says.
func TestREADME(t *testing.T) {
	data, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(data), tableBegin)
	found, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		t.Fatalf("%s has no table between %q and %q", readme, tableBegin, tableEnd)
	}
	want := "| `require` | default | what is required, and why |\n|---|---|---|\n"
	for _, r := range requirements {
		want += fmt.Sprintf("| `%s` | %s | %s. |\n", r.key, r.level, r.doc)
	}
	if *update {
		if err := os.WriteFile(readme, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if found != want {
		t.Errorf("%s differs from the table in require.go; run: go test ./delegate -run README -update\nit has:\n%s\nwanted is:\n%s", readme, found, want)
	}
}
