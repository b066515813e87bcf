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
	{"detached-once", "an ADD that fails calls DEL of each network, and the runtime's DEL does it again", "each is detached once"},
	{"del-unattached", "DEL of a pod without networks is DEL of all that its annotation names", "DEL of what was attached, or of the default network"},
	{"default-route", "`default-route` leaves the old default route, and the status of the default network", "it moves; result, status and, if the cluster is cut off, `NetworksWarned` say so"},
	{"entry", "no `interface`, or no entry, in the status of a result without an interface of the pod", "an entry with the interface that was asked for"},
	{"nil-gateway", "the gateway of a default route without one is `<nil>`", "it is left out"},
	{"result-version", "the result is in the version of the default network's configuration", "in that of the cluster's configuration, as CNI requires"},
	{"no-version", "a configuration without `cniVersion` is handed on with an empty one", "with 0.3.1"},
	{"rewritten", "a list from a file is written anew, with keys such as `ipam`", "handed on as it is"},
	{"runtime-config", "the kubelet's port mappings and bandwidth go to all networks", "to the default network, as the standard requires"},
	{"file-warning", "a name in `clusterNetwork` that is a file's, and no NAD's, is a Warning event", "it is none"},
	{"args-values", "a value in `CNI_ARGS` that has `=` in it fails the pod", "it is handed on"},
	{"uid-args", "a runtime without K8S_POD_UID: delegates get an empty one", "they get what the runtime passed"},
	{"unknown-pod", "a pod that the API server does not know gets an empty result with 0.0.0.0/0", "ADD fails"},
	{"mac-spelling", "passes a MAC on as it is written", "in the kernel's spelling"},
	{"device-of-annotation", "ignores `deviceID` of the annotation if the NAD has a resource", "takes that device, if the pod has it"},
	{"foreign-device", "takes `deviceID` of the annotation, anybody's device", "refuses a device that the pod does not have"},
	{"several-delegates", "`delegates` may have several configurations", "one, the default network; others are NADs in `defaultNetworks`"},
	{"default-networks-path", "`defaultNetworks` may have paths", "names: of NADs, or of configurations in `confDir`"},
	{"auxiliary", "`auxiliaryCNIChainName`: the plugins of a directory are one more network", "ignored with a warning; plugins in the default network's own directory are read"},
	{"nad-directory", "a NAD's list in a file is read without the directory beside it", "with it, as every list in a file (CNI library 1.3)"},
	{"check-all", "CHECK of a pod is CHECK of its default network", "of all its networks"},
	{"status-executes", "STATUS executes the plugins of the default network", "looks whether they are there, so that a plugin that hangs makes no node NotReady"},
	{"claim-device", "the device of a claim is what follows `=` in its CDI name", "its address, if its attributes or its name tell it"},
	{"device-info", "no `device-info` in the status of a device that its plugin has not described", "made of the PCI address"},
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
