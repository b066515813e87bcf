package kubeclient

import (
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Operation is one of a JSON patch (RFC 6902).
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Inject gives the first container of a pod what no container has requested yet of what its
// networks need. It returns the patch that does the same to the pod as it was written, raw.
func Inject(pod *corev1.Pod, raw []byte, needs Needs) ([]Operation, error) {
	if len(pod.Spec.Containers) == 0 {
		return nil, nil
	}
	var written struct {
		Spec struct {
			Containers []struct {
				Resources map[string]json.RawMessage `json:"resources"`
			} `json:"containers"`
			ResourceClaims []json.RawMessage `json:"resourceClaims"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &written); err != nil {
		return nil, err
	}
	first := &pod.Spec.Containers[0].Resources
	changed := addDevices(first, missingOf(pod, needs.Resources))
	claims, unused := claimsMissing(pod, needs.Claims)
	for _, name := range unused {
		first.Claims = append(first.Claims, corev1.ResourceClaim{Name: name})
	}
	pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, claims...)
	if !changed && len(unused) == 0 {
		return nil, nil
	}
	patch := []Operation{{"add", "/spec/containers/0/resources", withRequirements(written.Spec.Containers[0].Resources, *first)}}
	if len(claims) > 0 && len(written.Spec.ResourceClaims) == 0 {
		return append(patch, Operation{"add", "/spec/resourceClaims", claims}), nil
	}
	for _, c := range claims {
		patch = append(patch, Operation{"add", "/spec/resourceClaims/-", c})
	}
	return patch, nil
}

// missingOf returns how many devices of each resource the containers that keep theirs have not
// requested.
func missingOf(pod *corev1.Pod, needed map[string]int) map[string]int {
	out := map[string]int{}
	for name, count := range needed {
		for _, c := range running(pod) {
			whole, _ := requested(c.Resources, name).AsInt64() // there is no part of a device
			count -= int(whole)
		}
		if count > 0 {
			out[name] = count
		}
	}
	return out
}

// requested returns how much of a resource a container gets.
func requested(r corev1.ResourceRequirements, name string) *resource.Quantity {
	amount, there := r.Limits[corev1.ResourceName(name)]
	if !there {
		amount = r.Requests[corev1.ResourceName(name)]
	}
	return &amount
}

// addDevices adds devices to what a container requests. It reports whether there are some.
func addDevices(to *corev1.ResourceRequirements, missing map[string]int) bool {
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		amount := *requested(*to, name)
		amount.Add(*resource.NewQuantity(int64(missing[name]), resource.DecimalSI))
		for _, list := range []*corev1.ResourceList{&to.Limits, &to.Requests} {
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[corev1.ResourceName(name)] = amount
		}
	}
	return len(missing) > 0
}

// claimsMissing returns the claims that a pod does not have: neither one of that name, nor
// another one of the template. unused has the names of those, and of claims that it has, that
// no container has.
func claimsMissing(pod *corev1.Pod, needed map[string]string) (out []corev1.PodResourceClaim, unused []string) {
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		template := needed[name]
		its := func(c corev1.PodResourceClaim) bool {
			return c.Name == name || c.ResourceClaimTemplateName != nil && *c.ResourceClaimTemplateName == template
		}
		if i := slices.IndexFunc(pod.Spec.ResourceClaims, its); i >= 0 {
			name = pod.Spec.ResourceClaims[i].Name
		} else {
			out = append(out, corev1.PodResourceClaim{Name: name, ResourceClaimTemplateName: &template})
		}
		if !hasClaim(pod, name) && !slices.Contains(unused, name) {
			unused = append(unused, name)
		}
	}
	return out, unused
}

// hasClaim reports whether a container has a claim of the pod.
func hasClaim(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Resources.Claims, func(r corev1.ResourceClaim) bool { return r.Name == name })
	})
}

// withRequirements returns the resources of a container as they were written, with the ones
// that it has now. Fields of newer API servers stay.
func withRequirements(written map[string]json.RawMessage, now corev1.ResourceRequirements) map[string]any {
	out := map[string]any{}
	for key, value := range written {
		out[key] = value
	}
	for key, list := range map[string]corev1.ResourceList{"limits": now.Limits, "requests": now.Requests} {
		if len(list) > 0 {
			out[key] = list
		}
	}
	if len(now.Claims) > 0 {
		out["claims"] = now.Claims
	}
	return out
}
