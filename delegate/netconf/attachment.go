package netconf

import (
	"cmp"
	"encoding/json"
	"maps"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/strictjson"
)

// ParseAttachment reads the configuration of one of a pod's networks, which is a bond
// or a chain. runtime is what the kubelet asks for; it is nil for all networks but the
// default one. The error has the codes of ParseNetwork's.
func ParseAttachment(a agentapi.Attachment, runtime map[string]json.RawMessage) (n Network, err error) {
	fields, err := decodeTop(a.Config)
	switch {
	case err != nil:
	case a.Bond && isBondList(fields):
		n, err = readBondList(fields, a.IfName, runtime)
	case a.Bond:
		raw := a.Config
		if addRuntimeConfig(fields, runtime) {
			raw = strictjson.Encode(fields)
		}
		n, err = readNetwork(raw, fields, a.IfName)
	default:
		n, err = readChain(a.Config, fields, runtime)
		// Other kinds of devices are left to their plugins. Only a PCI address
		// names a VF in sysfs and a file in the Store.
		if len(a.Devices) > 0 && bond.CheckPCI(a.Devices[0]) == nil {
			n.Device = a.Devices[0]
		}
	}
	n.Name = cmp.Or(a.Name, n.Name) // what the pod's owner calls it
	return n, err
}

// addRuntimeConfig adds to the fields of a plugin those values of runtime for which the
// plugin declares a capability (CNI conventions, "Dynamic Plugin specific fields"). A
// value that is there already stays. It reports whether it added anything.
func addRuntimeConfig(fields, runtime map[string]json.RawMessage) bool {
	if len(runtime) == 0 {
		return false
	}
	strictjson.FoldKeys(fields, []string{"capabilities", "runtimeConfig"})
	var can map[string]bool
	var own map[string]json.RawMessage
	if o := lenient(fields); !o.Read("capabilities", &can, "") || !o.Read("runtimeConfig", &own, "") {
		return false
	}
	merged := maps.Clone(runtime)
	maps.DeleteFunc(merged, func(key string, _ json.RawMessage) bool { return !can[key] })
	if len(merged) == 0 {
		return false
	}
	maps.Copy(merged, own)
	fields["runtimeConfig"] = strictjson.Encode(merged)
	return true
}
