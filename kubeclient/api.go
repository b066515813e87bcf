package kubeclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	k8stypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// The resources that the agent reads and writes.
const (
	podResource   = "pods"
	nadResource   = "network-attachment-definitions"
	eventResource = "events"
	claimResource = "resourceclaims"
	sliceResource = "resourceslices"
	leaseResource = "leases"
)

// api is a client of the API server for the few requests that the agent sends. A
// clientset for every group of Kubernetes would be most of the agent's memory.
type api struct {
	core, nads, resources, leases rest.Interface

	timeout time.Duration // for one request
	count   func(verb, resource string)
}

// clusterConfig returns how to reach the API server: from the kubeconfig file, or
// from the environment of the container if file is empty. Token files are read
// again when they rotate.
func clusterConfig(file string) (*rest.Config, error) {
	if file != "" {
		return clientcmd.BuildConfigFromFlags("", file)
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("%w (outside of a cluster, set -kubeconfig)", err)
	}
	return config, nil
}

func newAPI(config *rest.Config, timeout time.Duration, count func(verb, resource string)) (*api, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, resourcev1.AddToScheme, nettypes.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	client := func(path string, version schema.GroupVersion, accept string) (rest.Interface, error) {
		return newClient(config, scheme, path, version, accept)
	}
	const compact = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	a := &api{timeout: timeout, count: count}
	var errs [4]error
	a.core, errs[0] = client("/api", corev1.SchemeGroupVersion, compact)
	a.resources, errs[1] = client("/apis", resourcev1.SchemeGroupVersion, compact)
	a.nads, errs[2] = client("/apis", nettypes.SchemeGroupVersion, runtime.ContentTypeJSON)
	a.leases, errs[3] = client("/apis", coordinationv1.SchemeGroupVersion, compact)
	return a, errors.Join(errs[:]...)
}

// newClient returns a client for one version of one group of the API.
func newClient(config *rest.Config, scheme *runtime.Scheme, path string, version schema.GroupVersion, accept string) (rest.Interface, error) {
	c := rest.CopyConfig(config)
	c.APIPath, c.GroupVersion = path, &version
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, accept
	c.UserAgent = "multibond-agent"
	c.QPS = -1 // the server has limits of its own, and ours is a limit of what runs at once
	return rest.RESTClientFor(c)
}

// podsOf lists and watches the pods of one node.
func (a *api) podsOf(node string) cache.ListerWatcher {
	return cache.NewListWatchFromClient(a.core, podResource, metav1.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", node))
}

// allNADs lists and watches the NADs of the cluster.
func (a *api) allNADs() cache.ListerWatcher {
	return cache.NewListWatchFromClient(a.nads, nadResource, metav1.NamespaceAll, fields.Everything())
}

func (a *api) pod(ctx context.Context, name k8stypes.NamespacedName) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	return pod, a.get(ctx, a.core, podResource, name, pod)
}

func (a *api) nad(ctx context.Context, name k8stypes.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
	nad := &nettypes.NetworkAttachmentDefinition{}
	return nad, a.get(ctx, a.nads, nadResource, name, nad)
}

func (a *api) claim(ctx context.Context, name k8stypes.NamespacedName) (*resourcev1.ResourceClaim, error) {
	claim := &resourcev1.ResourceClaim{}
	return claim, a.get(ctx, a.resources, claimResource, name, claim)
}

// slices lists the ResourceSlices that a selector selects.
func (a *api) slices(ctx context.Context, selector fields.Selector) (out []*resourcev1.ResourceSlice, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	a.count("list", sliceResource)
	list := &resourcev1.ResourceSliceList{}
	err = a.resources.Get().Resource(sliceResource).Param("fieldSelector", selector.String()).Do(ctx).Into(list)
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, unreachable(err)
}

func (a *api) get(ctx context.Context, client rest.Interface, resource string, name k8stypes.NamespacedName, into runtime.Object) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	a.count("get", resource)
	return unreachable(client.Get().Namespace(name.Namespace).Resource(resource).Name(name.Name).Do(ctx).Into(into))
}

// unreachable adds code 11 (try again) to every error except NotFound: an object
// that does not exist now will not exist later.
func unreachable(err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return err
	}
	return cnierror.With(types.ErrTryAgainLater, fmt.Errorf("asking the API server: %w", err))
}

// patchStatus sends a strategic merge patch to the status of a pod.
func (a *api) patchStatus(ctx context.Context, pod agentapi.Pod, patch json.RawMessage) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	a.count("patch", podResource)
	return a.core.Patch(k8stypes.StrategicMergePatchType).Namespace(pod.Namespace).Resource(podResource).Name(pod.Name).
		SubResource("status").Body([]byte(patch)).Do(ctx).Error()
}

// alive reports whether the API server answers, and has not lost its own storage.
func (a *api) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	a.count("get", "livez")
	var refusal apierrors.APIStatus
	err := a.core.Get().AbsPath("/livez").Do(ctx).Error()
	return err == nil || errors.As(err, &refusal) && refusal.Status().Code < http.StatusInternalServerError
}

func (a *api) createEvent(ctx context.Context, event *corev1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	a.count("create", eventResource)
	return a.core.Post().Namespace(event.Namespace).Resource(eventResource).Body(event).Do(ctx).Error()
}
