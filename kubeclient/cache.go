package kubeclient

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
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
	failed   *atomic.Bool // whether the API server has refused to list or watch them
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
	w := watched[T]{informer, &atomic.Bool{}}
	return w, informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		w.failed.Store(true)
		log.WarnContext(ctx, "the watch of the API server was interrupted; cached objects stay in use", "kind", kindName(of), "error", err)
	})
}

func kindName(of runtime.Object) string {
	switch of.(type) {
	case *corev1.Pod:
		return podResource
	case *coordinationv1.Lease:
		return leaseResource
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

// How much of what other people write the caches keep. What is above is read again when
// it is used, or refused, so that nobody can exhaust the memory of all agents.
const (
	maxPodAnnotations = 16 << 10 // of one pod
	maxNADs           = 32 << 20 // configurations of all NADs
)

// podAnnotations are the annotations of a pod that a lookup reads.
var podAnnotations = []string{NetworksAnnotation, DefaultNetworkAnnotation, corev1.MirrorPodAnnotationKey}

// trimPod returns a pod with only what a lookup and the teller read.
func trimPod(pod *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: trimMeta(pod.ObjectMeta, podAnnotations)}
	switch size := sizeOf(out.Annotations); {
	case omitted(pod) > 0: // trimmed before
		omit(out, omitted(pod))
	case size > maxPodAnnotations:
		delete(out.Annotations, NetworksAnnotation)
		delete(out.Annotations, DefaultNetworkAnnotation)
		omit(out, size)
	}
	if status := pod.Annotations[nettypes.NetworkStatusAnnot]; len(status) <= maxPodAnnotations && strings.Contains(status, linksKey) {
		metav1.SetMetaDataAnnotation(&out.ObjectMeta, nettypes.NetworkStatusAnnot, strings.Clone(status))
	}
	out.DeletionTimestamp = pod.DeletionTimestamp
	out.Spec.ReadinessGates = having(pod.Spec.ReadinessGates, isGate)
	out.Status.Phase = pod.Status.Phase
	out.Status.Conditions = having(pod.Status.Conditions, isBondHealthy)
	out.Spec.NodeName = pod.Spec.NodeName
	out.Spec.ResourceClaims = pod.Spec.ResourceClaims
	out.Spec.InitContainers = trimContainers(pod.Spec.InitContainers)
	out.Spec.Containers = trimContainers(pod.Spec.Containers)
	out.Status.ResourceClaimStatuses = pod.Status.ResourceClaimStatuses
	out.Status.ExtendedResourceClaimStatus = pod.Status.ExtendedResourceClaimStatus
	return out
}

// having returns the elements of a list that are wanted.
func having[T any](list []T, wanted func(T) bool) (out []T) {
	for _, one := range list {
		if wanted(one) {
			out = append(out, one)
		}
	}
	return out
}

func trimContainers(containers []corev1.Container) (out []corev1.Container) {
	for _, c := range containers {
		out = append(out, corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy})
	}
	return out
}

func sizeOf(annotations map[string]string) (size int) {
	for _, value := range annotations {
		size += len(value)
	}
	return size
}

// omit marks an object of which a part of that size was not kept: nobody but the API
// server sets the generation, and it is never negative.
func omit(object metav1.Object, size int) { object.SetGeneration(-int64(size)) }

// omitted returns the size of what was not kept of an object, or 0.
func omitted(object metav1.Object) int { return int(max(-object.GetGeneration(), 0)) }

// cacheBudget limits the bytes that a cache keeps of what others write: the configurations of
// NADs, or the NICs of hosts.
type cacheBudget struct {
	lock sync.Mutex
	left int
	kept map[types.UID]int
}

// trim returns a NAD with only what a lookup reads. A configuration that is too large to
// be used, or does not fit into the budget, is omitted.
func (b *cacheBudget) trim(nad *nettypes.NetworkAttachmentDefinition) *nettypes.NetworkAttachmentDefinition {
	out := &nettypes.NetworkAttachmentDefinition{ObjectMeta: trimMeta(nad.ObjectMeta, []string{ResourceAnnotation})}
	size := len(nad.Spec.Config)
	switch {
	case omitted(nad) > 0: // trimmed before
		omit(out, omitted(nad))
	case size > maxConfig || !b.take(nad.UID, size):
		b.release(nad.UID)
		omit(out, size)
	default:
		out.Spec = nad.Spec
	}
	return out
}

// take reports whether so many bytes of an object fit, in the place of its older ones.
func (b *cacheBudget) take(uid types.UID, size int) bool {
	b.lock.Lock()
	defer b.lock.Unlock()
	left := b.left + b.kept[uid] - size
	if left < 0 {
		return false
	}
	b.left, b.kept[uid] = left, size
	return true
}

func (b *cacheBudget) release(uid types.UID) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.left += b.kept[uid]
	delete(b.kept, uid)
}

// released is called when a NAD has left the cache.
func (b *cacheBudget) released(object any) {
	if last, is := object.(cache.DeletedFinalStateUnknown); is {
		object = last.Obj
	}
	if nad, is := object.(*nettypes.NetworkAttachmentDefinition); is {
		b.release(nad.UID)
	}
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
