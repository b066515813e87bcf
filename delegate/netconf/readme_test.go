package netconf

import (
	"testing"

	"github.com/multibond/multibond/bond/doctable"
)

// TestREADME: what delegate/README.md says of the requirements is what the table
// says.
func TestREADME(t *testing.T) {
	rows := [][]string{{"key", "default", "what is required"}}
	for _, r := range Requirements {
		rows = append(rows, []string{"`" + r.Key + "`", r.Level, r.Doc})
	}
	doctable.Check(t, "../README.md", "requirements", rows)
}
