package conformance

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/bond/doctable"
)

// reason says why Multibond does something else than Multus.
type reason struct{ key, multus, multibond string }

// reasons are all differences. Each is that of a case.
var reasons = []reason{
	{"del-as-add", "DEL of a delegate lacks what the annotation asked for", "as ADD, as CNI requires: `CNI_ARGS` and `runtimeConfig`"},
	{"unused-values", "ignores values that no plugin takes", "the event `NetworksWarned`; with `strict`, an error"},
	{"failure-events", "most failures are in the runtime's events only", "the event `NetworksFailed`"},
	{"early-failure", "attaches networks until one fails, and detaches them", "finds what is wrong in an annotation before it attaches any"},
	{"mac-spelling", "passes a MAC on as it is written", "in the kernel's spelling"},
	{"device-of-annotation", "ignores `deviceID` of the annotation if the NAD has a resource", "takes that device, if the pod has it"},
	{"foreign-device", "takes `deviceID` of the annotation, anybody's device", "refuses a device that the pod does not have"},
	{"sriov-needs-device", "calls sriov-cni without a device, which fails", "fails before any network is attached, and names the resource"},
}

var reasonOf = func() map[string]reason {
	all := map[string]reason{}
	for _, r := range reasons {
		all[r.key] = r
	}
	return all
}()

// TestReasons checks that kubeclient/README.md has all reasons, and that a case shows each.
func TestReasons(t *testing.T) {
	shown := map[string]bool{}
	for _, c := range readCases(t) {
		for _, key := range c.why {
			shown[key] = true
		}
	}
	rows := [][]string{{"Multus", "Multibond"}}
	for _, r := range reasons {
		assert.True(t, shown[r.key], "no case shows %s", r.key)
		rows = append(rows, []string{r.multus, r.multibond})
	}
	doctable.Check(t, "../../kubeclient/README.md", "multus", rows)
}
