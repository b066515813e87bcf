package delegate

import (
	"testing"

	"github.com/multibond/multibond/bond/doctable"
	"github.com/multibond/multibond/delegate/netconf"
)

// TestREADME: what README.md says of the requirements is what the table says.
func TestREADME(t *testing.T) {
	rows := [][]string{{"key", "default", "what is required"}}
	for _, r := range netconf.Requirements {
		rows = append(rows, []string{"`" + r.Key + "`", r.Level, r.Doc})
	}
	doctable.Check(t, "README.md", "requirements", rows)
}
