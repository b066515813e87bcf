package kubeclient

import (
	"context"
	"fmt"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// source finds NADs and the pods of one node: in the caches, or with one request if
// they are not cached.
type source struct {
	node string
	api  *api
	pods watched[*corev1.Pod]
	nads watched[*nettypes.NetworkAttachmentDefinition]
}

// pod returns the pod that the container runtime names, and no other pod of the same
// name. A runtime that passes no UID, such as cri-dockerd, means the pod of that name
// that is not terminating; the cache may have an older one, so the API server is asked.
// The code of an error is 4 if there is no such pod, and 11 if the API server could not be
// reached.
func (s source) pod(ctx context.Context, want agentapi.Pod) (*corev1.Pod, error) {
	if want.Namespace == "" || want.Name == "" {
		return nil, cnierror.With(cnitypes.ErrInvalidEnvironmentVariables, fmt.Errorf("the container runtime names pod %q, want namespace and name (K8S_POD_NAMESPACE and K8S_POD_NAME in CNI_ARGS)", want))
	}
	name := types.NamespacedName{Namespace: want.Namespace, Name: want.Name}
	if pod, there := s.pods.cached(name); there && want.UID != "" && isPod(pod, want.UID) && omitted(pod) == 0 {
		return pod, nil
	}
	pod, err := s.api.pod(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		err = cnierror.With(cnitypes.ErrInvalidEnvironmentVariables, fmt.Errorf("the API server has no pod %s: %w", name, err))
	case err != nil:
		err = fmt.Errorf("pod %s: %w", name, err)
	case want.UID == "" && pod.DeletionTimestamp != nil:
		err = cnierror.With(cnitypes.ErrInvalidEnvironmentVariables, fmt.Errorf("pod %s is terminating, and the container runtime names no UID (K8S_POD_UID in CNI_ARGS) that tells it from a new pod of that name", name))
	case want.UID != "" && !isPod(pod, want.UID):
		err = cnierror.With(cnitypes.ErrInvalidEnvironmentVariables, fmt.Errorf("pod %s has UID %s, but the container runtime asks for %s: the pod was recreated with the same name", name, pod.UID, want.UID))
	case pod.Spec.NodeName != s.node:
		err = cnierror.With(cnitypes.ErrInvalidEnvironmentVariables, fmt.Errorf("pod %s runs on node %q, but this agent serves node %q", name, pod.Spec.NodeName, s.node))
	}
	return pod, err
}

// isPod reports whether the runtime means this pod by uid. A static pod has the UID
// that the kubelet gave it. Its mirror in the API has another UID, and the kubelet's
// in an annotation.
func isPod(pod *corev1.Pod, uid string) bool {
	return string(pod.UID) == uid || pod.Annotations[corev1.MirrorPodAnnotationKey] == uid
}

// nad returns a NAD. If its configuration is too large, it is returned without it, and
// with an error. The code of an error is 11 if the API server could not be reached.
func (s source) nad(ctx context.Context, name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
	if nad, there := s.nads.cached(name); there {
		switch size := omitted(nad); {
		case size == 0:
			return nad, nil
		case size > maxConfig:
			return nad, code.With(code.TooLarge, fmt.Errorf("spec.config: has %d bytes, want at most %d", size, maxConfig))
		}
	}
	nad, err := s.api.nad(ctx, name)
	if apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) && apierrors.IsNotFound(err) {
		return nil, cnierror.With(cnitypes.ErrTryAgainLater, fmt.Errorf("the API server serves no NetworkAttachmentDefinitions (check that their CustomResourceDefinition is installed: kubectl get crd %s.k8s.cni.cncf.io): %w", nadResource, err))
	}
	return nad, err
}

// known returns a pod as the cache has it, or nil: it is gone, or it is newer than the
// cache.
func (s source) known(pod agentapi.Pod) *corev1.Pod {
	cached, there := s.pods.cached(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	if !there || !isPod(cached, pod.UID) {
		return nil
	}
	return cached
}

// leaving reports whether a pod that has run is being deleted, has ended, or is gone.
func (s source) leaving(pod agentapi.Pod) bool {
	known := s.known(pod)
	return s.absent(pod) || known != nil && isLeaving(known)
}

// isLeaving reports whether the bonds of a pod are taken apart by its DEL, now or soon.
func isLeaving(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// absent reports whether the cache has no such pod.
func (s source) absent(pod agentapi.Pod) bool { return s.pods.synced() && s.known(pod) == nil }

// gone asks the API server whether a pod exists no longer.
func (s source) gone(ctx context.Context, pod agentapi.Pod) (bool, error) {
	found, err := s.api.pod(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return err == nil && !isPod(found, pod.UID), err
}

// synced reports whether the caches are filled. That of NADs need not be if the API server
// does not list them: without their CustomResourceDefinition there are none, and pods
// without networks can start.
func (s source) synced() bool {
	return s.pods.synced() && (s.nads.synced() || s.nads.failed.Load())
}
