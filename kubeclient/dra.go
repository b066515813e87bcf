package kubeclient

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
)

// claimed is what the API says of the devices of a pod's claims.
type claimed struct {
	claims []*resourcev1.ResourceClaim
	slices []*resourcev1.ResourceSlice
}

// claimsOf reads the claims of a pod; a pod without any costs no request.
// Where they cannot be read the names of their requests and resources stay
// unknown, and the devices are the kubelet's to tell.
func (a *Agent) claimsOf(ctx context.Context, pod *corev1.Pod) (out claimed, err error) {
	names := claimNames(pod)
	if len(names) == 0 {
		return out, nil
	}
	for _, name := range names {
		claim, err := a.source.api.claim(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: name})
		if err != nil {
			return claimed{}, fmt.Errorf("resource claim %s of pod %s/%s: %w", name, pod.Namespace, pod.Name, err)
		}
		out.claims = append(out.claims, claim)
	}
	list, err := a.source.api.slicesOf(ctx, a.source.node)
	if err != nil {
		return claimed{}, fmt.Errorf("resource slices of node %s: %w", a.source.node, err)
	}
	for i := range list.Items {
		out.slices = append(out.slices, &list.Items[i])
	}
	return out, nil
}

// claimNames are the names of all claims of a pod: those that it names, those
// that were made of templates, and the one of its extended resources.
func claimNames(pod *corev1.Pod) (names []string) {
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			names = append(names, *c.ResourceClaimName)
		}
	}
	for _, c := range pod.Status.ResourceClaimStatuses {
		if c.ResourceClaimName != nil {
			names = append(names, *c.ResourceClaimName)
		}
	}
	if c := pod.Status.ExtendedResourceClaimStatus; c != nil {
		names = append(names, c.ResourceClaimName)
	}
	return names
}
