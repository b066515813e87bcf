package kubeclient

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// claimsOf reads the claims of a pod, without a request if the pod has none. If
// they cannot be read, the devices still come from the kubelet, but without the
// names of their requests and resources.
func (a *Agent) claimsOf(ctx context.Context, pod *corev1.Pod) (out Claims, err error) {
	names, inPod := claimNames(pod)
	if len(names) == 0 {
		return out, nil
	}
	for _, name := range names {
		claim, err := a.source.api.claim(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: name})
		if err != nil {
			return Claims{}, fmt.Errorf("resource claim %s of pod %s/%s: %w", name, pod.Namespace, pod.Name, err)
		}
		out.Claims = append(out.Claims, claim)
	}
	if out.Slices, err = a.slicesOf(ctx, out.Claims); err != nil {
		return Claims{}, err
	}
	out.InPod = inPod
	return out, nil
}

// slicesOf reads the slices of the node, and those of no single node (allNodes,
// nodeSelector) of the drivers whose pools the node's slices do not have.
func (a *Agent) slicesOf(ctx context.Context, claims []*resourcev1.ResourceClaim) (out []*resourcev1.ResourceSlice, err error) {
	if out, err = a.source.api.slices(ctx, fields.OneTermEqualSelector("spec.nodeName", a.source.node)); err != nil {
		return nil, fmt.Errorf("resource slices of node %s: %w", a.source.node, err)
	}
	asked := map[string]bool{}
	for _, claim := range claims {
		for _, r := range results(claim) {
			if asked[r.Driver] || slices.ContainsFunc(out, func(s *resourcev1.ResourceSlice) bool { return isOf(s, r) }) {
				continue
			}
			asked[r.Driver] = true
			more, err := a.source.api.slices(ctx, fields.Set{"spec.nodeName": "", "spec.driver": r.Driver}.AsSelector())
			if err != nil {
				return nil, fmt.Errorf("resource slices of driver %s: %w", r.Driver, err)
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// claimNames returns all claims of a pod: those that it names, those made from
// templates, and the one for its extended resources. inPod has the names of each in
// the pod's specification.
func claimNames(pod *corev1.Pod) (claims []string, inPod map[string][]string) {
	inPod = map[string][]string{}
	add := func(claim *string, name ...string) {
		if claim == nil {
			return
		}
		if !slices.Contains(claims, *claim) {
			claims = append(claims, *claim)
		}
		inPod[*claim] = append(inPod[*claim], name...)
	}
	for _, c := range pod.Spec.ResourceClaims {
		add(c.ResourceClaimName, c.Name)
	}
	for _, c := range pod.Status.ResourceClaimStatuses {
		add(c.ResourceClaimName, c.Name)
	}
	if c := pod.Status.ExtendedResourceClaimStatus; c != nil {
		add(&c.ResourceClaimName)
	}
	return claims, inPod
}
