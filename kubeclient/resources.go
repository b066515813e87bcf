package kubeclient

import "k8s.io/apimachinery/pkg/types"

// Resources returns how many devices of each resource the networks of a pod's annotation want,
// as [Attachments] counts them: what the pod's containers have to request. Devices of claims
// and those that configurations name are not among them. The error has the problems of all
// networks, and wraps the errors of the resolver.
func Resources(pod types.NamespacedName, annotation string, r Resolver) (map[string]int, error) {
	elements, err := ParseNetworks(annotation, pod.Namespace, []string{defaultInterface})
	if err != nil {
		return nil, err
	}
	networks, err := findAll(elements, r)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, f := range networks {
		for _, w := range f.need().Wants {
			if w.Resource != "" {
				out[w.Resource]++
			}
		}
	}
	return out, nil
}
