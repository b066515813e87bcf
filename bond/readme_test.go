//go:build !lab

// The lab's guest has no README.

package bond

import (
	cli "flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = cli.Bool("update", false, "write the option table into the README")

const (
	readme     = "../README.md"
	tableBegin = "<!-- made from the table in bond/option.go: go test ./bond -run README -update -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

// TestREADME: what the README says of the options is what the table says.
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
	want := optionTable()
	if *update {
		if err := os.WriteFile(readme, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if found != want {
		t.Errorf("%s differs from the table in option.go; run: go test ./bond -run README -update\nit has:\n%s\nwanted is:\n%s", readme, found, want)
	}
}

func optionTable() string {
	var b strings.Builder
	b.WriteString("| key | values | modes | meaning |\n|---|---|---|---|\n")
	for _, o := range table {
		modes := "all"
		if len(o.modes) > 0 {
			modes = strings.Join(o.modes, ", ")
		}
		since := ""
		if o.since != "" {
			since = " Linux " + o.since + " and later."
		}
		key := strings.Join(o.keys(), "`, `")
		if o.perLink {
			key = "links[]." + key
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", key, o.kind.values(), modes, o.doc+since)
	}
	return b.String()
}
