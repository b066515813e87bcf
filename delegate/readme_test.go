package delegate

import (
	"testing"

	"github.com/multibond/multibond/bond/doctable"
)

// TestREADME: what README.md says of the requirements is what the table says.
func TestREADME(t *testing.T) {
	rows := [][]string{{"key", "default", "what is required"}}
	for _, r := range requirements {
		rows = append(rows, []string{"`" + r.key + "`", r.level, r.doc})
	}
	doctable.Check(t, "README.md", "requirements", rows)
}
