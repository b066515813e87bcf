package kubeclient

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// watched is a cache of the objects of one kind, trimmed, that follows the API
// server.
type watched[T runtime.Object] struct {
	informer cache.SharedIndexInformer
}

// watch returns a cache that keeps what trim leaves of each object.
func watch[T runtime.Object](from cache.ListerWatcher, of T, trim func(T) T, log *slog.Logger) (watched[T], error) {
	informer := cache.NewSharedIndexInformer(from, of, 0, nil)
	err := informer.SetTransform(func(object any) (any, error) {
		if one, is := object.(T); is {
			return trim(one), nil
		}
		return object, nil
	})
	if err != nil {
		return watched[T]{}, err
	}
	return watched[T]{informer}, informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		log.WarnContext(ctx, "the watch of the API server was interrupted; cached objects stay in use", "kind", kindName(of), "error", err)
	})
}

func kindName(of runtime.Object) string {
	switch of.(type) {
	case *corev1.Pod:
		return podResource
	default:
		return nadResource
	}
}

// cached returns an object of the cache, and whether it is there.
func (w watched[T]) cached(name types.NamespacedName) (object T, there bool) {
	found, there, _ := w.informer.GetStore().GetByKey(name.String())
	if !there {
		return object, false
	}
	object, there = found.(T)
	return object, there
}

func (w watched[T]) synced() bool { return w.informer.HasSynced() }

// podAnnotations are the annotations of a pod that a lookup reads.
var podAnnotations = []string{NetworksAnnotation, DefaultNetworkAnnotation, corev1.MirrorPodAnnotationKey}

// trimPod returns a pod with only what a lookup reads.
func trimPod(pod *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: trimMeta(pod.ObjectMeta, podAnnotations)}
	out.Spec.NodeName = pod.Spec.NodeName
	out.Spec.ResourceClaims = pod.Spec.ResourceClaims
	out.Spec.InitContainers = trimContainers(pod.Spec.InitContainers)
	out.Spec.Containers = trimContainers(pod.Spec.Containers)
	out.Status.ResourceClaimStatuses = pod.Status.ResourceClaimStatuses
	out.Status.ExtendedResourceClaimStatus = pod.Status.ExtendedResourceClaimStatus
	return out
}

func trimContainers(containers []corev1.Container) (out []corev1.Container) {
	for _, c := range containers {
		out = append(out, corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy})
	}
	return out
}

// trimNAD returns a NAD with only what a lookup reads.
func trimNAD(nad *nettypes.NetworkAttachmentDefinition) *nettypes.NetworkAttachmentDefinition {
	return &nettypes.NetworkAttachmentDefinition{ObjectMeta: trimMeta(nad.ObjectMeta, []string{ResourceAnnotation}), Spec: nad.Spec}
}

func trimMeta(meta metav1.ObjectMeta, annotations []string) metav1.ObjectMeta {
	out := metav1.ObjectMeta{Namespace: meta.Namespace, Name: meta.Name, UID: meta.UID, ResourceVersion: meta.ResourceVersion}
	kept := maps.Clone(meta.Annotations)
	maps.DeleteFunc(kept, func(key, _ string) bool { return !slices.Contains(annotations, key) })
	if len(kept) > 0 {
		out.Annotations = maps.Collect(maps.All(kept)) // a clone keeps the size of the original
	}
	return out
}
