package record

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/plan"
)

// TestOwed: DEL executes the plugins of the links that were begun and are not restored, IPAM
// if it was asked, and the plugins after the bond.
func TestOwed(t *testing.T) {
	rec := Record{
		Plan: plan.Plan{IPAM: "host-local", Links: []plan.Link{
			{Name: "restored", Plugins: make([]netconf.Plugin, 1)}, {Name: "begun", Plugins: make([]netconf.Plugin, 2)}, {Name: "never begun", Plugins: make([]netconf.Plugin, 4)},
		}},
		Started: []string{"restored", "begun"}, Restored: []string{"restored"},
	}
	assert.Equal(t, 2, rec.Owed())
	rec.IPAMAsked, rec.After = true, []int{0, 1}
	assert.Equal(t, 5, rec.Owed())
}
