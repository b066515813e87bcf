package kubeclient

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The attributes of a device in a ResourceSlice that matter to the networks of a
// pod.
const (
	deviceIDAttribute     = "k8s.cni.cncf.io/deviceID"
	pciBusIDAttribute     = "resource.kubernetes.io/pciBusID"
	resourceNameAttribute = "k8s.cni.cncf.io/resourceName"
)

type allocated = resourcev1.DeviceRequestAllocationResult

type attributes = map[resourcev1.QualifiedName]resourcev1.DeviceAttribute

// Claims has the resource claims of a pod, and the slices of its node that describe
// the devices.
type Claims struct {
	Claims []*resourcev1.ResourceClaim
	Slices []*resourcev1.ResourceSlice
	InPod  map[string][]string // claim -> its names in the pod's specification
}

// FromClaims returns the devices of a pod's allocated resource claims, with their
// attributes from the slices of the node. Unlike the kubelet's answer it has the
// resource names of the devices. Claims belong to the pod, so all their devices
// are in one container without a name, which comes after the others.
func FromClaims(claims Claims) Container {
	out := newContainer("")
	for _, claim := range claims.Claims {
		for _, result := range results(claim) {
			if forAdmin(result) {
				continue
			}
			attributes := attributesOf(claims.Slices, result)
			device, is := deviceOf(result.Device, attributes)
			if !is {
				continue
			}
			out.addRequest(requestNames(result, claims.InPod[claim.Name]), device)
			if resource := attributes[resourceNameAttribute].StringValue; resource != nil {
				out.Resources[*resource] = append(out.Resources[*resource], device)
			}
		}
	}
	return out
}

// deviceOf returns the device that the network plugins know: the one that its
// attributes name, otherwise the PCI address in its name.
func deviceOf(name string, attributes attributes) (string, bool) {
	for _, key := range []resourcev1.QualifiedName{deviceIDAttribute, pciBusIDAttribute} {
		if id := attributes[key].StringValue; id != nil {
			return *id, true
		}
	}
	return pciOf(name)
}

// results returns the devices that are allocated to a claim.
func results(claim *resourcev1.ResourceClaim) []allocated {
	if claim.Status.Allocation == nil {
		return nil
	}
	return claim.Status.Allocation.Devices.Results
}

func resultsOf(claims []*resourcev1.ResourceClaim, name types.NamespacedName) []allocated {
	for _, claim := range claims {
		if claim.Namespace == name.Namespace && claim.Name == name.Name {
			return results(claim)
		}
	}
	return nil
}

// forAdmin reports whether a device is allocated only to be looked after, while others
// use it. It is no device for a network.
func forAdmin(result allocated) bool { return result.AdminAccess != nil && *result.AdminAccess }

// shareOf returns the share of a device that is allocated several times, otherwise "".
func shareOf(result allocated) string {
	if result.ShareID == nil {
		return ""
	}
	return string(*result.ShareID)
}

// requestNames returns the names of a result's request: claim/request for each name
// that the claim has in the pod, without the name of the alternative if the request
// has alternatives. The claim for extended resources has no name in the pod.
func requestNames(result allocated, inPod []string) (names []string) {
	request, _, _ := strings.Cut(result.Request, "/")
	if len(inPod) == 0 {
		return []string{request}
	}
	for _, claim := range inPod {
		names = append(names, claim+"/"+request)
	}
	return names
}

// addRequest adds a device of a request that has these names.
func (c Container) addRequest(names []string, device string) {
	for _, name := range names {
		c.Requests[name] = append(c.Requests[name], device)
	}
}

// attributesOf finds a device by driver, pool and name, in the newest generation of the
// pool, and returns its attributes. What older generations have is not true any more.
func attributesOf(slices []*resourcev1.ResourceSlice, result allocated) (out attributes) {
	newest := int64(-1)
	for _, s := range slices {
		if !isOf(s, result) || s.Spec.Pool.Generation < newest {
			continue
		}
		if s.Spec.Pool.Generation > newest {
			out, newest = nil, s.Spec.Pool.Generation
		}
		for _, d := range s.Spec.Devices {
			if d.Name == result.Device {
				out = d.Attributes
			}
		}
	}
	return out
}

// isOf reports whether a slice is one of the pool of a device.
func isOf(s *resourcev1.ResourceSlice, result allocated) bool {
	return s.Spec.Driver == result.Driver && s.Spec.Pool.Name == result.Pool
}
