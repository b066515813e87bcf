package netconf

import (
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// What the links of a network can be near.
const (
	NearDevices = "devices" // the pod's devices, such as GPUs, without those of its networks
	NearCPUs    = "cpus"    // the CPUs that only the pod has
)

// readNear reads what the links should be near. It returns "" for nothing.
func readNear(top strictjson.Object) string {
	switch near := top.Text("near"); near {
	case "", "none":
		return ""
	case NearDevices, NearCPUs:
		return near
	default:
		top.Problems.Add(code.WrongWord, "near", "", "is %q, want %s, %s or none", near, NearDevices, NearCPUs)
		return ""
	}
}
